//! [`Forwarder`]: from a received frame to entries in the TX queues.
//!
//! It asks the switch, counts, and queues the frame for its receivers. Nothing is sent here, and
//! nothing is copied except the frames of floods that have to wait.

use std::io;

use umacvlan_core::offload::{VnetError, VnetHeader};
use umacvlan_core::switch::{Action, Verdict};
use umacvlan_core::{DropReason, Frame, SubIndex, Switch};
use umacvlan_sys::buffer_pool::BufferPool;

use crate::flood_queue::{self, FloodQueue, FloodShare, LOCAL_FLOODS};
use crate::frame_ref::{FrameRef, parse};
use crate::igmp_mld;
use crate::port::Ports;
use crate::switches::{SwitchId, Switches, VlanSwitch, Vlans};
use crate::translation;
use crate::tx_queues::TxQueues;
use crate::uplink::Uplink;

/// A worker without its sockets: switches, floods and TX queues.
#[derive(Debug)]
pub(crate) struct Forwarder {
    pub(crate) switches: Switches,
    pub(crate) floods: FloodQueue,
    pub(crate) tx: TxQueues,
    /// Sub-interfaces that sent in this turn what their interface does not have yet: a membership
    /// report (IGMP, MLD), or a group frame from another address.
    pub(crate) reports: Vec<SubIndex>,
    /// Whether a sub-interface of the untagged parent sends tags.
    pub(crate) tags: TagsSeen,
    /// The changes of all translations that were noted.
    pub(crate) neighbour_changes: u64,
}

/// Whether sub-interfaces send VLAN tags. Group frames tell: an interface with tags begins with them
/// (ARP, neighbour discovery, DHCP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TagsSeen {
    /// None so far.
    #[default]
    No,
    /// Some, which is not reported yet.
    New,
    /// Some, which is reported.
    Reported,
}

impl Forwarder {
    /// A forwarder with these switches; `merge` is as for [`TxQueues::new`].
    pub(crate) fn new(switches: Switches, merge: bool) -> Self {
        Self {
            switches,
            floods: FloodQueue::new(),
            tx: TxQueues::new(merge),
            reports: Vec::with_capacity(64),
            tags: TagsSeen::default(),
            neighbour_changes: 0,
        }
    }

    /// Forwards a frame from the wire that belongs to one of the switches: vnet header and frame, or
    /// the reason to drop it.
    // Untagged frames have a copy of the code of their own, in which no switch is looked up.
    #[inline]
    pub(crate) fn ingress(
        &mut self,
        id: SwitchId,
        stored: FrameRef,
        bytes: Result<&[u8], DropReason>,
    ) {
        match id {
            SwitchId::UNTAGGED => self.ingress_at(SwitchId::UNTAGGED, stored, bytes),
            _ => self.ingress_tagged(id, stored, bytes),
        }
    }

    /// Forwards a frame from a sub-interface.
    // Always: there is one call for TAPs and one for ports in memory.
    #[inline(always)]
    pub(crate) fn egress(&mut self, from: SubIndex, stored: FrameRef, bytes: &[u8]) {
        match self.switches.route_of(from) {
            SwitchId::UNTAGGED => self.egress_at::<false>(SwitchId::UNTAGGED, from, stored, bytes),
            id => self.egress_tagged(id, from, stored, bytes),
        }
    }

    /// As [`Self::egress`], for frames whose way here costs more than a call.
    #[inline(never)]
    pub(crate) fn egress_stream(&mut self, from: SubIndex, stored: FrameRef, bytes: &[u8]) {
        self.egress_tagged(self.switches.route_of(from), from, stored, bytes);
    }

    /// Continues floods that wait, as far as the turn's budget of copies allows.
    pub(crate) fn resume_floods(&mut self) {
        let Self { switches, floods, tx, .. } = self;
        while let Some(pending) = floods.next_pending() {
            floods.resume(pending, switches.get_mut(pending.switch_id), tx);
        }
    }

