//! What a path costs: TCP throughput, round trips, frames per second.
//!
//! Ordinary programs' sockets on both ends, the same for whoever implements the sub-interfaces.

mod frames;
mod round_trip;
mod stream;

use std::{io, panic, thread};

use core_affinity::CoreId;

use crate::error::{LabError, Result};
use crate::station::Station;

pub use frames::{FrameRate, frame_rate};
pub use round_trip::{RoundTrips, round_trips};
pub use stream::{Throughput, tcp_throughput};

/// Who sends to whom.
#[derive(Clone, Copy, Debug)]
pub struct Path<'s, 'n> {
    /// The end that sends, or asks.
    pub from: &'s Station<'n>,
    /// The end that receives, or answers.
    pub to: &'s Station<'n>,
    /// The cores of the two ends' threads; `None` leaves them to the scheduler.
    pub cores: Option<(CoreId, CoreId)>,
}

impl Path<'_, '_> {
    /// An error of this measurement, with both ends named.
    fn failed(&self, what: &str, source: io::Error) -> LabError {
        let (from, to) = (self.from.member, self.to.member);
        LabError::new(format!("{what} from {from} to {to}"), source)
    }
}

/// Binds the calling thread to a core, if one is given.
pub(super) fn pin(core: Option<CoreId>) {
    // Where it is refused the measurement is still one, only a less steady one.
    let _ = core.map(core_affinity::set_for_current);
}

/// What a thread returned; its panic becomes the caller's.
pub(super) fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    match thread.join() {
        Ok(value) => value,
        Err(payload) => panic::resume_unwind(payload),
    }
}
