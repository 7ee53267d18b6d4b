//! Ports that are not read while the uplink is full, and the end of that.

use std::io;

use umacvlan_core::SubIndex;

use super::io_backend::{IoBackend, UPLINK, UPLINK_WRITABLE};
use super::{PortLink, Ports, slot};
use crate::uplink::Uplink;

impl Ports {
    /// Stops reading a TAP or a program (`stalled`), or reads it again. Its frames wait in its queue. What a ring
    /// has begun to read still comes.
    ///
    /// # Errors
    /// The kernel has no memory, or the io_uring has failed.
    pub(crate) fn set_stalled(&mut self, id: SubIndex, stalled: bool) -> io::Result<()> {
        let Some(Some(port)) = self.ports.get_mut(id.index()) else {
            return Ok(());
        };
        if let PortLink::Socket(_) = &port.link
            && std::mem::replace(&mut port.stalled, stalled) != stalled
        {
            self.set_socket_stalled(id, stalled);
            return Ok(());
        }
        if let PortLink::Vhost(_) = &port.link
            && std::mem::replace(&mut port.stalled, stalled) != stalled
        {
            self.set_vhost_stalled(id, stalled);
            return Ok(());
        }
        if let PortLink::Interface(_) = &port.link {
            return match std::mem::replace(&mut port.stalled, stalled) == stalled {
                true => Ok(()),
                false => self.set_interface_stalled(id, stalled),
            };
        }
        let PortLink::Tap(tap) = &port.link else {
            return Ok(());
        };
        if std::mem::replace(&mut port.stalled, stalled) == stalled || !port.rx_enabled {
            return Ok(());
        }
        if stalled {
            self.rx_shares.remove(id);
            self.to_arm.retain(|&other| other != id);
        }
        match (&mut self.backend, stalled) {
            (IoBackend::Plain { epoll, .. }, true) => epoll.remove(&**tap),
            (IoBackend::Plain { epoll, .. }, false) => epoll.add(&**tap, id.index() as u64)?,
            (IoBackend::Uring { uring, .. }, true) if port.read_armed => {
                uring.disarm(slot(id), port.generation)?;
            }
            (IoBackend::Uring { .. }, true) => {}
            // A read that is being cancelled wakes the port when it has ended.
            (IoBackend::Uring { .. }, false) if port.read_armed => {}
            (IoBackend::Uring { .. }, false) => self.rx_shares.wake(id),
        }
        Ok(())
    }

    /// Waits for room in a full uplink as well, until [`Ports::take_uplink_writable`] returns true.
    ///
    /// # Errors
    /// The kernel has no memory, or the io_uring has failed.
    pub(crate) fn watch_uplink_writable(&mut self, uplink: &Uplink) -> io::Result<()> {
        let Some(socket) = uplink.tx_fd().filter(|_| !self.watches_uplink_writable) else {
            return Ok(());
        };
        self.watches_uplink_writable = true;
        self.uplink_writable = false;
        match &mut self.backend {
            IoBackend::Plain { epoll, .. } => epoll.watch_writable(socket, UPLINK.into(), true),
            IoBackend::Uring { uring, .. } => uring.watch_writable(socket, UPLINK_WRITABLE),
        }
    }

    /// True when a full uplink may have room again. One without such an event has to be tried.
    ///
    /// # Errors
    /// The kernel has no memory.
    pub(crate) fn take_uplink_writable(&mut self, uplink: &Uplink) -> io::Result<bool> {
        let Some(socket) = uplink.tx_fd() else {
            return Ok(true);
        };
        if !std::mem::take(&mut self.uplink_writable) {
            return Ok(!self.watches_uplink_writable);
        }
        self.watches_uplink_writable = false;
        if let IoBackend::Plain { epoll, .. } = &self.backend {
            epoll.watch_writable(socket, UPLINK.into(), false)?;
        }
        Ok(true)
    }
}
