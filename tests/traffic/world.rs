//! An external host, a parent and two bridge sub-interfaces, each with a network stack of its own.
//!
//! ```text
//!  outside            host                        a, b
//!    w0 ------ p0 (the parent), engine - - - - a0, b0
//! ```
//! No neighbour entries are configured: stacks find each other by ARP and neighbour discovery.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};
use umacvlan_core::options::{Backend, PortIo, PortKind, XdpMode};

use umacvlan_core::limit::Limits;
use umacvlan_core::rules::{RuleWord, Rules};
use umacvlan_core::stats::SubStats;
use umacvlan_core::{MacAddr, MacvlanSettings, Mode};
use umacvlan_datapath::worker::WorkerConfig;
use umacvlan_engine::engine::{
    Engine, ParentOptions, ParentStatus, SubChange, SubOptions, SubStatus,
};
use umacvlan_netlink::{Link, Rtnl, set_sysctl};
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::{LIMIT, LinkMonitor, root_or_skip, skip};

/// Pause before counters are read again, because no event announces their changes.
const LOOK: Duration = Duration::from_millis(20);

const PARENT: &str = "p0";

/// Options of a world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// The MTU of the wire, the parent and, by that, of the sub-interfaces.
    pub(crate) mtu: u32,
    /// The backend through which the engine reaches the wire.
    pub(crate) backend: Backend,
    /// Whether `a` has its IPv4 address. All other stacks have theirs.
    pub(crate) a_addressed: bool,
    /// Whether IPv6 is on. Without it no stack sends frames by itself.
    pub(crate) ipv6: bool,
    /// The VLAN of the parent, `10` or `10.20`, where it is one. At the other end of the wire
    /// another engine puts the tags on and takes them off, and `outside` is a link of its own.
    pub(crate) vlan: Option<&'static str>,
    /// What the sub-interfaces are.
    pub(crate) port: PortKind,
}

impl Plan {
    /// The usual MTU and backend, with IPv4.
    pub(crate) const USUAL: Self = Self {
        mtu: 1500,
        backend: Backend::Auto,
        a_addressed: true,
        ipv6: false,
        vlan: None,
        port: PortKind::Tap,
    };

    /// The name of a parent on that interface, with its VLANs.
    fn parent(&self, link: &str) -> String {
        self.vlan.map_or_else(|| link.to_owned(), |vlan| format!("{link}.{vlan}"))
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self::USUAL
    }
}

/// Runs a test with an engine that uses io_uring and with one that does not. After each it asserts
/// that every frame was counted.
pub(crate) fn on_both_paths(plan: Plan, run: impl Fn(&mut World)) {
    if !root_or_skip() {
        return;
    }
    for io in [PortIo::Uring, PortIo::Plain] {
        match World::build(io, plan) {
            Some(mut world) => world.have(&run),
            None => skip("io_uring does not work here"),
        }
    }
}

/// The same, with sub-interfaces for which the kernel forwards, and with engines that reach the wire by
/// AF_XDP, in each mode that a veth supports.
pub(crate) fn on_every_path(plan: Plan, run: impl Fn(&mut World)) {
    on_both_paths(plan, &run);
    if cfg!(not(feature = "af-xdp")) || Netns::create().is_err() {
        return;
    }
    let veth = World::build(PortIo::Auto, Plan { port: PortKind::Veth, ..plan });
    veth.expect("anything else is an error").have(&run);
    for mode in [XdpMode::Native, XdpMode::Generic] {
        let plan = Plan { backend: Backend::AfXdpIn(mode), ..plan };
        let world = World::build(PortIo::Auto, plan);
        world.expect("anything else is an error").have(&run);
    }
}

/// A network stack with one interface.
#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) netns: Netns,
    pub(crate) rtnl: Rtnl,
    pub(crate) name: &'static str,
    pub(crate) ip: Ipv4Addr,
    pub(crate) ipv6: Ipv6Addr,
}

