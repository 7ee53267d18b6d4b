//! The frames of a pcap or pcapng file, one after the other.
//!
//! pcap-parser finds the blocks; [`Section`] interprets them, because interfaces, clocks and the
//! length of the FCS belong to a section. The file is untrusted: any content ends in frames or in an
//! error with its position, and takes a bounded amount of memory.

use std::cell::RefCell;
use std::io::{self, Cursor, Read};
use std::rc::Rc;

use anyhow::Result;
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{LegacyPcapReader, PcapError, PcapNGReader};

use super::section::Section;

/// One frame of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'c> {
    /// When it was captured, in nanoseconds since 1970.
    pub(super) time: u64,
    /// Its length in bytes before truncation, without its FCS.
    pub(super) length: usize,
    /// The captured bytes.
    pub(super) bytes: &'c [u8],
}

impl Record<'_> {
    /// True if only a part of it was captured.
    pub(super) const fn is_cut(&self) -> bool {
        self.bytes.len() < self.length
    }
}

/// Why a file cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum CaptureError {
    /// The content violates the format.
    #[error("byte {at}: {what}")]
    Damaged {
        /// The offset of the record or block.
        at: usize,
        /// What is wrong with it.
        what: String,
    },
    /// Neither of the two formats.
    #[error("it is neither pcap nor pcapng")]
    Format,
    /// It could not be read.
    #[error("it cannot be read: {0}")]
    Read(#[source] io::Error),
}

/// Calls `on_frame` for every frame of a file.
///
/// # Errors
/// [`CaptureError`], after the frames before it, or the first error of `on_frame`.
pub(super) fn frames(
    file: impl Read + 'static,
    mut on_frame: impl FnMut(Record<'_>) -> Result<()>,
) -> Result<()> {
    let failure = Rc::default();
    let (mut blocks, is_pcapng) = open(file, &failure)?;
    let mut section = Section::default();
    let mut room = BUFFER_BYTES;
    loop {
        let at = blocks.consumed();
        let damaged = |what: &str| CaptureError::Damaged { at, what: what.to_owned() };
        if is_pcapng && is_too_short(blocks.data()) {
            return Err(damaged(BROKEN).into());
        }
        let error = match blocks.next() {
            Ok((used, block)) => {
                match section.read(block) {
                    Ok(Some(record)) => on_frame(record)?,
                    Ok(None) => {}
                    Err(what) => return Err(damaged(&what).into()),
                }
                blocks.consume(used);
                continue;
            }
            Err(error) => error.to_owned_vec(),
        };
        match error {
            PcapError::Eof => return Ok(()),
            PcapError::UnexpectedEof if blocks.data().is_empty() => return Ok(()),
            PcapError::UnexpectedEof => return Err(damaged(CUT).into()),
            PcapError::Incomplete(_) => {}
            PcapError::BufferTooSmall if room < MAX_BYTES => {
                room = MAX_BYTES;
                blocks.grow(room);
            }
            _ => return Err(damaged(BROKEN).into()),
        }
        if blocks.refill().is_err() {
            return Err(CaptureError::Read(why(&failure)).into());
        }
    }
}

type Failure = Rc<RefCell<Option<io::Error>>>;

fn open(
    mut file: impl Read + 'static,
    failure: &Failure,
) -> Result<(Box<dyn PcapReaderIterator>, bool), CaptureError> {
    let mut magic = Vec::new();
    file.by_ref().take(4).read_to_end(&mut magic).map_err(CaptureError::Read)?;
    let section = magic == SECTION;
    let file = Whole { file: Cursor::new(magic).chain(file), failure: Rc::clone(failure) };
    let blocks: Result<Box<dyn PcapReaderIterator>, _> = match section {
        true => PcapNGReader::new(BUFFER_BYTES, file).map(|reader| Box::new(reader) as _),
        false => LegacyPcapReader::new(BUFFER_BYTES, file).map(|reader| Box::new(reader) as _),
    };
    blocks.map(|blocks| (blocks, section)).map_err(|error| match error {
        PcapError::ReadError => CaptureError::Read(why(failure)),
        PcapError::HeaderNotRecognized => CaptureError::Format,
        _ => {
            let what = "the header of the file is damaged or cut off".to_owned();
            CaptureError::Damaged { at: 0, what }
        }
    })
}

/// True if a pcapng block cannot be as short as it says, in either order of bytes: pcap-parser does not
/// look before it subtracts. A length that is so small in the other order only is above 16 MiB, and no
/// block of that size is read.
fn is_too_short(block: &[u8]) -> bool {
    let len = block.get(4..).and_then(|rest| rest.first_chunk::<4>());
    len.is_some_and(|&len| u32::from_le_bytes(len).min(u32::from_be_bytes(len)) < BLOCK_BYTES)
}

/// The error of the last read, which pcap-parser does not pass on.
fn why(failure: &Failure) -> io::Error {
    failure.take().unwrap_or_else(|| io::ErrorKind::Other.into())
}

/// A reader whose reads are short only at the end, as pcap-parser needs it, also for a pipe.
struct Whole<R> {
    file: R,
    failure: Failure,
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut have = 0;
        while have < room.len() {
            match self.file.read(&mut room[have..]) {
                Ok(0) => break,
                Ok(bytes) => have += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let kind = error.kind();
                    self.failure.replace(Some(error));
                    return Err(kind.into());
                }
            }
        }
        Ok(have)
    }
}

/// The first bytes of a pcapng file, whatever the order of its bytes.
const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Bytes of the shortest pcapng block: its type, and its length twice.
const BLOCK_BYTES: u32 = 12;

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 128 << 10;

/// The largest record that is read: tools truncate frames at 256 KiB. A buffer of this size is
/// allocated only for a file with a record larger than [`BUFFER_BYTES`].
const MAX_BYTES: usize = 4 << 20;

const CUT: &str = "the file ends within this record: it was cut off, or the record is damaged";
const BROKEN: &str = "this is no record, or one of more than 4 MiB: the file is damaged";
