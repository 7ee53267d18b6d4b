//! [`Network`]: a parent with sub-interfaces, the wire beyond it, and sockets everywhere.
//!
//! ```text
//!  outside            inside                      inside or guests
//!  wire: w0 <-------> p0: host, stack             s0, s1, ...: one socket each
//!          veth pair      macvlan, or the engine       or a program each, with the engine
//! ```
//! Nothing has an IP address and IPv6 is off, so no frame moves but those of the test.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use umacvlan_core::options::{Backend, PortKind, ProgramKind};
use umacvlan_engine::engine::LinkAttribute;

use socket2::{InterfaceIndexOrAddress, SockRef};
use umacvlan_core::{MacAddr, Mode, Semantics};
use umacvlan_netlink::{Macvlan, Rtnl, joined_groups, set_sysctl};
use umacvlan_sys::netns::Netns;

use crate::end::{End, Program};
use crate::engine::EngineSide;
use crate::kernel;
use crate::model::{Change, Plan, State, SubState};
use crate::socket::{EVERY_PROTOCOL, PacketSocket};

/// The implementation of macvlan on the parent.
pub(crate) enum Driver {
    Engine(EngineSide),
    Kernel,
}

impl Driver {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Engine(_) => "ours",
            Self::Kernel => "the kernel",
        }
    }
}

/// One network. Two of them given the same changes and frames can be compared.
pub(crate) struct Network {
    pub(crate) driver: Driver,
    /// The namespace of the parent.
    pub(crate) inside: Netns,
    /// Namespaces for the sub-interfaces that are not in the parent's.
    pub(crate) guests: Netns,
    pub(crate) here: Rtnl,
    there: Rtnl,
    pub(crate) parent: u32,
    /// At the far end of the wire.
    pub(crate) wire: PacketSocket,
    /// On the parent, to send as its host.
    pub(crate) host: PacketSocket,
    /// On the parent, one for each protocol of the test: what the host's stack gets. A socket for
    /// every protocol would also hear what macvlan takes away. None where the parent is a VLAN.
    pub(crate) stack: Vec<PacketSocket>,
    pub(crate) subs: Vec<Sub>,
}

/// A sub-interface.
pub(crate) struct Sub {
    pub(crate) name: String,
    /// Only the kernel's macvlan reports it, so it is noted here.
    pub(crate) nodst: bool,
    /// With our engine its far end is a program.
    pub(crate) program: Option<ProgramKind>,
    far: FarEnd,
}

/// The far end of a sub-interface.
enum FarEnd {
    Interface(Interface),
    Program(Program),
}

/// An interface in one of the two namespaces.
struct Interface {
    guest: bool,
    index: u32,
    socket: PacketSocket,
    /// A socket that has joined the groups.
    _member: UdpSocket,
}

impl Sub {
    /// Where the test sends and receives.
    pub(crate) const fn end(&self) -> End<'_> {
        match &self.far {
            FarEnd::Interface(interface) => End::Socket(&interface.socket),
            FarEnd::Program(program) => End::Program(program),
        }
    }

    /// True if it has an interface.
    pub(crate) const fn has_interface(&self) -> bool {
        matches!(self.far, FarEnd::Interface(_))
    }

    /// Its namespace, by whether that is the guests', and its index there.
    fn interface(&self) -> (bool, u32) {
        match &self.far {
            FarEnd::Interface(Interface { guest, index, .. }) => (*guest, *index),
            FarEnd::Program(_) => panic!("{} has no interface", self.name),
        }
    }
}

impl Network {
    /// A network with the kernel's macvlan.
    pub(crate) fn of_kernel() -> io::Result<Self> {
        Self::new(None, |_| Driver::Kernel)
    }

    /// A network with our engine.
    pub(crate) fn of_engine(
        semantics: Semantics,
        host_gets_all: bool,
        backend: Backend,
        port: PortKind,
    ) -> io::Result<Self> {
        Self::new(None, |inside| {
            let kinds = (backend, port);
            let side = EngineSide::start(inside, PARENT, semantics, host_gets_all, kinds);
            Driver::Engine(side)
        })
    }

