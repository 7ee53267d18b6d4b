//! [`MemoryPorts`]: which ports in memory have frames.

use std::sync::Arc;

use umacvlan_core::SubIndex;

use super::rx_shares::RxShares;
use crate::memory_link::{MemoryLink, ReadyList, locked};

/// The ports in memory of one worker. A turn reads those that have frames and no others, as it does
/// with TAPs, so a silent port costs nothing.
#[derive(Debug, Default)]
pub(super) struct MemoryPorts {
    count: usize,
    /// Ports that got a frame since the last turn; shared with their far ends.
    ready: ReadyList,
    /// Ports that may have frames.
    shares: RxShares,
}

impl MemoryPorts {
    /// True when there are no ports in memory.
    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a port.
    pub(super) fn add(&mut self, id: SubIndex, link: &MemoryLink) {
        self.count += 1;
        self.shares.reserve(id.index() + 1);
        link.set_ready_list(Some((Arc::clone(&self.ready), id)));
    }

    /// Removes a port.
    pub(super) fn remove(&mut self, id: SubIndex, link: &MemoryLink) {
        self.count -= 1;
        link.set_ready_list(None);
        locked(&self.ready).retain(|&other| other != id);
        self.shares.remove(id);
    }

    /// True while a port waits for its share of a turn.
    pub(super) fn is_any_waiting(&self) -> bool {
        !self.shares.is_empty()
    }

    /// Calls `read` for the ports whose turn it is, with the frames that each may have, and returns how
    /// many frames were read. `read` returns the frames and bytes of one port, and whether it has
    /// more.
    pub(super) fn poll(
        &mut self,
        mut read: impl FnMut(SubIndex, usize) -> (usize, usize, bool),
    ) -> usize {
        for id in locked(&self.ready).drain(..) {
            self.shares.wake(id);
        }
        if self.shares.is_empty() {
            return 0;
        }
        self.shares.begin_turn();
        let mut count = 0;
        while let Some((id, budget)) = self.shares.next() {
            let (frames, bytes, more) = read(id, budget);
            count += frames;
            self.shares.served(id, frames, bytes, more);
        }
        count
    }
}
