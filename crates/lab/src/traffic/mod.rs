//! Traffic of our own: a generator, a receiver that verifies every byte, and what both of them
//! counted.
//!
//! [`Kind::Frames`] go through packet sockets at both ends, so no network stack is part of what is
//! measured. The time of arrival is the kernel's, taken when the frame reached the stack of its
//! destination: when the receiver gets to read it is no matter of the path. [`Kind::Datagrams`]
//! leave in the same way, and are read by a program from a UDP socket.

mod frame;
mod generator;
mod receiver;
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
use umacvlan_sys::blast;
use umacvlan_sys::capture::Capture;
use umacvlan_sys::datagrams::Datagrams;

pub use frame::{Sizes, Wrong};
pub use generator::Sent;
pub use receiver::Received;
pub use sequence_tracker::Tally;
pub use storm::Storm;

use crate::error::{Doing, Result};
use crate::measure::{join, pin};
use crate::station::Station;
use frame::{ETHERTYPE, PORT, Stream};
use generator::Generator;
use receiver::{Ear, Receiver, Watched};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Frames of an EtherType that no stack listens to.
    Frames,
    /// UDP datagrams to a socket, which is a program's: without offloads of any kind.
    Datagrams,
}

/// How fast frames are offered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// As fast as one core can.
    Max,
    /// So many in a second, at even distances.
    Frames(f64),
}

/// How a trial is run.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How fast.
    pub rate: Rate,
    /// The length of frames.
    pub sizes: Sizes,
    /// For how long at first nothing counts for rate and latency.
    pub warm_up: Duration,
    /// For how long then.
    pub time: Duration,
}

/// What came of a trial.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Of the generator.
    pub sent: Sent,
    /// Of the receiver.
    pub received: Received,
    /// The time that rate and latency are of.
    pub window: Duration,
}

impl Outcome {
    /// Frames per second at the destination that was given the least.
    pub fn rate(&self) -> f64 {
        let timely = self.received.tallies.iter().map(|tally| tally.timely).min();
        timely.unwrap_or(0) as f64 / self.window.as_secs_f64()
    }

    /// Frames that did not reach the destination that was given the least, but for those that
    /// only the receiver missed.
    pub fn lost(&self) -> u64 {
        let received = self.received.tallies.iter().map(|tally| tally.received).min();
        self.sent.offered.saturating_sub(received.unwrap_or(0) + self.received.drops)
    }

    /// The part of the frames that was lost, 0 to 1.
    pub fn loss_ratio(&self) -> f64 {
        self.lost() as f64 / self.sent.offered.max(1) as f64
    }
}

/// Instruments at both ends of a path, for one trial after another.
pub struct Instruments {
    from: MacAddr,
    to: MacAddr,
    ips: Option<(Ipv4Addr, Ipv4Addr)>,
    flows: u16,
    generator: Generator,
    receiver: Receiver,
    /// A socket at each destination, to tell the switches on the way where it is.
    voices: Vec<(OwnedFd, MacAddr)>,
    cores: Option<(CoreId, CoreId)>,
    trial: u16,
    doing: String,
}

impl std::fmt::Debug for Instruments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Instruments").field(&self.doing).finish()
    }
}

