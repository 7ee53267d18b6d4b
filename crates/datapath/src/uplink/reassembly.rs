//! [`Reassembly`]: a frame that arrives in several chunks of the UMEM.
//!
//! A frame that is longer than a chunk fills several (`XDP_PKT_CONTD` of
//! `Documentation/networking/af_xdp.rst`). Everything behind the uplink needs it in one piece, so it
//! is copied into a buffer of the pool. A batch may end within a frame: the pieces that have
//! arrived are then kept until the next turn.

use umacvlan_core::DropReason;
use umacvlan_core::offload::VNET_LEN;
use umacvlan_sys::buffer_pool::BufferPool;

/// The pieces of a frame that have arrived by one socket.
#[derive(Debug)]
pub(super) struct Reassembly {
    /// Most bytes of vnet header and frame.
    longest: usize,
    state: State,
    /// The bytes of a frame that is incomplete at the end of a turn.
    kept: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The next piece begins a frame.
    Between,
    /// The first `len` bytes are in this buffer of the pool.
    Gathering { buffer: u16, len: usize },
    /// The pieces that have arrived are in `kept`.
    Kept,
    /// The frame has been dropped, and its other pieces are ignored.
    Skipping,
}

/// A complete frame: its buffer of the pool, and its bytes with the vnet header. Or the reason to
/// drop it, and how many bytes had arrived.
pub(super) type Outcome = Result<(u16, usize), (DropReason, usize)>;

impl Reassembly {
    /// For frames of at most `longest` bytes with their vnet header, which fit one buffer.
    pub(super) fn new(longest: usize) -> Self {
        Self { longest, state: State::Between, kept: Vec::with_capacity(longest) }
    }

    /// True if the next piece belongs to a frame that has begun.
    pub(super) fn in_progress(&self) -> bool {
        self.state != State::Between
    }

    /// Adds a piece behind its room for a vnet header; `more` says that others follow. Each frame has
    /// one outcome: with its last piece, or with the piece that makes it too long.
    pub(super) fn add(
        &mut self,
        pool: &mut BufferPool,
        unit: &[u8],
        more: bool,
    ) -> Option<Outcome> {
        let outcome = match self.state {
            State::Skipping => None,
            State::Between | State::Kept | State::Gathering { .. } => {
                match (self.gather(pool, unit), more) {
                    (Ok(_), true) => None,
                    (gathered, _) => Some(gathered),
                }
            }
        };
        match (&outcome, more) {
            (_, false) => self.state = State::Between,
            (Some(_), true) => self.state = State::Skipping,
            (None, true) => {}
        }
        outcome
    }

    /// Ends the turn, and with it the use of the buffer.
    pub(super) fn end_turn(&mut self, pool: &BufferPool) {
        if let State::Gathering { buffer, len } = self.state {
            self.kept.clear();
            self.kept.extend_from_slice(pool.bytes(buffer, 0, len));
            self.state = State::Kept;
        }
    }

