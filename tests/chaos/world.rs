//! [`World`]: the machine, and what its links have to be.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;
use umacvlan_testkit::{LIMIT, Ran, Sandbox};

use crate::watchdog::Watchdog;

/// The namespaces of tenants.
const TENANTS: [&str; 4] = ["t0", "t1", "t2", "t3"];
/// The most links of tenants at a time.
const LINKS_MAX: usize = 12;
/// The daemon's options. Its state directory is small enough to be filled.
const DAEMON: &str = "--state /run/small --bpf-dir /run/bpf/umacvlan";
/// The kinds of port.
const PORTS: &[&str] = if cfg!(feature = "af-xdp") { &["tap", "veth"] } else { &["tap"] };
/// An echo between the observers. A daemon that was just started may lose some.
const PING: &str = "for n in 1 2 3 4 5 6 7 8 9; do
    ip netns exec o1 ping -q -c 1 -W 1 10.0.0.2 && break; [ $n -lt 9 ]
done";
/// The time between two looks at the daemon's view, of whose progress no event tells.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A link as acknowledged, or as its tenant has changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) parent: String,
    pub(crate) name: String,
    pub(crate) netns: String,
    pub(crate) address: String,
    pub(crate) mode: String,
    pub(crate) mtu: u64,
    pub(crate) up: bool,
}

/// A machine with the parent `p0`, two links of observers that nobody touches, and tenants' links.
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) sandbox: Sandbox,
    /// The links that have to exist, by their numbers.
    pub(crate) links: BTreeMap<u64, Link>,
    /// The name of the interface that carries the links.
    pub(crate) parent: String,
    /// The name of an interface that carries none.
    pub(crate) other: String,
    serial: u32,
    history: Vec<String>,
    watchdog: Watchdog,
}

impl World {
    pub(crate) fn new(rng: Rng) -> Self {
        let sandbox = Sandbox::new(env!("CARGO_BIN_EXE_umacvlan"));
        let mut world = Self {
            rng,
            sandbox,
            links: BTreeMap::new(),
            parent: "p0".to_owned(),
            other: "other0".to_owned(),
            serial: 0,
            history: Vec::new(),
            watchdog: Watchdog::new(),
        };
        world.script(
            "ip link add p0 up type veth peer name q0
             ip link set q0 up
             ip link add other0 up type veth peer name wire-other
             ip link set wire-other up
             mkdir /run/small /run/bpf
             mount -t bpf none /run/bpf
             mount -t tmpfs -o size=512k none /run/small",
        );
        world.start();
        for tenant in TENANTS {
            world.make_namespace(tenant);
        }
        for number in [1, 2] {
            world.make_namespace(&format!("o{number}"));
            world.add_link("o", "bridge", &format!("o{number}"), true);
            world.ok(&format!("ip -n o{number} addr add 10.0.0.{number}/24 dev o{number}"));
        }
        world.verify();
        world
    }

    /// Notes what happens next, for the report of a failure.
    pub(crate) fn doing(&mut self, what: &str) {
        self.note(&format!("-- {what}"));
    }

    fn note(&mut self, what: &str) {
        self.watchdog.now(what);
        self.history.push(what.to_owned());
    }

