//! The frames of a pcap or pcapng file, one after the other.
//!
//! The blocks are found by pcap-parser; what they mean is decided in [`Section`], because
//! interfaces, clocks and the length of a checksum are matters of a section. The file is somebody
//! else's: whatever is in it ends in frames or in an error with its place, and takes a bounded
//! amount of memory.

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
    /// Its length in bytes before it was cut, without its checksum.
    pub(super) length: usize,
    /// What was captured of it.
    pub(super) bytes: &'c [u8],
}

impl Record<'_> {
    /// True when only a part of it was captured.
    pub(super) const fn is_cut(&self) -> bool {
        self.bytes.len() < self.length
    }
}

/// A file that cannot be read, or not beyond some place.
#[derive(Debug, thiserror::Error)]
pub(super) enum CaptureError {
    /// Not what its format says.
    #[error("byte {at}: {what}")]
    Damaged {
        /// Where the record or block begins.
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

/// Hands over every frame of a file.
///
/// # Errors
/// [`CaptureError`], after the frames before it, and whatever `on_frame` says.
pub(super) fn frames(
    file: impl Read + 'static,
    mut on_frame: impl FnMut(Record<'_>) -> Result<()>,
) -> Result<()> {
    let failure = Rc::default();
    let mut blocks = open(file, &failure)?;
    let mut section = Section::default();
    let mut room = ROOM;
    loop {
        let at = blocks.consumed();
        let damaged = |what: &str| CaptureError::Damaged { at, what: what.to_owned() };
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
            PcapError::BufferTooSmall if room < MOST => {
                room = MOST;
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
) -> Result<Box<dyn PcapReaderIterator>, CaptureError> {
    let mut magic = Vec::new();
    file.by_ref().take(4).read_to_end(&mut magic).map_err(CaptureError::Read)?;
    let section = magic == SECTION;
    let file = Whole { file: Cursor::new(magic).chain(file), failure: Rc::clone(failure) };
    let blocks: Result<Box<dyn PcapReaderIterator>, _> = match section {
        true => PcapNGReader::new(ROOM, file).map(|reader| Box::new(reader) as _),
        false => LegacyPcapReader::new(ROOM, file).map(|reader| Box::new(reader) as _),
    };
    blocks.map_err(|error| match error {
        PcapError::ReadError => CaptureError::Read(why(failure)),
        PcapError::HeaderNotRecognized => CaptureError::Format,
        _ => {
            let what = "the header of the file is damaged or cut off".to_owned();
            CaptureError::Damaged { at: 0, what }
        }
    })
}

/// Why the last read failed, which pcap-parser does not tell.
fn why(failure: &Failure) -> io::Error {
    failure.take().unwrap_or_else(|| io::ErrorKind::Other.into())
}

/// A file as pcap-parser needs it: a read is short at its end only, from a pipe as well.
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

/// Bytes that are read at once.
const ROOM: usize = 128 << 10;

/// No record of a sound file has more bytes: tools cut frames at 256 KiB. A buffer as large is
/// made for a file that has one that says so only.
const MOST: usize = 4 << 20;

const CUT: &str = "the file ends within this record: it was cut off, or the record is damaged";
const BROKEN: &str = "this is no record, or one of more than 4 MiB: the file is damaged";
