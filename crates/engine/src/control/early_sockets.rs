//! [`EarlySockets`]: packet sockets that are made before the engine starts.

use std::io;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use umacvlan_sys::packet::PacketSocket;

/// Sockets with their rings, for parents of an earlier engine, each made by a thread of its own while
/// everything else is prepared: the kernel waits for all processors before it changes a ring
/// (`synchronize_net` in `packet_set_ring`), some 20 ms in which a starting engine forwards nothing.
///
/// They are not bound and receive nothing. Clones share them; each is taken once.
#[derive(Clone, Debug, Default)]
pub struct EarlySockets(Arc<Mutex<Vec<EarlySocket>>>);

#[derive(Debug)]
struct EarlySocket {
    index: u32,
    mtu: u32,
    thread: JoinHandle<io::Result<PacketSocket>>,
}

impl EarlySockets {
    /// Begins to make a socket for each interface, given by index and MTU, in the namespace of the calling
    /// thread. Without a thread there is no such socket, and the engine makes its own.
    pub fn begin(interfaces: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let begin = |(index, mtu)| {
            let builder = thread::Builder::new().name("um-ring".to_owned());
            let thread = builder.spawn(move || PacketSocket::unbound(index, mtu)).ok()?;
            Some(EarlySocket { index, mtu, thread })
        };
        Self(Arc::new(Mutex::new(interfaces.into_iter().filter_map(begin).collect())))
    }

    /// The socket for an interface, when it is ready; `None` if there is none, or it failed.
    pub(super) fn take(&self, index: u32, mtu: u32) -> Option<PacketSocket> {
        let mut sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = sockets.iter().position(|one| (one.index, one.mtu) == (index, mtu))?;
        sockets.swap_remove(at).thread.join().ok()?.ok()
    }

    /// Closes those that nobody has taken.
    pub fn close(&self) {
        let sockets = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        // One that failed, or whose thread has panicked, has no socket.
        sockets.into_iter().for_each(|one| drop(one.thread.join()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use umacvlan_testkit::root_or_skip;

    #[test]
    fn a_socket_is_taken_once_and_only_for_its_interface_and_mtu() {
        if !root_or_skip() {
            return;
        }
        let sockets = EarlySockets::begin([(7, 1500), (8, 9000)]);
        assert!(sockets.take(7, 9000).is_none());
        assert!(sockets.clone().take(8, 9000).is_some());
        assert!(sockets.take(8, 9000).is_none());
        sockets.close();
        assert!(sockets.take(7, 1500).is_none());
    }
}