impl Station {
    fn new(name: &'static str, number: u8, plan: Plan) -> Self {
        let netns = Netns::create().unwrap();
        let ipv6 = if plan.ipv6 { "0" } else { "1" };
        for (setting, value) in [
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
            ("ipv6/conf/default/accept_dad", "0"),
            ("ipv6/conf/default/router_solicitations", "0"),
            ("ipv6/conf/default/disable_ipv6", ipv6),
        ] {
            // A kernel without IPv6 has no such settings, and needs none.
            let _ = set_sysctl(&netns, setting, value);
        }
        Self {
            rtnl: Rtnl::open_in(&netns).unwrap(),
            netns,
            name,
            ip: Ipv4Addr::new(10, 0, 0, number),
            ipv6: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()),
        }
    }

    pub(crate) fn link(&mut self) -> Link {
        self.rtnl.link(self.name).unwrap().expect(self.name)
    }

    pub(crate) fn mac(&mut self) -> MacAddr {
        self.link().mac.unwrap()
    }

    pub(crate) fn set_mtu(&mut self, mtu: u32) {
        let index = self.link().index;
        self.rtnl.set_mtu(index, mtu).unwrap();
    }

    fn set_up(&mut self) {
        let index = self.link().index;
        self.rtnl.set_up(index, true).unwrap();
    }

    fn give_addresses(&mut self, plan: Plan, ipv4: bool) {
        let index = self.link().index;
        if ipv4 {
            self.rtnl.add_address(index, self.ip.into(), 24).unwrap();
        }
        if plan.ipv6 {
            let ip = IpAddr::from(self.ipv6);
            self.rtnl.add_address(index, ip, 64).unwrap();
        }
    }

    /// Returns when `done` is true of the interface.
    pub(crate) fn link_until(&mut self, what: &str, done: impl Fn(&Link) -> bool) {
        let what = format!("{}: {what}", self.name);
        LinkMonitor::open(&self.netns).wait_until(&what, || done(&self.link()));
    }

    /// Frames with a wrong checksum that this stack's protocols have dropped.
    fn wrong_checksums(&self) -> u64 {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let (v4, v6) = self
            .netns
            .run(|| {
                let v4 = read("/proc/thread-self/net/snmp");
                (v4, read("/proc/thread-self/net/snmp6"))
            })
            .unwrap();
        in_csum_errors(&v4) + in_csum_errors_v6(&v6)
    }
}

/// The stacks, and the engine between them.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) outside: Station,
    pub(crate) host: Station,
    pub(crate) a: Station,
    pub(crate) b: Station,
    engine: Engine,
    backend: Backend,
    /// The end of the wire, if that is not `outside` itself.
    far: Option<(Station, Engine)>,
}

impl World {
    /// `None` where io_uring is wanted and does not work.
    fn build(io: PortIo, plan: Plan) -> Option<Self> {
        let without_ipv6 = Plan { ipv6: false, ..plan };
        let mut host = Station::new(PARENT, 2, without_ipv6);
        let mut end = Station::new("w0", 1, if plan.vlan.is_some() { without_ipv6 } else { plan });
        host.rtnl.add_veth(PARENT, "w0", Some(&end.netns)).unwrap();
        for end in [&mut end, &mut host] {
            end.set_mtu(plan.mtu);
            end.set_up();
        }
        let engine = host.netns.run(Engine::start).unwrap().unwrap();
        let (outside, far) = match plan.vlan {
            None => (end, None),
            Some(_) => {
                let outside = Station::new("v0", 1, plan);
                let engine = end.netns.run(Engine::start).unwrap().unwrap();
                attach(
                    &engine,
                    &plan.parent("w0"),
                    (io, Backend::Auto, PortKind::Tap),
                    [&outside],
                )?;
                (outside, Some((end, engine)))
            }
        };
        let mut world = Self {
            outside,
            host,
            a: Station::new("a0", 3, plan),
            b: Station::new("b0", 4, plan),
            engine,
            backend: plan.backend,
            far,
        };
        let means = (io, plan.backend, plan.port);
        attach(&world.engine, &plan.parent(PARENT), means, [&world.a, &world.b])?;
        world.outside.give_addresses(plan, true);
        world.a.give_addresses(plan, plan.a_addressed);
        world.b.give_addresses(plan, true);
        for station in [&mut world.outside, &mut world.a, &mut world.b] {
            station.link_until("it has no carrier", Link::is_running);
        }
        world.until("both are up and their groups known", |world| {
            world.subs.iter().all(|sub| sub.up && !sub.groups.is_empty())
        });
        Some(world)
    }

    /// Runs a test in this world, and then checks that every frame was counted.
    fn have(&mut self, run: impl Fn(&mut Self)) {
        run(self);
        self.assert_counters_balance();
    }

    /// True when the other end of the wire may send GSO packets: a veth may not if its peer has a
    /// program in its driver.
    pub(crate) fn wire_is_whole(&self) -> bool {
        self.backend != Backend::AfXdpIn(XdpMode::Native)
    }

    pub(crate) fn status(&self) -> ParentStatus {
        self.engine.status().unwrap().remove(0)
    }

    /// Sets the limits of the sub-interface `name`.
    pub(crate) fn limit(&self, name: &str, words: &[(&str, &str)]) {
        let mut limits = Limits::default();
        words.iter().for_each(|(word, value)| limits.set(word, value).unwrap());
        let id = sub(&self.status(), name).number;
        self.engine.change_sub(id, vec![SubChange::Limits(limits)]).unwrap();
    }

    /// Sets the rules of a sub-interface.
    pub(crate) fn rules(&self, name: &str, words: &[(RuleWord, &str)]) {
        let mut rules = Rules::default();
        words.iter().for_each(|(word, value)| rules.add(*word, value).unwrap());
        let id = sub(&self.status(), name).number;
        self.engine.change_sub(id, vec![SubChange::Rules(rules)]).unwrap();
    }

