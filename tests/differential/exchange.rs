//! Sends frames into a network and reads every frame that results.
//!
//! When a frame may rightly go nowhere, silence proves nothing. So markers follow the frames on
//! every way that keeps its order, and only what came before them counts:
//!
//! 1. The host and each sub-interface that is up send a frame to an unused address. In every mode
//!    it goes to the wire, behind all earlier frames of its sender.
//! 2. When these are there, a broadcast from the wire: the host and every sub-interface that hears
//!    broadcasts get it, behind all unicast and behind all floods, which keep their order whether
//!    they wait (in the kernel's work queue, or the engine's) or not. A source sub-interface gets
//!    one with a source address on its list, or, if the list is empty, its own, returned.
//! 3. The same again: what the kernel makes while it handles a frame waits behind what was there,
//!    and the second round behind that.
//! 4. The engine is asked whether everything is accounted for, which also ends its turn.
//!
//! The thread keeps to one core, or frames in the kernel's per-core queues could overtake.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::{Duration, Instant};

use umacvlan_core::frame::{HEADER_LEN, TAG_LEN};
use umacvlan_core::{MacAddr, Mode};
use umacvlan_sys::poll::{self, Interest};

use crate::end::End;
use crate::frames::describe;
use crate::model::State;
use crate::network::{Driver, MARKER, Network};

/// A place where frames come in, or go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Host,
    Sub(usize),
    Wire,
}

/// A frame to send.
#[derive(Clone, Debug)]
pub(crate) struct TestFrame {
    pub(crate) origin: Place,
    pub(crate) bytes: Vec<u8>,
}

/// The result of a batch.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// By frame: the errno with which the kernel did not even send it.
    pub(crate) refused: Vec<Option<i32>>,
    pub(crate) deliveries: Vec<Delivery>,
}

/// A frame that a place received.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) place: Place,
    pub(crate) bytes: Vec<u8>,
    /// `PACKET_HOST` and so on.
    pub(crate) kind: u8,
}

/// Markers that have not arrived yet: receiver, sender, and how they were sent.
type Missing = BTreeMap<(Place, Place), TestFrame>;

/// Sends the frames in order; `state` is the network's. Returns an error message if markers do not
/// arrive. It is done again if the kernel has lost frames meanwhile, whosever they were.
pub(crate) fn exchange(
    network: &Network,
    frames: &[TestFrame],
    state: &State,
) -> Result<Outcome, String> {
    for _ in 1..ATTEMPTS {
        let before = backlog_drops();
        let outcome = attempt(network, frames, state);
        if backlog_drops() == before {
            return outcome;
        }
        // Whatever has arrived since is of no use.
        drain(network, &mut Outcome::default(), &mut Missing::new());
    }
    attempt(network, frames, state)
}

fn attempt(network: &Network, frames: &[TestFrame], state: &State) -> Result<Outcome, String> {
    let mut outcome = Outcome::default();
    for (number, frame) in frames.iter().enumerate() {
        let sent = match end(network, frame.origin) {
            // A guest does not send it, and a program may, as with macvtap.
            End::Program(_) if is_too_long(frame, state) => Err(libc::EMSGSIZE),
            end => end.send(&frame.bytes),
        };
        outcome.refused.push(sent.err());
        if number % UNREAD == UNREAD - 1 {
            drain(network, &mut outcome, &mut Missing::new());
        }
    }
    let mut missing = Missing::new();
    for origin in senders(state) {
        let mark = mark(network, origin, origin, NOBODY, MARK_MAC);
        missing.insert((Place::Wire, origin), mark);
    }
    collect(network, missing, &mut outcome, state)?;
    for _ in 0..2 {
        let missing = mark_from_wire(network, state);
        collect(network, missing, &mut outcome, state)?;
    }
    if let Driver::Engine(engine) = &network.driver {
        let started = Instant::now();
        while !engine.is_at_rest() {
            if started.elapsed() > PATIENCE {
                return Err(format!("no rest: {:#?}", engine.status().counters));
            }
        }
        drain(network, &mut outcome, &mut Missing::new());
    }
    Ok(outcome)
}

/// Frames that the queues of the processors had no room for, in any namespace: the kernel may have some
/// thousand frames for one core at a time when other tests run (`softnet_stat`, the second column).
fn backlog_drops() -> u64 {
    let text = std::fs::read_to_string("/proc/net/softnet_stat").unwrap_or_default();
    let dropped = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    text.lines().filter_map(dropped).sum()
}

/// True for a frame that is longer than the MTU of its sub-interface allows. A packet socket refuses it.
fn is_too_long(frame: &TestFrame, state: &State) -> bool {
    let Place::Sub(at) = frame.origin else {
        return false;
    };
    let tag = if frame.bytes.get(12..14) == Some(&[0x81, 0]) { TAG_LEN } else { 0 };
    frame.bytes.len() > state.subs[at].mtu as usize + HEADER_LEN + tag
}

fn senders(state: &State) -> impl Iterator<Item = Place> {
    let subs = state.subs.iter().enumerate();
    let up = subs.filter(|(_, sub)| sub.up).map(|(at, _)| Place::Sub(at));
    up.chain([Place::Host])
}

