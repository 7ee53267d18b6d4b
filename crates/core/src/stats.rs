//! Counters: plain numbers, owned by one worker and copied out on request.
//!
//! They are redundant on purpose, like a double-entry ledger. A frame is counted when it is
//! received and again when it is delivered or dropped; a copy is counted when it is offered to a
//! port and again when the port accepts or refuses it. So a frame lost without a reason shows: see
//! [`SubStats::is_balanced`], [`WireStats::is_balanced`] and [`is_balanced`].

use std::ops::{AddAssign, Index};

use crate::switch::DropReason;

/// Frames and their bytes, with the Ethernet header and without FCS. A GSO packet is one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// The number of frames.
    pub frames: u64,
    /// Their bytes in total.
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

/// Dropped frames, by reason.
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

    /// The number of frames over all reasons.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Every reason with its number of frames, in the order of [`DropReason::ALL`].
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

/// The counters of one sub-interface.
///
/// The fields that nearly every frame counts come first and fill one cache line: a frame loads the
/// line of its receiver and that of its sender, and no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct SubStats {
    // Towards it.
    /// Frames offered to its port: by verdict, as copies and as replicas.
    pub offered: u64,
    /// Those that its port accepted.
    pub delivered: Counters,
    /// Delivered frames with a group destination, broadcast included.
    pub groups: u64,

    // From it.
    /// Frames read from its port.
    pub received: Counters,
    /// Received frames delivered to one sub-interface and not sent to the wire.
    pub local: u64,
    /// Received frames sent to the wire only.
    pub wire: u64,

    // Both directions, counted less often.
    /// Delivered frames that were merged into a GSO packet before the write to the port.
    pub merged: u64,
    /// The number of these GSO packets.
    pub supers: u64,
    /// Offered frames that its port did not accept.
    pub lost: Drops,
    /// Received frames flooded to sub-interfaces and sent to the wire.
    pub flooded: u64,
    /// Received frames that were dropped.
    pub dropped: Drops,
}

impl SubStats {
    /// True when every received frame is counted once more by its outcome, and every offered frame
    /// was accepted or lost for a reason.
    pub fn is_balanced(&self) -> bool {
        let outcomes = self.local + self.flooded + self.wire + self.dropped.total();
        self.received.frames == outcomes
            && self.offered == self.delivered.frames + self.lost.total()
            && self.groups <= self.delivered.frames
    }

    /// Counts the frames whose outcome a worker that has failed has not counted.
    pub fn settle(&mut self) {
        let outcomes = self.local + self.flooded + self.wire + self.dropped.total();
        let reason = DropReason::WorkerFailed;
        self.dropped.add(reason, self.received.frames.saturating_sub(outcomes));
        let known = self.delivered.frames + self.lost.total();
        self.lost.add(reason, self.offered.saturating_sub(known));
        self.groups = self.groups.min(self.delivered.frames);
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

/// The counters of an uplink, and of the frames that the switch multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireStats {
    // From the wire.
    /// Frames read from the uplink.
    pub received: Counters,
    /// Received frames delivered to one sub-interface.
    pub delivered: u64,
    /// Received frames flooded to sub-interfaces and left to the host.
    pub flooded: u64,
    /// Received frames left to the host alone.
    pub host: u64,
    /// Received frames that were dropped, and group frames that only the host got because the
    /// broadcast queue was full.
    pub dropped: Drops,

    // To the wire.
    /// Frames offered to the uplink.
    pub offered: u64,
    /// Those that the uplink accepted.
    pub sent: Counters,
    /// Those that it did not accept.
    pub unsent: Drops,
    /// Sent frames that were merged into a GSO packet first.
    pub merged: u64,
    /// The number of these GSO packets.
    pub supers: u64,

    // Both directions.
    /// Copies for source sub-interfaces, accepted or lost.
    pub copies: u64,
    /// Replicas of flooded frames, accepted or lost.
    pub replicas: u64,
}

impl WireStats {
    /// True when every received frame is counted once more by its outcome, and every offered frame
    /// was accepted or lost for a reason.
    pub fn is_balanced(&self) -> bool {
        let outcomes = self.delivered + self.flooded + self.host + self.dropped.total();
        self.received.frames == outcomes && self.offered == self.sent.frames + self.unsent.total()
    }