    /// The status of the parent when `done` is true of it.
    pub(crate) fn until(&self, what: &str, done: impl Fn(&ParentStatus) -> bool) -> ParentStatus {
        let end = Instant::now() + LIMIT;
        loop {
            let status = self.status();
            if done(&status) {
                return status;
            }
            assert!(Instant::now() < end, "not in time: {what}: {status:#?}");
            // Any event will do: the status has the answer.
            let _ = self.engine.events().recv_timeout(LOOK);
        }
    }

    /// Returns when the engine knows whether the sub-interface `name` listens to `group`.
    pub(crate) fn until_listens(&self, name: &str, group: MacAddr, listens: bool) {
        self.until(&format!("{name} and {group}: {listens}"), |status| {
            sub(status, name).groups.contains(&group) == listens
        });
    }

    /// Asserts at rest that every frame is accounted for, that the stacks at both ends of each
    /// port have counted the same, and that no stack has seen a wrong checksum.
    fn assert_counters_balance(&mut self) {
        let end = Instant::now() + LIMIT;
        loop {
            let status =
                self.until("every flood is finished", |now| now.counters.pending_floods == 0);
            assert!(status.counters.is_balanced(), "{:#?}", status.counters);
            // Frames merged for the port count as one packet in its stack.
            let written = |stats: SubStats| stats.delivered.frames - stats.merged + stats.supers;
            let engine = [stats(&status, "a0"), stats(&status, "b0")]
                .map(|stats| (stats.received.frames, written(stats)));
            let kernel = [&mut self.a, &mut self.b]
                .map(|station| station.link().stats)
                .map(|stats| (stats.tx_packets, stats.rx_packets));
            if engine == kernel {
                break;
            }
            // A frame is still on its way, or lost.
            assert!(Instant::now() < end, "{engine:?} are not {kernel:?}");
        }
        if let Some((_, engine)) = &self.far {
            let far = engine.status().unwrap().remove(0);
            assert!(far.counters.is_balanced(), "{:#?}", far.counters);
        }
        for station in [&self.outside, &self.host, &self.a, &self.b] {
            assert_eq!(station.wrong_checksums(), 0, "at {}", station.name);
        }
    }
}

/// Attaches a parent and makes these sub-interfaces; `None` where io_uring is wanted and does not
/// work.
fn attach<'s>(
    engine: &Engine,
    parent: &str,
    (io, backend, port): (PortIo, Backend, PortKind),
    subs: impl IntoIterator<Item = &'s Station>,
) -> Option<()> {
    let options = ParentOptions {
        name: parent.to_owned(),
        backend,
        workers: vec![WorkerConfig { io, ..WorkerConfig::default() }],
        ..ParentOptions::default()
    };
    match engine.add_parent(options) {
        Err(_) if io == PortIo::Uring => return None,
        attached => attached.unwrap(),
    }
    for sub in subs {
        let options = SubOptions {
            name: sub.name.to_owned(),
            settings: MacvlanSettings::new(Mode::Bridge),
            netns: Some(sub.netns.try_clone().unwrap()),
            port,
            up: true,
            ..SubOptions::default()
        };
        engine.add_sub(parent, options).unwrap();
    }
    Some(())
}

/// The engine's status of a sub-interface.
pub(crate) fn sub<'s>(status: &'s ParentStatus, name: &str) -> &'s SubStatus {
    let mut subs = status.subs.iter();
    subs.find(|sub| sub.name == name).expect(name)
}

/// The engine's counters of a sub-interface.
pub(crate) fn stats(status: &ParentStatus, name: &str) -> SubStats {
    let place = status.subs.iter().position(|sub| sub.name == name);
    status.counters.subs[place.expect(name)].1
}

/// The sum of all `InCsumErrors` in a table of pairs of lines, names above numbers.
fn in_csum_errors(snmp: &str) -> u64 {
    let lines: Vec<Vec<&str>> = snmp.lines().map(|l| l.split(' ').collect()).collect();
    let pairs = lines.chunks_exact(2);
    pairs
        .flat_map(|pair| pair[0].iter().zip(&pair[1]))
        .filter(|(name, _)| **name == "InCsumErrors")
        .map(|(_, number)| number.parse::<u64>().unwrap())
        .sum()
}

/// The same for a table with a name and a number in each line.
fn in_csum_errors_v6(snmp6: &str) -> u64 {
    let fields = snmp6.lines().map(|line| line.split_whitespace());
    fields
        .filter_map(|mut fields| Some((fields.next()?, fields.next()?)))
        .filter(|(name, _)| name.ends_with("InCsumErrors"))
        .map(|(_, number)| number.parse::<u64>().unwrap())
        .sum()
}