    /// Writes what the turn has queued, and forgets it.
    ///
    /// # Errors
    /// The io_uring has failed, and with it the worker.
    pub(crate) fn flush(
        &mut self,
        vlans: &Vlans,
        mut uplink: Option<&mut Uplink>,
        ports: &mut Ports,
        pool: &BufferPool,
    ) -> io::Result<()> {
        let Self { switches, floods, tx, .. } = self;
        tx.send_to_wire(uplink.as_deref_mut(), pool, floods, switches, vlans);
        tx.send_to_ports(ports, pool, floods, uplink.as_deref())?;
        floods.end_turn();
        tx.end_turn();
        Ok(())
    }

    /// As [`Self::ingress`], out of line.
    #[inline(never)]
    pub(crate) fn ingress_tagged(
        &mut self,
        id: SwitchId,
        stored: FrameRef,
        bytes: Result<&[u8], DropReason>,
    ) {
        self.ingress_at(id, stored, bytes);
    }

    #[inline(always)]
    fn ingress_at(&mut self, id: SwitchId, stored: FrameRef, bytes: Result<&[u8], DropReason>) {
        let Self { switches, floods, tx, .. } = self;
        let VlanSwitch { switch, wire, pending_floods, .. } = switches.get_mut(id);
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(reason) => {
                wire.received.count(stored.frame_len());
                return wire.dropped.count(reason);
            }
        };
        let Some((header, frame)) = parse(bytes) else {
            wire.received.count(0);
            return wire.dropped.count(DropReason::Runt);
        };
        wire.received.count(frame.bytes().len());
        let Verdict { copies, action } = switch.ingress(frame);
        let group = frame.dst().is_group();
        for to in copies {
            tx.queue_copy(wire, to, stored, header, frame, group);
        }
        match action {
            Action::Deliver(to) => {
                floods.note_unicast();
                wire.delivered += 1;
                tx.queue_to_port(wire, to, stored, header, frame, group);
            }
            Action::Drop(reason) => wire.dropped.count(reason),
            Action::Flood(flood) => {
                let limit = match flood.rule().deferred() {
                    true => switch.bc_queue_len() as usize,
                    false => LOCAL_FLOODS,
                };
                let (switch_id, pending) = (id, pending_floods);
                let share = FloodShare { switch_id, sender: None, pending, limit };
                match limit > 0 && floods.start(flood, share, tx, wire, stored, bytes) {
                    true => wire.flooded += 1,
                    false => wire.dropped.count(DropReason::BcQueueFull),
                }
            }
            // The switch never sends a frame from the wire back to the wire.
            Action::Host | Action::Wire => wire.host += 1,
        }
    }

    #[inline(never)]
    fn egress_tagged(&mut self, id: SwitchId, from: SubIndex, stored: FrameRef, bytes: &[u8]) {
        match id {
            SwitchId::LIMITED => self.egress_limited(from, stored, bytes),
            SwitchId::TRANSLATED => {
                self.egress_at::<true>(self.switches.switch_of(from), from, stored, bytes);
            }
            id => self.egress_at::<false>(id, from, stored, bytes),
        }
    }

    /// Forwards a frame from a sub-interface whose limit it has passed.
    #[inline(never)]
    pub(crate) fn egress_passed(
        &mut self,
        id: SwitchId,
        from: SubIndex,
        stored: FrameRef,
        bytes: &[u8],
    ) {
        match self.switches.get(id).nat.is_some() {
            true => self.egress_at::<true>(id, from, stored, bytes),
            false => self.egress_at::<false>(id, from, stored, bytes),
        }
    }

    /// Drops a frame from a sub-interface with an invalid vnet header. A GSO packet in a tunnel is
    /// valid for nobody who could get it, so its segments are forwarded instead of it.
    #[cold]
    fn egress_invalid(&mut self, from: SubIndex, header: VnetHeader, frame: Frame<'_>) {
        let (stats, bytes) = (&mut self.tx.subs[from.index()], frame.bytes());
        if header.validate(bytes) != Err(VnetError::Tunnel) {
            stats.received.count(bytes.len());
            return stats.dropped.count(DropReason::BadVnetHeader);
        }
        if self.tx.segments.complete(header, bytes).is_none() {
            stats.received.count(bytes.len());
            return stats.dropped.count(DropReason::TunnelGso);
        }
        let taken = self.tx.segments.take();
        for &stored in &taken.1 {
            self.egress_stream(from, stored, &taken.0[stored.range()]);
        }
        self.tx.segments.give_back(taken);
    }

    /// Drops a frame from a sub-interface that cannot be read, because the length of its vnet header is
    /// not the engine's.
    #[cold]
    pub(crate) fn drop_unreadable(&mut self, from: SubIndex) {
        let stats = &mut self.tx.subs[from.index()];
        stats.received.count(0);
        stats.dropped.count(DropReason::BadVnetHeader);
    }

    /// Forwards a frame from a sub-interface of this switch. `NAT`: the switch has a translation.
    #[inline(always)]
    fn egress_at<const NAT: bool>(
        &mut self,
        id: SwitchId,
        from: SubIndex,
        stored: FrameRef,
        bytes: &[u8],
    ) {
        let Self { switches, floods, tx, reports, tags, .. } = self;
        let stats = &mut tx.subs[from.index()];
        let Some((header, frame)) = parse(bytes) else {
            stats.received.count(0);
            return stats.dropped.count(DropReason::Runt);
        };
        if !header.is_plain() && header.validate(frame.bytes()).is_err() {
            return self.egress_invalid(from, header, frame);
        }
        stats.received.count(frame.bytes().len());
        let group = frame.dst().is_group();
        let now = switches.now;
        let VlanSwitch { switch, wire, pending_floods, nat, .. } = switches.get_mut(id);
        if group {
            note_report(switch, reports, from, frame);
            if id == SwitchId::UNTAGGED && *tags == TagsSeen::No && frame.tag().is_some() {
                *tags = TagsSeen::New;
            }
        }
        let Verdict { copies, action } = switch.egress(from, frame, header.is_gso());
        let learned = match (nat, now) {
            (Some(nat), Some(now)) if NAT => {
                translation::learn(nat, switch, from, frame, &action, now)
            }
            _ => Ok(()),
        };
        for to in copies {
            tx.queue_copy(wire, to, stored, header, frame, group);
        }
        let leaving = match &action {
            Action::Flood(_) | Action::Wire if NAT => learned
                .and_then(|()| translation::leaving(switch, &mut tx.segments, from, stored, bytes)),
            _ => Ok(stored),
        };
        let stats = &mut tx.subs[from.index()];
        match action {
            Action::Deliver(to) => {
                floods.note_unicast();
                stats.local += 1;
                tx.queue_to_port(wire, to, stored, header, frame, group);
            }
            Action::Drop(reason) => stats.dropped.count(reason),
            Action::Flood(flood) => {
                stats.flooded += 1;
                let rule = flood.rule();
                let limit = LOCAL_FLOODS;
                let (switch_id, sender, pending) = (id, Some(from), pending_floods);
                let share = FloodShare { switch_id, sender, pending, limit };
                if !floods.start(flood, share, tx, wire, stored, bytes) {
                    flood_queue::count_lost(switch.flood(rule, 0), tx, wire);
                }
                match leaving {
                    Ok(stored) => tx.queue_to_wire(wire, id, stored, from),
                    Err(reason) => tx.count_unsent(wire, id, stored, reason),
                }
            }
            Action::Wire => {
                floods.note_unicast();
                match leaving {
                    Ok(stored) => {
                        stats.wire += 1;
                        tx.queue_to_wire(wire, id, stored, from);
                    }
                    Err(reason) => stats.dropped.count(reason),
                }
            }
            // The switch never sends a frame of a sub-interface to the host.
            Action::Host => stats.dropped.count(DropReason::Unsupported),
        }
    }
}

/// Notes a group frame that shows that the addresses of its sender may have changed.
// Out of line: unicast does not pay for it.
#[inline(never)]
fn note_report(switch: &Switch, reports: &mut Vec<SubIndex>, from: SubIndex, frame: Frame<'_>) {
    let shows = igmp_mld::is_membership_report(frame) || !switch.has_address(from, frame.src());
    if shows && !reports.contains(&from) {
        reports.push(from);
    }
}
