//! What is asked: a place, a direction, and a frame in words or in hex.

use std::fmt;

use anyhow::{Context, Result, bail};
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use umacvlan_core::frame::{HEADER_LEN, TAG_LEN};
use umacvlan_core::{Frame, MacAddr};

/// A question as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// The parent for a frame from the wire, else the link that sends it.
    pub(super) place: String,
    pub(super) direction: Direction,
    pub(super) frame: Described,
    /// It is a super-frame.
    pub(super) gso: bool,
}

/// Where a frame is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Egress,
    Ingress,
}

/// A frame: its bytes, or what to make them of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Described {
    Bytes(Vec<u8>),
    Words(Words),
}

/// What was said of a frame; what is absent has a default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    dst: Option<MacAddr>,
    src: Option<MacAddr>,
    vlan: Option<u16>,
    ethertype: Option<u16>,
    length: Option<usize>,
}

impl Question {
    /// Reads `PLACE ingress|egress WORD=VALUE...`, or the first two with a frame in hex.
    ///
    /// # Errors
    /// What is wrong, and what was expected.
    pub(super) fn read(text: &[String], hex: Option<&str>) -> Result<Self> {
        let text = text.join(" ");
        let mut words = text.split_whitespace();
        let place = words.next().context(GRAMMAR)?.to_owned();
        let direction = match words.next() {
            Some("egress") => Direction::Egress,
            Some("ingress") => Direction::Ingress,
            Some(other) => bail!("\"{other}\" is no direction: {GRAMMAR}"),
            None => bail!("no direction: {GRAMMAR}"),
        };
        let mut said = Words::default();
        let mut gso = false;
        for word in words {
            match word.split_once('=') {
                None if word == "gso" => gso = true,
                Some((key, value)) => {
                    said.note(key, value).with_context(|| format!("in \"{word}\""))?;
                }
                None => bail!("\"{word}\" is not understood: {GRAMMAR}"),
            }
        }
        let frame = match hex {
            Some(_) if said != Words::default() => {
                bail!("the frame is given by --hex: expected no words about it but gso");
            }
            Some(hex) => Described::Bytes(bytes(hex)?),
            None => Described::Words(said),
        };
        Ok(Self { place, direction, frame, gso })
    }
}

impl Words {
    fn note(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "dst" => self.dst = Some(value.parse()?),
            "src" => self.src = Some(value.parse()?),
            "vlan" => {
                let vlan = value.parse().ok().filter(|&vlan| vlan < 4096);
                self.vlan = Some(vlan.context("expected a number from 0 to 4095")?);
            }
            "type" => self.ethertype = Some(ethertype(value)?),
            "len" => {
                let length =
                    value.parse().ok().filter(|length| (HEADER_LEN..=MOST).contains(length));
                let expected = || format!("expected bytes, from {HEADER_LEN} to {MOST}");
                self.length = Some(length.with_context(expected)?);
            }
            _ => bail!("expected one of dst, len, src, type, vlan"),
        }
        Ok(())
    }
}

impl Described {
    /// The bytes of the frame; `src` is its source where none was said.
    ///
    /// # Errors
    /// Something that has no default was not said.
    pub(super) fn bytes(&self, src: Option<MacAddr>) -> Result<Vec<u8>> {
        let words = match self {
            Self::Bytes(bytes) => return Ok(bytes.clone()),
            Self::Words(words) => words,
        };
        let dst = words.dst.context("dst= is missing: where does the frame go?")?;
        let src = words.src.or(src);
        let src = src.context("src= is missing: a frame from the wire has a source")?;
        let mut bytes = [dst.octets(), src.octets()].concat();
        if let Some(vlan) = words.vlan {
            bytes.extend(VLAN.to_be_bytes());
            bytes.extend(vlan.to_be_bytes());
        }
        bytes.extend(words.ethertype.unwrap_or(IPV4).to_be_bytes());
        bytes.resize(words.length.unwrap_or(LEAST).max(bytes.len()), 0);
        Ok(bytes)
    }
}

