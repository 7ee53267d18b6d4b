//! [`MemoryPorts`]: which ports in memory have frames.

use std::sync::Arc;

use umacvlan_core::SubIndex;

use crate::datapath::memory_link::{MemoryLink, ReadyList, locked};

/// The ports in memory of one worker. A turn reads those that have frames and no others, as it does
/// with TAPs, so a silent port costs nothing.
#[derive(Debug, Default)]
pub(super) struct MemoryPorts {
    count: usize,
    /// Ports that got a frame since the last turn; shared with their far ends.
    ready: ReadyList,
    /// Ports that may have frames, in the order in which they are read.
    waiting: Vec<SubIndex>,
}

impl MemoryPorts {
    /// True when there are no ports in memory.
    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a port.
    pub(super) fn add(&mut self, id: SubIndex, link: &MemoryLink) {
        self.count += 1;
        link.set_ready_list(Some((Arc::clone(&self.ready), id)));
    }

    /// Removes a port.
    pub(super) fn remove(&mut self, id: SubIndex, link: &MemoryLink) {
        self.count -= 1;
        link.set_ready_list(None);
        locked(&self.ready).retain(|&other| other != id);
        self.waiting.retain(|&other| other != id);
    }

    /// Calls `read` for each port that has frames, and returns how many frames were read. `read`
    /// returns the frames of one port and whether there are more, or `None` if no buffer is left;
    /// then the next turn begins with that port.
    pub(super) fn poll(
        &mut self,
        mut read: impl FnMut(SubIndex) -> Option<(usize, bool)>,
    ) -> usize {
        self.waiting.append(&mut locked(&self.ready));
        let (mut frames, mut done) = (0, 0);
        for position in 0..self.waiting.len() {
            let id = self.waiting[position];
            let Some((count, more)) = read(id) else {
                break;
            };
            done += 1;
            frames += count;
            if more {
                self.waiting.push(id);
            }
        }
        self.waiting.drain(..done);
        frames
    }
}
