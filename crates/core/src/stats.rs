//! Counters: plain numbers, owned by one worker, copied out when asked for.
//!
//! They are kept twice over on purpose. A frame is counted when it is received and again when its
//! fate is known; a copy is counted when it is offered to a port and again when the port took it
//! or did not. So a frame that the engine loses without a reason shows: see
//! [`SubStats::is_balanced`], [`WireStats::is_balanced`] and [`is_balanced`].

use std::ops::{AddAssign, Index};

use crate::switch::DropReason;

/// Frames and their bytes, Ethernet header included, checksum not. A GSO super-frame is one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// How many frames.
    pub frames: u64,
    /// How many bytes in all.
    pub bytes: u64,
}

impl Counters {
    /// Counts one frame of this many bytes.
    #[inline]
    pub const fn count(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes += bytes as u64;
    }
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        let Self { frames, bytes } = other;
        self.frames += frames;
        self.bytes += bytes;
    }
}

/// Frames that ended without being delivered, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops([u64; DropReason::COUNT]);

impl Drops {
    /// Counts one frame.
    #[inline]
    pub const fn count(&mut self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Counts this many frames.
    #[inline]
    pub const fn add(&mut self, reason: DropReason, frames: u64) {
        self.0[reason.index()] += frames;
    }

    /// How many frames, for whatever reason.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Every reason and how many frames it ended, in the order of [`DropReason::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.into_iter().zip(self.0)
    }
}

impl Index<DropReason> for Drops {
    type Output = u64;

    fn index(&self, reason: DropReason) -> &u64 {
        &self.0[reason.index()]
    }
}

impl AddAssign for Drops {
    fn add_assign(&mut self, other: Self) {
        let Self(frames) = other;
        for (sum, frames) in self.0.iter_mut().zip(frames) {
            *sum += frames;
        }
    }
}

/// What one sub-interface got and sent.
///
/// What nearly every frame counts comes first and is one line of the cache: among many
/// sub-interfaces, a frame brings in the line of its receiver and that of its sender, and no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct SubStats {
    // Towards it.
    /// Frames that were to be delivered to it: verdicts, copies and replicas.
    pub offered: u64,
    /// Those its port took.
    pub delivered: Counters,
    /// Those among the delivered that were for a group, broadcast included.
    pub groups: u64,

    // From it.
    /// Frames read from its port.
    pub received: Counters,
    /// Those that went to one sub-interface and not to the wire.
    pub local: u64,
    /// Those that went to the wire only.
    pub wire: u64,

    // Both, and counted less often.
    /// Frames delivered that were merged with others into a larger one on the last step.
    pub merged: u64,
    /// How many larger ones that made.
    pub supers: u64,
    /// Those it did not get.
    pub lost: Drops,
    /// Frames received that went to several sub-interfaces and then to the wire.
    pub flooded: u64,
    /// Those that went nowhere.
    pub dropped: Drops,
}

impl SubStats {
    /// True when every frame received has one fate, and every frame offered was taken or lost for
    /// a reason.
    pub fn is_balanced(&self) -> bool {
        let fates = self.local + self.flooded + self.wire + self.dropped.total();
        self.received.frames == fates
            && self.offered == self.delivered.frames + self.lost.total()
            && self.groups <= self.delivered.frames
    }
}

impl AddAssign for SubStats {
    fn add_assign(&mut self, other: Self) {
        let Self {
            offered,
            delivered,
            groups,
            received,
            local,
            wire,
            merged,
            supers,
            lost,
            flooded,
            dropped,
        } = other;
        self.offered += offered;
        self.delivered += delivered;
        self.groups += groups;
        self.received += received;
        self.local += local;
        self.wire += wire;
        self.merged += merged;
        self.supers += supers;
        self.lost += lost;
        self.flooded += flooded;
        self.dropped += dropped;
    }
}

/// What the uplink got and sent, and how often the switch multiplied a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireStats {
    // From the wire.
    /// Frames read from the uplink.
    pub received: Counters,
    /// Those that went to one sub-interface.
    pub delivered: u64,
    /// Those that went to several sub-interfaces and to the host.
    pub flooded: u64,
    /// Those left to the host alone.
    pub host: u64,
    /// Those that went nowhere, and group frames that only the host got because the broadcast
    /// queue was full.
    pub dropped: Drops,

    // To the wire.
    /// Frames that were to be sent.
    pub offered: u64,
    /// Those the uplink took.
    pub sent: Counters,
    /// Those it did not take.
    pub unsent: Drops,

    // In between, from either direction.
    /// Copies for source sub-interfaces, taken or lost.
    pub copies: u64,
    /// Replicas of flooded frames, taken or lost.
    pub replicas: u64,
}

