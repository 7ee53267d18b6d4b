//! [`Section`]: the metadata of captured frames: link type, clock, FCS, truncation.

use pcap_parser::{Block, InterfaceDescriptionBlock, PcapBlockOwned, PcapHeader, UnknownBlock};

use super::capture::Record;

/// A section of a pcapng file, or the whole of a pcap file.
#[derive(Debug, Default)]
pub(super) struct Section {
    big_endian: bool,
    interfaces: Vec<Interface>,
    /// The time of the previous frame, for a frame without a time stamp.
    last: u64,
}

/// An interface that frames were captured on.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link_type: i32,
    /// The maximum number of captured bytes per frame; 0 for no limit.
    snaplen: u32,
    /// Units of a time stamp per second.
    units: u64,
    /// Seconds from 1970 to time stamp 0.
    offset: i64,
    /// Bytes of FCS at the end of each frame.
    checksum: usize,
}

/// The fields of a packet record.
struct Raw<'c> {
    interface: usize,
    /// The time stamp, if the record has one.
    stamp: Option<u64>,
    captured: u32,
    length: u32,
    data: &'c [u8],
}

impl Section {
    /// Reads a block and returns the frame in it, if it has one.
    ///
    /// # Errors
    /// A description of the damage.
    pub(super) fn read<'c>(
        &mut self,
        block: PcapBlockOwned<'c>,
    ) -> Result<Option<Record<'c>>, String> {
        let raw = match block {
            PcapBlockOwned::LegacyHeader(header) => {
                self.interfaces = vec![Interface::legacy(&header)];
                return self.check(0).map(|_| None);
            }
            PcapBlockOwned::Legacy(record) => {
                let interface = self.check(0)?;
                let stamp = u64::from(record.ts_sec) * interface.units + u64::from(record.ts_usec);
                Raw {
                    interface: 0,
                    stamp: Some(stamp),
                    captured: record.caplen,
                    length: record.origlen,
                    data: record.data,
                }
            }
            PcapBlockOwned::NG(block) => match self.read_block(block)? {
                Some(raw) => raw,
                None => return Ok(None),
            },
        };
        self.record(raw).map(Some)
    }

    fn read_block<'c>(&mut self, block: Block<'c>) -> Result<Option<Raw<'c>>, String> {
        Ok(Some(match block {
            Block::SectionHeader(header) => {
                *self = Self { big_endian: header.big_endian(), ..Self::default() };
                return Ok(None);
            }
            Block::InterfaceDescription(block) => {
                self.interfaces.push(Interface::from_block(&block, self.big_endian)?);
                return Ok(None);
            }
            Block::EnhancedPacket(packet) => Raw {
                interface: packet.if_id as usize,
                stamp: Some(stamp(packet.ts_high, packet.ts_low)),
                captured: packet.caplen,
                length: packet.origlen,
                data: packet.data,
            },
            Block::SimplePacket(packet) => Raw {
                interface: 0,
                stamp: None,
                captured: match self.check(0)?.snaplen {
                    0 => packet.origlen,
                    most => packet.origlen.min(most),
                },
                length: packet.origlen,
                data: packet.data,
            },
            Block::Unknown(block) if self.is_obsolete_packet(&block) => {
                self.obsolete_packet(block.data)?
            }
            // Names, statistics, secrets and unknown blocks.
            _ => return Ok(None),
        }))
    }

    fn record<'c>(&mut self, raw: Raw<'c>) -> Result<Record<'c>, String> {
        let interface = self.check(raw.interface)?;
        let captured = raw.captured as usize;
        let Some(bytes) = raw.data.get(..captured) else {
            return Err(format!("a frame of {captured} bytes does not fit into its record"));
        };
        // A record may have more bytes than the length it states.
        let length = (raw.length as usize).max(captured).saturating_sub(interface.checksum);
        let bytes = bytes.get(..length).unwrap_or(bytes);
        self.last = raw.stamp.map_or(self.last, |stamp| interface.nanoseconds(stamp));
        Ok(Record { time: self.last, length, bytes })
    }

    /// The interface of that number, if it carries Ethernet frames.
    fn check(&self, number: usize) -> Result<Interface, String> {
        match self.interfaces.get(number) {
            Some(interface) if interface.link_type == ETHERNET => Ok(*interface),
            Some(Interface { link_type, .. }) => Err(format!(
                "frames of link type {link_type}, expected Ethernet ({ETHERNET}): capture on an \
                 interface that has MAC addresses, and not on `any`"
            )),
            None => Err(format!("a frame of interface {number}, which nothing describes")),
        }
    }

    /// True for the obsolete Packet Block, which the Enhanced Packet Block replaces.
    const fn is_obsolete_packet(&self, block: &UnknownBlock<'_>) -> bool {
        // pcap-parser reads the type of an unknown block as little-endian.
        const OBSOLETE: u32 = 2;
        let kind = if self.big_endian { block.block_type.swap_bytes() } else { block.block_type };
        kind == OBSOLETE
    }

    /// The layout is interface and drops in 16 bits each, two halves of a time stamp, two lengths,
    /// data.
    fn obsolete_packet<'c>(&self, bytes: &'c [u8]) -> Result<Raw<'c>, String> {
        let (head, data) =
            bytes.split_first_chunk::<20>().ok_or("a packet block of a few bytes")?;
        let word = |at: usize| {
            let word = [head[at], head[at + 1], head[at + 2], head[at + 3]];
            if self.big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
        };
        let interface = [head[0], head[1]];
        let interface = match self.big_endian {
            true => u16::from_be_bytes(interface),
            false => u16::from_le_bytes(interface),
        };
        Ok(Raw {
            interface: usize::from(interface),
            stamp: Some(stamp(word(4), word(8))),
            captured: word(12),
            length: word(16),
            data,
        })
    }
}

