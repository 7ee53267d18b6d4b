//! `MemoryPorts`: which of the ports in memory have something.

use std::sync::Arc;

use umacvlan_core::SubIndex;

use crate::datapath::memory_link::{MemoryLink, Ready, locked};

/// The ports in memory of one worker. A turn asks those that have something and no others, as it
/// does with TAPs, so a silent port costs nothing.
#[derive(Debug, Default)]
pub(super) struct MemoryPorts {
    count: usize,
    /// Those that have got something since the last turn; shared with their other ends.
    told: Ready,
    /// Those that may have something, in the order in which they will be asked.
    waiting: Vec<SubIndex>,
}

impl MemoryPorts {
    /// True when there are no ports in memory.
    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// One more port.
    pub(super) fn add(&mut self, id: SubIndex, link: &MemoryLink) {
        self.count += 1;
        link.tell(Some((Arc::clone(&self.told), id)));
    }

    /// One port less.
    pub(super) fn remove(&mut self, id: SubIndex, link: &MemoryLink) {
        self.count -= 1;
        link.tell(None);
        locked(&self.told).retain(|&other| other != id);
        self.waiting.retain(|&other| other != id);
    }

    /// Has `serve` read from each port that has something, and returns how many frames that was.
    /// It tells how many came from one and whether there are more, or that it can take no more;
    /// then the next turn begins with that port.
    pub(super) fn serve(
        &mut self,
        mut serve: impl FnMut(SubIndex) -> Option<(usize, bool)>,
    ) -> usize {
        self.waiting.append(&mut locked(&self.told));
        let (mut frames, mut served) = (0, 0);
        for at in 0..self.waiting.len() {
            let id = self.waiting[at];
            let Some((count, more)) = serve(id) else {
                break;
            };
            served += 1;
            frames += count;
            if more {
                self.waiting.push(id);
            }
        }
        self.waiting.drain(..served);
        frames
    }
}
