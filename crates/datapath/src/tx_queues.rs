//! [`TxQueues`]: the frames that a worker writes at the end of a turn.
//!
//! Queueing neither copies nor sends: it stores a reference to the frame and counts the frame as
//! delivered or sent. A frame that the kernel then refuses is counted back, with the reason.

use std::io;

use umacvlan_core::fair_queue::FairQueue;
use umacvlan_core::offload::{Offloads, VnetHeader};
use umacvlan_core::stats::{Counters, SubStats, WireStats};
use umacvlan_core::switch::Replica;
use umacvlan_core::{DropReason, Frame, SubIndex};
use umacvlan_sys::buffer_pool::BufferPool;
use umacvlan_sys::tx_batch::Outgoing;

use crate::capture::{Losses, Point};
use crate::flood_queue::FloodQueue;
use crate::frame_ref::{FrameRef, FrameStores};
use crate::gro::Gro;
use crate::limit_queues::LimitQueues;
use crate::merge_buffer::MergeBuffer;
use crate::port::{Ports, Refusal};
use crate::segment_buffer::SegmentBuffer;
use crate::switches::{SwitchId, Switches, Vlans};
use crate::uplink::Uplink;
use crate::wire_gro::WireGro;

/// Frames for which the queues have room at first: more than a turn writes, unless source lists make
/// many copies.
pub(crate) const TX_QUEUE_LEN: usize = 4096;

/// Batches of the backlog that a turn sends.
const BACKLOG_BATCHES: usize = 8;

/// The frames to be written at the end of the turn, and the counters of every sub-interface.
#[derive(Debug)]
pub(crate) struct TxQueues {
    pub(crate) to_ports: Vec<(SubIndex, FrameRef)>,
    to_wire: Vec<(SwitchId, FrameRef, SubIndex)>,
    /// Frames of former turns that a full uplink has not taken.
    pub(crate) backlog: FairQueue<SwitchId>,
    pub(crate) segments: SegmentBuffer,
    /// `None`: every frame is written as it came.
    merge: Option<Merge>,
    /// By sub-interface: its counters.
    pub(crate) subs: Vec<SubStats>,
    /// By sub-interface: the offloads that its receiver takes; `None` without a port.
    pub(crate) offloads: Vec<Option<Offloads>>,
    /// The same, but `None` for a sub-interface with a limit on what it receives, too.
    pub(crate) unlimited: Vec<Option<Offloads>>,
    pub(crate) limits: LimitQueues,
    /// What captures have to know of what was lost.
    pub(crate) losses: Losses,
}

/// What merging needs.
#[derive(Debug)]
struct Merge {
    buffer: MergeBuffer,
    to_ports: Gro,
    to_wire: WireGro,
    /// The GSO packets that the kernel takes for the wire: those of TCP, and those of UDP if it has
    /// them for TAPs, since both came with Linux 6.2.
    wire_takes: Offloads,
}

impl Merge {
    fn new() -> Self {
        let tcp = Offloads { uso4: false, uso6: false, ..Offloads::ALL };
        let (buffer, to_ports, to_wire) = (MergeBuffer::new(), Gro::new(), WireGro::new());
        Self { buffer, to_ports, to_wire, wire_takes: tcp }
    }

    fn add_port(&mut self, ports: usize, offloads: Offloads) {
        self.to_ports.reserve(ports);
        self.wire_takes.uso4 |= offloads.uso4;
        self.wire_takes.uso6 |= offloads.uso6;
    }
}

impl TxQueues {
    /// Empty queues; `merge` says whether frames of one flow become one GSO packet.
    pub(crate) fn new(merge: bool) -> Self {
        Self {
            to_ports: Vec::with_capacity(TX_QUEUE_LEN),
            to_wire: Vec::with_capacity(TX_QUEUE_LEN),
            backlog: FairQueue::new(),
            segments: SegmentBuffer::new(),
            merge: merge.then(Merge::new),
            subs: Vec::new(),
            offloads: Vec::new(),
            unlimited: Vec::new(),
            limits: LimitQueues::default(),
            losses: Losses::default(),
        }
    }

