//! Messages of the vhost-user protocol, as the side that owns no memory (the back-end) reads them.
//!
//! A message is a header of twelve bytes and a payload of a known length, in the byte order of the
//! machine; descriptors come beside it. Nothing here trusts a number: what is returned has the length
//! that its kind has, and regions of memory that do not wrap around or overlap. Whether the memory is
//! there, only the kernel knows.

/// Bytes of a header.
pub const HEADER_LEN: usize = 12;

/// The most regions of memory of one front-end: those of the protocol without
/// `CONFIGURE_MEM_SLOTS`.
pub const REGIONS_MAX: usize = 8;

/// Bytes of the longest payload, that of a memory table.
pub const PAYLOAD_MAX: usize = 8 + REGIONS_MAX * REGION_LEN;

/// Bytes of a reply: each is a header and eight bytes.
pub const REPLY_LEN: usize = HEADER_LEN + 8;

/// The rings of a network device without more queues: 0 is filled by the device, 1 by the driver.
pub const RINGS: usize = 2;

/// The most entries of a ring. QEMU has at most 1024.
pub const RING_MAX: u16 = 1024;

/// Bytes of memory that a front-end may share, in all: address space is for everybody.
pub const MEMORY_MAX: u64 = 1 << 40;

const REGION_LEN: usize = 32;

/// Bits of a header's flags.
const VERSION: u32 = 1;
const VERSION_MASK: u32 = 3;
const REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;

/// A bit of the number of a ring: no descriptor comes with it.
const NO_DESCRIPTOR: u64 = 1 << 8;

/// A feature bit: the front-end may ask for protocol features, and enables rings.
pub const PROTOCOL_FEATURES: u64 = 1 << 30;

/// A protocol feature: the front-end may ask that a message is acknowledged.
pub const REPLY_ACK: u64 = 1 << 3;

/// A message that no front-end may send. Its connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The number of descriptors is not that of the message.
    #[error("message {request} has {count} descriptors, and {expected} are expected")]
    Descriptors {
        /// The number of the request.
        request: u32,
        /// Descriptors that came with it.
        count: usize,
        /// Descriptors that belong to it.
        expected: usize,
    },
    /// The flags are not those of a request of version 1.
    #[error("the flags {0:#x} are not those of a request of version 1")]
    Flags(u32),
    /// The payload is not as long as that of the message.
    #[error("message {request} has {size} bytes of payload")]
    Length {
        /// The number of the request.
        request: u32,
        /// Bytes of its payload.
        size: u32,
    },
    /// The regions of memory make no sense.
    #[error("the regions of memory are empty, overlap, wrap around or are too large")]
    Regions,
    /// There is no ring of that number.
    #[error("there is no ring {0}: a port has {RINGS}")]
    Ring(u32),
    /// The size of a ring is not allowed.
    #[error("a ring has {0} entries, and a power of two up to {RING_MAX} is expected")]
    RingSize(u32),
    /// A request that is not served.
    #[error("request {0} of the protocol is not served")]
    Unknown(u32),
}

/// The header of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The number of the request.
    pub request: u32,
    /// Bytes of its payload, at most [`PAYLOAD_MAX`].
    pub size: usize,
    /// The front-end waits for an acknowledgement, if that was agreed on.
    pub need_reply: bool,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// The flags or the size are those of no request.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, MessageError> {
        let mut words = Words(bytes);
        let (request, flags, size) = (words.u32(), words.u32(), words.u32());
        if flags & (VERSION_MASK | REPLY) != VERSION {
            return Err(MessageError::Flags(flags));
        }
        let fits = usize::try_from(size).ok().filter(|&size| size <= PAYLOAD_MAX);
        let size = fits.ok_or(MessageError::Length { request, size })?;
        Ok(Self { request, size, need_reply: flags & NEED_REPLY != 0 })
    }
}

/// A region of the front-end's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its first address in the descriptors of rings.
    pub guest: u64,
    /// Its bytes.
    pub size: u64,
    /// Its first address in the front-end, in which the places of rings are given.
    pub user: u64,
    /// Its first byte in the file of its descriptor.
    pub offset: u64,
}

