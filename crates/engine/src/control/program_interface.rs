//! Programs behind an interface of the engine's own namespace: a TAP that is made for one and that it
//! opens by its name, or an interface that is there already.
//!
//! The engine has a packet socket on the interface and no queue of it, so the program has the TAP for
//! itself, and may end and come back. The host's stack gets nothing of what the program sends: it would
//! answer in its place. The carrier is that of the interface. A TAP goes with its sub-interface; any other
//! interface is given back as it was.

use std::io;

use umacvlan_core::offload::Offloads;
use umacvlan_core::options::ProgramKind;
use umacvlan_netlink::{Link, LinkFlags};
use umacvlan_sys::address_filter::Membership;
use umacvlan_sys::bpf::host::NoHost;
use umacvlan_sys::interface_lock::{InterfaceLock, LockError};
use umacvlan_sys::packet::PacketSocket;
use umacvlan_sys::tap::Tap;

use super::Control;
use super::create::tap_error;
use super::program_end::{Connected, ProgramEnd, ProgramLink};
use super::sub::{FarEnd, Sub};
use crate::control::engine::{
    Event, FormerInterface, ProgramPlace, ProgramPort, SubId, SubOptions,
};
use crate::control::error::Error;

/// What the kernel does for any interface by itself. UDP segmentation came with Linux 6.2.
const OFFLOADS: Offloads = Offloads { uso4: false, uso6: false, ..Offloads::ALL };

/// The interface of a program while frames pass through it.
pub(super) struct ProgramInterface {
    pub(super) index: u32,
    /// It is up and has a carrier.
    pub(super) running: bool,
    /// Keeps other engines from it, and parents of this one.
    _lock: InterfaceLock,
    /// Keeps its frames from the host's stack.
    _hidden: NoHost,
}

/// Why an interface cannot be used, and an errno for it.
type Unusable = (String, i32);

impl Control {
    /// Makes the TAP of a new sub-interface, if it is to have one, and has frames pass through its
    /// interface. One that an earlier engine had may be absent.
    pub(super) fn begin_interface(
        &mut self,
        id: SubId,
        port: &ProgramPort,
        options: &SubOptions,
    ) -> Result<(), Error> {
        let ProgramPlace::Interface { name: interface, former } = &port.place else {
            return Ok(());
        };
        let begun = match port.kind {
            ProgramKind::Tap => self.make_program_tap(interface, port, options),
            _ => Ok(()),
        };
        let begun = begun.and_then(|()| {
            self.open_program_interface(id).map_err(|(why, errno)| {
                let (name, interface) = (options.name.clone(), interface.clone());
                Error::ProgramInterface { name, interface, why, errno }
            })
        });
        match begun {
            Err(error) if former.is_some() => self.note_ended(id, error.to_string()),
            Err(error) => {
                self.remove(id);
                return Err(error);
            }
            Ok(()) => {}
        }
        Ok(())
    }

    /// Makes a TAP for a program, unless an earlier engine has done so.
    fn make_program_tap(
        &mut self,
        name: &str,
        port: &ProgramPort,
        options: &SubOptions,
    ) -> Result<(), Error> {
        let rtnl = &mut self.kernel.rtnl;
        if let Some(link) = rtnl.link(name)? {
            return match is_program_tap(&link, name) {
                true => Ok(()),
                false => Err(Error::NameInUse { name: name.to_owned(), place: "" }),
            };
        }
        Tap::create_for(name, port.owner).map_err(tap_error(name))?;
        let link = rtnl.link(name)?.ok_or_else(|| Error::NoSuchSub(name.to_owned()))?;
        rtnl.set_arp(link.index, false)?;
        // A kernel without IPv6 gives no such address.
        let _ = rtnl.set_no_ipv6_addresses(link.index);
        // The program gets whatever the wire carries, as from a macvtap.
        rtnl.set_mtu(link.index, link.max_mtu)?;
        // Without a discipline the kernel tells of a frame that the TAP has no room for.
        let _ = rtnl.set_noqueue(link.index);
        if let Some(frames) = options.txqlen {
            rtnl.set_txqlen(link.index, frames)?;
        }
        Ok(rtnl.set_alias(link.index, &alias(name))?)
    }

