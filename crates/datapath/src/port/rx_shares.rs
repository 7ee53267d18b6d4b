//! [`RxShares`]: which ports a turn reads, and how many frames of each.
//!
//! Deficit round robin, as in packet schedulers: ports that wait share the frames and the bytes of
//! a turn equally, whatever one of them sends. A port that had nothing to send when the turn before
//! ended goes first, so a light port waits for one turn however many others are busy.

use std::collections::VecDeque;

use umacvlan_core::SubIndex;

/// Frames that a turn reads from all waiting ports together.
pub(super) const TURN_FRAMES: usize = 128;

/// The ports that a turn reads at least of those that have waited longer, while more light ports wait
/// than a turn has frames.
const BACKLOG_PORTS: usize = TURN_FRAMES / 4;

/// The most frames that a turn reads from one port.
pub(super) const PORT_FRAMES: usize = 64;

/// Bytes that a turn reads from all waiting ports together: half of a usual second-level cache.
const TURN_BYTES: i64 = 512 * 1024;

/// The length in bytes of the frames of a port about which nothing is known.
const USUAL_LEN: u32 = 1500;

/// The ports that wait to be read, in the order in which they are.
#[derive(Debug, Default)]
pub(super) struct RxShares {
    /// By port.
    ports: Vec<PortShare>,
    /// Ports that began to wait after the last turn.
    fresh: VecDeque<SubIndex>,
    /// Ports that had more frames than their share.
    backlog: VecDeque<SubIndex>,
    turn: Turn,
}

/// One port.
#[derive(Clone, Copy, Debug)]
struct PortShare {
    /// True while it is in one of the queues, or being read.
    waits: bool,
    /// Bytes that it may read; negative after it has read more than its share.
    credit: i64,
    /// The mean length in bytes of the frames that it had last.
    len: u32,
}

/// What is left of this turn.
#[derive(Debug, Default)]
struct Turn {
    /// The share of each port.
    port_frames: usize,
    port_bytes: i64,
    /// Ports that are still to be read: one frame of each fits the turn at least.
    fresh_left: usize,
    backlog_left: usize,
}

impl RxShares {
    /// Makes room for this many ports: later calls allocate nothing.
    pub(super) fn reserve(&mut self, ports: usize) {
        if self.ports.len() < ports {
            self.ports.resize(ports, PortShare::NEW);
            for queue in [&mut self.fresh, &mut self.backlog] {
                queue.reserve(ports.saturating_sub(queue.len()));
            }
        }
    }

    /// Notes that a port has frames.
    #[inline]
    pub(super) fn wake(&mut self, id: SubIndex) {
        if let Some(port) = self.ports.get_mut(id.index())
            && !port.waits
        {
            port.waits = true;
            self.fresh.push_back(id);
        }
    }

    /// Forgets a port.
    pub(super) fn remove(&mut self, id: SubIndex) {
        if let Some(port) = self.ports.get_mut(id.index()) {
            *port = PortShare::NEW;
            self.fresh.retain(|&other| other != id);
            self.backlog.retain(|&other| other != id);
        }
    }

    /// True if no port waits.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.backlog.is_empty()
    }

    /// Begins a turn: divides it among the ports that wait.
    #[inline]
    pub(super) fn begin_turn(&mut self) {
        let (fresh, backlog) = (self.fresh.len(), self.backlog.len());
        let waiting = (fresh + backlog).max(1);
        let fresh_left = fresh.min(TURN_FRAMES - backlog.min(BACKLOG_PORTS));
        self.turn = Turn {
            port_frames: (TURN_FRAMES / waiting).clamp(1, PORT_FRAMES),
            port_bytes: (TURN_BYTES / i64::try_from(waiting).unwrap_or(TURN_BYTES)).max(1),
            fresh_left,
            backlog_left: backlog.min(TURN_FRAMES - fresh_left),
        };
    }

    /// Returns the next port to be read in this turn, and how many frames of it. Call
    /// [`RxShares::served`] when it has been.
    // Always: it is called for each port of each turn, from three places.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<(SubIndex, usize)> {
        loop {
            let (queue, left) = match self.turn.fresh_left {
                0 => (&mut self.backlog, &mut self.turn.backlog_left),
                _ => (&mut self.fresh, &mut self.turn.fresh_left),
            };
            *left = left.checked_sub(1)?;
            let id = queue.pop_front()?;
            match self.ports[id.index()].frames(&self.turn) {
                // It pays for a turn in which it had more. A fresh port owes nothing.
                0 => self.backlog.push_back(id),
                frames => return Some((id, frames)),
            }
        }
    }

    /// Notes that `frames` frames of `bytes` bytes have been read from a port, and whether it has
    /// `more`.
    // Always: as above.
    #[inline(always)]
    pub(super) fn served(&mut self, id: SubIndex, frames: usize, bytes: usize, more: bool) {
        let port = &mut self.ports[id.index()];
        if let Some(mean) = bytes.checked_div(frames) {
            port.len = u32::try_from(mean).unwrap_or(u32::MAX).max(1);
        }
        match more {
            true => {
                port.credit -= i64::try_from(bytes).unwrap_or(i64::MAX);
                self.backlog.push_back(id);
            }
            // A port with an empty queue neither saves nor owes.
            false => (port.waits, port.credit) = (false, 0),
        }
    }
}

