//! [`RingError`]: what a program does wrong with a ring.

/// A rule that a ring of a program breaks. It cannot be served any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingError {
    /// More entries are available than the ring has.
    Available(u16),
    /// A chain of descriptors does not end, or a frame has more of them than any.
    Chain,
    /// A descriptor that the table does not have.
    Descriptor(u16),
    /// A buffer to be read is to be written, or the other way round.
    Direction,
    /// An indirect table in another one, of a wrong length, or where none was agreed on.
    Indirect,
    /// An entry for frames to the driver has no room.
    Empty,
    /// A buffer is not in one of the regions of memory.
    Outside,
    /// A frame is longer than any.
    TooLong,
}

impl std::fmt::Display for RingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Available(count) => write!(f, "a ring has {count} entries more than it can"),
            Self::Chain => {
                f.write_str("a chain of descriptors does not end, or a frame has too many")
            }
            Self::Descriptor(index) => write!(f, "a ring has no descriptor {index}"),
            Self::Direction => f.write_str("a buffer is for the other direction"),
            Self::Indirect => f.write_str("an indirect table of descriptors is not valid"),
            Self::Empty => f.write_str("an entry of a ring has no buffer to write to"),
            Self::Outside => f.write_str("a buffer is outside the regions of memory"),
            Self::TooLong => f.write_str("a frame is longer than any, or in too many buffers"),
        }
    }
}