/// Sends markers from the wire, and returns the expected markers of each receiver.
fn mark_from_wire(network: &Network, state: &State) -> Missing {
    let mut missing = Missing::new();
    let all = MacAddr::BROADCAST;
    let general = mark(network, Place::Wire, Place::Wire, all, MARK_MAC);
    if !network.stack.is_empty() {
        missing.insert((Place::Host, Place::Wire), general.clone());
    }
    for (at, sub) in state.subs.iter().enumerate().filter(|(_, sub)| sub.up) {
        let place = Place::Sub(at);
        if sub.mode != Mode::Source {
            missing.insert((place, Place::Wire), general.clone());
            continue;
        }
        let src = match sub.sources.first() {
            Some(&listed) => listed,
            None if !state.is_taken_by_list(sub.mac) => sub.mac,
            // No frame can reach it.
            None => continue,
        };
        let mark = mark(network, Place::Wire, place, all, src);
        missing.insert((place, place), mark);
    }
    missing
}

/// Sends a marker from `origin` that carries `name`, and returns it.
fn mark(network: &Network, origin: Place, name: Place, dst: MacAddr, src: MacAddr) -> TestFrame {
    let mut bytes = [dst.octets(), src.octets()].concat();
    bytes.extend(MARKER.to_be_bytes());
    bytes.push(match name {
        Place::Host => 0xfe,
        Place::Sub(at) => u8::try_from(at).expect("there are few"),
        Place::Wire => 0xff,
    });
    bytes.resize(60, 0);
    let sent = end(network, origin).send(&bytes);
    assert_eq!(sent, Ok(()), "a marker from {origin:?}");
    TestFrame { origin, bytes }
}

/// The name on a marker, if it is one.
fn read_mark(bytes: &[u8]) -> Option<Place> {
    if bytes.get(12..14)? != MARKER.to_be_bytes() {
        return None;
    }
    Some(match *bytes.get(14)? {
        0xfe => Place::Host,
        0xff => Place::Wire,
        at => Place::Sub(usize::from(at)),
    })
}

/// Reads until no marker is missing, and then the frames that are still queued.
fn collect(
    network: &Network,
    mut missing: Missing,
    outcome: &mut Outcome,
    state: &State,
) -> Result<(), String> {
    let started = Instant::now();
    while !missing.is_empty() {
        let left = PATIENCE.saturating_sub(started.elapsed());
        let ends = places(network).map(|(_, end)| Interest::readable(end.fd()));
        poll::wait(&mut ends.collect::<Vec<_>>(), left).unwrap();
        drain(network, outcome, &mut missing);
        // The time is read before the last look, so that a test that was stopped meanwhile goes on.
        if left.is_zero() && !missing.is_empty() {
            return Err(loss(network, &missing, state));
        }
    }
    drain(network, outcome, &mut missing);
    Ok(())
}

/// The error message for missing markers: each of them is a minimal frame.
fn loss(network: &Network, missing: &Missing, state: &State) -> String {
    let mut text = format!("lost by {}", network.driver.name());
    for ((to, _), mark) in missing {
        let to = Named { place: *to, state };
        let _ = write!(text, "\n- on its way to {to}: {}", describe(mark, state));
    }
    text
}

fn drain(network: &Network, outcome: &mut Outcome, missing: &mut Missing) {
    for (place, end) in places(network) {
        while let Some((bytes, kind)) = end.recv() {
            if let Some(name) = read_mark(&bytes) {
                missing.remove(&(place, name));
                continue;
            }
            outcome.deliveries.push(Delivery { place, bytes, kind });
        }
    }
}

fn places(network: &Network) -> impl Iterator<Item = (Place, End<'_>)> {
    let subs = network.subs.iter().enumerate();
    let subs = subs.map(|(at, sub)| (Place::Sub(at), sub.end()));
    let stack = network.stack.iter().map(|socket| (Place::Host, End::Socket(socket)));
    subs.chain(stack).chain([(Place::Wire, End::Socket(&network.wire))])
}

fn end(network: &Network, place: Place) -> End<'_> {
    match place {
        Place::Host => End::Socket(&network.host),
        Place::Sub(at) => network.subs[at].end(),
        Place::Wire => End::Socket(&network.wire),
    }
}

/// A place as text for the report.
pub(crate) struct Named<'s> {
    pub(crate) place: Place,
    pub(crate) state: &'s State,
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Host => f.write_str("the host"),
            Place::Sub(at) => {
                let sub = &self.state.subs[at];
                write!(f, "{} ({})", sub.name, sub.mode)
            }
            Place::Wire => f.write_str("the wire"),
        }
    }
}

/// The source of markers, on no list.
const MARK_MAC: MacAddr = MacAddr::new([2, 0xfe, 0, 0, 0, 1]);

/// An address that no interface has.
const NOBODY: MacAddr = MacAddr::new([2, 0xfe, 0, 0, 0, 2]);

/// Frames that are sent before everybody reads: fewer than the ring of a program has room for.
const UNREAD: usize = 64;

/// How often frames are sent again that the kernel may have lost.
const ATTEMPTS: usize = 10;

/// Limit of the wait for markers.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
