//! Random frames: every kind of address at both ends, tags, runts, and the largest.

use std::collections::HashSet;
use std::fmt::Write as _;

use umacvlan_core::MacAddr;
use umacvlan_core::frame::{HEADER_LEN, TAG_LEN};

use crate::exchange::{Place, TestFrame};
use crate::model::State;
use crate::network::{EXPERIMENT, MAC_CONTROL, WIRE_MAC};
use crate::random::Random;

/// The addresses in random frames, beside those of the parent and its sub-interfaces.
pub(crate) struct Cast {
    /// Hosts beyond the wire, some of them on source lists.
    pub(crate) strangers: Vec<MacAddr>,
    /// Groups that the kernel delivers to their members only.
    pub(crate) groups: Vec<MacAddr>,
}

/// `count` frames, no two of which are equal once their tags are off.
pub(crate) fn batch(
    random: &mut Random,
    state: &State,
    cast: &Cast,
    count: usize,
) -> Vec<TestFrame> {
    let mut known = HashSet::new();
    let mut frames = Vec::new();
    while frames.len() < count {
        let frame = one(random, state, cast, frames.len());
        if known.insert(untagged(&frame.bytes)) {
            frames.push(frame);
        }
    }
    frames
}

fn one(random: &mut Random, state: &State, cast: &Cast, number: usize) -> TestFrame {
    let origin = match random.below(state.subs.len() + 2) {
        0 if !random.chance(70) => Place::Host,
        at if at < state.subs.len() => Place::Sub(at),
        _ => Place::Wire,
    };
    let own = match origin {
        Place::Host => state.parent,
        Place::Sub(at) => state.subs[at].mac,
        Place::Wire => WIRE_MAC,
    };
    let src = source(random, own, state, cast);
    let dst = match destination(random, own, state, cast) {
        // The engine takes a frame of a TAP that is from zero to zero for one that it cannot read.
        MacAddr::ZERO if src == MacAddr::ZERO => WIRE_MAC,
        dst => dst,
    };
    let mut bytes = [dst.octets(), src.octets()].concat();
    tag(random, &mut bytes);
    let header = bytes.len() + 2;
    let len = length(random, header, state);
    match random.below(20) {
        0 | 1 => bytes.extend(MAC_CONTROL.to_be_bytes()),
        // A length in place of the EtherType: IEEE 802.3.
        2 => bytes.extend([0, 0x40]),
        _ => bytes.extend(EXPERIMENT.to_be_bytes()),
    }
    bytes.extend(u32::try_from(number).unwrap_or_default().to_be_bytes());
    bytes.resize(len.max(bytes.len()), random.byte());
    bytes.truncate(len);
    TestFrame { origin, bytes }
}

fn source(random: &mut Random, own: MacAddr, state: &State, cast: &Cast) -> MacAddr {
    match random.below(20) {
        0..9 => own,
        9..13 => any_sub(random, state),
        13 => state.parent,
        14 => *random.pick(&cast.groups),
        15 => UNKNOWN,
        16 => MacAddr::ZERO,
        _ => *random.pick(&cast.strangers),
    }
}

fn destination(random: &mut Random, own: MacAddr, state: &State, cast: &Cast) -> MacAddr {
    match random.below(20) {
        0..4 => MacAddr::BROADCAST,
        4..8 => *random.pick(&cast.groups),
        8..14 => any_sub(random, state),
        14 => own,
        15 => state.parent,
        16 => UNKNOWN,
        17 => WIRE_MAC,
        18 => MacAddr::ZERO,
        _ => *random.pick(&cast.strangers),
    }
}

fn any_sub(random: &mut Random, state: &State) -> MacAddr {
    match state.subs.is_empty() {
        true => UNKNOWN,
        false => random.pick(&state.subs).mac,
    }
}

/// Adds a tag to some frames, and a second one to some of these.
fn tag(random: &mut Random, bytes: &mut Vec<u8>) {
    let mut tpid = *random.pick(&[0x8100_u16, 0x8100, 0x88a8]);
    let mut chance = 15;
    while random.chance(chance) {
        let id = *random.pick(&[0_u16, 1, 10, 4094, 4095]);
        let priority = *random.pick(&[0, 0x3000, 0xf000]);
        bytes.extend(tpid.to_be_bytes());
        bytes.extend((id | priority).to_be_bytes());
        (tpid, chance) = (0x8100, 20);
    }
}

/// A length in bytes for a frame with a header of `header`: some are too short to be sent, some
/// end within their tag, and some are a little shorter or longer than an MTU allows.
fn length(random: &mut Random, header: usize, state: &State) -> usize {
    match random.below(20) {
        0 => random.below(header),
        1 => header,
        2 => header + random.below(8),
        3 => *random.pick(&[59, 60, 61]),
        4 => header + MTU - random.below(2),
        5 => header + MTU + 1,
        6..9 if !state.subs.is_empty() => {
            let mtu = random.pick(&state.subs).mtu;
            usize::try_from(mtu).unwrap_or(MTU) + 12 + random.below(8)
        }
        _ => header + 4 + random.below(200),
    }
}

/// The frame without its tags, as the host's protocols see it.
pub(crate) fn untagged(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    while bytes.len() >= 18 && matches!(bytes[12..14], [0x81, 0x00] | [0x88, 0xa8]) {
        bytes.drain(12..16);
    }
    bytes
}

/// True for a frame that ends within its tag or with it, which the kernel drops when it removes the tag
/// (`skb_vlan_untag`).
pub(crate) fn ends_with_tag(bytes: &[u8]) -> bool {
    let tagged = matches!(bytes.get(12..14), Some([0x81, 0x00] | [0x88, 0xa8]));
    tagged && bytes.len() < HEADER_LEN + TAG_LEN + 2
}

/// Destination and source, if they are there.
pub(crate) fn ends(bytes: &[u8]) -> Option<(MacAddr, MacAddr)> {
    let dst = MacAddr::new(*bytes.first_chunk()?);
    let src = MacAddr::new(*bytes.get(6..)?.first_chunk()?);
    Some((dst, src))
}

/// The frame as text for the report: its meaning and its bytes.
pub(crate) fn describe(frame: &TestFrame, state: &State) -> String {
    let mut text = match frame.origin {
        Place::Host => "from the host".to_owned(),
        Place::Sub(at) => format!("from {}", state.subs[at].name),
        Place::Wire => "from the wire".to_owned(),
    };
    let _ = write!(text, ", {} bytes", frame.bytes.len());
    if let Some((dst, src)) = ends(&frame.bytes) {
        let _ = write!(text, ": {} > {}", state.whose(src), state.whose(dst));
    }
    if let Some(kind) = frame.bytes.get(12..14) {
        let _ = write!(text, ", type {:02x}{:02x}", kind[0], kind[1]);
    }
    text.push_str("\n  ");
    for byte in &frame.bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// An address that no interface has ever had.
const UNKNOWN: MacAddr = MacAddr::new([2, 0xdd, 0, 0, 0, 1]);

/// The MTU of every interface here, unless it was changed.
const MTU: usize = 1500;
