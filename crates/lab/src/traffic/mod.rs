//! Generated traffic: a generator, a receiver that verifies every byte, and their counters.
//!
//! [`Kind::Frames`] use packet sockets at both ends, so no network stack is part of the
//! measurement. The arrival time is the kernel's timestamp, taken when the frame reaches the
//! destination's stack: the time until the receiver reads it does not count. [`Kind::Datagrams`]
//! are sent in the same way, and read from a UDP socket.

mod flood;
mod frame;
mod generator;
mod rx_thread;
mod schedule;
mod sequence_tracker;
mod storm;

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, SystemTime};

use core_affinity::CoreId;
use umacvlan_core::MacAddr;
use umacvlan_sys::raw_socket;
use umacvlan_sys::timestamp_ring::TimestampRing;
use umacvlan_sys::udp_batch::UdpBatch;

pub use flood::{Flood, FloodKind};
pub use frame::{BadFrame, Sizes};
pub use generator::Sent;
pub use rx_thread::Received;
pub use sequence_tracker::SequenceTracker;
pub use storm::Storm;

use crate::error::{Context, Result};
use crate::station::Station;
use crate::threads::{join, pin};
use frame::{ETHERTYPE, PORT, Stream};
use generator::Generator;
use rx_thread::{RxProgress, RxSocket, RxThread};

/// The kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Frames of an EtherType that no stack handles.
    Frames,
    /// UDP datagrams to an ordinary socket, without offloads.
    Datagrams,
}

/// How fast frames are offered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// As fast as one core can send.
    Max,
    /// This many per second, evenly spaced.
    Frames(f64),
}

/// The parameters of a trial.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The sending rate.
    pub rate: Rate,
    /// The lengths of the frames.
    pub sizes: Sizes,
    /// The time before the measurement, in which frames do not count for rate and latency.
    pub warm_up: Duration,
    /// The measured time after it.
    pub time: Duration,
}

/// The result of a trial.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The generator's counters.
    pub sent: Sent,
    /// The receiver's counters.
    pub received: Received,
    /// The measured time.
    pub window: Duration,
}

impl Outcome {
    /// Frames per second at the destination that received the fewest.
    pub fn rate(&self) -> f64 {
        let timely = self.received.trackers.iter().map(|tracker| tracker.timely).min();
        timely.unwrap_or(0) as f64 / self.window.as_secs_f64()
    }

    /// Frames that did not reach the destination that received the fewest. Frames that only the
    /// receiver dropped do not count.
    pub fn lost(&self) -> u64 {
        let received = self.received.trackers.iter().map(|tracker| tracker.received).min();
        self.sent.offered.saturating_sub(received.unwrap_or(0) + self.received.drops)
    }

    /// The ratio of lost to offered frames, 0 to 1.
    pub fn loss_ratio(&self) -> f64 {
        self.lost() as f64 / self.sent.offered.max(1) as f64
    }
}

/// A generator and a receiver at the ends of a path, for one trial after another.
pub struct Instruments {
    from: MacAddr,
    to: MacAddr,
    ips: Option<(Ipv4Addr, Ipv4Addr)>,
    flows: u16,
    generator: Generator,
    receiver: RxThread,
    /// A socket and MAC address at each destination, which switches on the path learn from.
    announcers: Vec<(OwnedFd, MacAddr)>,
    cores: Option<(CoreId, CoreId)>,
    trial: u16,
    context: String,
}

impl std::fmt::Debug for Instruments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Instruments").field(&self.context).finish()
    }
}

