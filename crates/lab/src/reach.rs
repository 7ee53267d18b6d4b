//! [`Reach`]: which member reached which, by each [`Probe`].

use crate::station::{MEMBERS, Member};

/// How reachability is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Probe {
    /// A broadcast ARP request; every stack that receives it is reached. Tests one direction.
    Broadcast,
    /// An ICMP echo with static neighbours; a member that answers is reached. Tests both
    /// directions.
    Unicast,
    /// A TCP connection over which some bytes are echoed, with static neighbours. Tests both
    /// directions.
    Tcp,
}

impl Probe {
    /// All probes, in the order of every table.
    pub const ALL: [Self; 3] = [Self::Broadcast, Self::Unicast, Self::Tcp];
}

/// How many times each member was reached by each, by every [`Probe`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach([[[u8; MEMBERS]; MEMBERS]; Probe::ALL.len()]);

impl Reach {
    /// Copies of one frame from `from` that reached `to`: 0 if none did, more than 1 for
    /// duplicates. A TCP connection counts once.
    pub const fn copies(&self, probe: Probe, from: Member, to: Member) -> u8 {
        self.0[probe as usize][from.index()][to.index()]
    }

    /// Counts one more copy from `from` to `to`, up to 255.
    pub const fn add(&mut self, probe: Probe, from: Member, to: Member) {
        let cell = &mut self.0[probe as usize][from.index()][to.index()];
        *cell = cell.saturating_add(1);
    }

    /// True if every cell that is reached in `wanted` is reached here too.
    pub fn covers(&self, wanted: &Self) -> bool {
        let cells = |reach: &Self| reach.0.into_iter().flatten().flatten();
        cells(self).zip(cells(wanted)).all(|(has, wants)| has > 0 || wants == 0)
    }

    /// The number of cells that are reached.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().flatten().flatten().filter(|copies| **copies > 0).count()
    }

    /// Sets each cell to the larger count of the two.
    pub(crate) fn merge(&mut self, other: &Self) {
        let cells = self.0.iter_mut().flatten().flatten();
        for (cell, other) in cells.zip(other.0.iter().flatten().flatten()) {
            *cell = (*cell).max(*other);
        }
    }
}