impl WireStats {
    /// True when every frame received has one fate, and every frame offered was taken or lost for
    /// a reason.
    pub fn is_balanced(&self) -> bool {
        let fates = self.delivered + self.flooded + self.host + self.dropped.total();
        self.received.frames == fates && self.offered == self.sent.frames + self.unsent.total()
    }
}

impl AddAssign for WireStats {
    fn add_assign(&mut self, other: Self) {
        let Self {
            received,
            delivered,
            flooded,
            host,
            dropped,
            offered,
            sent,
            unsent,
            copies,
            replicas,
        } = other;
        self.received += received;
        self.delivered += delivered;
        self.flooded += flooded;
        self.host += host;
        self.dropped += dropped;
        self.offered += offered;
        self.sent += sent;
        self.unsent += unsent;
        self.copies += copies;
        self.replicas += replicas;
    }
}

/// True when a whole parent adds up: each side by itself, and what one side passed on is what the
/// other was offered. `subs` is the sum over all sub-interfaces, removed ones included, at a
/// moment when no flood waits.
pub fn is_balanced(wire: &WireStats, subs: &SubStats) -> bool {
    let to_ports = wire.delivered + subs.local + wire.copies + wire.replicas;
    let to_wire = subs.wire + subs.flooded;
    wire.is_balanced() && subs.is_balanced() && subs.offered == to_ports && wire.offered == to_wire
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_without_a_fate_is_noticed() {
        let mut sub = SubStats::default();
        assert!(sub.is_balanced());
        sub.received.count(60);
        assert!(!sub.is_balanced());
        sub.dropped.count(DropReason::TooLong);
        assert!(sub.is_balanced());

        let mut wire = WireStats::default();
        wire.received.count(60);
        assert!(!wire.is_balanced());
        wire.host += 1;
        assert!(wire.is_balanced());
    }

    #[test]
    fn an_offer_that_nobody_answered_is_noticed() {
        let mut sub = SubStats { offered: 2, ..Default::default() };
        sub.delivered.count(1514);
        assert!(!sub.is_balanced());
        sub.lost.count(DropReason::Full);
        assert!(sub.is_balanced());

        let mut wire = WireStats { offered: 1, ..Default::default() };
        assert!(!wire.is_balanced());
        wire.unsent.count(DropReason::NoCarrier);
        assert!(wire.is_balanced());
    }

    #[test]
    fn a_frame_lost_between_the_sides_is_noticed() {
        let mut wire = WireStats::default();
        let mut subs = SubStats::default();
        wire.received.count(60);
        wire.delivered += 1;
        assert!(wire.is_balanced() && !is_balanced(&wire, &subs));
        subs.offered += 1;
        subs.delivered.count(60);
        assert!(is_balanced(&wire, &subs));
    }

    #[test]
    fn sums_add_every_field() {
        let mut drops = Drops::default();
        drops.count(DropReason::Full);
        drops.add(DropReason::Runt, 4);
        let one = Counters { frames: 1, bytes: 60 };
        let sub = SubStats {
            offered: 1,
            delivered: one,
            groups: 2,
            merged: 6,
            supers: 7,
            lost: drops,
            received: one,
            local: 3,
            flooded: 4,
            wire: 5,
            dropped: drops,
        };
        let wire = WireStats {
            received: one,
            delivered: 1,
            flooded: 2,
            host: 3,
            dropped: drops,
            offered: 4,
            sent: one,
            unsent: drops,
            copies: 5,
            replicas: 6,
        };
        let (mut subs, mut wires) = (sub, wire);
        subs += sub;
        wires += wire;
        assert_eq!((subs.offered, subs.delivered.bytes, subs.groups), (2, 120, 4));
        assert_eq!((subs.local, subs.flooded, subs.wire), (6, 8, 10));
        assert_eq!((subs.lost.total(), subs.dropped[DropReason::Runt]), (10, 8));
        assert_eq!(subs.received.frames, 2);
        assert_eq!((wires.delivered, wires.flooded, wires.host), (2, 4, 6));
        assert_eq!((wires.offered, wires.copies, wires.replicas), (8, 10, 12));
        assert_eq!((wires.received.bytes, wires.sent.frames), (120, 2));
        assert_eq!((wires.dropped.total(), wires.unsent.total()), (10, 10));
    }

    #[test]
    fn what_nearly_every_frame_counts_is_one_line_of_the_cache() {
        assert_eq!(align_of::<SubStats>(), 64);
        assert!(std::mem::offset_of!(SubStats, wire) + 8 <= 64);
    }

    #[test]
    fn drops_are_listed_by_reason() {
        let mut drops = Drops::default();
        drops.add(DropReason::Nodst, 3);
        let seen: Vec<_> = drops.iter().filter(|&(_, frames)| frames != 0).collect();
        assert_eq!(seen, [(DropReason::Nodst, 3)]);
        assert_eq!(drops[DropReason::Nodst], 3);
    }
}
