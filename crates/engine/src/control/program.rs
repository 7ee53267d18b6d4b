//! Sub-interfaces whose far end is a program: their sockets, connections and attributes.
//!
//! The kernel has no interface for them, so the attributes of one are those that its owner has set
//! here. It receives every multicast group: nothing tells which ones the program's guest has joined.
//! Its carrier is its connection, or that of the interface behind which the program is
//! ([`program_interface`](super::program_interface)). One program at a time is connected; the next one waits, as in any
//! backlog, until that has ended.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use umacvlan_core::offload::Offloads;
use umacvlan_core::options::{PROGRAM_QUEUE_LEN, ProgramKind};
use umacvlan_core::stats::SubStats;
use umacvlan_core::{MacAddr, MacvlanSettings, Mode, SubConfig, SubIndex};
use umacvlan_sys::close_aside::CloseAside;
use umacvlan_sys::port_listener::PortConnection;
use umacvlan_sys::port_socket::Program;

use super::Control;
use super::create::{agree, check_unicast};
use super::inventory::{DeviceId, Interface, ParentId};
use super::program_attributes::{MTU_MAX, link, no_interface, set_running};
use super::program_end::{Connected, Listener, ProgramEnd, ProgramLink};
use super::sub::{FarEnd, Seen, Sub};
use super::vhost_session::Session;
use super::workers::Workers;
use crate::control::engine::{ProgramPlace, ProgramPort, SubId, SubOptions, random_mac};
use crate::control::error::Error;
use umacvlan_datapath::port::{
    InterfacePort, PortClosed, PortLink, ProgramSocket, SocketPort, VhostPort,
};

/// The name of the first listener in the epoll; the number of the sub-interface is added.
pub(super) const LISTENERS: u64 = 16;

/// As [`LISTENERS`], for connections by vhost-user: added to that.
pub(super) const SESSIONS: u64 = 1 << 62;

/// Connections of one port that may be in the middle of being closed when the next one is accepted. A
/// program can make that take any time.
const CLOSING_MAX: usize = 8;

/// A connection that ends sooner is a short one.
const SHORT: Duration = Duration::from_secs(1);

/// After so many short connections in a row, the next one waits for the sweep.
const SHORT_MAX: u32 = 8;

impl Control {
    /// Makes the socket of a program and adds the sub-interface, down.
    pub(super) fn open_program(
        &mut self,
        (id, parent): (SubId, ParentId),
        port: &ProgramPort,
        options: &SubOptions,
    ) -> Result<(), Error> {
        let name = &options.name;
        if options.netns.is_some() {
            return Err(no_interface(name, "be in a namespace"));
        }
        let there = matches!(&port.place, ProgramPlace::Interface { former: Some(_), .. });
        self.check_name_free(name, there && port.kind == ProgramKind::Tap)?;
        let (workers, switch) = (&self.inventory[parent].workers, self.inventory[parent].switch);
        if workers.count() > 1 {
            let (parent, count) = (self.inventory[parent].name.clone(), workers.count());
            return Err(Error::ProgramWorkers { name: name.clone(), parent, count });
        }
        let info = workers.ask(move |it| *it.switch_at(switch).parent())?;
        let mac = match options.settings.mode {
            Mode::Passthru => info.mac,
            _ => options.mac.unwrap_or_else(random_mac),
        };
        check_unicast(name, mac)?;
        let mtu = options.mtu.unwrap_or_else(|| info.mtu.min(MTU_MAX));
        let allowed = workers.ask(move |it| it.switch_at(switch).check_mtu(mtu))?;
        allowed.map_err(Error::refused(name))?;
        let mut end = ProgramEnd::new(port.clone());
        end.bind().map_err(|source| {
            let path = port.place.socket().map(Path::to_owned).unwrap_or_default();
            Error::ProgramSocket { name: name.clone(), path, source }
        })?;
        let config = SubConfig {
            mac,
            mtu: Some(mtu),
            settings: MacvlanSettings { bclim: None, ..options.settings.clone() },
        };
        let settings = config.settings.clone();
        let (index, mac) = self.add_program_port((parent, port.kind), name, config)?;
        let link = link(options, mac, mtu);
        let home = self.kernel.at_home(link);
        self.inventory.add_sub(Sub {
            id,
            parent,
            index,
            settings,
            far: FarEnd::Program(Box::new(end)),
            veth: None,
            instead_of_veth: String::new(),
            extra_queues: 0,
            pins: Default::default(),
            carried: SubStats::default(),
            kept: false,
            claims_mac: false,
            txqlen_max: options.txqlen.unwrap_or(PROGRAM_QUEUE_LEN),
            interface: Interface { nsid: None, index: 0 },
            netns: home.netns,
            netns_cookie: home.netns_cookie,
            parent_nsid: None,
            name: name.clone(),
            seen: Seen::of(&home.link),
            link: home.link,
            groups: Vec::new(),
            secondary: Vec::new(),
            groups_known: false,
        });
        self.set_filters(id);
        self.listen(id);
        self.begin_interface(id, port, options)
    }

