//! Compares two outcomes cell by cell, by the rules for what must be equal and what may differ.

use std::collections::BTreeMap;
use std::fmt;

use umacvlan_core::frame::{HEADER_LEN, TAG_LEN};
use umacvlan_core::{MacAddr, Mode, Semantics};

use crate::exchange::{Delivery, Named, Outcome, Place, TestFrame};
use crate::frames::{ends, untagged};
use crate::model::State;

/// A difference in one frame of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Index of the frame in the batch; `None` for a frame that was never sent.
    pub(crate) frame: Option<usize>,
    pub(crate) what: String,
}

/// The result of a comparison.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) differences: Vec<Difference>,
    /// Deliveries of the kernel that ours did not make and the documents forbid.
    pub(crate) isolated: usize,
    /// Frames that the host received with ours without the filter. The kernel's macvlan took them.
    pub(crate) overheard: usize,
}

/// The rules for comparing two outcomes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// The semantics of private sub-interfaces on the right side.
    pub(crate) semantics: Semantics,
    /// The right side works from a packet socket and has no filter for the host, so it cannot take
    /// frames away from it.
    pub(crate) host_gets_all: bool,
    /// The right side is a VLAN for which its host has no device: the host's frames are not
    /// compared.
    pub(crate) vlan: bool,
    /// The interfaces of the right side are ends of veth pairs, which drop what is longer than their
    /// own MTU allows.
    pub(crate) veth: bool,
    /// Some sub-interfaces of the right side have programs, where the left side has interfaces.
    pub(crate) programs: bool,
}

/// A cell: a receiver, a frame as it arrived there, and its packet type.
type Cell = (Place, Vec<u8>, Kind);

/// The packet type that the receiver's kernel assigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// It depends on the address of the interface, which differs from the one that macvlan compares
    /// with.
    Either,
    Of(u8),
}

impl Rules {
    /// Rules for a parent without tags whose host is hidden from the frames of sub-interfaces.
    pub(crate) const fn of(semantics: Semantics) -> Self {
        Self { semantics, host_gets_all: false, vlan: false, veth: false, programs: false }
    }

    /// Compares the kernel's outcome with ours.
    pub(crate) fn compare(
        self,
        frames: &[TestFrame],
        state: &State,
        kernel: &Outcome,
        ours: &Outcome,
    ) -> Comparison {
        let mut comparison = Comparison {
            differences: refusals(frames, state, kernel, ours),
            ..Comparison::default()
        };
        let numbers: BTreeMap<Vec<u8>, usize> = frames
            .iter()
            .enumerate()
            .map(|(number, frame)| (untagged(&frame.bytes), number))
            .collect();
        let number = |bytes: &[u8]| numbers.get(&untagged(bytes)).copied();

        let mut cells: BTreeMap<Cell, [usize; 2]> = BTreeMap::new();
        let matters = |delivery: &&Delivery| !(self.vlan && delivery.place == Place::Host);
        for delivery in kernel.deliveries.iter().filter(matters) {
            let sent = number(&delivery.bytes).map(|number| &frames[number]);
            if sent.is_some_and(|sent| self.isolates(sent, delivery, state)) {
                comparison.isolated += 1;
                continue;
            }
            cells.entry(cell(delivery, state)).or_default()[0] += 1;
        }
        for delivery in ours.deliveries.iter().filter(matters) {
            cells.entry(cell(delivery, state)).or_default()[1] += 1;
        }
        for ((place, bytes, kind), [kernels, ours]) in cells {
            let frame = number(&bytes);
            let allowed = frame.is_some_and(|number| {
                ours > kernels && self.may_hear(place, &frames[number], state)
            });
            if allowed {
                comparison.overheard += ours - kernels;
            } else if ours < kernels && self.may_be_too_long(place, &bytes, state) {
                continue;
            } else if kernels != ours {
                let place = Named { place, state };
                let what = format!(
                    "at {place} as {kind}: kernel {kernels}, ours {ours}, {} bytes",
                    bytes.len()
                );
                comparison.differences.push(Difference { frame, what });
            }
        }
        comparison
    }

    /// True for a delivery that the documents forbid and the kernel makes: unicast from the wire
    /// between two sub-interfaces that are up, one of them private.
    fn isolates(self, sent: &TestFrame, delivery: &Delivery, state: &State) -> bool {
        if self.semantics == Semantics::Kernel || sent.origin != Place::Wire {
            return false;
        }
        let Some((dst, src)) = ends(&sent.bytes) else {
            return false;
        };
        let (Some((from, sender)), Some((to, target))) = (state.owner(src), state.owner(dst))
        else {
            return false;
        };
        let private = sender.mode == Mode::Private || target.mode == Mode::Private;
        // A source sub-interface gets copies by its list, and nothing else.
        private && from != to && target.mode != Mode::Source && delivery.place == Place::Sub(to)
    }

