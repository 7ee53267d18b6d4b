//! [`ProgramEnd`]: the far end of a sub-interface that is a program, as data.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use umacvlan_core::options::ProgramKind;
use umacvlan_sys::call_aside::CallAside;
use umacvlan_sys::close_aside::{CloseAside, CloseCount};
use umacvlan_sys::port_datagrams::DatagramListener;
use umacvlan_sys::port_listener::{PortConnection, PortListener};
use umacvlan_sys::port_socket::{Descriptors, Program};

use super::program_interface::ProgramInterface;
use super::vhost_session::Session;
use crate::control::engine::{ProgramPlace, ProgramPort, ProgramStatus};

/// The socket of a program, and who is connected.
pub(super) struct ProgramEnd {
    pub(super) port: ProgramPort,
    /// `None` if the program listens, or has an interface, and as long as it cannot be made.
    pub(super) listener: Option<Listener>,
    /// Connections that are being closed, which may take any time.
    pub(super) closing: CloseCount,
    /// True while the epoll waits for the next connection.
    pub(super) listening: bool,
    /// The sender to whose socket this one is being connected.
    pub(super) search: Option<Search>,
    pub(super) connected: Option<Connected>,
    /// Connections so far; the number of the last one.
    pub(super) connections: u64,
    /// Short connections in a row.
    pub(super) short: u32,
    /// Why the last connection has ended.
    pub(super) ended: Option<String>,
}

/// The socket of a port.
pub(super) enum Listener {
    /// Whoever sends first is the program, and the socket is connected to its.
    Datagrams(DatagramListener),
    /// Each connection has a socket of its own.
    Stream(PortListener),
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Datagrams(listener) => listener.as_fd(),
            Self::Stream(listener) => listener.as_fd(),
        }
    }
}

/// The first sender of datagrams, while its socket is looked up.
pub(super) struct Search {
    pub(super) program: Program,
    pub(super) address: String,
    pub(super) call: CallAside<io::Result<()>>,
}

/// A program that is connected, or its interface.
pub(super) struct Connected {
    /// `None` behind an interface.
    pub(super) program: Option<Program>,
    pub(super) since: Instant,
    pub(super) link: ProgramLink,
}

/// The connection of a program, by the kind of its port.
pub(super) enum ProgramLink {
    /// Read and written by the worker.
    Datagrams {
        /// That of its socket.
        address: String,
        /// Readable once its process has ended: no error tells that before something is sent to it.
        _end: Option<OwnedFd>,
        /// It gets frames.
        proven: bool,
    },
    /// An interface, on which the worker has a socket.
    Interface(Box<ProgramInterface>),
    /// Read and written by the worker, and closed here.
    Stream(#[expect(dead_code, reason = "owned, not used")] CloseAside<Arc<PortConnection>>),
    /// Its messages are read here.
    VhostUser(CloseAside<Box<Session>>),
}

impl Connected {
    /// Where its messages are read, if it is connected by vhost-user.
    pub(super) fn session(&self) -> Option<&Session> {
        match &self.link {
            ProgramLink::Datagrams { .. } | ProgramLink::Interface(_) | ProgramLink::Stream(_) => {
                None
            }
            ProgramLink::VhostUser(session) => Some(session),
        }
    }

    /// As [`Connected::session`].
    pub(super) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.link {
            ProgramLink::Datagrams { .. } | ProgramLink::Interface(_) | ProgramLink::Stream(_) => {
                None
            }
            ProgramLink::VhostUser(session) => Some(session),
        }
    }
}

impl Connected {
    /// The address of its socket for datagrams, if it has one.
    pub(super) fn address(&self) -> Option<&str> {
        match &self.link {
            ProgramLink::Datagrams { address, .. } => Some(address),
            _ => None,
        }
    }

    /// The interface by which it is connected, if it is.
    pub(super) fn interface(&self) -> Option<&ProgramInterface> {
        match &self.link {
            ProgramLink::Interface(interface) => Some(interface),
            _ => None,
        }
    }
}

impl ProgramEnd {
    /// The far end of a new sub-interface, without a socket and a connection.
    pub(super) fn new(port: ProgramPort) -> Self {
        Self {
            port,
            listener: None,
            closing: CloseCount::default(),
            listening: false,
            search: None,
            connected: None,
            connections: 0,
            short: 0,
            ended: None,
        }
    }

    /// Makes the socket of the port, if it is to have one and has none.
    pub(super) fn bind(&mut self) -> io::Result<()> {
        let (ProgramPlace::Listen(path), None) = (&self.port.place, &self.listener) else {
            return Ok(());
        };
        let owner = self.port.owner;
        let listener = match self.port.kind {
            ProgramKind::Dgram => {
                Listener::Datagrams(DatagramListener::bind(path, owner, &self.closing)?)
            }
            kind => Listener::Stream(PortListener::bind(path, owner, descriptors(kind))?),
        };
        self.listener = Some(listener);
        Ok(())
    }

    pub(super) const fn kind(&self) -> ProgramKind {
        self.port.kind
    }

    /// Connects to the program that listens.
    pub(super) fn connect(&mut self) -> Option<(PortConnection, Program)> {
        let ProgramPlace::Connect(path) = &self.port.place else {
            return None;
        };
        match PortConnection::connect(path, descriptors(self.port.kind)) {
            Ok(connected) => Some(connected),
            Err(error) => {
                self.ended = Some(why_unconnected(&path.display(), &error));
                None
            }
        }
    }

    /// True if frames can flow: the program is connected, and its rings are served if it has any, or its
    /// interface has a carrier.
    pub(super) fn is_running(&self) -> bool {
        self.connected.as_ref().is_some_and(|connected| match &connected.link {
            ProgramLink::Interface(interface) => interface.running,
            ProgramLink::Datagrams { proven, .. } => *proven,
            ProgramLink::Stream(_) => true,
            ProgramLink::VhostUser(session) => session.running,
        })
    }

    pub(super) fn status(&self) -> ProgramStatus {
        ProgramStatus {
            port: self.port.clone(),
            program: self.connected.as_ref().and_then(|connected| connected.program),
            peer: self.connected.as_ref().and_then(Connected::address).map(str::to_owned),
            connections: self.connections,
            ended: self.ended.clone(),
            interface: self
                .connected
                .as_ref()
                .and_then(Connected::interface)
                .map_or(0, |interface| interface.index),
            vhost: self.connected.as_ref().and_then(|it| Some(it.session()?.status())),
        }
    }
}

/// Why a socket cannot be connected to that of a program.
pub(super) fn why_unconnected(address: &dyn fmt::Display, error: &io::Error) -> String {
    let hint = match error.raw_os_error() {
        Some(libc::EACCES) => {
            "; the daemon needs write permission for it, and has no CAP_DAC_OVERRIDE"
        }
        Some(libc::ECONNREFUSED) => "; nobody listens, or it is no socket",
        Some(libc::EPERM) => "; it is connected to another one",
        _ => "",
    };
    format!("cannot connect to {address}: {error}{hint}")
}

/// What becomes of descriptors that a program sends to a port of this kind.
pub(super) const fn descriptors(kind: ProgramKind) -> Descriptors {
    match kind {
        // Behind an interface there is no socket.
        ProgramKind::VhostUser => Descriptors::Expected,
        _ => Descriptors::Refused,
    }
}