    /// A network with our engine on a VLAN of the parent. The station at the far end of the wire
    /// and the host are in the same VLAN.
    pub(crate) fn of_vlan(
        semantics: Semantics,
        backend: Backend,
        port: PortKind,
    ) -> io::Result<Self> {
        Self::new(Some([0x81, 0, 0, 77]), |inside| {
            let kinds = (backend, port);
            Driver::Engine(EngineSide::start(inside, "p0.77", semantics, false, kinds))
        })
    }

    fn new(tag: Option<[u8; 4]>, driver: impl FnOnce(&Netns) -> Driver) -> io::Result<Self> {
        let outside = quiet_netns()?;
        let inside = quiet_netns()?;
        let guests = quiet_netns()?;
        let mut here = Rtnl::open_in(&inside)?;
        let there = Rtnl::open_in(&guests)?;
        let mut beyond = Rtnl::open_in(&outside)?;
        here.add_veth(PARENT, WIRE, Some(&outside))?;
        let parent = index_of(&mut here, PARENT)?;
        let far = index_of(&mut beyond, WIRE)?;
        here.set_mac(parent, PARENT_MAC)?;
        beyond.set_mac(far, WIRE_MAC)?;
        beyond.set_up(far, true)?;
        here.set_up(parent, true)?;
        // A host without a device for the VLAN receives nothing of it.
        let heard: &[u16] = if tag.is_none() { &PROTOCOLS } else { &[] };
        let stack = heard
            .iter()
            .map(|&protocol| PacketSocket::open(&inside, parent, protocol))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            wire: PacketSocket::open(&outside, far, EVERY_PROTOCOL)?.tagging(tag),
            host: PacketSocket::open(&inside, parent, 0)?.tagging(tag),
            stack,
            driver: driver(&inside),
            inside,
            guests,
            here,
            there,
            parent,
            subs: Vec::new(),
        })
    }

    /// True if the kernel's macvlan is available.
    pub(crate) fn has_macvlan(&mut self) -> bool {
        let probe = Macvlan::new(MODE_BRIDGE);
        let made = self.here.add_macvlan("probe", self.parent, &probe, None);
        errno(made) != Err(libc::EOPNOTSUPP)
    }

    /// Applies the change, or returns the errno of the refusal.
    pub(crate) fn apply(&mut self, change: &Change) -> Result<(), i32> {
        match *change {
            Change::Allmulti(sub, on) => self.set(sub, LinkAttribute::Allmulti(on)),
            Change::Create(ref plan) => self.create(plan),
            Change::Mac(sub, mac) => self.set(sub, LinkAttribute::Mac(mac)),
            Change::Mtu(sub, mtu) => self.set(sub, LinkAttribute::Mtu(mtu)),
            Change::ParentMac(mac) => errno(self.here.set_mac(self.parent, mac)),
            Change::Promisc(sub, on) => self.set(sub, LinkAttribute::Promisc(on)),
            Change::Up(sub, on) => self.set(sub, LinkAttribute::Up(on)),
            Change::Vanish(sub) if self.subs[sub].has_interface() => {
                self.on(sub, Rtnl::delete)?;
                self.subs.remove(sub);
                Ok(())
            }
            // Nobody but its owner can remove one without an interface.
            Change::Remove(sub) | Change::Vanish(sub) => {
                match &self.driver {
                    Driver::Engine(engine) => engine.remove(&self.subs[sub].name)?,
                    Driver::Kernel => self.on(sub, Rtnl::delete)?,
                }
                self.subs.remove(sub);
                Ok(())
            }
            Change::Nodst(sub, on) => {
                self.configure(sub, change)?;
                self.subs[sub].nodst = on;
                Ok(())
            }
            Change::AddSource(sub, _)
            | Change::Mode(sub, _)
            | Change::RemoveSource(sub, _)
            | Change::Sources(sub, _) => self.configure(sub, change),
        }
    }

    /// The state that the network reports; `None` while it is still changing.
    pub(crate) fn state(&mut self) -> Option<State> {
        match &self.driver {
            Driver::Engine(_) => crate::engine::state(self),
            Driver::Kernel => Some(kernel::state(self)),
        }
    }

    /// The interface of a sub-interface, as netlink reports it.
    pub(crate) fn link(&mut self, sub: usize) -> umacvlan_netlink::Link {
        let (guest, index) = self.subs[sub].interface();
        let link = self.rtnl(guest).link_by_index(index);
        link.unwrap().expect("it was not deleted")
    }

    /// The state of a sub-interface as netlink reports it. The caller fills in the fields that only
    /// macvlan knows.
    pub(crate) fn netdev(&mut self, sub: usize) -> SubState {
        let link = self.link(sub);
        let Sub { name, nodst, program, .. } = &self.subs[sub];
        let (guest, index) = self.subs[sub].interface();
        let netns = if guest { &self.guests } else { &self.inside };
        // What stands for a program receives every group, and those that its stack joins do not matter.
        let mut groups = match link.is_up() && program.is_none() {
            true => joined_groups(netns, index).unwrap(),
            false => Vec::new(),
        };
        groups.sort_unstable();
        SubState {
            name: name.clone(),
            program: *program,
            mac: link.mac.unwrap_or_default(),
            mode: Mode::default(),
            mtu: link.mtu,
            up: link.is_up(),
            nodst: *nodst,
            open: link.is_promiscuous() || link.is_allmulti(),
            sources: Vec::new(),
            groups,
        }
    }

    /// The parent's address.
    pub(crate) fn parent_mac(&mut self) -> MacAddr {
        let link = self.here.link_by_index(self.parent).unwrap();
        link.and_then(|link| link.mac).expect("it has one")
    }

    pub(crate) fn rtnl(&mut self, guest: bool) -> &mut Rtnl {
        if guest { &mut self.there } else { &mut self.here }
    }

    fn create(&mut self, plan: &Plan) -> Result<(), i32> {
        let made = match &self.driver {
            Driver::Engine(engine) => engine.create(plan, &self.guests),
            Driver::Kernel => kernel::create(self, plan),
        };
        let ours = matches!(self.driver, Driver::Engine(_)) && plan.program.is_some();
        let left = self.rtnl(plan.guest && !ours).link(&plan.name).unwrap();
        if let Err(errno) = made {
            assert!(left.is_none(), "{} was refused, and is there", plan.name);
            return Err(errno);
        }
        let far = match (&self.driver, plan.program) {
            (Driver::Engine(engine), Some(kind)) => {
                assert_eq!(left.is_some(), kind == ProgramKind::Tap, "the interface {}", plan.name);
                let program = match kind {
                    ProgramKind::Tap => self.inside.run(|| Program::open(&plan.name)).unwrap(),
                    _ => Program::connect(&engine.socket(&plan.name), kind),
                };
                FarEnd::Program(program)
            }
            _ => FarEnd::Interface(self.interface(plan, left.expect("it was made").index)),
        };
        self.subs.push(Sub {
            name: plan.name.clone(),
            nodst: plan.nodst,
            program: plan.program,
            far,
        });
        Ok(())
    }

    /// Listens on a new interface. In place of a program it receives every group, as that does.
    fn interface(&mut self, plan: &Plan, index: u32) -> Interface {
        let program = plan.program.is_some();
        if program {
            self.rtnl(plan.guest).set_allmulti(index, true).unwrap();
        }
        let netns = if plan.guest { &self.guests } else { &self.inside };
        let groups = if program { &[][..] } else { &plan.groups };
        Interface {
            guest: plan.guest,
            index,
            socket: PacketSocket::open(netns, index, EVERY_PROTOCOL).unwrap(),
            _member: member(netns, index, groups).unwrap(),
        }
    }

    /// Sets an attribute of a sub-interface: of its interface, or else by request.
    fn set(&mut self, sub: usize, attribute: LinkAttribute) -> Result<(), i32> {
        let Sub { name, far, program, .. } = &self.subs[sub];
        match (far, attribute) {
            (FarEnd::Program(_), attribute) => {
                let Driver::Engine(engine) = &self.driver else {
                    unreachable!("only the engine has programs");
                };
                engine.set(name, attribute)
            }
            // It stays on in place of a program, which receives every group in any case.
            (FarEnd::Interface(_), LinkAttribute::Allmulti(_)) if program.is_some() => Ok(()),
            (FarEnd::Interface(_), attribute) => self.on(sub, |rtnl, index| match attribute {
                LinkAttribute::Allmulti(on) => rtnl.set_allmulti(index, on),
                LinkAttribute::Mac(mac) => rtnl.set_mac(index, mac),
                LinkAttribute::Mtu(mtu) => rtnl.set_mtu(index, mtu),
                LinkAttribute::Promisc(on) => rtnl.set_promisc(index, on),
                LinkAttribute::Up(on) => rtnl.set_up(index, on),
                other => unreachable!("{other:?} is never set"),
            }),
        }
    }

    fn configure(&mut self, sub: usize, change: &Change) -> Result<(), i32> {
        match &self.driver {
            Driver::Engine(engine) => engine.configure(&self.subs[sub].name, change),
            Driver::Kernel => kernel::configure(self, sub, change),
        }
    }

    pub(crate) fn on(
        &mut self,
        sub: usize,
        act: impl FnOnce(&mut Rtnl, u32) -> umacvlan_netlink::Result<()>,
    ) -> Result<(), i32> {
        let (guest, index) = self.subs[sub].interface();
        errno(act(self.rtnl(guest), index))
    }
}