    /// True for frames that a veth interface drops for their length. From the wire they may come so
    /// long, and no rule of macvlan forbids it.
    fn may_be_too_long(self, place: Place, bytes: &[u8], state: &State) -> bool {
        let Place::Sub(at) = place else {
            return false;
        };
        let longest = state.subs[at].mtu as usize + HEADER_LEN + TAG_LEN;
        self.veth && bytes.len() > longest
    }

    /// True for frames that the kernel's macvlan takes from the host and a packet socket cannot.
    /// The host may receive more than with the kernel, never less.
    fn may_hear(self, place: Place, sent: &TestFrame, state: &State) -> bool {
        if !self.host_gets_all || place != Place::Host || sent.origin != Place::Wire {
            return false;
        }
        let Some((dst, src)) = ends(&sent.bytes) else {
            return false;
        };
        if state.is_taken_by_list(src) {
            return true;
        }
        if dst.is_group() {
            let sender = state.owner(src);
            return sender.is_some_and(|(_, sub)| {
                matches!(sub.mode, Mode::Passthru | Mode::Private | Mode::Source)
            });
        }
        let owned = state.subs.iter().any(|sub| sub.mode == Mode::Passthru);
        owned || state.owner(dst).is_some_and(|(_, sub)| sub.mode != Mode::Source)
    }
}

/// Frames that only one of the two kernels accepted from their sender, or that each refused for a
/// different reason. A program is told of no refusal: what the kernel has refused, and ours has
/// delivered, is a difference in deliveries.
fn refusals(
    frames: &[TestFrame],
    state: &State,
    kernel: &Outcome,
    ours: &Outcome,
) -> Vec<Difference> {
    let program = |number: usize| {
        let origin = frames.get(number).map(|frame| frame.origin);
        matches!(origin, Some(Place::Sub(at)) if state.subs[at].program.is_some())
    };
    let both = kernel.refused.iter().zip(&ours.refused).enumerate();
    both.filter(|(number, (kernels, ours))| kernels != ours && !program(*number))
        .map(|(number, (kernels, ours))| Difference {
            frame: Some(number),
            what: format!("errno at sending: kernel {kernels:?}, ours {ours:?}"),
        })
        .collect()
}

fn cell(delivery: &Delivery, state: &State) -> Cell {
    let Delivery { place, bytes, kind } = delivery;
    // The host's protocols see a frame without its tag.
    let bytes = match place {
        Place::Host => untagged(bytes),
        _ => bytes.clone(),
    };
    let kind = match ends(&bytes) {
        Some((dst, _)) if is_judged_apart(*place, dst, state) => Kind::Either,
        _ => Kind::Of(*kind),
    };
    (*place, bytes, kind)
}

