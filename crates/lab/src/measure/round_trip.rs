//! Round trips: one UDP request, one answer, then the next request.

use std::io;
use std::net::{Shutdown, UdpSocket};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use umacvlan_sys::process;

use super::{Path, Result};
use crate::threads::{join, pin};

/// The times of many round trips.
#[derive(Clone, Debug)]
pub struct RoundTrips {
    /// Nanoseconds, ascending.
    sorted: Vec<u32>,
    /// Requests without an answer.
    pub lost: u32,
}

impl RoundTrips {
    /// The time that `percent` of the round trips did not exceed; without any, the time after which
    /// an answer counts as lost.
    ///
    /// # Panics
    /// `percent` is more than 100.
    pub fn percentile(&self, percent: u8) -> Duration {
        assert!(percent <= 100, "{percent} percent");
        let rank = (self.sorted.len() * usize::from(percent)).div_ceil(100);
        let nanos = self.sorted.get(rank.saturating_sub(1));
        nanos.map_or(STRAGGLER_TIMEOUT, |&nanos| Duration::from_nanos(nanos.into()))
    }

    /// How many requests were answered; at least one, unless they were
    /// [spaced](spaced_round_trips).
    pub fn count(&self) -> usize {
        self.sorted.len()
    }
}

/// Sends requests back to back along `path` for `time`, after a warm-up of a quarter of that.
///
/// # Errors
/// No answer arrived at all, or a socket cannot be opened or used.
pub fn round_trips(path: Path<'_, '_>, time: Duration) -> Result<RoundTrips> {
    connect(path)
        .and_then(|(asker, answerer)| run(path, &asker, &answerer, time))
        .map_err(|e| path.failed("round trips", e))
}

fn run(
    path: Path<'_, '_>,
    asker: &UdpSocket,
    answerer: &UdpSocket,
    time: Duration,
) -> io::Result<RoundTrips> {
    let (here, there) = path.cores.unzip();
    thread::scope(|scope| {
        let answering = scope.spawn(move || {
            pin(there);
            answer(answerer)
        });
        let asking = scope.spawn(move || {
            pin(here);
            // The warm-up may stay unanswered while the path is being set up.
            let _ = ask(asker, time / 4);
            ask(asker, time)
        });
        let asked = join(asking);
        // Wakes the other end with an empty read. The kernel reports "not connected" but wakes it
        // anyway (inet_shutdown in net/ipv4/af_inet.c).
        let _ = socket2::SockRef::from(answerer).shutdown(Shutdown::Both);
        join(answering)?;
        asked
    })
}

/// Sends a request along `path` every `period` for `time`, whether or not those before have been
/// answered. An answer that takes longer than a second after the last request is lost; without any
/// answer this is no error.
///
/// # Errors
/// A socket cannot be opened or used.
pub fn spaced_round_trips(
    path: Path<'_, '_>,
    period: Duration,
    time: Duration,
) -> Result<RoundTrips> {
    connect(path)
        .and_then(|(asker, answerer)| run_spaced(&asker, &answerer, period, time))
        .map_err(|e| path.failed("round trips", e))
}

fn run_spaced(
    asker: &UdpSocket,
    answerer: &UdpSocket,
    period: Duration,
    time: Duration,
) -> io::Result<RoundTrips> {
    let begun = Instant::now();
    let ended = OnceLock::new();
    thread::scope(|scope| {
        let answering = scope.spawn(|| answer(answerer));
        let collecting = scope.spawn(|| collect(asker, begun, &ended));
        process::minimize_timer_slack();
        let (mut sent, mut due) = (0, begun);
        let mut asked = Ok(());
        while asked.is_ok() && due < begun + time {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let request = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            asked = asker.send(&request.to_be_bytes()).map(drop);
            sent += 1;
            due += period;
        }
        let _ = ended.set((Instant::now(), sent));
        let collected = join(collecting);
        let _ = socket2::SockRef::from(answerer).shutdown(Shutdown::Both);
        join(answering)?;
        asked?;
        let mut nanos = collected?;
        nanos.sort_unstable();
        let answered = u32::try_from(nanos.len()).unwrap_or(u32::MAX);
        Ok(RoundTrips { sorted: nanos, lost: sent - answered })
    })
}

/// The nanoseconds of each answered request. `ended` gets the time and the number of the last
/// request.
fn collect(
    asker: &UdpSocket,
    begun: Instant,
    ended: &OnceLock<(Instant, u32)>,
) -> io::Result<Vec<u32>> {
    let mut nanos = Vec::with_capacity(1 << 16);
    let mut answer = [0; REQUEST_LEN];
    loop {
        match asker.recv(&mut answer) {
            Ok(_) => {
                let sent = u128::from(u64::from_be_bytes(answer));
                let took = begun.elapsed().as_nanos().saturating_sub(sent);
                nanos.push(u32::try_from(took).unwrap_or(u32::MAX));
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
        if let Some((last, sent)) = ended.get()
            && (nanos.len() >= *sent as usize || last.elapsed() > STRAGGLER_TIMEOUT)
        {
            return Ok(nanos);
        }
    }
}

fn answer(socket: &UdpSocket) -> io::Result<()> {
    let mut bytes = [0; REQUEST_LEN];
    loop {
        match socket.recv(&mut bytes)? {
            0 => return Ok(()),
            length => socket.send(&bytes[..length])?,
        };
    }
}

fn ask(socket: &UdpSocket, time: Duration) -> io::Result<RoundTrips> {
    let mut nanos = Vec::with_capacity(1 << 16);
    let mut lost = 0;
    let begun = Instant::now();
    let mut sent = begun;
    while sent - begun < time {
        // A late answer to an earlier request carries an earlier time.
        let request = u64::try_from((sent - begun).as_nanos()).unwrap_or(u64::MAX).to_be_bytes();
        socket.send(&request)?;
        let answered = await_answer(socket, request)?;
        let now = Instant::now();
        if answered {
            nanos.push(u32::try_from((now - sent).as_nanos()).unwrap_or(u32::MAX));
        } else {
            lost += 1;
        }
        sent = now;
    }
    if nanos.is_empty() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    nanos.sort_unstable();
    Ok(RoundTrips { sorted: nanos, lost })
}

/// True if the answer to `request` arrived within [`ANSWER_TIMEOUT`].
fn await_answer(socket: &UdpSocket, request: [u8; REQUEST_LEN]) -> io::Result<bool> {
    let mut answer = [0; REQUEST_LEN];
    loop {
        match socket.recv(&mut answer) {
            Ok(_) if answer == request => return Ok(true),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(e) => return Err(e),
        }
    }
}

/// The two ends of `path`, connected to each other.
fn connect(path: Path<'_, '_>) -> io::Result<(UdpSocket, UdpSocket)> {
    let (from, to) = (path.from.member.ip(), path.to.member.ip());
    let asker = path.from.netns.run(|| UdpSocket::bind((from, 0)))??;
    let answerer = path.to.netns.run(|| UdpSocket::bind((to, 0)))??;
    asker.connect(answerer.local_addr()?)?;
    answerer.connect(asker.local_addr()?)?;
    asker.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    Ok((asker, answerer))
}

/// Bytes of a request and of its answer.
const REQUEST_LEN: usize = 8;

/// The time after which an answer counts as lost.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(100);

/// The same for answers to [spaced](spaced_round_trips) requests, after the last of them.
const STRAGGLER_TIMEOUT: Duration = Duration::from_secs(1);