impl Interface {
    fn legacy(header: &PcapHeader) -> Self {
        // The link type field also says whether frames have an FCS, and its length in 16-bit words
        // (draft-ietf-opsawg-pcap, section 4).
        const TYPE: u32 = 0x03ff_ffff;
        const HAS_CHECKSUM: u32 = 0x0400_0000;
        let word = header.network.0.cast_unsigned();
        Self {
            link_type: (word & TYPE).cast_signed(),
            snaplen: header.snaplen,
            units: if header.is_nanosecond_precision() { NANOS } else { 1_000_000 },
            offset: 0,
            checksum: if word & HAS_CHECKSUM == 0 { 0 } else { 2 * (word >> 28) as usize },
        }
    }

    /// Reads the numeric options here: pcap-parser knows only decimal clock units and little-endian
    /// offsets.
    fn from_block(block: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Result<Self, String> {
        const RESOLUTION: u16 = 9;
        const CHECKSUM: u16 = 13;
        const OFFSET: u16 = 14;
        let option = |code: u16| {
            let found = block.options.iter().find(|option| option.code.0 == code);
            found.and_then(|option| option.as_bytes().ok())
        };
        let resolution = option(RESOLUTION).and_then(|bytes| bytes.first()).copied();
        let resolution = resolution.unwrap_or(MICROSECONDS);
        let exponent = u32::from(resolution & 0x7f);
        let units = match resolution & 0x80 {
            0 => 10_u64.checked_pow(exponent),
            _ => 2_u64.checked_pow(exponent),
        };
        let offset = option(OFFSET).and_then(|bytes| bytes.first_chunk()).copied();
        Ok(Self {
            link_type: block.linktype.0,
            snaplen: block.snaplen,
            units: units.ok_or_else(|| format!("a clock of resolution {resolution}"))?,
            offset: offset.map_or(0, |bytes| match big_endian {
                true => i64::from_be_bytes(bytes),
                false => i64::from_le_bytes(bytes),
            }),
            checksum: option(CHECKSUM).and_then(|bytes| bytes.first()).map_or(0, |&n| n.into()),
        })
    }

    /// A time stamp in nanoseconds since 1970, saturating at the ends of 64 bits.
    fn nanoseconds(self, stamp: u64) -> u64 {
        let whole = i128::from(stamp / self.units) + i128::from(self.offset);
        let part = u128::from(stamp % self.units) * u128::from(NANOS) / u128::from(self.units);
        // The fraction is less than a second.
        let nanos = whole * i128::from(NANOS) + part.cast_signed();
        u64::try_from(nanos.max(0)).unwrap_or(u64::MAX)
    }
}

const fn stamp(high: u32, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

/// `LINKTYPE_ETHERNET` of the list of link types at tcpdump.org.
const ETHERNET: i32 = 1;

/// The default resolution of an interface: ten to the minus sixth.
const MICROSECONDS: u8 = 6;

const NANOS: u64 = 1_000_000_000;