    /// Adds the port of a sub-interface, with counters from zero.
    pub(crate) fn add_port(&mut self, id: SubIndex, offloads: Offloads) {
        if self.subs.len() <= id.index() {
            self.subs.resize_with(id.index() + 1, SubStats::default);
            self.offloads.resize(id.index() + 1, None);
            self.unlimited.resize(id.index() + 1, None);
        }
        self.subs[id.index()] = SubStats::default();
        self.offloads[id.index()] = Some(offloads);
        self.unlimited[id.index()] = Some(offloads);
        self.backlog.reserve(self.subs.len());
        if let Some(merge) = &mut self.merge {
            merge.add_port(self.subs.len(), offloads);
        }
    }

    /// Changes the offloads that the receiver of a sub-interface takes.
    pub(crate) fn set_offloads(&mut self, id: SubIndex, offloads: Offloads) {
        for taken in [&mut self.offloads, &mut self.unlimited] {
            if let Some(taken) = taken.get_mut(id.index()).and_then(Option::as_mut) {
                *taken = offloads;
            }
        }
    }

    /// Removes the port of a sub-interface; returns what it had counted.
    pub(crate) fn remove_port(&mut self, id: SubIndex) -> SubStats {
        self.offloads[id.index()] = None;
        self.unlimited[id.index()] = None;
        std::mem::take(&mut self.subs[id.index()])
    }

    /// Queues a frame for a sub-interface, in a form that its receiver takes.
    // Always: the call would cost as much as its body.
    #[inline(always)]
    pub(crate) fn queue_to_port(
        &mut self,
        wire: &mut WireStats,
        to: SubIndex,
        stored: FrameRef,
        header: VnetHeader,
        frame: Frame<'_>,
        group: bool,
    ) {
        let stats = &mut self.subs[to.index()];
        stats.offered += 1;
        let Some(offloads) = self.unlimited[to.index()] else {
            return self.queue_limited(wire, to, stored, header, frame, group);
        };
        if !header.is_plain() && !offloads.accepts(header, frame.bytes()) {
            return self.queue_completed(wire, to, header, frame, group);
        }
        stats.groups += u64::from(group);
        stats.delivered.count(frame.bytes().len());
        self.to_ports.push((to, stored));
    }

    /// Queues a frame that has to be segmented or to get its checksum first. Each segment counts.
    pub(crate) fn queue_completed(
        &mut self,
        wire: &mut WireStats,
        to: SubIndex,
        header: VnetHeader,
        frame: Frame<'_>,
        group: bool,
    ) {
        let stats = &mut self.subs[to.index()];
        let Some(completed) = self.segments.complete(header, frame.bytes()) else {
            let tunneled = header.is_tunneled(frame.bytes());
            let reason = if tunneled { DropReason::TunnelGso } else { DropReason::Unsupported };
            stats.lost.count(reason);
            return self.losses.note_sub(to, Counters::default(), reason);
        };
        stats.offered -= 1;
        let count = completed.len() as u64;
        if self.unlimited[to.index()].is_none() {
            self.queue_segments_limited(to, group);
            wire.replicas += count - 1;
            return;
        }
        for &stored in completed {
            stats.offered += 1;
            stats.groups += u64::from(group);
            stats.delivered.count(stored.frame_len());
            self.to_ports.push((to, stored));
        }
        wire.replicas += count - 1;
    }

    /// Queues the copy for a sub-interface whose source list has the sender.
    #[inline(never)]
    pub(crate) fn queue_copy(
        &mut self,
        wire: &mut WireStats,
        to: SubIndex,
        stored: FrameRef,
        header: VnetHeader,
        frame: Frame<'_>,
        group: bool,
    ) {
        wire.copies += 1;
        self.queue_to_port(wire, to, stored, header, frame, group);
    }

    /// Queues one copy of a flooded frame.
    #[inline(never)]
    pub(crate) fn queue_replica(
        &mut self,
        wire: &mut WireStats,
        replica: Replica,
        stored: FrameRef,
        header: VnetHeader,
        frame: Frame<'_>,
    ) {
        wire.replicas += 1;
        match replica {
            Replica::Deliver(to) => self.queue_to_port(wire, to, stored, header, frame, true),
            Replica::TooLong(to) => self.count_lost(to, DropReason::TooLong),
        }
    }

    /// Counts a frame that a sub-interface does not get.
    pub(crate) fn count_lost(&mut self, to: SubIndex, reason: DropReason) {
        let stats = &mut self.subs[to.index()];
        stats.offered += 1;
        stats.lost.count(reason);
        self.losses.note_sub(to, Counters::default(), reason);
    }

