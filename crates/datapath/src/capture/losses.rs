//! [`Losses`]: frames that were lost behind the decision of the switch, in one turn of a capture.

use umacvlan_core::stats::Counters;
use umacvlan_core::{DropReason, SubIndex};

use crate::switches::SwitchId;

/// Losses that a turn notes at most; more are left out of captures.
const NOTED: usize = 4096;

/// A frame that a port or the uplink did not accept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    /// Where it was to go.
    pub(crate) to: LossAt,
    /// How many frames it was, if it was merged, and their bytes; none if they were not counted.
    pub(crate) lost: Counters,
    pub(crate) reason: DropReason,
}

/// Where a frame was lost.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LossAt {
    Sub(SubIndex),
    Wire(SwitchId),
}

/// What a turn has lost; nothing is noted while there is no capture.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    noted: Vec<Loss>,
    watched: bool,
    missed: u64,
}

impl Losses {
    /// Begins or ends noting. The memory is taken before the first frame.
    pub(crate) fn watch(&mut self, watched: bool) {
        self.noted = Vec::with_capacity(if watched { NOTED } else { 0 });
        self.watched = watched;
    }

    /// Notes a frame that a sub-interface does not get.
    #[inline]
    pub(crate) fn note_sub(&mut self, to: SubIndex, lost: Counters, reason: DropReason) {
        if self.watched {
            self.note(Loss { to: LossAt::Sub(to), lost, reason });
        }
    }

    /// Notes a frame that the uplink does not get.
    #[inline]
    pub(crate) fn note_wire(&mut self, switch: SwitchId, lost: Counters, reason: DropReason) {
        if self.watched {
            self.note(Loss { to: LossAt::Wire(switch), lost, reason });
        }
    }

    #[cold]
    fn note(&mut self, loss: Loss) {
        match self.noted.len() < NOTED {
            true => self.noted.push(loss),
            false => self.missed += 1,
        }
    }

    /// Passes each loss since the last time to `on`; returns how many were not noted.
    pub(crate) fn drain(&mut self, on: impl FnMut(Loss)) -> u64 {
        self.noted.drain(..).for_each(on);
        std::mem::take(&mut self.missed)
    }
}
