//! [`Limiter`]: the token buckets of one sub-interface.

use std::time::Duration;

use super::bucket::{Bucket, Moment};
use super::settings::{LimitKind, Limits};
use crate::offload::{VnetHeader, headers_len, segment_count};
use crate::stats::Counters;

/// The burst without a setting, as time of the rate: one hundredth of what passes in a second.
const BURST_TIME: Duration = Duration::from_millis(10);

/// The longest GSO packet that passes whole, as time of the rate.
const LONGEST_TIME: Duration = Duration::from_millis(5);

/// Tokens that a frame which waits does not lose because it is looked at late: a busy machine lets a
/// worker sleep for some milliseconds more than it asked for.
const LATENESS: Duration = Duration::from_millis(50);

/// How long a frame may wait, as time of the rate.
const QUEUE_TIME: Duration = Duration::from_millis(50);

/// Bytes that may wait at least: of less, TCP cannot keep a slow link busy.
const QUEUE_LEAST: u64 = 32 * 1024;

/// Bytes that may wait at most.
const QUEUE_MOST: u64 = 8 * 1024 * 1024;

/// Bytes for which a frame is reckoned where only frames are limited.
const QUEUE_MTU: u64 = 1514;

/// The direction of a frame, as seen by the sub-interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It receives the frame.
    Rx,
    /// It sends the frame.
    Tx,
}

/// The limits of a sub-interface at work. All workers of a parent share it.
#[derive(Debug)]
pub struct Limiter {
    limits: Limits,
    rx: Option<Gate>,
    tx: Option<Gate>,
    groups: Option<Bucket>,
}

impl Limiter {
    /// Full buckets for these limits.
    pub fn new(limits: Limits) -> Self {
        let gate = |rate, burst, pps| {
            let [rate, burst, pps] = [rate, burst, pps].map(|kind| limits.get(kind));
            (rate != 0 || pps != 0).then(|| Gate::new(rate, burst, pps))
        };
        let bcrate = limits.get(LimitKind::Bcrate);
        Self {
            limits,
            rx: gate(LimitKind::RxRate, LimitKind::RxBurst, LimitKind::RxPps),
            tx: gate(LimitKind::TxRate, LimitKind::TxBurst, LimitKind::TxPps),
            // A tenth of a second: ARP and neighbour discovery come in bursts.
            groups: (bcrate != 0).then(|| Bucket::new(bcrate, bcrate / 10)),
        }
    }

    /// Its limits.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The limits of one direction; `None` without one.
    pub const fn gate(&self, direction: Direction) -> Option<&Gate> {
        match direction {
            Direction::Rx => self.rx.as_ref(),
            Direction::Tx => self.tx.as_ref(),
        }
    }

    /// True when what it sends is limited, if only broadcasts.
    pub const fn limits_tx(&self) -> bool {
        self.tx.is_some() || self.groups.is_some()
    }

    /// True when what it receives is limited.
    pub const fn limits_rx(&self) -> bool {
        self.rx.is_some()
    }

    /// Whether it may send a group frame now, which stands for `frames` frames; these are counted then.
    pub fn admits_group(&self, now: Moment, frames: u64) -> bool {
        let Some(bucket) = &self.groups else {
            return true;
        };
        let open = bucket.opens_at() <= now;
        if open {
            bucket.take(now, frames, Duration::ZERO);
        }
        open
    }
}

/// The limits of one direction: bits and frames per second.
#[derive(Debug)]
pub struct Gate {
    bits: Option<Bucket>,
    frames: Option<Bucket>,
    longest: u64,
    queue: u64,
}

impl Gate {
    fn new(rate: u64, burst: u64, pps: u64) -> Self {
        let bytes_in = |time: Duration| {
            let [by_bits, by_frames] = [(rate, rate / 8), (pps, pps * QUEUE_MTU)]
                .map(|(limit, bytes)| if limit == 0 { u64::MAX } else { bytes });
            let bytes = by_bits.min(by_frames);
            u64::try_from(u128::from(bytes) * time.as_micros() / 1_000_000).unwrap_or(u64::MAX)
        };
        let burst = if burst == 0 { bytes_in(BURST_TIME) } else { burst };
        let frames_burst = u64::try_from(u128::from(pps) * BURST_TIME.as_micros() / 1_000_000);
        Self {
            bits: (rate != 0).then(|| Bucket::new(rate, burst.saturating_mul(8))),
            frames: (pps != 0).then(|| Bucket::new(pps, frames_burst.unwrap_or(u64::MAX))),
            longest: bytes_in(LONGEST_TIME),
            queue: bytes_in(QUEUE_TIME).clamp(QUEUE_LEAST, QUEUE_MOST),
        }
    }