    /// Gives the TAP of a program the queue length of its sub-interface.
    pub(super) fn fit_program_tap(&mut self, id: SubId) -> Result<(), Error> {
        let (sub, _) = self.inventory.sub_and_parent(id)?;
        let (FarEnd::Program(end), txqlen) = (&sub.far, sub.link.txqlen) else {
            return Ok(());
        };
        let interface = end.connected.as_ref().and_then(Connected::interface);
        let Some(index) = interface.map(|it| it.index).filter(|_| end.kind() == ProgramKind::Tap)
        else {
            return Ok(());
        };
        Ok(self.kernel.rtnl.set_txqlen(index, txqlen)?)
    }

    /// Tries again to have frames pass through the interface of a sub-interface.
    pub(super) fn find_interface(&mut self, id: SubId) {
        if let Err((why, _)) = self.open_program_interface(id) {
            let Some(FarEnd::Program(end)) = self.inventory.sub_mut(id).map(|sub| &mut sub.far)
            else {
                return;
            };
            let name = end.port.place.interface().unwrap_or_default();
            end.ended = Some(format!("interface {name} {why}"));
        }
    }

    /// Has frames pass through the interface of a sub-interface from now on.
    fn open_program_interface(&mut self, id: SubId) -> Result<(), Unusable> {
        let Ok((sub, parent)) = self.inventory.sub_and_parent(id) else {
            return Ok(());
        };
        let FarEnd::Program(end) = &sub.far else {
            return Ok(());
        };
        let (kind, mtu) = (end.kind(), parent.info.mtu);
        let name = end.port.place.interface().unwrap_or_default().to_owned();
        let absent = || ("does not exist in the daemon's namespace".to_owned(), libc::ENODEV);
        let link = self.kernel.rtnl.link(&name).map_err(unknown)?.ok_or_else(absent)?;
        self.check_usable(&link)?;
        let lock = InterfaceLock::take(link.index).map_err(locked)?;
        let hidden = NoHost::attach(&link.name).map_err(seen_by_host)?;
        let socket = PacketSocket::open(link.index, link.mtu.min(mtu)).and_then(|socket| {
            socket.join(Membership::Promiscuous)?;
            Ok(socket)
        });
        let socket = socket.map_err(system)?;
        if !link.is_up() {
            self.kernel.rtnl.set_up(link.index, true).map_err(unknown)?;
        }
        let now = self.kernel.rtnl.link_by_index(link.index).map_err(unknown)?;
        let interface = ProgramInterface {
            index: link.index,
            running: now.ok_or_else(absent)?.is_running(),
            _lock: lock,
            _hidden: hidden,
        };
        self.take_interface(id, interface, socket, kind == ProgramKind::Dev && !link.is_up())
    }

    /// Gives the worker the socket on an interface.
    fn take_interface(
        &mut self,
        id: SubId,
        interface: ProgramInterface,
        socket: PacketSocket,
        was_down: bool,
    ) -> Result<(), Unusable> {
        let Ok((sub, parent)) = self.inventory.sub_and_parent_mut(id) else {
            return Ok(());
        };
        let (FarEnd::Program(end), index) = (&mut sub.far, sub.index) else {
            return Ok(());
        };
        let given = parent.workers.give([socket], move |worker, socket| {
            worker.set_interface(index, Some((socket, OFFLOADS)))
        });
        let given = given
            .map_err(io::Error::other)
            .and_then(|all| all.into_iter().collect::<io::Result<()>>());
        given.map_err(system)?;
        if let ProgramPlace::Interface { former, .. } = &mut end.port.place {
            former.get_or_insert(FormerInterface { was_down });
        }
        self.program_interfaces.insert(interface.index, id);
        end.connections += 1;
        end.ended = None;
        end.connected = Some(Connected {
            program: None,
            since: std::time::Instant::now(),
            link: ProgramLink::Interface(Box::new(interface)),
        });
        // A failure is that of a TAP that is gone, which has an event of its own.
        let _ = self.fit_program_tap(id);
        self.follow_connection(id);
        Ok(())
    }

    /// Refuses an interface that is in use otherwise.
    fn check_usable(&mut self, link: &Link) -> Result<(), Unusable> {
        let busy = |why: &str| Err((why.to_owned(), libc::EBUSY));
        if link.link_type != libc::ARPHRD_ETHER || link.flags.contains(LinkFlags::Loopback) {
            let why = "does not carry Ethernet frames: expected a TAP, or an end of a veth pair";
            return Err((why.to_owned(), libc::EINVAL));
        }
        if self.inventory.find_device(|device| device.index == Some(link.index)).is_some() {
            return busy("is a parent of links: detach it first, or use another interface");
        }
        let is_its = |sub: &Sub| {
            let own = sub.interface.nsid.is_none() && sub.interface.index == link.index;
            let beside =
                |pair: super::sub::VethPair| [pair.host_end, pair.tap].contains(&link.index);
            own || sub.veth.is_some_and(beside)
        };
        if self.program_interfaces.contains_key(&link.index) || self.inventory.subs().any(is_its) {
            return busy("is that of another link: each link needs one of its own");
        }
        if let Some(master) = link.master {
            let master = self.kernel.rtnl.link_by_index(master).map_err(unknown)?;
            let name = master.map_or_else(String::new, |master| format!(" {}", master.name));
            let first = format!("ip link set dev {} nomaster", link.name);
            return busy(&format!(
                "is a port of another interface{name}: take it out first ({first})"
            ));
        }
        Ok(())
    }

