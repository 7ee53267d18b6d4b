//! The translation at the wire: what leaves has the parent's address, and what arrives for that address
//! gets the address of its link.
//!
//! A switch without a translation does not come here. The source address of every frame of a switch that
//! has one is replaced when the frame is handed to the uplink
//! ([`WireForm`](umacvlan_sys::wire_form::WireForm)), so that none can leave with another.

use std::net::IpAddr;
use std::time::Instant;

use umacvlan_core::offload::VNET_LEN;
use umacvlan_core::stats::WireStats;
use umacvlan_core::switch::Action;
use umacvlan_core::{DropReason, Frame, SubIndex, Switch};
use umacvlan_macnat::{Change, Incoming, MacNat, Neighbour};
use umacvlan_sys::bpf::SharedAddresses;

use crate::forwarder::Forwarder;
use crate::frame_ref::{FrameRef, parse};
use crate::segment_buffer::SegmentBuffer;
use crate::switches::{SwitchId, VlanSwitch, Vlans};
use crate::tx_queues::TxQueues;

/// The translation of one switch.
#[derive(Debug, Default)]
pub(crate) struct Translation {
    nat: MacNat,
    /// The addresses that the host filter hides: all of links, if there is a filter.
    hidden: Option<SharedAddresses>,
}

impl Translation {
    pub(crate) const fn nat(&self) -> &MacNat {
        &self.nat
    }

    /// Has a filter hide the addresses of links, or none.
    pub(crate) fn hide(&mut self, hidden: Option<SharedAddresses>) {
        self.hidden = hidden;
        self.hide_all();
    }

    pub(crate) fn set_host(&mut self, addresses: &[IpAddr]) {
        self.nat.set_host(addresses.iter().copied());
        self.hide_all();
    }

    pub(crate) fn restore(&mut self, neighbours: Vec<Neighbour>) {
        neighbours.into_iter().for_each(|neighbour| self.nat.restore(neighbour));
        self.hide_all();
    }

    pub(crate) fn remove_link(&mut self, link: SubIndex) {
        self.nat.remove_link(link);
        self.hide_all();
    }

    pub(crate) fn release_link(&mut self, link: SubIndex) {
        self.nat.release_link(link);
    }

    /// Learns from a frame. The host is kept from a new address before any frame from there leaves.
    #[inline]
    fn learn(&mut self, link: SubIndex, frame: Frame<'_>, now: Instant) -> Result<(), DropReason> {
        let before = (self.nat.changes(), self.nat.removals());
        let learned = self.nat.learn(link, frame, now);
        if before.0 != self.nat.changes() {
            self.hide_new(frame, before.1 != self.nat.removals());
        }
        learned
    }

    #[cold]
    fn hide_new(&mut self, frame: Frame<'_>, replaced: bool) {
        if replaced {
            return self.hide_all();
        }
        if let Some(hidden) = &mut self.hidden {
            // Without room the host gets the frames of an address, too.
            MacNat::senders(frame).for_each(|address| _ = hidden.insert(address));
        }
    }

    fn hide_all(&mut self) {
        let Self { nat, hidden } = self;
        if let Some(hidden) = hidden {
            hidden.retain(|address| nat.is_link(address));
            nat.neighbours().for_each(|neighbour| _ = hidden.insert(neighbour.address));
        }
    }
}

impl Forwarder {
    /// Begins a turn of a worker with a translation.
    #[cold]
    #[inline(never)]
    pub(crate) fn begin_translated_turn(&mut self, vlans: &mut Vlans, now: Instant) {
        self.switches.now = Some(now);
        for (id, VlanSwitch { switch, nat, .. }) in self.switches.all_mut() {
            if nat.is_some() {
                vlans.set_source(id, Some(switch.parent().mac));
            }
        }
    }

