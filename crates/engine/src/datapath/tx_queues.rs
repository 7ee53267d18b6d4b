//! [`Outlet`]: what goes out at the end of a turn.
//!
//! Nothing is copied here and nothing is sent: who gets which frame is noted down and counted.

use umacvlan_core::offload::{Offloads, VnetHeader};
use umacvlan_core::stats::{SubStats, WireStats};
use umacvlan_core::switch::Replica;
use umacvlan_core::{DropReason, Frame, SubIndex};

use crate::datapath::frame_ref::Held;
use crate::datapath::segment_buffer::Scratch;
use crate::datapath::switches::SwitchId;

/// Frames that a turn usually writes at most; many copies for source lists may make it more.
pub(crate) const OUTGOING: usize = 4096;

/// What goes out at the end of the turn, and the count of it.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(crate) to_ports: Vec<(SubIndex, Held)>,
    pub(crate) to_wire: Vec<(SwitchId, Held)>,
    pub(crate) scratch: Scratch,
    /// By sub-interface.
    pub(crate) subs: Vec<SubStats>,
    /// By sub-interface: what the receiver takes unfinished; `None` for no port.
    pub(crate) offloads: Vec<Option<Offloads>>,
}

impl Outlet {
    pub(crate) fn new() -> Self {
        Self {
            to_ports: Vec::with_capacity(OUTGOING),
            to_wire: Vec::with_capacity(OUTGOING),
            scratch: Scratch::new(),
            subs: Vec::new(),
            offloads: Vec::new(),
        }
    }

    /// Notes a frame down for a sub-interface, in the form in which its receiver takes it.
    // Always: a call with so many arguments costs as much as what it does.
    #[inline(always)]
    pub(crate) fn offer(
        &mut self,
        wire: &mut WireStats,
        to: SubIndex,
        held: Held,
        header: VnetHeader,
        frame: Frame<'_>,
        group: bool,
    ) {
        let stats = &mut self.subs[to.index()];
        stats.offered += 1;
        let Some(offloads) = self.offloads[to.index()] else {
            return stats.lost.count(DropReason::Down);
        };
        if !header.is_plain() && !offloads.accepts(header, frame.bytes()) {
            return self.offer_finished(wire, to, header, frame, group);
        }
        stats.groups += u64::from(group);
        stats.delivered.count(frame.bytes().len());
        self.to_ports.push((to, held));
    }

    /// As `offer`, for a frame that has to be finished first. Each finished frame counts.
    fn offer_finished(
        &mut self,
        wire: &mut WireStats,
        to: SubIndex,
        header: VnetHeader,
        frame: Frame<'_>,
        group: bool,
    ) {
        let stats = &mut self.subs[to.index()];
        let Some(finished) = self.scratch.finish(header, frame.bytes()) else {
            return stats.lost.count(DropReason::Unsupported);
        };
        stats.offered -= 1;
        for &held in finished {
            stats.offered += 1;
            stats.groups += u64::from(group);
            stats.delivered.count(held.frame_len());
            self.to_ports.push((to, held));
        }
        let extra = finished.len() as u64 - 1;
        wire.replicas += extra;
    }

    /// Notes a copy for a source list down.
    #[inline(never)]
    pub(crate) fn copy(
        &mut self,
        wire: &mut WireStats,
        to: SubIndex,
        held: Held,
        header: VnetHeader,
        frame: Frame<'_>,
        group: bool,
    ) {
        wire.copies += 1;
        self.offer(wire, to, held, header, frame, group);
    }

    #[inline(never)]
    pub(crate) fn replicate(
        &mut self,
        wire: &mut WireStats,
        replica: Replica,
        held: Held,
        header: VnetHeader,
        frame: Frame<'_>,
    ) {
        wire.replicas += 1;
        match replica {
            Replica::Deliver(to) => self.offer(wire, to, held, header, frame, true),
            Replica::TooLong(to) => self.lose(to, DropReason::TooLong),
        }
    }

    pub(crate) fn lose(&mut self, to: SubIndex, reason: DropReason) {
        let stats = &mut self.subs[to.index()];
        stats.offered += 1;
        stats.lost.count(reason);
    }

    /// Notes a frame down for the wire.
    #[inline]
    pub(crate) fn send(&mut self, wire: &mut WireStats, at: SwitchId, held: Held) {
        wire.offered += 1;
        wire.sent.count(held.frame_len());
        self.to_wire.push((at, held));
    }
}

/// Takes a frame back that was counted as delivered when it was noted down.
pub(crate) fn refused(
    subs: &mut [SubStats],
    to: SubIndex,
    held: Held,
    group: bool,
    reason: DropReason,
) {
    let stats = &mut subs[to.index()];
    let (frames, len) = (held.frames(), held.frame_len() as u64);
    stats.groups = stats.groups.saturating_sub(u64::from(group));
    stats.delivered.frames = stats.delivered.frames.saturating_sub(frames);
    stats.delivered.bytes = stats.delivered.bytes.saturating_sub(len);
    stats.lost.add(reason, frames);
}

/// Takes a frame back that was counted as sent when it was noted down.
pub(crate) fn unsent(wire: &mut WireStats, len: usize, reason: DropReason) {
    wire.sent.frames = wire.sent.frames.saturating_sub(1);
    wire.sent.bytes = wire.sent.bytes.saturating_sub(len as u64);
    wire.unsent.count(reason);
}