    /// Follows the interface of a program: its carrier.
    pub(super) fn follow_program_interface(&mut self, link: &Link) {
        let Some(&id) = self.program_interfaces.get(&link.index) else {
            return;
        };
        let Some(FarEnd::Program(end)) = self.inventory.sub_mut(id).map(|sub| &mut sub.far) else {
            return;
        };
        if let Some(ProgramLink::Interface(interface)) =
            end.connected.as_mut().map(|connected| &mut connected.link)
            && std::mem::replace(&mut interface.running, link.is_running()) != link.is_running()
        {
            self.follow_connection(id);
        }
    }

    /// Notes that the interface of a program is gone. With a TAP of ours its sub-interface is; any other
    /// one may come back.
    pub(super) fn lose_program_interface(&mut self, index: u32) {
        let Some(id) = self.program_interfaces.remove(&index) else {
            return;
        };
        let Some(sub) = self.inventory.sub(id) else {
            return;
        };
        if sub.program_kind() == Some(ProgramKind::Tap) {
            let gone = Event::SubGone { number: id, sub: sub.name.clone() };
            self.remove(id);
            return self.events.send(gone);
        }
        let (index, workers) = (sub.index, &self.inventory[sub.parent].workers);
        // A worker that has stopped has no socket left.
        let _ = workers.ask(move |worker| worker.set_interface(index, None));
        self.end_connection(id, "its interface is gone".to_owned());
    }

    /// Deletes the TAP that was made for a program, or gives back another interface as it was.
    pub(super) fn give_back_interface(&mut self, end: &ProgramEnd) {
        let ProgramPlace::Interface { name, former } = &end.port.place else {
            return;
        };
        let open = end.connected.as_ref().and_then(Connected::interface).map(|it| it.index);
        if let Some(index) = open {
            self.program_interfaces.remove(&index);
        }
        let rtnl = &mut self.kernel.rtnl;
        // What fails here is done to an interface that is gone.
        if end.kind() == ProgramKind::Tap {
            let made = rtnl.link(name).ok().flatten().filter(|link| is_program_tap(link, name));
            if let Some(index) = open.or_else(|| made.map(|link| link.index)) {
                let _ = rtnl.delete(index);
            }
        } else if let Some(index) = open.filter(|_| former.is_some_and(|former| former.was_down)) {
            let _ = rtnl.set_up(index, false);
        }
    }

    fn note_ended(&mut self, id: SubId, why: String) {
        if let Some(FarEnd::Program(end)) = self.inventory.sub_mut(id).map(|sub| &mut sub.far) {
            end.ended = Some(why);
        }
    }
}

/// The alias of the TAP that is made for the program of a sub-interface.
fn alias(name: &str) -> String {
    format!("umacvlan: for the program of {name}")
}

/// True for the TAP that an engine has made for the program of this sub-interface.
fn is_program_tap(link: &Link, name: &str) -> bool {
    link.persist == Some(true) && link.alias == alias(name)
}

fn unknown(error: umacvlan_netlink::Error) -> Unusable {
    (format!("cannot be prepared: {error}"), error.errno().unwrap_or(libc::EIO))
}

fn system(error: io::Error) -> Unusable {
    (format!("cannot be read: {error}"), error.raw_os_error().unwrap_or(libc::EIO))
}

fn locked(error: LockError) -> Unusable {
    match error {
        LockError::Held { process: Some(process) } => {
            (format!("is in use by the engine of process {process}"), libc::EBUSY)
        }
        LockError::Held { process: None } => {
            ("is in use by another engine".to_owned(), libc::EBUSY)
        }
        LockError::System(error) => system(error),
    }
}

fn seen_by_host(error: io::Error) -> Unusable {
    let why = "cannot be hidden from the host's stack, which would answer for the program";
    (format!("{why}: {error}"), error.raw_os_error().unwrap_or(libc::EOPNOTSUPP))
}
