//! [`Receiver`]: one thread that reads and verifies what comes at every destination.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use umacvlan_sys::capture::Capture;
use umacvlan_sys::datagrams::Datagrams;
use umacvlan_sys::poll::{self, Interest};
use umacvlan_sys::process;

use super::now;
use super::sequence_tracker::Tally;

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

/// Where the frames of one destination are read.
pub(super) enum Ear {
    /// As they reach the destination's stack.
    Ring(Capture),
    /// As a program is given them.
    Socket(Datagrams),
}

impl Ear {
    /// Shows some of what waits, with the time of its arrival; false if nothing waits.
    fn read(&mut self, mut each: impl FnMut(&[u8], u64)) -> io::Result<bool> {
        match self {
            Self::Ring(capture) => Ok(capture.read_block(each)),
            Self::Socket(datagrams) => {
                let arrived = now();
                datagrams.read(|bytes| each(bytes, arrived))
            }
        }
    }

    /// What found no room here since the last call.
    fn take_drops(&mut self) -> io::Result<u64> {
        match self {
            Self::Ring(capture) => capture.take_drops(),
            Self::Socket(datagrams) => datagrams.take_drops(),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Ring(capture) => capture.as_fd(),
            Self::Socket(datagrams) => datagrams.as_fd(),
        }
    }
}

/// The ears at all destinations.
pub(super) struct Receiver(pub(super) Vec<Ear>);

impl Receiver {
    /// Throws away what has come so far.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        for ear in &mut self.0 {
            while ear.read(|_, _| ())? {}
            ear.take_drops()?;
        }
        Ok(())
    }

    /// Reads until it is told to stop, and to the end of what is there then.
    pub(super) fn run(&mut self, tally: &Tally, watched: &Watched) -> io::Result<Received> {
        let before = process::thread_time()?;
        let mut tallies = vec![tally.clone(); self.0.len()];
        loop {
            let stop = watched.stop.load(Ordering::Relaxed);
            for (ear, tally) in self.0.iter_mut().zip(&mut tallies) {
                while ear.read(|bytes, arrived| tally.count(bytes, arrived))? {
                    let frames = tally.received + tally.duplicated + tally.stale;
                    watched.frames.fetch_max(frames, Ordering::Relaxed);
                }
            }
            if stop {
                break;
            }
            let mut interests: Vec<_> =
                self.0.iter().map(|ear| Interest::readable(ear.fd())).collect();
            poll::wait(&mut interests, PATIENCE)?;
        }
        let mut drops = 0;
        for ear in &mut self.0 {
            drops += ear.take_drops()?;
        }
        let time = process::thread_time()?.saturating_sub(before);
        Ok(Received { tallies, drops, time })
    }
}

/// How long to sleep at most before a look whether to stop.
const PATIENCE: Duration = Duration::from_millis(5);
