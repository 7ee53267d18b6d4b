//! [`WireGro`]: frames of one flow to the wire, merged into one GSO packet before they are sent.
//!
//! The parent segments it again, or the kernel does where the parent cannot, so the wire carries the
//! very same frames. The way through the kernel is taken once, and that is most of the cost of a
//! small frame. As with [`Gro`](super::gro::Gro) no frame waits for another, and the frames of one
//! flow stay in order. Frames of several flows may change places within their turn.

use umacvlan_core::SubIndex;
use umacvlan_core::frame::HEADER_LEN;
use umacvlan_core::offload::{Offloads, VNET_LEN, VnetHeader, flow_hash};

use crate::frame_ref::{FrameRef, FrameStores};
use crate::merge_buffer::{MergeBuffer, OpenMerge};
use crate::switches::{SwitchId, Switches};

/// Flows that are told apart at once: as many as a turn has frames of one port.
const FLOWS: usize = 64;

/// What is merged for each flow.
#[derive(Debug)]
pub(crate) struct WireGro {
    /// By the hash of the flow. One that takes the place of another ends its merge.
    flows: [Flow; FLOWS],
    /// Counts up with every turn, and with every frame that none may overtake.
    epoch: u64,
    /// The flows that have an open merge.
    open: usize,
}

/// The flow that was seen last in a place.
#[derive(Clone, Copy, Debug)]
struct Flow {
    epoch: u64,
    id: SwitchId,
    hash: u64,
    /// The position of its last frame in the TX queue.
    last: usize,
    /// The merged frame that its next one may continue.
    open: Option<OpenMerge>,
}

impl WireGro {
    pub(crate) const fn new() -> Self {
        let none = Flow { epoch: 0, id: SwitchId::UNTAGGED, hash: 0, last: 0, open: None };
        Self { flows: [none; FLOWS], epoch: 0, open: 0 }
    }

    /// Merges the frames of a turn that can be merged. `takes` are the GSO packets that the kernel
    /// takes for the wire.
    pub(crate) fn merge(
        &mut self,
        frames: &mut Vec<(SwitchId, FrameRef, SubIndex)>,
        (stores, buffer): (&FrameStores<'_>, &mut MergeBuffer),
        takes: Offloads,
        switches: &mut Switches,
    ) {
        let mut merged = false;
        self.epoch += 1;
        for position in 0..frames.len() {
            let (id, stored, _) = frames[position];
            let Some(hash) = flow_of(id, stored, stores, switches) else {
                // It may belong to any flow, as a fragment does.
                self.close_all(buffer, frames, switches);
                self.epoch += 1;
                continue;
            };
            let epoch = self.epoch;
            let place = place_of(hash);
            let flow = &mut self.flows[place];
            let known = flow.epoch == epoch && flow.id == id && flow.hash == hash;
            let joined = known
                && match &mut flow.open {
                    Some(open) => buffer.push(open, stored, stores),
                    none => {
                        let first = (flow.last, frames[flow.last].1);
                        *none = buffer
                            .open(first, stored, stores, |kind, v6| takes.takes_type(kind, v6));
                        self.open += usize::from(none.is_some());
                        none.is_some()
                    }
                };
            if joined {
                // A length of 0 marks a frame that is part of another.
                frames[position].1.len = 0;
                merged = true;
            } else {
                self.close(place, buffer, frames, switches);
                self.flows[place] = Flow { epoch, id, hash, last: position, open: None };
            }
        }
        self.close_all(buffer, frames, switches);
        if merged {
            frames.retain(|(_, stored, _)| stored.len != 0);
        }
    }

    fn close_all(
        &mut self,
        buffer: &mut MergeBuffer,
        frames: &mut [(SwitchId, FrameRef, SubIndex)],
        switches: &mut Switches,
    ) {
        for place in 0..FLOWS {
            if self.open == 0 {
                return;
            }
            self.close(place, buffer, frames, switches);
        }
    }

    /// Puts the merged frame of a flow, if it has one, in the place of its first one.
    fn close(
        &mut self,
        place: usize,
        buffer: &mut MergeBuffer,
        frames: &mut [(SwitchId, FrameRef, SubIndex)],
        switches: &mut Switches,
    ) {
        let flow = &mut self.flows[place];
        if let Some(open) = flow.open.take() {
            self.open -= 1;
            let (stored, count) = buffer.finish(open);
            let wire = &mut switches.get_mut(flow.id).wire;
            wire.merged += u64::from(count);
            wire.supers += 1;
            frames[open.position].1 = stored;
        }
    }
}

/// The hash of the flow of a frame; `None` if no other may overtake it. A frame that is longer than the
/// parent's MTU is left to the kernel, which refuses it, and would not refuse a GSO packet of such.
fn flow_of(
    id: SwitchId,
    stored: FrameRef,
    stores: &FrameStores<'_>,
    switches: &Switches,
) -> Option<u64> {
    let (header, frame) = stores.bytes(stored).split_first_chunk::<VNET_LEN>()?;
    let mtu = switches.get(id).switch.parent().mtu as usize;
    match frame.len() <= mtu + HEADER_LEN || VnetHeader::parse(header).is_gso() {
        true => flow_hash(frame),
        false => None,
    }
}

/// The place of a flow with this hash.
#[allow(clippy::cast_possible_truncation, reason = "the remainder is below the number of flows")]
const fn place_of(hash: u64) -> usize {
    (hash % FLOWS as u64) as usize
}