/// The places of a ring, as addresses in the front-end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingAddresses {
    /// The table of descriptors.
    pub descriptors: u64,
    /// The entries that the device has used.
    pub used: u64,
    /// The entries that are available to the device.
    pub available: u64,
}

/// A request of a front-end, with the descriptors that belong to it counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Asks for the features that are offered.
    GetFeatures,
    /// Asks for the protocol features that are offered.
    GetProtocolFeatures,
    /// Asks for the pairs of rings.
    GetQueueNum,
    /// Stops a ring, and asks for its next available entry.
    GetVringBase(usize),
    /// The front-end owns the device from now on, or no longer.
    SetOwner,
    /// The front-end begins anew.
    ResetOwner,
    /// The features that are used.
    SetFeatures(u64),
    /// The memory, with a descriptor for each region.
    SetMemTable(Vec<Region>),
    /// The protocol features that are used.
    SetProtocolFeatures(u64),
    /// Where a ring lies.
    SetVringAddr(usize, RingAddresses),
    /// The next available entry of a ring.
    SetVringBase(usize, u16),
    /// The eventfd by which the driver is told of used entries; none if it does not want to be.
    SetVringCall(usize, bool),
    /// Whether a ring is served.
    SetVringEnable(usize, bool),
    /// An eventfd for errors, which is not used.
    SetVringErr(usize, bool),
    /// The eventfd by which the driver tells of available entries; none if it does not.
    SetVringKick(usize, bool),
    /// The entries of a ring.
    SetVringNum(usize, u16),
}

impl Request {
    /// Reads the payload of a request that came with this many descriptors.
    ///
    /// # Errors
    /// It is none that a front-end may send.
    pub fn parse(header: Header, payload: &[u8], count: usize) -> Result<Self, MessageError> {
        let Header { request, .. } = header;
        let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let sized = |len: usize| match payload.len() == len {
            true => Ok(Words(payload)),
            false => Err(MessageError::Length { request, size }),
        };
        let mut expected = 0;
        let parsed = match request {
            1 => sized(0).map(|_| Self::GetFeatures)?,
            2 => Self::SetFeatures(sized(8)?.u64()),
            3 => sized(0).map(|_| Self::SetOwner)?,
            4 => sized(0).map(|_| Self::ResetOwner)?,
            5 => {
                let regions = regions(request, payload)?;
                expected = regions.len();
                Self::SetMemTable(regions)
            }
            8 => {
                let (ring, entries) = state(sized(8)?)?;
                let size = u16::try_from(entries).ok();
                let size = size.filter(|size| size.is_power_of_two() && *size <= RING_MAX);
                Self::SetVringNum(ring, size.ok_or(MessageError::RingSize(entries))?)
            }
            9 => {
                let mut words = sized(40)?;
                let ring = ring(words.u32())?;
                // Bit 0 of the flags asks for a log of writes, which is not offered.
                let _flags = words.u32();
                let (descriptors, used, available) = (words.u64(), words.u64(), words.u64());
                Self::SetVringAddr(ring, RingAddresses { descriptors, used, available })
            }
            // Only the low 16 bits count, as in every index of a ring.
            10 => {
                let (ring, next) = state(sized(8)?)?;
                Self::SetVringBase(ring, (next & 0xffff) as u16)
            }
            11 => Self::GetVringBase(state(sized(8)?)?.0),
            12..=14 => {
                let word = sized(8)?.u64();
                let ring = ring(u32::try_from(word & 0xff).unwrap_or(u32::MAX))?;
                let has = word & NO_DESCRIPTOR == 0;
                expected = usize::from(has);
                match request {
                    12 => Self::SetVringKick(ring, has),
                    13 => Self::SetVringCall(ring, has),
                    _ => Self::SetVringErr(ring, has),
                }
            }
            15 => sized(0).map(|_| Self::GetProtocolFeatures)?,
            16 => Self::SetProtocolFeatures(sized(8)?.u64()),
            17 => sized(0).map(|_| Self::GetQueueNum)?,
            18 => {
                let (ring, enabled) = state(sized(8)?)?;
                Self::SetVringEnable(ring, enabled != 0)
            }
            _ => return Err(MessageError::Unknown(request)),
        };
        match count == expected {
            true => Ok(parsed),
            false => Err(MessageError::Descriptors { request, count, expected }),
        }
    }
}

