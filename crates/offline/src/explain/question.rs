//! [`Question`]: a place, a direction, and a frame as `key=value` words or in hex.

use std::fmt;

use anyhow::{Context, Result, bail};
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use umacvlan_core::frame::{HEADER_LEN, TAG_LEN};
use umacvlan_core::{Frame, MacAddr};

/// A question as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// The parent of an ingress frame, the sending link of an egress frame.
    pub(super) place: String,
    pub(super) direction: Direction,
    pub(super) frame: FrameSpec,
    /// The frame is a GSO packet.
    pub(super) gso: bool,
}

/// The direction of a frame, seen from the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Egress,
    Ingress,
}

/// A frame: its bytes, or the fields to build it from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FrameSpec {
    Bytes(Vec<u8>),
    Fields(FrameFields),
}

/// Header fields of a frame; absent ones have a default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FrameFields {
    dst: Option<Address>,
    src: Option<Address>,
    vlan: Option<u16>,
    ethertype: Option<u16>,
    length: Option<usize>,
}

/// An address as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Mac(MacAddr),
    /// That of the link or the parent with this name.
    Of(String),
}

impl Address {
    /// # Errors
    /// It has colons, as no name has, and is no address.
    fn read(text: &str) -> Result<Self> {
        match text.parse() {
            Ok(mac) => Ok(Self::Mac(mac)),
            Err(error) if text.is_empty() || text.contains(':') => Err(error.into()),
            Err(_) => Ok(Self::Of(text.to_owned())),
        }
    }

    fn find(&self, address_of: impl Fn(&str) -> Result<MacAddr>) -> Result<MacAddr> {
        match self {
            Self::Mac(mac) => Ok(*mac),
            Self::Of(name) => address_of(name),
        }
    }
}

impl Question {
    /// Reads `PLACE ingress|egress WORD=VALUE...`, or the first two with a frame in hex.
    ///
    /// # Errors
    /// The word that is malformed, and the expected form.
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
        let mut fields = FrameFields::default();
        let mut gso = false;
        for word in words {
            match word.split_once('=') {
                None if word == "gso" => gso = true,
                Some((key, value)) => {
                    fields.set(key, value).with_context(|| format!("in \"{word}\""))?;
                }
                None => bail!("\"{word}\" is not understood: {GRAMMAR}"),
            }
        }
        let frame = match hex {
            Some(_) if fields != FrameFields::default() => {
                bail!("the frame is given by --hex: expected no words about it but gso");
            }
            Some(hex) => FrameSpec::Bytes(bytes(hex)?),
            None => FrameSpec::Fields(fields),
        };
        Ok(Self { place, direction, frame, gso })
    }
}

impl FrameFields {
    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "dst" => self.dst = Some(Address::read(value)?),
            "src" => self.src = Some(Address::read(value)?),
            "vlan" => {
                let vlan = value.parse().ok().filter(|&vlan| vlan < 4096);
                self.vlan = Some(vlan.context("expected a number from 0 to 4095")?);
            }
            "type" => self.ethertype = Some(ethertype(value)?),
            "len" => {
                let length =
                    value.parse().ok().filter(|length| (HEADER_LEN..=MAX_BYTES).contains(length));
                let expected = || format!("expected bytes, from {HEADER_LEN} to {MAX_BYTES}");
                self.length = Some(length.with_context(expected)?);
            }
            _ => bail!("expected one of dst, len, src, type, vlan"),
        }
        Ok(())
    }
}

impl FrameSpec {
    /// The bytes of the frame; `src` is the default source, `address_of` has the addresses of
    /// links by their names.
    ///
    /// # Errors
    /// A field without a default is missing, or nothing has a name that stands for an address.
    pub(super) fn bytes(
        &self,
        src: Option<MacAddr>,
        address_of: impl Fn(&str) -> Result<MacAddr>,
    ) -> Result<Vec<u8>> {
        let fields = match self {
            Self::Bytes(bytes) => return Ok(bytes.clone()),
            Self::Fields(fields) => fields,
        };
        let dst = fields.dst.as_ref().context("dst= is missing: where does the frame go?")?;
        let dst = dst.find(&address_of).context("dst")?;
        let given = fields.src.as_ref().map(|src| src.find(&address_of).context("src"));
        let src = given.transpose()?.or(src);
        let src = src.context("src= is missing: a frame from the wire has a source")?;
        let mut bytes = [dst.octets(), src.octets()].concat();
        if let Some(vlan) = fields.vlan {
            bytes.extend(VLAN.to_be_bytes());
            bytes.extend(vlan.to_be_bytes());
        }
        bytes.extend(fields.ethertype.unwrap_or(IPV4).to_be_bytes());
        bytes.resize(fields.length.unwrap_or(MIN_BYTES).max(bytes.len()), 0);
        Ok(bytes)
    }
}

/// One line about a frame, as far as its headers can be parsed.
pub(super) struct FrameSummary<'f> {
    pub(super) frame: Frame<'f>,
    /// The payload is known: it came in hex. Otherwise it is zeros and is not shown.
    pub(super) whole: bool,
}

impl fmt::Display for FrameSummary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frame, whole } = self;
        let bytes = frame.bytes();
        write!(f, "{} > {}", frame.src(), frame.dst())?;
        let mut ethertype = frame.ethertype();
        if let Some(tag) = frame.tag() {
            write!(f, ", VLAN {}", tag.vid())?;
            let inner = bytes.get(HEADER_LEN + TAG_LEN - 2..).and_then(|rest| rest.first_chunk());
            ethertype = inner.map_or(ethertype, |bytes| u16::from_be_bytes(*bytes));
        }
        write!(f, ", type {ethertype:#06x}")?;
        if let Some((name, _)) = TYPES.iter().find(|&&(_, number)| number == ethertype) {
            write!(f, " ({name})")?;
        }
        write!(f, ", {} bytes", bytes.len())?;
        match *whole {
            true => payload(bytes, f),
            false => Ok(()),
        }
    }
}

/// Writes the addresses and ports of the IP packet in a frame.
fn payload(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

/// A frame from pairs of hex digits; blanks, `:` and `-` between them are ignored.
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
        HEADER_LEN..=MAX_BYTES => Ok(bytes),
        length => bail!("--hex: {length} bytes, expected {HEADER_LEN} to {MAX_BYTES}"),
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
                       dst=ADDRESS\", where the name of a link may stand for its address, then vlan=, type=, len= or gso";

/// EtherTypes that have a name here, from the list of the IEEE.
const TYPES: [(&str, u16); 6] = [
    ("arp", 0x0806),
    ("eapol", 0x888e),
    ("ipv4", IPV4),
    ("ipv6", 0x86dd),
    ("lldp", 0x88cc),
    ("pause", 0x8808),
];

const IPV4: u16 = 0x0800;
/// The TPID of an 802.1Q tag.
const VLAN: u16 = 0x8100;

/// The minimum length of an Ethernet frame in bytes, without its FCS.
const MIN_BYTES: usize = 60;
/// More bytes than any GSO packet has.
const MAX_BYTES: usize = 1 << 20;
