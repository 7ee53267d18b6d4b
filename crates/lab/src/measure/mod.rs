//! The cost of a path: TCP throughput, round trips, frames per second.
//!
//! Both ends use ordinary sockets, the same for every [`Provider`](crate::site::Provider).

mod frames;
mod machine_cpu;
mod pattern;
mod round_trip;
mod stream;
mod streams;

use std::io;

use core_affinity::CoreId;

use crate::error::{LabError, Result};
use crate::station::Station;

pub use frames::{FrameRate, frame_rate};
pub use machine_cpu::MachineCpu;
pub use round_trip::{RoundTrips, round_trips, spaced_round_trips};
pub use stream::{Throughput, check_congestion, tcp_throughput};
pub use streams::{StreamWindow, Streams};

/// The two ends of a measurement.
#[derive(Clone, Copy, Debug)]
pub struct Path<'s, 'n> {
    /// The end that sends, or sends requests.
    pub from: &'s Station<'n>,
    /// The end that receives, or answers requests.
    pub to: &'s Station<'n>,
    /// The cores of the two ends' threads; `None` leaves them to the scheduler.
    pub cores: Option<(CoreId, CoreId)>,
}

impl Path<'_, '_> {
    /// An error of this measurement that names both ends.
    fn failed(&self, what: &str, source: io::Error) -> LabError {
        let (from, to) = (self.from.member, self.to.member);
        LabError::new(format!("{what} from {from} to {to}"), source)
    }
}