    /// Queues a frame of a sub-interface for the wire.
    #[inline]
    pub(crate) fn queue_to_wire(
        &mut self,
        wire: &mut WireStats,
        id: SwitchId,
        stored: FrameRef,
        from: SubIndex,
    ) {
        wire.offered += 1;
        wire.sent.count(stored.frame_len());
        self.to_wire.push((id, stored, from));
    }

    /// Merges the frames for the wire, if it is to and the uplink takes GSO packets, and sends them.
    /// Those that a full uplink does not take wait in the backlog. Without an uplink they are dropped:
    /// no carrier.
    pub(crate) fn send_to_wire(
        &mut self,
        mut uplink: Option<&mut Uplink>,
        pool: &BufferPool,
        floods: &FloodQueue,
        switches: &mut Switches,
        vlans: &Vlans,
    ) {
        let Self { to_wire, segments, merge, backlog, losses, .. } = self;
        if to_wire.is_empty() && backlog.is_empty() {
            return;
        }
        // Frames from the wire never go back there, so none of these lies in the uplink's memory.
        let mut stores = FrameStores { pool, floods, merged: None, segments, uplink: None };
        if let (Some(merge), 2.., true) =
            (merge.as_mut(), to_wire.len(), uplink.as_ref().is_some_and(|it| it.takes_gso()))
        {
            let Merge { buffer, to_wire: gro, wire_takes, .. } = merge;
            gro.merge(to_wire, (&stores, buffer), *wire_takes, switches);
        }
        stores.merged = merge.as_ref().map(|merge| &merge.buffer);
        let frame = |number: usize| {
            let (id, stored, _) = to_wire[number];
            Outgoing { unit: stores.bytes(stored), form: vlans.form(id) }
        };
        let mut refused = |number: usize, reason| {
            let (id, stored, _) = to_wire[number];
            losses.note_wire(id, stored.counters(), reason);
            undo_sent(&mut switches.get_mut(id).wire, stored.counters(), reason);
        };
        let count = to_wire.len();
        let taken = match &mut uplink {
            // Nothing overtakes what waits.
            Some(_) if !backlog.is_empty() => 0,
            Some(uplink) => uplink.send(count, frame, refused),
            None => {
                (0..count).for_each(|number| refused(number, DropReason::NoCarrier));
                count
            }
        };
        if taken < count {
            backlog.set_uplink_full(backlog.is_empty() || backlog.uplink_full());
            for &(id, stored, from) in &to_wire[taken..] {
                let lost = stored.counters();
                if !backlog.push(from, id, lost, stores.bytes(stored)) {
                    losses.note_wire(id, lost, DropReason::Full);
                    undo_sent(&mut switches.get_mut(id).wire, lost, DropReason::Full);
                }
            }
        }
        if !backlog.is_empty() {
            send_backlog(backlog, uplink, switches, vlans);
        }
    }

    /// Merges the frames for the ports, if it is to, and writes them.
    ///
    /// # Errors
    /// The io_uring has failed, and with it the worker.
    pub(crate) fn send_to_ports(
        &mut self,
        ports: &mut Ports,
        pool: &BufferPool,
        floods: &FloodQueue,
        uplink: Option<&Uplink>,
    ) -> io::Result<()> {
        let Self { to_ports, segments, merge, subs, offloads, losses, .. } = self;
        let mut stores = FrameStores { pool, floods, merged: None, segments, uplink };
        if let Some(Merge { buffer, to_ports: gro, .. }) = merge {
            gro.merge(to_ports, (&stores, buffer), offloads, subs);
        }
        stores.merged = merge.as_ref().map(|merge| &merge.buffer);
        ports.send(to_ports, stores, |refusal| {
            losses.note_sub(refusal.to, refusal.lost, refusal.reason);
            undo_delivered(subs, refusal);
        })
    }

    /// Takes a frame back that was counted as delivered when it was queued.
    pub(crate) fn undo_delivered(&mut self, refusal: Refusal) {
        self.losses.note_sub(refusal.to, refusal.lost, refusal.reason);
        undo_delivered(&mut self.subs, refusal);
    }

    /// How many frames are queued so far: for ports, and for the wire.
    pub(crate) fn queued(&self) -> (usize, usize) {
        (self.to_ports.len(), self.to_wire.len())
    }