    /// Checks that neither an interface nor a program of the engine's own namespace has a name; `there`:
    /// the interface is the sub-interface's own.
    fn check_name_free(&mut self, name: &str, there: bool) -> Result<(), Error> {
        let taken = !there && self.kernel.rtnl.link(name)?.is_some();
        match self.has_program_named(name) || taken {
            true => Err(Error::NameInUse { name: name.to_owned(), place: "" }),
            false => Ok(()),
        }
    }

    /// True if a sub-interface of that name has a program at its far end.
    pub(super) fn has_program_named(&self, name: &str) -> bool {
        self.inventory.subs().any(|sub| sub.name == name && sub.tap().is_none())
    }

    /// Adds the port of a program to the worker of its parent. Returns the index and the address of the
    /// sub-interface.
    pub(super) fn add_program_port(
        &self,
        (parent, kind): (ParentId, ProgramKind),
        name: &str,
        config: SubConfig,
    ) -> Result<(SubIndex, MacAddr), Error> {
        let parent = &self.inventory[parent];
        let switch = parent.switch;
        let port = match kind {
            ProgramKind::Dev | ProgramKind::Tap => PortLink::Interface(InterfacePort::default()),
            ProgramKind::Dgram | ProgramKind::Stream => PortLink::Socket(SocketPort::default()),
            ProgramKind::VhostUser => PortLink::Vhost(VhostPort::default()),
        };
        let added = parent.workers.give([port], move |worker, port| {
            let index = worker.add_to(switch, &config, port, Offloads::NONE)?;
            let sub = worker.switch_at(switch).sub(index);
            Ok((index, sub.map_or(config.mac, umacvlan_core::Sub::mac)))
        })?;
        agree(&parent.workers, added).map_err(|error| Error::add(name, error))
    }

    /// Waits for the next connection of a program, if none is there.
    pub(super) fn listen(&mut self, id: SubId) {
        let Some(FarEnd::Program(end)) = self.inventory.sub_mut(id).map(|sub| &mut sub.far) else {
            return;
        };
        let is_busy = end.connected.is_some() || end.search.is_some() || end.listening;
        if is_busy || end.closing.count() > CLOSING_MAX {
            return;
        }
        if let Err(error) = end.bind() {
            // The sweep tries again.
            end.ended = Some(format!("its socket cannot be made: {error}"));
        }
        if let Some(listener) = &end.listener {
            // Without memory for it, the sweep tries again.
            end.listening = self.epoll.add(listener, LISTENERS + id.0).is_ok();
        }
    }

    /// Connects to the program of a sub-interface, if that listens and is not connected.
    fn connect(&mut self, id: SubId) {
        let Some(FarEnd::Program(end)) = self.inventory.sub_mut(id).map(|sub| &mut sub.far) else {
            return;
        };
        if end.listener.is_some() || end.connected.is_some() || end.closing.count() > CLOSING_MAX {
            return;
        }
        if end.kind().has_interface() {
            return self.find_interface(id);
        }
        if let Some(connected) = end.connect() {
            self.take_connection(id, Ok(connected));
        }
    }

    /// Waits again for programs where that was put off, and connects to those that listen.
    pub(super) fn listen_again(&mut self) {
        for id in self.inventory.sub_ids() {
            self.listen(id);
            self.connect(id);
        }
    }

    /// Takes the connection that waits at the socket of a sub-interface, or does what is next if that is one
    /// for datagrams.
    pub(super) fn accept(&mut self, id: SubId) {
        let Some(FarEnd::Program(end)) = self.inventory.sub_mut(id).map(|sub| &mut sub.far) else {
            return;
        };
        let Some(Listener::Stream(listener)) = &end.listener else {
            return self.follow_datagrams(id);
        };
        let Some(accepted) = listener.accept().transpose() else {
            return;
        };
        // The next one waits until this one has ended; after an error, until the sweep.
        self.epoll.remove(listener);
        end.listening = false;
        self.take_connection(id, accepted);
    }