    /// Whether a frame passes now; its tokens are taken then. `waited`: it has waited for that.
    pub fn admit(&self, now: Moment, load: Counters, waited: bool) -> bool {
        if self.opens_at() > now {
            return false;
        }
        let waited = if waited { LATENESS } else { Duration::ZERO };
        if let Some(bucket) = &self.bits {
            bucket.take(now, load.bytes.saturating_mul(8), waited);
        }
        if let Some(bucket) = &self.frames {
            bucket.take(now, load.frames, waited);
        }
        true
    }

    /// When the next frame passes.
    pub fn opens_at(&self) -> Moment {
        let moment = |bucket: &Option<Bucket>| bucket.as_ref().map(Bucket::opens_at);
        moment(&self.bits).max(moment(&self.frames)).unwrap_or_default()
    }

    /// The most bytes of a GSO packet that passes whole: those of five milliseconds.
    pub const fn longest(&self) -> u64 {
        self.longest
    }

    /// How many bytes may wait.
    pub const fn queue_bytes(&self) -> u64 {
        self.queue
    }
}

/// The frames on the wire that a frame stands for, and their bytes with the headers of each.
pub fn wire_load(header: VnetHeader, frame: &[u8]) -> Counters {
    let frames = segment_count(header, frame) as u64;
    let len = frame.len() as u64;
    if frames == 1 {
        return Counters { frames, bytes: len };
    }
    let headers = headers_len(header, frame) as u64;
    Counters { frames, bytes: len + (frames - 1) * headers }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(words: &[(&str, &str)]) -> Gate {
        let mut limits = Limits::default();
        for (word, value) in words {
            limits.set(word, value).unwrap();
        }
        Limiter::new(limits).tx.unwrap()
    }

    fn frame(bytes: u64) -> Counters {
        Counters { frames: 1, bytes }
    }

    /// The bytes that pass in a second of turns of `step` microseconds, if there is always a frame.
    fn passed(gate: &Gate, len: u64, step: usize) -> u64 {
        let mut bytes = 0;
        for micros in (1_000_000..2_000_000).step_by(step) {
            let now = Moment::after(Duration::from_micros(micros));
            while gate.admit(now, frame(len), true) {
                bytes += len;
            }
        }
        bytes
    }

    #[test]
    fn a_second_has_the_bytes_of_the_rate_however_late_a_turn_comes() {
        for (rate, bits) in
            [("1mbit", 1_000_000), ("100mbit", 100_000_000), ("1gbit", 1_000_000_000)]
        {
            for step in [10, 1000, 20_000] {
                let gate = gate(&[("rate", rate)]);
                // The first turn has the tokens of the time before.
                gate.admit(Moment::after(Duration::from_micros(999_999)), frame(0), false);
                let off = passed(&gate, 1514, step).abs_diff(bits / 8);
                let most = bits / 8 / 50 + bits / 8 / 20 + 1514;
                assert!(off <= most, "{rate} in steps of {step}: {off} of {most}");
            }
        }
    }

    #[test]
    fn frames_per_second_count_whatever_their_length() {
        let limit = gate(&[("pps", "1000")]);
        let frames = passed(&limit, 64, 100) / 64;
        assert!((1000..1060).contains(&frames), "{frames}");
        let both = gate(&[("pps", "1000"), ("rate", "1mbit")]);
        let bytes = passed(&both, 1500, 100);
        assert!((120_000..140_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_burst_passes_at_once() {
        let gate = gate(&[("rate", "1mbit"), ("burst", "15000")]);
        let now = Moment::after(Duration::from_secs(1000));
        let passed = (0..100).take_while(|_| gate.admit(now, frame(1500), false)).count();
        assert_eq!(passed, 11, "ten, and one that makes a debt");
    }

    #[test]
    fn each_direction_has_limits_of_its_own() {
        let mut limits = Limits::default();
        limits.set("rx_rate", "8mbit").unwrap();
        limits.set("bcrate", "10").unwrap();
        let limiter = Limiter::new(limits);
        assert!(limiter.limits_rx() && limiter.limits_tx());
        assert!(limiter.gate(Direction::Rx).is_some() && limiter.gate(Direction::Tx).is_none());
        let now = Moment::after(Duration::from_secs(1));
        let passed = (0..10).take_while(|_| limiter.admits_group(now, 1)).count();
        assert_eq!(passed, 2, "a burst of one, and one that makes a debt");
        assert!(!Limiter::new(Limits::default()).limits_tx());
    }

    #[test]
    fn the_queue_is_bounded_by_time_and_by_bytes() {
        let bytes = |rate| gate(&[("rate", rate)]).queue_bytes();
        assert_eq!(
            [bytes("1mbit"), bytes("100mbit"), bytes("10gbit")],
            [32 << 10, 625_000, 8 << 20]
        );
        assert_eq!(gate(&[("rate", "10mbit")]).longest(), 6250);
    }
}
