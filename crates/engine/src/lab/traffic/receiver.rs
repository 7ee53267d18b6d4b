//! [`Receiver`]: one thread that reads and verifies what comes at every destination.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::tally::Tally;
use crate::sys::capture::Capture;
use crate::sys::poll::{self, Interest};
use crate::sys::process;

/// What others see of a receiver at work.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// Frames read so far, at all destinations.
    pub(super) frames: AtomicU64,
    /// Set to end it.
    pub(super) stop: AtomicBool,
}

/// What the receiver did in one trial.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// One for each destination.
    pub tallies: Vec<Tally>,
    /// Frames that came but found no room in a ring: the receiver was too slow.
    pub drops: u64,
    /// Processor time of the receiver's thread.
    pub time: Duration,
}

/// The rings of all destinations.
pub(super) struct Receiver(pub(super) Vec<Capture>);

impl Receiver {
    /// Throws away what has come so far.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        for capture in &mut self.0 {
            while capture.read_block(|_, _| ()) {}
            capture.take_drops()?;
        }
        Ok(())
    }

    /// Reads until it is told to stop, and to the end of what is there then.
    pub(super) fn run(&mut self, tally: &Tally, watched: &Watched) -> io::Result<Received> {
        let before = process::thread_time()?;
        let mut tallies = vec![tally.clone(); self.0.len()];
        loop {
            let stop = watched.stop.load(Ordering::Relaxed);
            for (capture, tally) in self.0.iter_mut().zip(&mut tallies) {
                while capture.read_block(|frame, arrived| tally.count(frame, arrived)) {
                    let frames = tally.received + tally.duplicated + tally.stale;
                    watched.frames.fetch_max(frames, Ordering::Relaxed);
                }
            }
            if stop {
                break;
            }
            let mut interests: Vec<_> =
                self.0.iter().map(|capture| Interest::readable(capture.as_fd())).collect();
            poll::wait(&mut interests, PATIENCE)?;
        }
        let mut drops = 0;
        for capture in &self.0 {
            drops += capture.take_drops()?;
        }
        let time = process::thread_time()?.saturating_sub(before);
        Ok(Received { tallies, drops, time })
    }
}

/// How long to sleep at most before a look whether to stop.
const PATIENCE: Duration = Duration::from_millis(5);