    /// As [`Self::ingress`], for a worker with a translation. Changes the frame in place.
    #[inline(never)]
    pub(crate) fn ingress_translated(
        &mut self,
        id: SwitchId,
        stored: FrameRef,
        bytes: Result<&mut [u8], DropReason>,
    ) {
        let VlanSwitch { switch, nat, wire, .. } = self.switches.get_mut(id);
        let (unit, nat) = match (bytes, nat) {
            (Ok(unit), Some(nat)) => (unit, nat),
            (bytes, _) => return self.ingress_tagged(id, stored, bytes.map(|unit| &*unit)),
        };
        let parent = switch.parent().mac;
        match unit.get_mut(VNET_LEN..).map(|frame| nat.nat.incoming(parent, frame)) {
            Some(Incoming::Link) => self.ingress_link(id, stored, unit),
            Some(Incoming::Reflected) => {
                wire.received.count(stored.frame_len());
                wire.dropped.count(DropReason::MacnatReflected);
            }
            Some(Incoming::Group | Incoming::Host | Incoming::Other) | None => {
                self.ingress_tagged(id, stored, Ok(unit));
            }
        }
    }

    /// Forwards a frame from the wire that has got the address of its link. The host gets it in no case.
    fn ingress_link(&mut self, id: SwitchId, stored: FrameRef, unit: &[u8]) {
        let before = self.switches.get(id).wire.host;
        self.ingress_tagged(id, stored, Ok(unit));
        let wire = &mut self.switches.get_mut(id).wire;
        if wire.host != before {
            wire.host = before;
            wire.dropped.count(DropReason::Down);
        }
    }

    /// Notes whether a link has got or lost an address since the last time, by switch.
    #[cold]
    pub(crate) fn has_new_neighbours(&mut self) -> bool {
        let sum = |sum: u64, it: &Translation| sum.wrapping_add(it.nat.changes());
        let nats = self.switches.all_mut().filter_map(|(_, it)| it.nat.as_deref());
        let changes = nats.fold(0, sum);
        std::mem::replace(&mut self.neighbour_changes, changes) != changes
    }
}

impl TxQueues {
    /// Counts a frame that does not leave, while siblings get it.
    pub(crate) fn count_unsent(
        &mut self,
        wire: &mut WireStats,
        id: SwitchId,
        stored: FrameRef,
        reason: DropReason,
    ) {
        wire.offered += 1;
        wire.unsent.count(reason);
        self.losses.note_wire(id, stored.counters(), reason);
    }
}

/// Learns from a frame that the switch has not dropped which IP addresses its sender has.
///
/// # Errors
/// The reason why it does not leave. Siblings get it: among them addresses are as without translation.
/// The host's own sub-interface, for one, has addresses of the host.
pub(crate) fn learn(
    nat: &mut Translation,
    switch: &Switch,
    from: SubIndex,
    frame: Frame<'_>,
    action: &Action<'_>,
    now: Instant,
) -> Result<(), DropReason> {
    if matches!(action, Action::Drop(_)) || !switch.has_address(from, frame.src()) {
        return Ok(());
    }
    nat.learn(from, frame, now)
}

/// The form in which a frame leaves but for its source: as it is, or a copy of which ARP, ND or DHCP was
/// changed.
///
/// # Errors
/// The reason why it does not leave.
pub(crate) fn leaving(
    switch: &Switch,
    segments: &mut SegmentBuffer,
    from: SubIndex,
    stored: FrameRef,
    bytes: &[u8],
) -> Result<FrameRef, DropReason> {
    let Some((header, frame)) = parse(bytes) else {
        return Err(DropReason::Runt);
    };
    if !switch.has_address(from, frame.src()) {
        return Err(DropReason::Spoofed);
    }
    let parent = switch.parent().mac;
    let Some(change) = Change::of(parent, frame)? else {
        return Ok(stored);
    };
    let copy = segments.store(bytes).ok_or(DropReason::Full)?;
    change.apply(parent, header, &mut segments.bytes_mut(copy.range())[VNET_LEN..]);
    Ok(copy)
}
