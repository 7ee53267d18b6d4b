//! Sleeping until there is something to do.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use super::{COMMANDS, Means, Ports, UPLINK};
use crate::datapath::uplink::Uplink;

impl Ports {
    /// Sleeps until a port, the uplink or a command has something, at most for `timeout`.
    ///
    /// # Errors
    /// Whatever the wait says: the worker cannot go on.
    pub(crate) fn sleep(
        &mut self,
        uplink: Option<&Uplink>,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        uplink.map_or(Ok(()), |uplink| uplink.watch(true))?;
        self.wait(uplink, timeout)?;
        uplink.map_or(Ok(()), |uplink| uplink.watch(false))
    }

    fn wait(&mut self, uplink: Option<&Uplink>, timeout: Option<Duration>) -> io::Result<()> {
        let socket = uplink.and_then(Uplink::waits_on);
        match &mut self.means {
            Means::Plain { epoll, .. } => {
                // A turn that has no TAP to ask about does not look.
                if epoll.wait(timeout)?.any(|name| name == u64::from(COMMANDS)) {
                    self.commands.clear();
                }
                Ok(())
            }
            Means::Uring { uring, watches_uplink, watches_commands } => {
                if let (Some(socket), false) = (socket, *watches_uplink) {
                    uring.watch(socket, UPLINK)?;
                    *watches_uplink = true;
                }
                if !*watches_commands {
                    uring.watch(self.commands.as_fd(), COMMANDS)?;
                    *watches_commands = true;
                }
                uring.wait(timeout)
            }
        }
    }

    /// Notes that there is a new uplink to wait for.
    ///
    /// # Errors
    /// No memory in the kernel.
    pub(crate) fn watch_uplink(&mut self, uplink: &Uplink) -> io::Result<()> {
        match (&mut self.means, uplink.waits_on()) {
            (Means::Plain { epoll, .. }, Some(socket)) => epoll.add(&socket, u64::from(UPLINK)),
            // A watch on the socket before ends with that socket; this one is asked for at the next sleep.
            (Means::Uring { watches_uplink, .. }, _) => {
                *watches_uplink = false;
                Ok(())
            }
            (Means::Plain { .. }, None) => Ok(()),
        }
    }
}
