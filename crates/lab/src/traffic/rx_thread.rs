//! [`RxThread`]: one thread that reads and verifies the frames of every destination.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use umacvlan_sys::poll::{self, Interest};
use umacvlan_sys::process;
use umacvlan_sys::timestamp_ring::TimestampRing;
use umacvlan_sys::udp_batch::UdpBatch;

use super::now;
use super::sequence_tracker::SequenceTracker;

/// The state that a running receiver shares with other threads.
#[derive(Debug, Default)]
pub(super) struct RxProgress {
    /// Frames read so far, the sum of all destinations. Frames of earlier trials do not count.
    pub(super) frames: AtomicU64,
    /// Set to stop the receiver.
    pub(super) stop: AtomicBool,
}

/// The receiver's counters of one trial.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// The counters of each destination.
    pub trackers: Vec<SequenceTracker>,
    /// Frames dropped at a full ring or socket: the receiver was too slow.
    pub drops: u64,
    /// CPU time of the receiver's thread.
    pub time: Duration,
}

/// The socket from which the frames of one destination are read.
pub(super) enum RxSocket {
    /// Frames, as they reach the destination's stack.
    Ring(TimestampRing),
    /// Datagrams, as a program receives them.
    Socket(UdpBatch),
}

impl RxSocket {
    /// Passes some pending frames and their arrival times to `each`. False if none are pending.
    fn read(&mut self, mut each: impl FnMut(&[u8], u64)) -> io::Result<bool> {
        match self {
            Self::Ring(capture) => Ok(capture.read_block(each)),
            Self::Socket(datagrams) => {
                let arrived = now();
                datagrams.read(|bytes| each(bytes, arrived))
            }
        }
    }

    /// Frames dropped for lack of room since the last call.
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

/// The sockets of all destinations.
pub(super) struct RxThread(pub(super) Vec<RxSocket>);

impl RxThread {
    /// Discards all pending frames and resets the drop counters.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        for socket in &mut self.0 {
            while socket.read(|_, _| ())? {}
            socket.take_drops()?;
        }
        Ok(())
    }

    /// Reads until told to stop, and then the frames that are still pending.
    pub(super) fn run(
        &mut self,
        tracker: &SequenceTracker,
        progress: &RxProgress,
    ) -> io::Result<Received> {
        let before = process::thread_cpu_time()?;
        let mut trackers = vec![tracker.clone(); self.0.len()];
        loop {
            let stop = progress.stop.load(Ordering::Relaxed);
            for (socket, tracker) in self.0.iter_mut().zip(&mut trackers) {
                let mut before = tracker.received;
                while socket.read(|bytes, arrived| tracker.count(bytes, arrived))? {
                    progress.frames.fetch_add(tracker.received - before, Ordering::Relaxed);
                    before = tracker.received;
                }
            }
            if stop {
                break;
            }
            let mut interests: Vec<_> =
                self.0.iter().map(|socket| Interest::readable(socket.fd())).collect();
            poll::wait(&mut interests, STOP_CHECK)?;
        }
        let mut drops = 0;
        for socket in &mut self.0 {
            drops += socket.take_drops()?;
        }
        let time = process::thread_cpu_time()?.saturating_sub(before);
        Ok(Received { trackers, drops, time })
    }
}

/// The longest sleep before a check whether to stop.
const STOP_CHECK: Duration = Duration::from_millis(5);
