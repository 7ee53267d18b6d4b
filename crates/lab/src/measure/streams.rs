//! [`Streams`]: several TCP streams at once, beside which something else is measured.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use umacvlan_sys::tcp_info::retransmits;

use super::pattern::{CHUNK, Pattern};
use super::stream::connect;
use super::{Path, Result};
use crate::error::Context;
use crate::threads::join;

/// Connected TCP streams. Every byte of them is verified.
#[derive(Debug)]
pub struct Streams(Vec<Stream>);

/// One stream.
#[derive(Debug)]
struct Stream {
    sender: TcpStream,
    receiver: TcpStream,
    /// Bytes that the receiver has verified.
    received: AtomicU64,
}

/// What one stream did in a time that all of them have in common.
#[derive(Clone, Copy, Debug)]
pub struct StreamWindow {
    /// Bits of payload per second that the receiver read.
    pub bits_per_second: f64,
    /// Segments that the sender sent again.
    pub retransmits: u32,
}

impl Streams {
    /// Connects a stream along each of these paths, whose cores are not used. `congestion` names the
    /// congestion control of all; `None` leaves the system's.
    ///
    /// # Errors
    /// The kernel lacks this congestion control, or a connection is not established in time.
    pub fn connect<'s, 'n: 's>(
        paths: impl IntoIterator<Item = Path<'s, 'n>>,
        congestion: Option<&str>,
    ) -> Result<Self> {
        let stream = |path: Path<'_, '_>| {
            let (sender, receiver) =
                connect(path, congestion, PATIENCE).map_err(|e| path.failed("a TCP stream", e))?;
            Ok(Stream { sender, receiver, received: AtomicU64::new(0) })
        };
        paths.into_iter().map(stream).collect::<Result<_>>().map(Self)
    }

    /// Sends as fast as the streams allow: for `warm_up`, and then for `time`, from whose beginning on
    /// `beside` runs. Sending goes on until that has returned too. Returns what each stream did in
    /// `time`, and the result of `beside`.
    ///
    /// # Errors
    /// A stream breaks or stalls, or other bytes arrive than were sent.
    pub fn run_beside<T: Send>(
        &self,
        warm_up: Duration,
        time: Duration,
        beside: impl FnOnce() -> T + Send,
    ) -> Result<(Vec<StreamWindow>, T)> {
        self.run(warm_up, time, beside).context(|| format!("{} TCP streams", self.0.len()))
    }

    fn run<T: Send>(
        &self,
        warm_up: Duration,
        time: Duration,
        beside: impl FnOnce() -> T + Send,
    ) -> io::Result<(Vec<StreamWindow>, T)> {
        let stop = &AtomicBool::new(false);
        thread::scope(|scope| {
            let start = |stream| {
                let sending = scope.spawn(move || Stream::send(stream, stop));
                (sending, scope.spawn(move || Stream::receive(stream)))
            };
            let threads: Vec<_> = self.0.iter().map(start).collect();
            thread::sleep(warm_up);
            // The time includes both looks, so that a pause between the two makes no rate too high.
            let (begun, before) = (Instant::now(), self.progress());
            let beside = scope.spawn(beside);
            thread::sleep(time);
            let (after, took) = (self.progress(), begun.elapsed());
            let done = join(beside);
            // After an error too, because the scope waits for the senders.
            stop.store(true, Ordering::Relaxed);
            for (sending, receiving) in threads {
                let sent = join(sending);
                // The receiver's error comes first: the sender only sees a closed connection.
                join(receiving)?;
                sent?;
            }
            Ok((windows(&before?, &after?, took), done))
        })
    }

    /// The bytes that each receiver has read, and the segments that each sender has sent again.
    fn progress(&self) -> io::Result<Vec<(u64, u32)>> {
        let now = |stream: &Stream| {
            let again = retransmits(stream.sender.as_fd())?;
            Ok((stream.received.load(Ordering::Relaxed), again))
        };
        self.0.iter().map(now).collect()
    }
}

impl Stream {
    fn send(&self, stop: &AtomicBool) -> io::Result<()> {
        let mut sender = &self.sender;
        let mut pattern = Pattern::default();
        while !stop.load(Ordering::Relaxed) {
            let sent = sender.write(pattern.next())?;
            pattern.advance(sent);
        }
        sender.shutdown(std::net::Shutdown::Write)
    }

    /// Receives until the sender has ended. A sender whose receiver fails ends as well.
    fn receive(&self) -> io::Result<()> {
        let verified = self.verify();
        if verified.is_err() {
            let _ = self.receiver.shutdown(std::net::Shutdown::Both);
        }
        verified
    }

    fn verify(&self) -> io::Result<()> {
        let mut receiver = &self.receiver;
        let mut pattern = Pattern::default();
        let mut chunk = vec![0; CHUNK];
        loop {
            let length = receiver.read(&mut chunk)?;
            if length == 0 {
                return Ok(());
            }
            pattern.check(&chunk[..length])?;
            self.received.fetch_add(length as u64, Ordering::Relaxed);
        }
    }
}

/// What each stream did between two looks at all of them.
fn windows(before: &[(u64, u32)], after: &[(u64, u32)], took: Duration) -> Vec<StreamWindow> {
    let window = |(before, after): (&(u64, u32), &(u64, u32))| StreamWindow {
        bits_per_second: (after.0 - before.0) as f64 * 8.0 / took.as_secs_f64(),
        retransmits: after.1 - before.1,
    };
    before.iter().zip(after).map(window).collect()
}

/// The time without progress after which a stream counts as broken: one of several that share a full
/// queue may wait for its retransmission timer more than once.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_the_difference_of_two_looks() {
        let found = windows(&[(1000, 2), (0, 0)], &[(3500, 5), (0, 0)], Duration::from_secs(2));
        let found: Vec<_> = found.iter().map(|it| (it.bits_per_second, it.retransmits)).collect();
        assert_eq!(found, [(10_000.0, 3), (0.0, 0)]);
    }
}
