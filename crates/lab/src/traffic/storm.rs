//! [`Storm`]: a broadcast storm in the background of a measurement.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use umacvlan_core::MacAddr;
use umacvlan_sys::{process, raw_socket};

use super::{ANNOUNCEMENT, open_at};
use crate::error::{Context, Result};
use crate::station::Station;
use crate::threads::{join, pin};

/// A sender of broadcast frames.
#[derive(Debug)]
pub struct Storm {
    socket: OwnedFd,
    frame: [u8; FRAME_LEN],
    core: Option<CoreId>,
}

impl Storm {
    /// Opens a sender at that station. Its thread runs on `core`, if given.
    ///
    /// # Errors
    /// The kernel refuses a socket.
    pub fn open(from: &Station<'_>, core: Option<CoreId>) -> Result<Self> {
        let mut frame = [0; FRAME_LEN];
        frame[..6].copy_from_slice(&MacAddr::BROADCAST.octets());
        frame[6..12].copy_from_slice(&from.mac.octets());
        frame[12..14].copy_from_slice(&ANNOUNCEMENT.to_be_bytes());
        Ok(Self { socket: open_at(from, |index| raw_socket::open(index, 0))?, frame, core })
    }

    /// Sends a frame each `period` while `during` runs. Returns the result of `during` and the
    /// number of frames sent.
    ///
    /// # Errors
    /// The socket fails.
    pub fn run_during<T>(&self, period: Duration, during: impl FnOnce() -> T) -> Result<(T, u64)> {
        let stop = AtomicBool::new(false);
        let (done, sent) = thread::scope(|scope| {
            let sending = scope.spawn(|| {
                pin(self.core);
                self.send_until(&stop, period)
            });
            let done = during();
            stop.store(true, Ordering::Relaxed);
            (done, join(sending))
        });
        Ok((done, sent.context(|| "a storm")?))
    }

    /// Sends the frames that are due. Frames that the path's first queue has no room for are lost.
    fn send_until(&self, stop: &AtomicBool, period: Duration) -> std::io::Result<u64> {
        process::minimize_timer_slack();
        let begun = Instant::now();
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            let due = begun.elapsed().as_nanos() / period.as_nanos().max(1);
            let count = usize::try_from(due.saturating_sub(sent)).unwrap_or(raw_socket::BATCH);
            if count == 0 {
                thread::sleep(period);
                continue;
            }
            let count = count.min(raw_socket::BATCH);
            raw_socket::send(self.socket.as_fd(), &self.frame, count)?;
            sent += count as u128;
        }
        Ok(u64::try_from(sent).unwrap_or(u64::MAX))
    }
}

/// Bytes of the shortest frame, without its FCS.
const FRAME_LEN: usize = 60;
