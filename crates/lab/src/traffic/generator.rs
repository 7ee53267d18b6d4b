//! [`Generator`]: sends frames from one packet socket, at a rate or as fast as possible.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Duration;

use umacvlan_sys::process;
use umacvlan_sys::tx_batch::{TX_BATCH, TxBatch};

use super::frame::{FRAME_MAX, Stream, Tag};
use super::schedule::Schedule;
use super::{Rate, now};

/// The generator's counters of one trial.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Frames that the rate demands; equal to `offered` without a rate.
    pub intended: u64,
    /// Frames passed to the kernel.
    pub offered: u64,
    /// Of those, frames that the path's first queue had no room for. They count as lost.
    pub refused: u64,
    /// The time from the first frame's due time until the last frame was offered.
    pub took: Duration,
    /// The longest delay of a frame after its due time.
    pub late: Duration,
    /// The mean deviation of the distance between two frames from the distance at this rate: how
    /// precise the generator is. Zero without a rate.
    pub distance_error: Duration,
    /// CPU time of the generator's thread.
    pub time: Duration,
}

/// A packet socket and the frames of one batch.
pub(super) struct Generator {
    socket: OwnedFd,
    calls: TxBatch,
    frames: Box<[[u8; FRAME_MAX]; TX_BATCH]>,
    lens: [usize; TX_BATCH],
}

impl Generator {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            calls: TxBatch::new(),
            frames: Box::new([[0; FRAME_MAX]; TX_BATCH]),
            lens: [0; TX_BATCH],
        }
    }

    /// Sends the frames of one trial during `time`, in nanoseconds of CLOCK_REALTIME.
    pub(super) fn run(
        &mut self,
        stream: &Stream,
        trial: u16,
        rate: Rate,
        time: Range<u64>,
    ) -> io::Result<Sent> {
        let before = process::thread_cpu_time()?;
        // Keeps short sleeps short, as the engine's worker does.
        process::minimize_timer_slack();
        self.frames.iter_mut().for_each(|frame| stream.begin(frame));
        wait_until(time.start);
        let mut sent = match rate {
            Rate::Max => self.send_at_full_speed(stream, trial, time.end)?,
            Rate::Frames(rate) => {
                let length = time.end.saturating_sub(time.start);
                let schedule = Schedule::new(time.start, rate, Duration::from_nanos(length));
                // Some grace time for frames that were delayed.
                self.send_by_schedule(
                    stream,
                    trial,
                    &schedule,
                    time.end + length / GRACE_DIVISOR + GRACE_NANOS,
                )?
            }
        };
        sent.took = Duration::from_nanos(now().saturating_sub(time.start));
        sent.time = process::thread_cpu_time()?.saturating_sub(before);
        Ok(sent)
    }

    /// Sends as fast as possible: every frame is due when it is built.
    fn send_at_full_speed(&mut self, stream: &Stream, trial: u16, end: u64) -> io::Result<Sent> {
        let mut sent = Sent::default();
        let mut next = 0_u32;
        loop {
            let due = now();
            if due >= end {
                sent.intended = sent.offered;
                return Ok(sent);
            }
            for (frame, len) in self.frames.iter_mut().zip(&mut self.lens) {
                *len = stream.write(Tag { trial, number: next, due }, frame);
                next = next.wrapping_add(1);
            }
            if self.offer(TX_BATCH, &mut sent)? > 0 {
                // The queue is full, and its consumer may need this core.
                thread::yield_now();
            }
        }
    }

    /// Sends by the schedule; stops at `end`.
    fn send_by_schedule(
        &mut self,
        stream: &Stream,
        trial: u16,
        schedule: &Schedule,
        end: u64,
    ) -> io::Result<Sent> {
        let mut sent = Sent { intended: schedule.total().into(), ..Sent::default() };
        let (mut next, mut distances) = (0, Distances::new(schedule));
        while next < schedule.total() {
            let time = now();
            if time >= end {
                break;
            }
            let due = schedule.due(time);
            if due == next {
                wait_until(schedule.time_of(next));
                continue;
            }
            let late = Duration::from_nanos(time.saturating_sub(schedule.time_of(next)));
            sent.late = sent.late.max(late);
            let mut count = 0;
            for number in (next..due).take(TX_BATCH) {
                let tag = Tag { trial, number, due: schedule.time_of(number) };
                self.lens[count] = stream.write(tag, &mut self.frames[count]);
                (count, next) = (count + 1, number + 1);
            }
            self.offer(count, &mut sent)?;
            distances.add(time, count);
        }
        sent.distance_error = distances.mean_error();
        Ok(sent)
    }

    /// Passes the first `count` frames to the kernel. Returns how many it refused.
    fn offer(&mut self, count: usize, sent: &mut Sent) -> io::Result<u64> {
        let Self { socket, calls, frames, lens } = self;
        let (mut refused, mut failed) = (0, None);
        let done = calls.send(
            socket.as_fd(),
            count,
            |at| &frames[at][..lens[at]],
            |_, error| match error.raw_os_error() {
                Some(libc::ENOBUFS) => refused += 1,
                _ => failed = Some(io::Error::from(error.kind())),
            },
        );
        refused += (count - done) as u64;
        sent.offered += count as u64;
        sent.refused += refused;
        failed.map_or(Ok(refused), Err)
    }
}