/// The Ethernet address of the group 224.0.0.x.
pub(crate) const fn group(last: u8) -> MacAddr {
    MacAddr::new([1, 0, 0x5e, 0, 0, last])
}

/// The errno of a refusal. Any other error ends the test.
pub(crate) fn errno(result: umacvlan_netlink::Result<()>) -> Result<(), i32> {
    result.map_err(|e| e.errno().unwrap_or_else(|| panic!("{e}")))
}

/// A namespace whose kernel sends no frames by itself.
fn quiet_netns() -> io::Result<Netns> {
    let netns = Netns::create()?;
    for conf in ["all", "default"] {
        // Without IPv6 the kernel sends none of its frames either.
        let _ = set_sysctl(&netns, &format!("ipv6/conf/{conf}/disable_ipv6"), "1");
    }
    // Groups 224.0.0.x are joined without a report then.
    set_sysctl(&netns, "ipv4/igmp_link_local_mcast_reports", "0")?;
    Ok(netns)
}

fn index_of(rtnl: &mut Rtnl, name: &str) -> io::Result<u32> {
    let link = rtnl.link(name)?;
    link.map(|link| link.index).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// A socket that has joined 224.0.0.x for each x.
fn member(netns: &Netns, index: u32, groups: &[u8]) -> io::Result<UdpSocket> {
    let socket = netns.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    for &last in groups {
        let interface = InterfaceIndexOrAddress::Index(index);
        SockRef::from(&socket).join_multicast_v4_n(&Ipv4Addr::new(224, 0, 0, last), &interface)?;
    }
    Ok(socket)
}

/// `MACVLAN_MODE_BRIDGE` of `linux/if_link.h`.
const MODE_BRIDGE: u32 = 4;

pub(crate) const PARENT: &str = "p0";
const WIRE: &str = "w0";

/// The parent's address, until it is changed.
pub(crate) const PARENT_MAC: MacAddr = MacAddr::new([2, 0xaa, 0, 0, 0, 1]);

/// The address at the far end of the wire.
pub(crate) const WIRE_MAC: MacAddr = MacAddr::new([2, 0xee, 0, 0, 0, 1]);

/// EtherType of the test's frames: for experiments (RFC 9542).
pub(crate) const EXPERIMENT: u16 = 0x88b5;

/// EtherType of the test's markers: likewise.
pub(crate) const MARKER: u16 = 0x88b6;

/// EtherType of PAUSE.
pub(crate) const MAC_CONTROL: u16 = 0x8808;

/// The protocols of the test's frames after the kernel has classified them: 4 (`ETH_P_802_2`) means
/// a length in place of an EtherType, and the last two mean another tag inside.
const PROTOCOLS: [u16; 6] = [EXPERIMENT, MARKER, MAC_CONTROL, 4, 0x8100, 0x88a8];
