//! [`ProgramEnd`]: the far end of a sub-interface that is a program, as data.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use umacvlan_core::options::ProgramKind;
use umacvlan_sys::close_aside::{CloseAside, CloseCount};
use umacvlan_sys::port_listener::{PortConnection, PortListener};
use umacvlan_sys::port_socket::{Descriptors, Program};

use super::program_interface::ProgramInterface;
use super::vhost_session::Session;
use crate::control::engine::{ProgramPlace, ProgramPort, ProgramStatus};

/// The socket of a program, and who is connected.
pub(super) struct ProgramEnd {
    pub(super) port: ProgramPort,
    /// `None` if the program listens, or has an interface.
    pub(super) listener: Option<PortListener>,
    /// Connections that are being closed, which may take any time.
    pub(super) closing: CloseCount,
    /// True while the epoll waits for the next connection.
    pub(super) listening: bool,
    pub(super) connected: Option<Connected>,
    /// Connections so far; the number of the last one.
    pub(super) connections: u64,
    /// Short connections in a row.
    pub(super) short: u32,
    /// Why the last connection has ended.
    pub(super) ended: Option<String>,
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
            ProgramLink::Interface(_) | ProgramLink::Stream(_) => None,
            ProgramLink::VhostUser(session) => Some(session),
        }
    }

    /// As [`Connected::session`].
    pub(super) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.link {
            ProgramLink::Interface(_) | ProgramLink::Stream(_) => None,
            ProgramLink::VhostUser(session) => Some(session),
        }
    }
}

impl Connected {
    /// The interface by which it is connected, if it is.
    pub(super) fn interface(&self) -> Option<&ProgramInterface> {
        match &self.link {
            ProgramLink::Interface(interface) => Some(interface),
            ProgramLink::Stream(_) | ProgramLink::VhostUser(_) => None,
        }
    }
}

impl ProgramEnd {
    /// The far end of a new sub-interface, without a connection.
    pub(super) fn new(port: ProgramPort, listener: Option<PortListener>) -> Self {
        Self {
            port,
            listener,
            closing: CloseCount::default(),
            listening: false,
            connected: None,
            connections: 0,
            short: 0,
            ended: None,
        }
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
                let hint = match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        "; the daemon needs write permission for it, and has no CAP_DAC_OVERRIDE"
                    }
                    io::ErrorKind::ConnectionRefused => "; nobody listens, or it is no socket",
                    _ => "",
                };
                let path = path.display();
                self.ended = Some(format!("cannot connect to {path}: {error}{hint}"));
                None
            }
        }
    }

    /// True if frames can flow: the program is connected, and its rings are served if it has any, or its
    /// interface has a carrier.
    pub(super) fn is_running(&self) -> bool {
        self.connected.as_ref().is_some_and(|connected| match &connected.link {
            ProgramLink::Interface(interface) => interface.running,
            ProgramLink::Stream(_) => true,
            ProgramLink::VhostUser(session) => session.running,
        })
    }

    pub(super) fn status(&self) -> ProgramStatus {
        ProgramStatus {
            port: self.port.clone(),
            program: self.connected.as_ref().and_then(|connected| connected.program),
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

/// What becomes of descriptors that a program sends to a port of this kind.
pub(super) const fn descriptors(kind: ProgramKind) -> Descriptors {
    match kind {
        // Behind an interface there is no socket.
        ProgramKind::Dev | ProgramKind::Stream | ProgramKind::Tap => Descriptors::Refused,
        ProgramKind::VhostUser => Descriptors::Expected,
    }
}