    /// Passes every queued frame to `on`, with the switch and sub-interface of its way.
    pub(crate) fn each_queued(
        &self,
        pool: &BufferPool,
        floods: &FloodQueue,
        uplink: Option<&Uplink>,
        mut on: impl FnMut(Point, Option<SwitchId>, SubIndex, &[u8]),
    ) {
        let stores = FrameStores { pool, floods, merged: None, segments: &self.segments, uplink };
        for &(to, stored) in &self.to_ports {
            on(Point::ToLink, None, to, stores.bytes(stored));
        }
        for &(id, stored, from) in &self.to_wire {
            on(Point::ToWire, Some(id), from, stores.bytes(stored));
        }
    }

    /// Takes back every frame that may not have been written, after the worker has failed.
    pub(crate) fn abandon(&mut self, switches: &mut Switches) {
        let reason = DropReason::WorkerFailed;
        for (to, stored) in std::mem::take(&mut self.to_ports) {
            let lost = stored.counters();
            undo_delivered(&mut self.subs, Refusal { to, lost, group: false, reason });
        }
        for (id, stored, _) in std::mem::take(&mut self.to_wire) {
            undo_sent(&mut switches.get_mut(id).wire, stored.counters(), reason);
        }
        self.abandon_backlog(switches, reason);
        self.subs.iter_mut().for_each(SubStats::settle);
    }

    /// Drops what waits for the uplink, when the worker ends.
    pub(crate) fn abandon_backlog(&mut self, switches: &mut Switches, reason: DropReason) {
        while let count @ 1.. = self.backlog.fill_batch() {
            (0..count).for_each(|number| refuse(&self.backlog, number, switches, reason));
            self.backlog.remove(count);
        }
    }

    /// Ends the turn: forgets its frames.
    pub(crate) fn end_turn(&mut self) {
        self.to_ports.clear();
        self.to_wire.clear();
        self.segments.end_turn();
        if let Some(merge) = &mut self.merge {
            merge.buffer.end_turn();
        }
    }
}

fn undo_delivered(subs: &mut [SubStats], Refusal { to, lost, group, reason }: Refusal) {
    let stats = &mut subs[to.index()];
    stats.groups = stats.groups.saturating_sub(u64::from(group));
    stats.delivered.frames = stats.delivered.frames.saturating_sub(lost.frames);
    stats.delivered.bytes = stats.delivered.bytes.saturating_sub(lost.bytes);
    stats.lost.add(reason, lost.frames);
}

/// Takes a frame back that was counted as sent when it was queued, or all that were merged into it.
fn undo_sent(wire: &mut WireStats, lost: Counters, reason: DropReason) {
    wire.sent.frames = wire.sent.frames.saturating_sub(lost.frames);
    wire.sent.bytes = wire.sent.bytes.saturating_sub(lost.bytes);
    wire.unsent.add(reason, lost.frames);
}

/// Sends what waits in the backlog, a bounded part of it, until the uplink is full.
#[cold]
fn send_backlog(
    backlog: &mut FairQueue<SwitchId>,
    mut uplink: Option<&mut Uplink>,
    switches: &mut Switches,
    vlans: &Vlans,
) {
    for _ in 0..BACKLOG_BATCHES {
        if backlog.uplink_full() && uplink.is_some() {
            return;
        }
        let count = backlog.fill_batch();
        if count == 0 {
            return;
        }
        let frame = |number: usize| {
            let (waiting, unit) = backlog.frame(number);
            Outgoing { unit, form: vlans.form(waiting.tag) }
        };
        let mut refused = |number: usize, reason| refuse(backlog, number, switches, reason);
        let taken = match &mut uplink {
            Some(uplink) => uplink.send(count, frame, refused),
            None => {
                (0..count).for_each(|number| refused(number, DropReason::NoCarrier));
                count
            }
        };
        backlog.remove(taken);
        backlog.set_uplink_full(taken < count);
    }
}

/// Takes a frame of the backlog's batch back, unless its counters have ended with its switch.
fn refuse(
    backlog: &FairQueue<SwitchId>,
    number: usize,
    switches: &mut Switches,
    reason: DropReason,
) {
    let (waiting, _) = backlog.frame(number);
    if !waiting.discarded {
        undo_sent(&mut switches.get_mut(waiting.tag).wire, waiting.counters, reason);
    }
}
