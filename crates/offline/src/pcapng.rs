//! Writes pcapng (draft-ietf-opsawg-pcapng): one section, its interfaces, and frames with optional
//! comments. Times are in nanoseconds, numbers are little-endian, and output is appended to a buffer.

/// Appends the section header, which begins a file.
pub fn section(file: &mut Vec<u8>) {
    block(file, SECTION_HEADER, |body| {
        body.extend(0x1a2b_3c4d_u32.to_le_bytes());
        body.extend(1_u16.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        // The length of the section is not known.
        body.extend((-1_i64).to_le_bytes());
        option(body, APPLICATION, concat!("umacvlan ", env!("CARGO_PKG_VERSION")).as_bytes());
        end_of_options(body);
    });
}

/// Appends an interface; they are numbered from 0.
pub fn interface_block(file: &mut Vec<u8>, name: &str) {
    block(file, INTERFACE, |body| {
        body.extend(ETHERNET.to_le_bytes());
        body.extend([0; 2]);
        // No snapshot length.
        body.extend([0; 4]);
        option(body, NAME, name.as_bytes());
        option(body, RESOLUTION, &[NANOSECONDS]);
        end_of_options(body);
    });
}

/// A frame.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'p> {
    /// The number of its interface.
    pub interface: u32,
    /// When it was captured, in nanoseconds since 1970.
    pub time: u64,
    /// Its length in bytes before truncation.
    pub length: usize,
    /// The captured bytes.
    pub bytes: &'p [u8],
    /// Its direction, as its interface sees it, if that is known.
    pub direction: Option<Direction>,
    /// Text for people; empty for none.
    pub comment: &'p str,
}

/// The direction of a frame at its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Received by the interface.
    Inbound,
    /// Sent by it.
    Outbound,
}

/// Appends a frame.
pub fn packet(file: &mut Vec<u8>, packet: Packet<'_>) {
    let Packet { interface, time, length, bytes, direction, comment } = packet;
    block(file, ENHANCED_PACKET, |body| {
        body.extend(interface.to_le_bytes());
        // The upper 32 bits come first in either byte order.
        let [a, b, c, d, e, f, g, h] = time.to_le_bytes();
        body.extend([e, f, g, h, a, b, c, d]);
        body.extend(number(bytes.len()).to_le_bytes());
        body.extend(number(length).to_le_bytes());
        padded(body, bytes);
        if !comment.is_empty() {
            option(body, COMMENT, comment.as_bytes());
        }
        if let Some(direction) = direction {
            let flags: u32 = match direction {
                Direction::Inbound => 1,
                Direction::Outbound => 2,
            };
            option(body, FLAGS, &flags.to_le_bytes());
        }
        if !comment.is_empty() || direction.is_some() {
            end_of_options(body);
        }
    });
}

/// Appends the counters of an interface at a time in nanoseconds since 1970.
pub fn statistics(file: &mut Vec<u8>, interface: u32, time: u64, received: u64, dropped: u64) {
    block(file, STATISTICS, |body| {
        body.extend(interface.to_le_bytes());
        let [a, b, c, d, e, f, g, h] = time.to_le_bytes();
        body.extend([e, f, g, h, a, b, c, d]);
        option(body, RECEIVED, &received.to_le_bytes());
        option(body, DROPPED, &dropped.to_le_bytes());
        end_of_options(body);
    });
}

/// Appends a block around the body that `fill` writes, which has a multiple of four bytes.
fn block(file: &mut Vec<u8>, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let begin = file.len();
    file.extend(kind.to_le_bytes());
    file.extend([0; 4]);
    fill(file);
    let length = number(file.len() - begin + 4).to_le_bytes();
    file[begin + 4..begin + 8].copy_from_slice(&length);
    file.extend(length);
}

/// Appends an option, truncated to a length of 16 bits.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    body.extend(code.to_le_bytes());
    body.extend(length.to_le_bytes());
    padded(body, &value[..usize::from(length)]);
}

fn end_of_options(body: &mut Vec<u8>) {
    body.extend([0; 4]);
}

/// Appends bytes, padded to a multiple of four.
fn padded(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(bytes);
    body.resize(body.len() + bytes.len().next_multiple_of(4) - bytes.len(), 0);
}

/// A length from a capture file, where it has 32 bits too.
fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

// Types of blocks.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

// Options: of packets, interfaces, statistics and sections.
const COMMENT: u16 = 1;
const FLAGS: u16 = 2;
const NAME: u16 = 2;
const RECEIVED: u16 = 4;
const DROPPED: u16 = 5;
const RESOLUTION: u16 = 9;
const APPLICATION: u16 = 4;

/// `LINKTYPE_ETHERNET`
const ETHERNET: u16 = 1;
/// Ten to the minus ninth of a second.
const NANOSECONDS: u8 = 9;
