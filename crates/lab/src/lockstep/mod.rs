//! Two programs and what forwards between them, in turns on one thread.
//!
//! A round sends a burst from the first program to the second: the frames are put where the forwarder
//! takes them, it works, and they are taken out. With as few processors as a small machine has, rates of
//! threads side by side measure the scheduler; what one thread spends measures the work.

mod fds;
mod programs;

pub use fds::Fds;
pub use programs::{Programs, Queue};

use std::time::Duration;

/// Frames of a burst: as many as a worker reads of a port in a turn.
pub const BURST: usize = 64;

/// What rounds have cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Frames that have arrived.
    pub frames: u64,
    /// Processor time of the thread: sender, forwarder and receiver.
    pub all: Duration,
    /// The forwarder's part of it; `None` if it cannot be told apart.
    pub forwarder: Option<Duration>,
}

/// A frame of so many bytes, from one address to another.
fn frame(dst: [u8; 6], src: [u8; 6], bytes: usize) -> Vec<u8> {
    let mut frame = [dst, src].concat();
    // A type for experiments (IEEE 802), which no stack takes.
    frame.extend([0x88, 0xb5]);
    frame.resize(bytes.max(frame.len()), 0x5a);
    frame
}

/// The address of one of both programs.
const fn address(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, number + 1]
}

fn lost(arrived: usize) -> std::io::Error {
    std::io::Error::other(format!("{arrived} frames have arrived of {BURST}"))
}