impl Instruments {
    /// Sets up a generator at `from` and a receiver for all of `to`: one destination of unicast,
    /// or several of broadcast frames. The threads of the two ends run on `cores`, if given.
    ///
    /// # Errors
    /// A socket or the memory of its ring is refused.
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
        let doing = format!("frames from {} to {}", from.member, ends.join(", "));
        let (mut ears, mut voices) = (Vec::new(), Vec::new());
        for station in to {
            ears.push(match kind {
                Kind::Frames => Ear::Ring(on(station, |index| Capture::open(index, ETHERTYPE))?),
                Kind::Datagrams => {
                    let address = (station.member.ip(), PORT).into();
                    Ear::Socket(on(station, |_| Datagrams::open(address))?)
                }
            });
            voices.push((on(station, |index| blast::open(index, 0))?, station.mac));
        }
        let generator = Generator::new(on(from, |index| blast::open(index, 0))?);
        let pair = to.first().map(|to| (from.member.ip(), to.member.ip()));
        Ok(Self {
            from: from.mac,
            to: target,
            ips: pair.filter(|_| kind == Kind::Datagrams),
            flows: 1,
            generator,
            receiver: Receiver(ears),
            voices,
            cores,
            trial: 0,
            doing,
        })
    }

    /// Sends to everybody, also if there is only one destination.
    #[must_use]
    pub fn to_everybody(self) -> Self {
        Self { to: MacAddr::BROADCAST, ..self }
    }

    /// From now on the datagrams come from so many ports in turn, at least one, and are in order if
    /// those of each port are.
    pub fn spread(&mut self, flows: u16) {
        self.flows = flows.max(1);
    }

    /// Runs one trial.
    ///
    /// # Errors
    /// A frame came that was not as it was sent, or to whom it was not sent: how fast it came is
    /// then of no interest. Or a socket failed.
    pub fn run(&mut self, load: Load) -> Result<Outcome> {
        let doing = self.doing.clone();
        self.try_run(load).doing(|| doing)
    }

    fn try_run(&mut self, load: Load) -> io::Result<Outcome> {
        self.announce()?;
        self.receiver.clear()?;
        self.trial = self.trial.wrapping_add(1);
        let Self { from, to, ips, flows, .. } = *self;
        let stream = Stream { from, to, sizes: load.sizes, ips, flows };
        let start = now() + nanos(LEAD);
        let window = start + nanos(load.warm_up)..start + nanos(load.warm_up + load.time);
        let tally = Tally::new(stream, self.trial, window.clone());
        let (watched, trial) = (Watched::default(), self.trial);
        let (here, there) = self.cores.unzip();
        let Self { generator, receiver, .. } = self;
        let (sent, received) = thread::scope(|scope| {
            let receiving = scope.spawn(|| {
                pin(there);
                receiver.run(&tally, &watched)
            });
            let sending = scope.spawn(|| {
                pin(here);
                generator.run(&stream, trial, load.rate, start..window.end)
            });
            let sent = join(sending);
            if let Ok(sent) = &sent {
                await_rest(sent, &watched);
            }
            watched.stop.store(true, Ordering::Relaxed);
            (sent, join(receiving))
        });
        let (sent, received) = (sent?, received?);
        match received.tallies.iter().find_map(|tally| tally.wrong) {
            Some(wrong) => Err(io::Error::other(wrong)),
            None => Ok(Outcome { sent, received, window: load.time }),
        }
    }

    /// Has every destination send a frame, so that a switch need not flood what is sent there.
    fn announce(&self) -> io::Result<()> {
        for (socket, mac) in &self.voices {
            let mut frame = [0; 60];
            frame[..6].copy_from_slice(&MacAddr::BROADCAST.octets());
            frame[6..12].copy_from_slice(&mac.octets());
            frame[12..14].copy_from_slice(&ANNOUNCEMENT.to_be_bytes());
            blast::send(socket.as_fd(), &frame, 1)?;
        }
        Ok(())
    }
}

/// Opens something in a station's namespace, on its interface.
fn on<T: Send>(station: &Station<'_>, open: impl FnOnce(u32) -> io::Result<T> + Send) -> Result<T> {
    let member = station.member;
    let doing = || format!("opening an instrument at {member}");
    let opened = station.netns.run(|| open(blast::index_of(member.interface())?));
    opened.doing(doing)?.doing(doing)
}

/// Waits until every frame has come, or none came for a while.
fn await_rest(sent: &Sent, watched: &Watched) {
    let mut before = None;
    loop {
        let frames = watched.frames.load(Ordering::Relaxed);
        if frames >= sent.offered - sent.refused || before == Some(frames) {
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

/// A path from which nothing came for so long is empty. Longer than the receiver's ring keeps a
/// block, and than any of the paths keeps a frame.
const QUIET: Duration = Duration::from_millis(20);

/// The second EtherType that IEEE 802 keeps free for experiments.
const ANNOUNCEMENT: u16 = 0x88b6;

#[cfg(test)]
mod tests;