    fn gather(&mut self, pool: &mut BufferPool, unit: &[u8]) -> Outcome {
        // A piece in a chunk that is not ours is empty.
        let Some((header, piece)) = unit.split_first_chunk::<VNET_LEN>() else {
            return Err((DropReason::Runt, VNET_LEN));
        };
        let before: &[u8] = match self.state {
            State::Kept => &self.kept,
            _ => header,
        };
        let (buffer, len) = match self.state {
            State::Gathering { buffer, len } => (buffer, len),
            _ => {
                let buffer =
                    pool.acquire().ok_or((DropReason::Full, before.len() + piece.len()))?;
                pool.bytes_mut(buffer, 0, before.len()).copy_from_slice(before);
                (buffer, before.len())
            }
        };
        let end = len + piece.len();
        if end > self.longest {
            return Err((DropReason::TooLong, end));
        }
        pool.bytes_mut(buffer, len, piece.len()).copy_from_slice(piece);
        self.state = State::Gathering { buffer, len: end };
        Ok((buffer, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: usize = VNET_LEN + 100;

    /// A piece of `len` bytes of this value, behind room for a header.
    fn piece(byte: u8, len: usize) -> Vec<u8> {
        let mut unit = vec![0; VNET_LEN];
        unit.resize(VNET_LEN + len, byte);
        unit
    }

    fn whole(pool: &BufferPool, outcome: Option<Outcome>) -> Vec<u8> {
        let (buffer, len) = outcome.expect("no frame").expect("dropped");
        pool.bytes(buffer, 0, len).to_vec()
    }

    #[test]
    fn pieces_become_one_frame_behind_one_header() {
        let (mut frame, mut pool) = (Reassembly::new(LONGEST), BufferPool::new(2).unwrap());
        assert_eq!(frame.add(&mut pool, &piece(1, 60), true), None);
        let outcome = frame.add(&mut pool, &piece(2, 40), false);
        let expected = [vec![0; VNET_LEN], vec![1; 60], vec![2; 40]].concat();
        assert!(whole(&pool, outcome) == expected && !frame.in_progress());
    }

    #[test]
    fn a_frame_that_a_turn_interrupts_is_continued_in_the_next() {
        let (mut frame, mut pool) = (Reassembly::new(LONGEST), BufferPool::new(2).unwrap());
        for byte in 0..3 {
            assert_eq!(frame.add(&mut pool, &piece(byte, 30), true), None);
            frame.end_turn(&pool);
            pool.release();
            // Another frame takes the buffer meanwhile.
            let other = pool.acquire().unwrap();
            pool.bytes_mut(other, 0, 100).fill(0xff);
            assert!(frame.in_progress());
        }
        let outcome = frame.add(&mut pool, &piece(3, 10), false);
        let expected =
            [vec![0; VNET_LEN], vec![0; 30], vec![1; 30], vec![2; 30], vec![3; 10]].concat();
        assert_eq!(whole(&pool, outcome), expected);
    }

    #[test]
    fn a_frame_that_is_too_long_is_dropped_once_and_the_next_is_complete() {
        let (mut frame, mut pool) = (Reassembly::new(LONGEST), BufferPool::new(2).unwrap());
        assert_eq!(frame.add(&mut pool, &piece(1, 100), true), None);
        let outcome = frame.add(&mut pool, &piece(2, 1), false);
        assert_eq!(outcome, Some(Err((DropReason::TooLong, LONGEST + 1))));
        assert_eq!(frame.add(&mut pool, &piece(3, 50), true), None);
        let outcome = frame.add(&mut pool, &piece(3, 50), false);
        assert_eq!(whole(&pool, outcome).len(), LONGEST);
    }

    #[test]
    fn a_frame_that_never_ends_is_dropped_once_and_takes_no_memory() {
        let (mut frame, mut pool) = (Reassembly::new(LONGEST), BufferPool::new(2).unwrap());
        let mut outcomes = Vec::new();
        for _ in 0..1000 {
            outcomes.extend(frame.add(&mut pool, &piece(1, 30), true));
            frame.end_turn(&pool);
            pool.release();
        }
        assert_eq!(outcomes, [Err((DropReason::TooLong, VNET_LEN + 120))]);
        assert_eq!(frame.kept.capacity(), LONGEST);
        assert!(frame.in_progress());
        assert_eq!(frame.add(&mut pool, &piece(1, 30), false), None, "its end is no frame");
        assert!(!frame.in_progress());
    }

    #[test]
    fn without_a_buffer_or_with_an_empty_piece_the_frame_is_dropped_with_the_reason() {
        let (mut frame, mut pool) = (Reassembly::new(LONGEST), BufferPool::new(1).unwrap());
        pool.acquire().unwrap();
        let outcome = frame.add(&mut pool, &piece(1, 30), true);
        assert_eq!(outcome, Some(Err((DropReason::Full, VNET_LEN + 30))));
        assert_eq!(frame.add(&mut pool, &piece(1, 30), false), None);
        pool.release();
        assert_eq!(frame.add(&mut pool, &piece(1, 30), true), None);
        let outcome = frame.add(&mut pool, &[], true);
        assert_eq!(outcome, Some(Err((DropReason::Runt, VNET_LEN))));
        assert_eq!(frame.add(&mut pool, &piece(1, 30), false), None, "not without that piece");
        assert!(!frame.in_progress());
    }
}