impl Request {
    /// True if it has an answer in any case, which is its acknowledgement, too.
    pub const fn has_reply(&self) -> bool {
        matches!(
            self,
            Self::GetFeatures
                | Self::GetProtocolFeatures
                | Self::GetQueueNum
                | Self::GetVringBase(_)
        )
    }
}

/// The reply to a request: a number.
pub fn reply(request: u32, number: u64) -> [u8; REPLY_LEN] {
    reply_bytes(request, number.to_ne_bytes())
}

/// The reply to [`Request::GetVringBase`].
pub fn reply_base(ring: usize, next: u16) -> [u8; REPLY_LEN] {
    let [a, b, c, d] = u32::try_from(ring).unwrap_or(0).to_ne_bytes();
    let [e, f, g, h] = u32::from(next).to_ne_bytes();
    reply_bytes(11, [a, b, c, d, e, f, g, h])
}

fn reply_bytes(request: u32, payload: [u8; 8]) -> [u8; REPLY_LEN] {
    let mut bytes = [0; REPLY_LEN];
    let header = [request, VERSION | REPLY, 8];
    for (to, word) in bytes.chunks_exact_mut(4).zip(header) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    bytes[HEADER_LEN..].copy_from_slice(&payload);
    bytes
}

/// Numbers in the byte order of the machine, one behind the other; zeros at the end.
struct Words<'b>(&'b [u8]);

impl Words<'_> {
    fn u32(&mut self) -> u32 {
        let Some((word, rest)) = self.0.split_first_chunk() else {
            return 0;
        };
        self.0 = rest;
        u32::from_ne_bytes(*word)
    }

    fn u64(&mut self) -> u64 {
        let Some((word, rest)) = self.0.split_first_chunk() else {
            return 0;
        };
        self.0 = rest;
        u64::from_ne_bytes(*word)
    }
}

fn ring(number: u32) -> Result<usize, MessageError> {
    let ring = usize::try_from(number).ok().filter(|&ring| ring < RINGS);
    ring.ok_or(MessageError::Ring(number))
}

/// A ring and a number.
fn state(mut words: Words<'_>) -> Result<(usize, u32), MessageError> {
    Ok((ring(words.u32())?, words.u32()))
}

/// The regions of a memory table.
fn regions(request: u32, payload: &[u8]) -> Result<Vec<Region>, MessageError> {
    let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let wrong = || MessageError::Length { request, size };
    let mut words = Words(payload);
    let count = usize::try_from(words.u32()).ok().filter(|count| (1..=REGIONS_MAX).contains(count));
    let count = count.ok_or(MessageError::Regions)?;
    let table = payload.get(8..).filter(|table| table.len() == count * REGION_LEN);
    let regions: Vec<_> = table
        .ok_or_else(wrong)?
        .chunks_exact(REGION_LEN)
        .map(|region| {
            let mut words = Words(region);
            let (guest, size) = (words.u64(), words.u64());
            Region { guest, size, user: words.u64(), offset: words.u64() }
        })
        .collect();
    check_regions(&regions)?;
    Ok(regions)
}

/// Checks that no region is empty, too large, wraps around or overlaps another one.
fn check_regions(regions: &[Region]) -> Result<(), MessageError> {
    let mut sum = 0_u64;
    for (number, one) in regions.iter().enumerate() {
        sum = sum.checked_add(one.size).ok_or(MessageError::Regions)?;
        let ends = [one.guest, one.user, one.offset].map(|start| start.checked_add(one.size));
        let overlaps = |other: &Region| {
            let meets = |a: u64, b: u64| a < b + other.size && b < a + one.size;
            meets(one.guest, other.guest) || meets(one.user, other.user)
        };
        if one.size == 0 || ends.contains(&None) || regions[..number].iter().any(overlaps) {
            return Err(MessageError::Regions);
        }
    }
    if sum > MEMORY_MAX { Err(MessageError::Regions) } else { Ok(()) }
}
