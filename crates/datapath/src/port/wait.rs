//! Sleeping until a port, the uplink or a request needs the worker.

use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::time::Duration;

use super::Ports;
use super::io_backend::{IoBackend, SOCKETS, UPLINK, WAKE_EVENT};
use crate::uplink::Uplink;

impl Ports {
    /// Sleeps until a port, the uplink or a request needs the worker, at most for `timeout`; not at all if
    /// a program has sent something meanwhile.
    ///
    /// # Errors
    /// The wait has failed, and with it the worker.
    pub(crate) fn sleep(
        &mut self,
        uplink: Option<&Uplink>,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        if self.request_vhost_kicks() {
            return Ok(());
        }
        uplink.map_or(Ok(()), |uplink| uplink.watch(true))?;
        self.wait(uplink, timeout)?;
        uplink.map_or(Ok(()), |uplink| uplink.watch(false))
    }

    fn wait(&mut self, uplink: Option<&Uplink>, timeout: Option<Duration>) -> io::Result<()> {
        let socket = uplink.and_then(Uplink::wait_fd);
        match &mut self.backend {
            IoBackend::Plain { epoll, .. } => {
                // A turn without TAPs does not call epoll, so the event is cleared here.
                for token in epoll.wait(timeout)? {
                    if token == u64::from(WAKE_EVENT) {
                        self.wake_event.clear();
                    }
                    self.uplink_writable |= token == u64::from(UPLINK);
                }
                Ok(())
            }
            IoBackend::Uring { uring, watches_uplink, watches_sockets, watches_wake_event } => {
                let uplink = socket.filter(|_| !*watches_uplink);
                *watches_uplink |= uplink.is_some();
                let has_watch = mem::replace(watches_wake_event, true);
                let wake_event = Some(self.wake_event.as_fd()).filter(|_| !has_watch);
                let sockets = self.sockets.wait_fd().filter(|_| !*watches_sockets);
                *watches_sockets |= sockets.is_some();
                let watched = uplink.map(|fd| (fd, UPLINK)).into_iter();
                let watched = watched.chain(sockets.map(|fd| (fd, SOCKETS)));
                uring.wait(watched.chain(wake_event.map(|fd| (fd, WAKE_EVENT))), timeout)
            }
        }
    }

    /// Waits for a new uplink as well from now on.
    ///
    /// # Errors
    /// The kernel has no memory.
    pub(crate) fn watch_uplink(&mut self, uplink: &Uplink) -> io::Result<()> {
        self.watches_uplink_writable = false;
        match (&mut self.backend, uplink.wait_fd()) {
            (IoBackend::Plain { epoll, .. }, Some(socket)) => epoll.add(&socket, u64::from(UPLINK)),
            // The watch on the former socket ends with it; the next sleep sets one on the new socket.
            (IoBackend::Uring { watches_uplink, .. }, _) => {
                *watches_uplink = false;
                Ok(())
            }
            (IoBackend::Plain { .. }, None) => Ok(()),
        }
    }
}