    /// Gives a sub-interface its connection.
    fn take_connection(&mut self, id: SubId, accepted: io::Result<(PortConnection, Program)>) {
        let Ok((sub, parent)) = self.inventory.sub_and_parent_mut(id) else {
            return;
        };
        let (FarEnd::Program(end), index) = (&mut sub.far, sub.index) else {
            return;
        };
        let number = end.connections + 1;
        let kind = end.port.kind;
        let connected = accepted.and_then(|(connection, program)| {
            if kind == ProgramKind::VhostUser {
                let session = CloseAside::new(Box::new(Session::new(connection)), &end.closing);
                self.epoll.add(&**session, LISTENERS + SESSIONS + id.0)?;
                return Ok((program, ProgramLink::VhostUser(session)));
            }
            let connection = CloseAside::new(Arc::new(connection), &end.closing);
            let socket = ProgramSocket::Stream(Arc::clone(&connection));
            give_socket(&parent.workers, index, number, socket)?;
            Ok((program, ProgramLink::Stream(connection)))
        });
        match connected {
            Ok((program, link)) => self.begin_connection(id, program, link),
            Err(error) => {
                let what = format!("{} cannot take the connection of a program: {error}", sub.name);
                self.events.trouble_of(id, what);
            }
        }
    }

    /// Notes the next connection of a program, which its worker has.
    pub(super) fn begin_connection(&mut self, id: SubId, program: Program, link: ProgramLink) {
        if let Some(FarEnd::Program(end)) = self.inventory.sub_mut(id).map(|sub| &mut sub.far) {
            end.connections += 1;
            let program = Some(program);
            end.connected = Some(Connected { program, since: Instant::now(), link });
            end.ended = None;
            self.follow_connection(id);
        }
    }

    /// Notes that a connection has ended, and waits for the next one.
    pub(super) fn lose_connection(
        &mut self,
        device: DeviceId,
        index: SubIndex,
        number: u64,
        why: PortClosed,
    ) {
        let Some(id) = self.inventory.sub_with_index(device, index) else {
            return;
        };
        let Some(sub) = self.inventory.sub_mut(id) else {
            return;
        };
        let FarEnd::Program(end) = &mut sub.far else {
            return;
        };
        // A late notice, about an earlier connection.
        if end.connections != number || end.connected.is_none() {
            return;
        }
        match why {
            PortClosed::ByProgram => self.end_connection(id, why.to_string()),
            _ => self.disconnect(id, why.to_string()),
        }
    }

    /// Ends the connection of a program that breaks the rules, and reports it.
    pub(super) fn disconnect(&mut self, id: SubId, why: String) {
        if let Ok((sub, _)) = self.inventory.sub_and_parent(id)
            && let FarEnd::Program(end) = &sub.far
        {
            let program = end.connected.as_ref().and_then(|connected| connected.program);
            let pid = program.map_or(0, |program| program.pid);
            let what = format!("{} has disconnected its program, process {pid}: {why}", sub.name);
            self.events.trouble_of(id, what);
        }
        self.end_connection(id, why);
    }

    /// Notes the end of the connection of a sub-interface, if it has one.
    pub(super) fn end_connection(&mut self, id: SubId, why: String) {
        let Some(FarEnd::Program(end)) = self.inventory.sub_mut(id).map(|sub| &mut sub.far) else {
            return;
        };
        let Some(connected) = end.connected.take() else {
            return;
        };
        if let Some(session) = connected.session() {
            self.epoll.remove(session);
        }
        if let Some(interface) = connected.interface() {
            self.program_interfaces.remove(&interface.index);
        }
        if connected.address().is_some() {
            // It is that of the connection: the next one gets another.
            end.listener = None;
        }
        end.ended = Some(why);
        end.short = match connected.since.elapsed() < SHORT {
            true => end.short.saturating_add(1),
            false => 0,
        };
        // A program that connects without end costs one connection a second.
        if end.short <= SHORT_MAX {
            self.listen(id);
        }
        self.follow_connection(id);
    }

    /// Shows the carrier of a program, which is its connection, with rings, and the carrier of its parent, and
    /// reports the change.
    pub(super) fn follow_connection(&mut self, id: SubId) {
        self.show_program_carrier(id);
        self.report_change(id);
    }

    /// Shows the carrier of a sub-interface with a program.
    pub(super) fn show_program_carrier(&mut self, id: SubId) {
        let Ok((sub, parent)) = self.inventory.sub_and_parent_mut(id) else {
            return;
        };
        if let FarEnd::Program(end) = &sub.far {
            let carrier = end.is_running() && parent.carrier;
            if set_running(&mut sub.link, carrier) {
                *sub.link.carrier_changes.get_or_insert(0) += 1;
            }
        }
    }
}

/// Gives the port of a program its connection, at its worker.
pub(super) fn give_socket(
    workers: &Workers,
    index: SubIndex,
    number: u64,
    socket: ProgramSocket,
) -> io::Result<()> {
    let given = workers.give([socket], move |worker, socket| worker.connect(index, number, socket));
    given.map_err(io::Error::other)?.pop().unwrap_or(Ok(()))
}