    /// Runs a line that must succeed, and returns its output.
    pub(crate) fn ok(&mut self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.status, 0, "{line}: {ran:#?}\n{}", self.report());
        ran.stdout
    }

    /// Runs a line of shell.
    pub(crate) fn run(&mut self, line: &str) -> Ran {
        self.note(line);
        self.sandbox.run(line)
    }

    fn script(&mut self, lines: &str) {
        lines.lines().for_each(|line| drop(self.ok(line.trim())));
    }

    /// Starts the daemon and waits until it is ready.
    pub(crate) fn start(&mut self) {
        self.note("(daemon starts)");
        self.sandbox.daemon(DAEMON);
    }

    /// Ends the daemon with a signal.
    pub(crate) fn end_daemon(&mut self, signal: &str) {
        self.note(&format!("(daemon ends by SIG{signal})"));
        self.sandbox.end_daemon(signal);
    }

    pub(crate) fn make_namespace(&mut self, name: &str) {
        self.ok(&format!("ip netns add {name} && ip -n {name} link set lo up"));
    }

    /// A number that was not used before.
    pub(crate) fn next_number(&mut self) -> u32 {
        self.serial += 1;
        self.serial
    }

    /// An address that no interface has.
    pub(crate) fn next_address(&mut self) -> String {
        let [_, b, c, d] = self.next_number().to_be_bytes();
        format!("02:00:00:{b:02x}:{c:02x}:{d:02x}")
    }

    /// One of the tenants' namespaces.
    pub(crate) fn any_tenant(&mut self) -> &'static str {
        TENANTS[self.rng.usize(..TENANTS.len())]
    }

    /// The number of a tenant's link. One is added if there is none.
    pub(crate) fn any_link(&mut self) -> u64 {
        let theirs: Vec<u64> = self.tenants_links().collect();
        if theirs.is_empty() {
            let tenant = self.any_tenant();
            return self.add_link("l", "bridge", tenant, true);
        }
        theirs[self.rng.usize(..theirs.len())]
    }

    /// True when no more links may be added.
    pub(crate) fn is_full(&self) -> bool {
        self.tenants_links().count() >= LINKS_MAX
    }

    fn tenants_links(&self) -> impl Iterator<Item = u64> {
        let theirs = |link: &Link| TENANTS.contains(&link.netns.as_str());
        self.links.iter().filter(move |(_, link)| theirs(link)).map(|(id, _)| *id)
    }

    /// Adds a link, which must succeed, and returns its number.
    pub(crate) fn add_link(&mut self, prefix: &str, mode: &str, netns: &str, up: bool) -> u64 {
        let (link, line) = self.plan_link(prefix, mode, netns);
        self.ok(&line);
        let id = self.find(&link.name).expect("the link was acknowledged");
        self.links.insert(id, Link { up, ..link.clone() });
        if up {
            self.ok(&format!("ip -n {netns} link set {} up", link.name));
        }
        id
    }

    /// A link that may be added, down, and the line that adds it.
    pub(crate) fn plan_link(&mut self, prefix: &str, mode: &str, netns: &str) -> (Link, String) {
        let (number, address) = (self.next_number(), self.next_address());
        let name = match prefix {
            "o" => netns.to_owned(),
            _ => format!("{prefix}{number}"),
        };
        let parent = self.parent.clone();
        let port = match netns {
            // The observers are one of each kind.
            "o1" => PORTS[0],
            "o2" => PORTS[PORTS.len() - 1],
            _ => PORTS[self.rng.usize(..PORTS.len())],
        };
        let line = format!(
            "umacvlan link add link {parent} {name} netns {netns} address {address} \
             type macvlan mode {mode} port {port}"
        );
        let (netns, mode) = (netns.to_owned(), mode.to_owned());
        (Link { parent, name, netns, address, mode, mtu: 1500, up: false }, line)
    }

    /// The number of the link that has this name.
    pub(crate) fn find(&mut self, name: &str) -> Option<u64> {
        let view = self.view()?;
        view.into_iter().find(|(_, link)| link.name == name).map(|(id, _)| id)
    }

    /// Notes that a link is in another namespace, where it arrives down.
    pub(crate) fn moved(&mut self, id: u64, to: &str) {
        let link = self.links.get_mut(&id).unwrap();
        link.netns = to.to_owned();
        link.up = false;
    }

    /// Notes that the interfaces outside of namespaces have these names.
    pub(crate) fn renamed(&mut self, parent: &str, other: &str) {
        (self.parent, self.other) = (parent.to_owned(), other.to_owned());
        self.links.values_mut().for_each(|link| parent.clone_into(&mut link.parent));
    }

    /// Returns when the daemon shows this link with its address.
    pub(crate) fn settle(&mut self, id: u64) {
        let wanted = self.links[&id].address.clone();
        let end = Instant::now() + LIMIT;
        while self.view().and_then(|view| Some(view.get(&id)?.address == wanted)) != Some(true) {
            assert!(Instant::now() < end, "link {id} has not {wanted}\n{}", self.report());
            sleep(LOOK_AGAIN);
        }
    }

    /// Returns when the daemon shows every link as it has to be, and the observers' links carry
    /// frames.
    pub(crate) fn verify(&mut self) {
        self.verify_links();
        if self.links.values().filter(|link| link.netns.starts_with('o')).count() == 2 {
            self.ok(PING);
        }
    }

    /// Returns when the daemon shows every link as it has to be.
    pub(crate) fn verify_links(&mut self) {
        let end = Instant::now() + LIMIT;
        loop {
            let view = self.view();
            if view.as_ref() == Some(&self.links) {
                break;
            }
            let late = Instant::now() > end;
            assert!(!late, "wanted {:#?}, shown {view:#?}\n{}", self.links, self.report());
            sleep(LOOK_AGAIN);
        }
    }

    /// The links as the daemon shows them; `None` if it does not answer.
    fn view(&mut self) -> Option<BTreeMap<u64, Link>> {
        let show = "umacvlan -j -d link show";
        self.watchdog.now(show);
        let ran = self.sandbox.run(show);
        let links: Vec<Value> = serde_json::from_str(&ran.stdout).ok()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let link = |shown: &Value| {
            let flags = shown["flags"].as_array().unwrap();
            let link = Link {
                parent: text(&shown["link"]),
                name: text(&shown["ifname"]),
                netns: text(&shown["umacvlan"]["netns"]),
                address: text(&shown["address"]),
                mode: text(&shown["linkinfo"]["info_data"]["mode"]),
                mtu: shown["mtu"].as_u64().unwrap(),
                up: flags.contains(&"UP".into()),
            };
            (shown["umacvlan"]["id"].as_u64().unwrap(), link)
        };
        Some(links.iter().map(link).collect())
    }

    /// Removes everything, and checks that nothing is left.
    pub(crate) fn finish(&mut self) {
        self.doing("end");
        self.check_counters();
        self.end_daemon("TERM");
        self.note("(daemon starts)");
        self.sandbox.daemon(&format!("{DAEMON} --on-exit remove"));
        self.verify();
        self.end_daemon("TERM");
        for netns in TENANTS.iter().copied().chain(["o1", "o2"]) {
            let taps = self.ok(&format!("ip -n {netns} -o link show type tun"));
            assert_eq!(taps, "", "in {netns}: {}", self.report());
            self.ok(&format!("ip netns del {netns}"));
        }
        assert_eq!(self.ok("ip -o link show type tun"), "", "{}", self.report());
        assert_eq!(self.ok("find /run/bpf -name 'umacvlan_*'"), "", "{}", self.report());
        let parent = self.parent.clone();
        let parent =
            self.ok(&format!("ip -d link show {parent}; tc filter show dev {parent} ingress 2>&1"));
        assert!(!parent.contains("xdp") && !parent.contains("bpf"), "{parent}");
        self.assert_nothing_runs();
    }

    /// Asserts that no process of umacvlan is left, and no network namespace but that of the shell.
    fn assert_nothing_runs(&mut self) {
        let end = Instant::now() + LIMIT;
        loop {
            let left = self.ok(
                "grep -l umacvlan /proc/[0-9]*/comm 2>/dev/null; readlink /proc/[0-9]*/ns/net | sort -u",
            );
            if left.lines().count() == 1 {
                return;
            }
            assert!(Instant::now() < end, "left: {left}\n{}", self.report());
            sleep(LOOK_AGAIN);
        }
    }

    /// The last actions and the end of the daemon's log.
    pub(crate) fn report(&self) -> String {
        let log = std::fs::read(self.sandbox.path("run/log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let last = |lines: Vec<&str>| lines[lines.len().saturating_sub(60)..].join("\n");
        let history = last(self.history.iter().map(String::as_str).collect());
        format!("{history}\n-- daemon's log --\n{}", last(log.lines().collect()))
    }
}