impl Instruments {
    /// Opens a generator at `from` and a receiver for all of `to`: one destination of unicast
    /// frames, or several of broadcast frames. The threads of the two ends run on `cores`, if
    /// given.
    ///
    /// # Errors
    /// The kernel refuses a socket or the memory of its ring.
    pub fn open(
        from: &Station<'_>,
        to: &[Station<'_>],
        kind: Kind,
        cores: Option<(CoreId, CoreId)>,
    ) -> Result<Self> {
        let target = match to {
            [one] => one.mac,
            _ => MacAddr::BROADCAST,
        };
        let ends: Vec<_> = to.iter().map(|station| station.member.to_string()).collect();
        let context = format!("frames from {} to {}", from.member, ends.join(", "));
        let (mut sockets, mut announcers) = (Vec::new(), Vec::new());
        for station in to {
            sockets.push(match kind {
                Kind::Frames => {
                    RxSocket::Ring(open_at(station, |index| TimestampRing::open(index, ETHERTYPE))?)
                }
                Kind::Datagrams => {
                    let address = (station.member.ip(), PORT).into();
                    RxSocket::Socket(open_at(station, |_| UdpBatch::open(address))?)
                }
            });
            announcers.push((open_at(station, |index| raw_socket::open(index, 0))?, station.mac));
        }
        let generator = Generator::new(open_at(from, |index| raw_socket::open(index, 0))?);
        let pair = to.first().map(|to| (from.member.ip(), to.member.ip()));
        Ok(Self {
            from: from.mac,
            to: target,
            ips: pair.filter(|_| kind == Kind::Datagrams),
            flows: 1,
            generator,
            receiver: RxThread(sockets),
            announcers,
            cores,
            trial: 0,
            context,
        })
    }

    /// Sends broadcast frames even if there is only one destination.
    #[must_use]
    pub fn to_broadcast(self) -> Self {
        Self { to: MacAddr::BROADCAST, ..self }
    }

    /// Sends datagrams from this many source ports in turn, at least one. The order is checked for
    /// each port.
    pub fn set_flows(&mut self, flows: u16) {
        self.flows = flows.max(1);
    }

    /// Runs one trial.
    ///
    /// # Errors
    /// A frame arrived altered or at the wrong destination, which makes the rates meaningless, or a
    /// socket failed.
    pub fn run(&mut self, load: Load) -> Result<Outcome> {
        let context = self.context.clone();
        self.try_run(load).context(|| context)
    }

    fn try_run(&mut self, load: Load) -> io::Result<Outcome> {
        self.announce()?;
        self.receiver.clear()?;
        self.trial = self.trial.wrapping_add(1);
        let Self { from, to, ips, flows, .. } = *self;
        let stream = Stream { from, to, sizes: load.sizes, ips, flows };
        let start = now() + nanos(LEAD);
        let window = start + nanos(load.warm_up)..start + nanos(load.warm_up + load.time);
        let tracker = SequenceTracker::new(stream, self.trial, window.clone());
        let (progress, trial) = (RxProgress::default(), self.trial);
        let destinations = self.announcers.len() as u64;
        let (here, there) = self.cores.unzip();
        let Self { generator, receiver, .. } = self;
        let (sent, received) = thread::scope(|scope| {
            let receiving = scope.spawn(|| {
                pin(there);
                receiver.run(&tracker, &progress)
            });
            let sending = scope.spawn(|| {
                pin(here);
                generator.run(&stream, trial, load.rate, start..window.end)
            });
            let sent = join(sending);
            if let Ok(sent) = &sent {
                await_rest((sent.offered - sent.refused) * destinations, &progress);
            }
            progress.stop.store(true, Ordering::Relaxed);
            (sent, join(receiving))
        });
        let (sent, received) = (sent?, received?);
        match received.trackers.iter().find_map(|tracker| tracker.bad_frame) {
            Some(bad) => Err(io::Error::other(bad)),
            None => Ok(Outcome { sent, received, window: load.time }),
        }
    }

    /// Sends a frame from every destination, so that switches learn its address and do not flood.
    fn announce(&self) -> io::Result<()> {
        for (socket, mac) in &self.announcers {
            let mut frame = [0; 60];
            frame[..6].copy_from_slice(&MacAddr::BROADCAST.octets());
            frame[6..12].copy_from_slice(&mac.octets());
            frame[12..14].copy_from_slice(&ANNOUNCEMENT.to_be_bytes());
            raw_socket::send(socket.as_fd(), &frame, 1)?;
        }
        Ok(())
    }
}

/// Opens a socket in a station's namespace, on its interface.
fn open_at<T: Send>(
    station: &Station<'_>,
    open: impl FnOnce(u32) -> io::Result<T> + Send,
) -> Result<T> {
    let member = station.member;
    let context = || format!("opening an instrument at {member}");
    let opened = station.netns.run(|| open(raw_socket::index_of(member.interface_name())?));
    opened.context(context)?.context(context)
}

/// Waits until this many frames have arrived, or none arrived for [`QUIET`].
fn await_rest(expected: u64, progress: &RxProgress) {
    let mut before = None;
    loop {
        let frames = progress.frames.load(Ordering::Relaxed);
        if frames >= expected || before == Some(frames) {
            return;
        }
        before = Some(frames);
        thread::sleep(QUIET);
    }
}

/// Nanoseconds of CLOCK_REALTIME, the clock of arrival times.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, nanos)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// From the start of the threads to the first frame.
const LEAD: Duration = Duration::from_millis(1);

/// A path that delivered nothing for this long is empty. Longer than the receiver's ring holds a
/// block and than any path holds a frame.
const QUIET: Duration = Duration::from_millis(20);

/// The second EtherType that IEEE 802 keeps free for experiments.
const ANNOUNCEMENT: u16 = 0x88b6;

#[cfg(test)]
mod tests;