/// True where the kernel's macvlan sets the packet type itself and the stack behind a TAP sets
/// another: all unicast in passthru, and copies of frames for the parent in source mode, are `HOST`
/// for the former and `OTHERHOST` for the latter. A program has no stack that would set one.
fn is_judged_apart(place: Place, dst: MacAddr, state: &State) -> bool {
    let Place::Sub(at) = place else {
        return false;
    };
    if state.subs[at].program.is_some() {
        return true;
    }
    match state.subs[at].mode {
        Mode::Passthru => !dst.is_group(),
        Mode::Source => dst == state.parent,
        Mode::Bridge | Mode::Private | Mode::Vepa => false,
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Either => "whosever",
            Self::Of(libc::PACKET_HOST) => "HOST",
            Self::Of(libc::PACKET_BROADCAST) => "BROADCAST",
            Self::Of(libc::PACKET_MULTICAST) => "MULTICAST",
            Self::Of(libc::PACKET_OTHERHOST) => "OTHERHOST",
            Self::Of(_) => "something else",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SubState;

    const EXACT: Rules = Rules::of(Semantics::Kernel);
    const DOCUMENTED: Rules = Rules { host_gets_all: true, ..Rules::of(Semantics::Documented) };

    #[test]
    fn equal_outcomes_do_not_differ() {
        let frames = [from_wire(STRANGER, mac(1))];
        let outcome = got(&frames, &[Place::Sub(1), Place::Wire]);
        assert_eq!(differences(EXACT, &frames, &outcome, &outcome), 0);
    }

    #[test]
    fn a_lost_an_extra_and_a_second_delivery_are_noticed() {
        let frames = [from_wire(STRANGER, mac(1))];
        let one = got(&frames, &[Place::Sub(1)]);
        for places in
            [&[][..], &[Place::Sub(0)], &[Place::Sub(1); 2], &[Place::Sub(1), Place::Host]]
        {
            let other = got(&frames, places);
            assert_ne!(differences(EXACT, &frames, &one, &other), 0, "{places:?}");
            assert_ne!(differences(EXACT, &frames, &other, &one), 0, "{places:?}");
        }
    }

    #[test]
    fn a_changed_byte_a_tag_lost_and_another_kind_are_noticed() {
        let mut frame = from_wire(STRANGER, mac(1));
        frame.bytes.splice(12..12, [0x81, 0, 0, 1]);
        let frames = [frame];
        let right = got(&frames, &[Place::Sub(1)]);
        let changes: [fn(&mut Delivery); 3] = [
            |delivery| delivery.bytes[20] ^= 1,
            |delivery| delivery.bytes = untagged(&delivery.bytes),
            |delivery| delivery.kind = libc::PACKET_OTHERHOST,
        ];
        for change in changes {
            let mut wrong = got(&frames, &[Place::Sub(1)]);
            change(&mut wrong.deliveries[0]);
            assert_ne!(differences(EXACT, &frames, &right, &wrong), 0);
        }
    }

    #[test]
    fn a_veth_interface_may_lose_what_is_longer_than_its_mtu_and_nothing_else() {
        for (len, allowed) in [(1518, false), (1519, true)] {
            let mut frame = from_wire(STRANGER, MacAddr::BROADCAST);
            frame.bytes.resize(len, 0);
            let frames = [frame];
            let (nothing, heard) = (got(&frames, &[]), got(&frames, &[Place::Sub(1)]));
            let veth = Rules { veth: true, ..EXACT };
            assert_eq!(differences(veth, &frames, &heard, &nothing) == 0, allowed, "{len}");
            assert_ne!(differences(veth, &frames, &nothing, &heard), 0);
            assert_ne!(differences(EXACT, &frames, &heard, &nothing), 0);
        }
    }

    #[test]
    fn another_errno_is_noticed() {
        let frames = [from_wire(STRANGER, mac(1))];
        let (mut one, mut other) = (got(&frames, &[]), got(&frames, &[]));
        one.refused.push(Some(libc::EMSGSIZE));
        other.refused.push(None);
        assert_eq!(differences(EXACT, &frames, &one, &other), 1);
    }

    #[test]
    fn the_host_may_hear_more_of_what_macvlan_takes_and_never_less() {
        let taken = [from_wire(STRANGER, mac(1)), from_wire(mac(0), MacAddr::BROADCAST)];
        let passed = [from_wire(STRANGER, PARENT), from_wire(STRANGER, MacAddr::BROADCAST)];
        for frame in taken.into_iter().chain(passed.clone()) {
            let allowed = !passed.iter().any(|other| other.bytes == frame.bytes);
            let frames = [frame];
            let (nothing, heard) = (got(&frames, &[]), got(&frames, &[Place::Host]));
            assert_ne!(differences(DOCUMENTED, &frames, &heard, &nothing), 0);
            assert_eq!(differences(DOCUMENTED, &frames, &nothing, &heard) == 0, allowed);
        }
    }

    #[test]
    fn documented_semantics_forbid_what_they_say_and_nothing_else() {
        let isolated = [(0, 1), (1, 0)];
        for (from, to) in [(0, 1), (1, 0), (0, 0), (1, 2), (2, 1)] {
            let frames = [from_wire(mac(from), mac(to))];
            let (none, one) = (got(&frames, &[]), got(&frames, &[Place::Sub(to.into())]));
            let forbidden = isolated.contains(&(from, to));
            assert_eq!(differences(DOCUMENTED, &frames, &one, &none) == 0, forbidden);
            assert_eq!(differences(DOCUMENTED, &frames, &one, &one) == 0, !forbidden);
        }
    }

    fn differences(rules: Rules, frames: &[TestFrame], kernel: &Outcome, ours: &Outcome) -> usize {
        let subs = [Mode::Private, Mode::Bridge, Mode::Vepa];
        let subs = (0..).zip(subs).map(|(number, mode)| SubState {
            name: format!("s{number}"),
            program: None,
            mac: mac(number),
            mode,
            mtu: 1500,
            up: true,
            nodst: false,
            open: false,
            sources: Vec::new(),
            groups: Vec::new(),
        });
        let state = State { parent: PARENT, subs: subs.collect() };
        rules.compare(frames, &state, kernel, ours).differences.len()
    }

    fn from_wire(src: MacAddr, dst: MacAddr) -> TestFrame {
        let mut bytes = [dst.octets(), src.octets()].concat();
        bytes.extend([0x88, 0xb5]);
        bytes.resize(60, 0);
        TestFrame { origin: Place::Wire, bytes }
    }

    fn got(frames: &[TestFrame], places: &[Place]) -> Outcome {
        let deliveries = frames.iter().flat_map(|frame| {
            places.iter().map(|&place| Delivery {
                place,
                bytes: frame.bytes.clone(),
                kind: libc::PACKET_HOST,
            })
        });
        Outcome { refused: Vec::new(), deliveries: deliveries.collect() }
    }

    const fn mac(number: u8) -> MacAddr {
        MacAddr::new([2, 0, 0, 0, 0, number])
    }

    const PARENT: MacAddr = MacAddr::new([2, 0xaa, 0, 0, 0, 1]);
    const STRANGER: MacAddr = MacAddr::new([2, 0xee, 0, 0, 0, 1]);
}