/// A frame on one line, as far as it can be read. What it carries is told only of one that came
/// in hex: of the others it is zeros.
pub(super) struct Told<'f> {
    pub(super) frame: Frame<'f>,
    pub(super) whole: bool,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frame, whole } = self;
        let bytes = frame.bytes();
        write!(f, "{} > {}", frame.src(), frame.dst())?;
        let mut ethertype = frame.ethertype();
        if let Some(tag) = frame.tag() {
            write!(f, ", VLAN {}", tag.vid())?;
            let behind = bytes.get(HEADER_LEN + TAG_LEN - 2..).and_then(|rest| rest.first_chunk());
            ethertype = behind.map_or(ethertype, |bytes| u16::from_be_bytes(*bytes));
        }
        write!(f, ", type {ethertype:#06x}")?;
        if let Some((name, _)) = TYPES.iter().find(|&&(_, number)| number == ethertype) {
            write!(f, " ({name})")?;
        }
        write!(f, ", {} bytes", bytes.len())?;
        match *whole {
            true => carried(bytes, f),
            false => Ok(()),
        }
    }
}

/// What a frame carries, in the words of its protocols.
fn carried(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Ok(packet) = LaxSlicedPacket::from_ethernet(bytes) else {
        return Ok(());
    };
    match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            write!(f, ", {} > {}", header.source_addr(), header.destination_addr())?;
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            write!(f, ", {} > {}", header.source_addr(), header.destination_addr())?;
        }
        Some(LaxNetSlice::Arp(_)) | None => {}
    }
    match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            write!(f, ", TCP {} > {}", tcp.source_port(), tcp.destination_port())
        }
        Some(TransportSlice::Udp(udp)) => {
            write!(f, ", UDP {} > {}", udp.source_port(), udp.destination_port())
        }
        Some(TransportSlice::Icmpv4(_)) => write!(f, ", ICMP"),
        Some(TransportSlice::Icmpv6(_)) => write!(f, ", ICMPv6"),
        Some(TransportSlice::Igmp(_)) => write!(f, ", IGMP"),
        None => Ok(()),
    }
}

/// A frame from pairs of hex digits, with whatever tools put between them.
fn bytes(hex: &str) -> Result<Vec<u8>> {
    let digits: Vec<u8> = hex
        .bytes()
        .filter(|sign| !sign.is_ascii_whitespace() && !matches!(sign, b':' | b'-'))
        .collect();
    let digit = |sign: u8| char::from(sign).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match *pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(pair).collect();
    let bytes = bytes.context("--hex: expected pairs of hex digits")?;
    match bytes.len() {
        HEADER_LEN..=MOST => Ok(bytes),
        length => bail!("--hex: {length} bytes, expected {HEADER_LEN} to {MOST}"),
    }
}

fn ethertype(text: &str) -> Result<u16> {
    if let Some((_, number)) = TYPES.iter().find(|(name, _)| *name == text) {
        return Ok(*number);
    }
    let hex = text.strip_prefix("0x").and_then(|digits| u16::from_str_radix(digits, 16).ok());
    let names = TYPES.map(|(name, _)| name).join(", ");
    hex.with_context(|| format!("expected a number such as 0x0800, or one of {names}"))
}

const GRAMMAR: &str = "expected \"PARENT ingress dst=ADDRESS src=ADDRESS\" or \"LINK egress \
                       dst=ADDRESS\", then vlan=, type=, len= or gso";

/// EtherTypes that have a name here, as of the IEEE's list.
const TYPES: [(&str, u16); 6] = [
    ("arp", 0x0806),
    ("eapol", 0x888e),
    ("ipv4", IPV4),
    ("ipv6", 0x86dd),
    ("lldp", 0x88cc),
    ("pause", 0x8808),
];

const IPV4: u16 = 0x0800;
/// TPID of a customer's tag.
const VLAN: u16 = 0x8100;

/// Bytes of the smallest frame that a wire carries, without its checksum.
const LEAST: usize = 60;
/// More bytes than any super-frame has.
const MOST: usize = 1 << 20;