impl PortShare {
    const NEW: Self = Self { waits: false, credit: 0, len: USUAL_LEN };

    /// Gives the port its share of this turn, and returns the frames that it may read; 0 while it
    /// pays for an earlier turn.
    #[inline]
    fn frames(&mut self, turn: &Turn) -> usize {
        self.credit = (self.credit + turn.port_bytes).min(turn.port_bytes);
        if self.credit <= 0 {
            return 0;
        }
        // The last one may have more than the credit.
        let frames = 1 + (self.credit - 1) / i64::from(self.len);
        usize::try_from(frames).unwrap_or(0).min(turn.port_frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(index: usize) -> SubIndex {
        SubIndex::from_index(index).unwrap()
    }

    /// Ports that always have frames of these lengths, and after them ports that get one small frame
    /// before each turn.
    struct World {
        shares: RxShares,
        lens: Vec<usize>,
        light: usize,
        /// By port.
        frames: Vec<usize>,
        bytes: Vec<usize>,
    }

    impl World {
        fn new(lens: Vec<usize>, light: usize) -> Self {
            let ports = lens.len() + light;
            let mut shares = RxShares::default();
            shares.reserve(ports);
            (0..lens.len()).for_each(|port| shares.wake(id(port)));
            Self { shares, lens, light, frames: vec![0; ports], bytes: vec![0; ports] }
        }

        /// One turn. Returns the ports that were read, and how many frames they had.
        fn turn(&mut self) -> Vec<(usize, usize)> {
            let flooded = self.lens.len();
            (flooded..flooded + self.light).for_each(|port| self.shares.wake(id(port)));
            let mut read = Vec::new();
            self.shares.begin_turn();
            while let Some((port, budget)) = self.shares.next() {
                let (port, more) = (port.index(), port.index() < flooded);
                let (frames, len) = if more { (budget, self.lens[port]) } else { (1, 60) };
                self.shares.served(id(port), frames, frames * len, more);
                self.frames[port] += frames;
                self.bytes[port] += frames * len;
                read.push((port, frames));
            }
            read
        }
    }

    proptest! {
        #[test]
        fn every_turn_serves_light_ports_and_limits_flooded_ones(
            lens in prop::collection::vec(60..66_000_usize, 1..48),
            light in 0..60_usize,
        ) {
            let (flooded, longest) = (lens.len(), *lens.iter().max().unwrap());
            let mut world = World::new(lens, light);
            world.turn();
            let turns = 100;
            for _ in 0..turns {
                let read = world.turn();
                for port in flooded..flooded + light {
                    prop_assert!(read.contains(&(port, 1)), "{port} waits: {read:?}");
                }
                let sum: usize = read.iter().map(|&(_, frames)| frames).sum();
                prop_assert!(sum <= TURN_FRAMES, "{sum} frames in a turn");
                prop_assert!(read.iter().all(|&(_, frames)| frames <= PORT_FRAMES), "{read:?}");
            }
            let share = usize::try_from(TURN_BYTES).unwrap() / (flooded + light);
            for port in 0..flooded {
                prop_assert!(world.frames[port] > 0, "{port} starves: {:?}", world.frames);
                // What it has read beyond its share it pays for in the turns after.
                let most = (turns + 1) * share + PORT_FRAMES * longest;
                prop_assert!(world.bytes[port] <= most, "{port}: {:?} of {most}", world.bytes);
            }
        }

        #[test]
        fn equal_ports_get_equally_much(ports in 1..200_usize, len in 60..66_000_usize) {
            let mut world = World::new(vec![len; ports], 0);
            (0..400).for_each(|_| drop(world.turn()));
            let (least, most) = (world.frames.iter().min(), world.frames.iter().max());
            let difference = most.unwrap() - least.unwrap();
            prop_assert!(difference <= 2 * PORT_FRAMES, "{:?}", world.frames);
        }
    }

    #[test]
    fn many_light_ports_leave_a_part_to_a_busy_one() {
        let mut world = World::new(vec![60], 500);
        world.turn();
        assert!((0..100).all(|_| world.turn().iter().any(|&(port, _)| port == 0)));
    }

    #[test]
    fn a_removed_port_is_not_read() {
        let mut world = World::new(vec![60, 60], 0);
        world.shares.remove(id(0));
        assert!(world.turn().iter().all(|&(port, _)| port == 1));
        world.shares.remove(id(1));
        assert!(world.turn().is_empty() && world.shares.is_empty());
    }
}