/// The distances between frames, compared with that of a schedule.
struct Distances {
    /// The distance at the rate of the schedule, in nanoseconds.
    asked: u64,
    /// When the last frames were sent.
    last: Option<u64>,
    /// The sum of all deviations, in nanoseconds.
    sum: u64,
    count: u64,
}

impl Distances {
    fn new(schedule: &Schedule) -> Self {
        let asked = schedule.time_of(1).saturating_sub(schedule.time_of(0));
        Self { asked, last: None, sum: 0, count: 0 }
    }

    /// Adds `count` frames that are sent at this time in one call, and so without a distance from
    /// each other.
    fn add(&mut self, time: u64, count: usize) {
        let before = self.last.replace(time);
        let together = (count as u64).saturating_sub(1);
        self.sum += together * self.asked;
        self.count += together;
        if let Some(before) = before {
            self.sum += time.saturating_sub(before).abs_diff(self.asked);
            self.count += 1;
        }
    }

    fn mean_error(&self) -> Duration {
        Duration::from_nanos(self.sum / self.count.max(1))
    }
}

/// Waits until that time: sleeps while it is far away, and yields when it is near.
fn wait_until(time: u64) {
    loop {
        let left = time.saturating_sub(now());
        if left == 0 {
            return;
        }
        match left.checked_sub(WAKE_NANOS) {
            Some(sleep) if sleep > 0 => thread::sleep(Duration::from_nanos(sleep)),
            _ => thread::yield_now(),
        }
    }
}

/// The approximate time to wake up. Sleeps end this much earlier.
const WAKE_NANOS: u64 = 60_000;

/// The grace time of a trial: its length divided by `GRACE_DIVISOR`, plus `GRACE_NANOS`.
const GRACE_DIVISOR: u64 = 10;
const GRACE_NANOS: u64 = 20_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn error(calls: &[(u64, usize)]) -> u64 {
        let schedule = Schedule::new(0, 1e6, Duration::from_secs(1));
        let mut distances = Distances::new(&schedule);
        calls.iter().for_each(|(time, count)| distances.add(*time, *count));
        distances.mean_error().as_nanos().try_into().unwrap()
    }

    #[test]
    fn the_distance_between_frames_is_compared_with_the_schedule() {
        assert_eq!(error(&[(0, 1), (1000, 1), (2000, 1)]), 0);
        assert_eq!(error(&[(0, 1), (1200, 1), (2000, 1)]), 200);
        assert_eq!(error(&[(0, 1), (2000, 2)]), 1000, "two at once are no distance apart");
        assert_eq!(error(&[(0, 1)]), 0);
    }
}