    /// Counts the frames whose outcome a worker that has failed has not counted.
    pub fn settle(&mut self) {
        let outcomes = self.delivered + self.flooded + self.host + self.dropped.total();
        let reason = DropReason::WorkerFailed;
        self.dropped.add(reason, self.received.frames.saturating_sub(outcomes));
        let known = self.sent.frames + self.unsent.total();
        self.unsent.add(reason, self.offered.saturating_sub(known));
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
            merged,
            supers,
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
        self.merged += merged;
        self.supers += supers;
        self.copies += copies;
        self.replicas += replicas;
    }
}

/// What programs in the kernel have forwarded for one sub-interface without the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelStats {
    /// From it to a sibling.
    pub sent_local: Counters,
    /// From it to the wire.
    pub sent_wire: Counters,
    /// To it from a sibling.
    pub got_local: Counters,
    /// To it from the wire.
    pub got_wire: Counters,
}

impl KernelStats {
    /// Adds the frames to the counters that they would have if the engine had forwarded them.
    pub fn add_to(&self, sub: &mut SubStats, wire: &mut WireStats) {
        let Self { sent_local, sent_wire, got_local, got_wire } = *self;
        for sent in [sent_local, sent_wire] {
            sub.received += sent;
        }
        sub.local += sent_local.frames;
        sub.wire += sent_wire.frames;
        wire.offered += sent_wire.frames;
        wire.sent += sent_wire;
        for got in [got_local, got_wire] {
            sub.offered += got.frames;
            sub.delivered += got;
        }
        wire.received += got_wire;
        wire.delivered += got_wire.frames;
    }

    /// The frames from and to it.
    pub fn frames(&self) -> u64 {
        let Self { sent_local, sent_wire, got_local, got_wire } = self;
        [sent_local, sent_wire, got_local, got_wire].iter().map(|it| it.frames).sum()
    }
}

/// True when the counters of a whole parent add up: each side by itself, and each side was offered
/// what the other passed on. `subs` is the sum over all sub-interfaces, removed ones included,
/// while no flood is queued.
pub fn is_balanced(wire: &WireStats, subs: &SubStats) -> bool {
    let to_ports = wire.delivered + subs.local + wire.copies + wire.replicas;
    let to_wire = subs.wire + subs.flooded;
    wire.is_balanced() && subs.is_balanced() && subs.offered == to_ports && wire.offered == to_wire
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_received_frame_without_an_outcome_is_noticed() {
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
    fn an_offered_frame_without_an_outcome_is_noticed() {
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
    fn what_the_kernel_forwards_is_balanced() {
        let (mut subs, mut wire) = (SubStats::default(), WireStats::default());
        let frames = |frames| Counters { frames, bytes: 60 * frames };
        let sender =
            KernelStats { sent_local: frames(3), sent_wire: frames(2), ..Default::default() };
        let receiver =
            KernelStats { got_local: frames(3), got_wire: frames(5), ..Default::default() };
        sender.add_to(&mut subs, &mut wire);
        receiver.add_to(&mut subs, &mut wire);
        assert!(is_balanced(&wire, &subs), "{subs:?} {wire:?}");
        assert_eq!((sender.frames(), receiver.frames()), (5, 8));
        assert_eq!((wire.sent, subs.delivered), (frames(2), frames(8)));
    }

    #[test]
    fn frames_that_a_failed_worker_had_get_an_outcome() {
        let mut sub = SubStats { offered: 2, groups: 1, ..Default::default() };
        sub.received.count(60);
        sub.settle();
        assert!(sub.is_balanced());
        assert_eq!(sub.dropped[DropReason::WorkerFailed], 1);
        assert_eq!(sub.lost[DropReason::WorkerFailed], 2);
        let mut wire = WireStats { offered: 1, ..Default::default() };
        wire.received.count(60);
        wire.settle();
        assert!(wire.is_balanced());
        let settled = wire;
        wire.settle();
        assert_eq!(wire, settled);
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
            merged: 7,
            supers: 8,
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
        assert_eq!((wires.merged, wires.supers), (14, 16));
        assert_eq!((wires.received.bytes, wires.sent.frames), (120, 2));
        assert_eq!((wires.dropped.total(), wires.unsent.total()), (10, 10));
    }

    #[test]
    fn the_counters_of_nearly_every_frame_fit_one_cache_line() {
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
