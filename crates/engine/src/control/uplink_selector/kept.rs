//! [`KeptSockets`]: the packet sockets of an earlier engine on a parent, which another process has kept.
//!
//! What the wire has sent since that engine ended waits in their rings. Its memberships hold on the parent
//! until the present ones are joined, so that the parent's filter passes the same meanwhile.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use umacvlan_netlink::Link;
use umacvlan_sys::close_aside::{CloseAside, CloseCount};
use umacvlan_sys::packet::PacketSocket;

/// The number for the next packet sockets of this process.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Descriptors of packet sockets, with a number that no others of this process have.
#[derive(Debug)]
pub(crate) struct NumberedSockets {
    pub(crate) number: NonZeroU64,
    /// Those of the workers, in their order.
    descriptors: Vec<OwnedFd>,
}

impl NumberedSockets {
    /// Descriptors of these sockets.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn new(sockets: &[PacketSocket]) -> io::Result<Self> {
        let number = NonZeroU64::new(NEXT.fetch_add(1, Ordering::Relaxed));
        Ok(Self { number: number.unwrap_or(NonZeroU64::MIN), descriptors: duplicates(sockets)? })
    }

    /// Duplicates of the descriptors.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn duplicate(&self) -> io::Result<Vec<OwnedFd>> {
        duplicates(&self.descriptors)
    }
}

fn duplicates(of: &[impl AsFd]) -> io::Result<Vec<OwnedFd>> {
    of.iter().map(|one| one.as_fd().try_clone_to_owned()).collect()
}

/// The packet sockets of an earlier engine on one interface.
#[derive(Debug)]
pub(crate) struct KeptSockets {
    /// Those of its workers, in their order, and behind them the one with the memberships.
    descriptors: Vec<OwnedFd>,
}

/// Sockets that were taken over.
#[derive(Debug)]
pub(super) struct Resumed {
    pub(super) sockets: Vec<PacketSocket>,
    /// The socket with the memberships. To close it takes some milliseconds.
    pub(super) filter: CloseAside<OwnedFd>,
    /// Frames that the earlier engine had received and perhaps not forwarded.
    pub(super) unfinished: u64,
}

impl KeptSockets {
    /// Those with these descriptors: one for each worker, and the one with the memberships.
    pub(crate) fn new(descriptors: Vec<OwnedFd>) -> Self {
        Self { descriptors }
    }

    /// Goes on with them on an interface; `None` if they are for another one, another MTU, or another
    /// number of workers than `count`.
    pub(super) fn resume(self, link: &Link, count: usize) -> Option<Resumed> {
        let Self { mut descriptors } = self;
        let filter = CloseAside::new(descriptors.pop()?, &CloseCount::default());
        if descriptors.len() != count {
            return None;
        }
        let (mut sockets, mut unfinished) = (Vec::new(), 0);
        for descriptor in descriptors {
            let (socket, lost) = PacketSocket::from_kept(descriptor, link.index, link.mtu).ok()?;
            unfinished += lost as u64;
            sockets.push(socket);
        }
        Some(Resumed { sockets, filter, unfinished })
    }
}
