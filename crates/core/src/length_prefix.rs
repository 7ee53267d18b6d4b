//! Frames in a byte stream, each behind its length in four bytes of network order: the format of
//! QEMU's `-netdev stream`, of passt and of libkrun.
//!
//! Both ends are buffers of a fixed size: a peer that sends nothing whole, or reads nothing, costs no
//! more memory than one that does.

use std::ops::Range;

/// Bytes of the length before each frame.
pub const PREFIX_LEN: usize = 4;

/// Bytes of the longest frame: 65535 of payload, an Ethernet header, and a VLAN tag.
pub const FRAME_MAX: usize = 65_535 + 14 + 4;

/// The bytes that a reader holds: the longest frame with its length, twice.
const READ_LEN: usize = 2 * (PREFIX_LEN + FRAME_MAX);

/// The bytes that may wait in a writer.
const WRITE_LEN: usize = 256 * 1024;

/// A length that no frame has. Nothing behind it in the stream can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes is announced, and a frame has 1 to {FRAME_MAX}")]
pub struct InvalidLength(pub u32);

/// Takes frames out of a stream.
#[derive(Debug)]
pub struct FrameReader {
    bytes: Box<[u8]>,
    /// What was received and not taken yet.
    filled: Range<usize>,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self { bytes: vec![0; READ_LEN].into_boxed_slice(), filled: 0..0 }
    }
}

impl FrameReader {
    /// Takes the next frame that is there as a whole.
    ///
    /// # Errors
    /// Its length is that of no frame.
    pub fn take(&mut self) -> Result<Option<&[u8]>, InvalidLength> {
        let received = &self.bytes[self.filled.clone()];
        let Some((prefix, rest)) = received.split_first_chunk::<PREFIX_LEN>() else {
            return Ok(None);
        };
        let announced = u32::from_be_bytes(*prefix);
        let len = usize::try_from(announced).ok().filter(|len| (1..=FRAME_MAX).contains(len));
        let len = len.ok_or(InvalidLength(announced))?;
        let frame = rest.get(..len);
        if frame.is_some() {
            self.filled.start += PREFIX_LEN + len;
        }
        Ok(frame)
    }

    /// The room for what is received next; it is never empty after [`FrameReader::take`] has returned
    /// no frame.
    pub fn room(&mut self) -> &mut [u8] {
        if self.bytes.len() - self.filled.start < PREFIX_LEN + FRAME_MAX || self.filled.is_empty() {
            self.bytes.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
        }
        &mut self.bytes[self.filled.end..]
    }

    /// Notes that the first `len` bytes of the room have been received.
    pub fn received(&mut self, len: usize) {
        self.filled.end = (self.filled.end + len).min(self.bytes.len());
    }
}

/// Puts frames into a stream, or keeps them in order until a socket for datagrams has room.
#[derive(Debug)]
pub struct FrameWriter {
    bytes: Box<[u8]>,
    /// What was not sent yet.
    waiting: Range<usize>,
}

impl Default for FrameWriter {
    fn default() -> Self {
        Self { bytes: vec![0; WRITE_LEN].into_boxed_slice(), waiting: 0..0 }
    }
}

impl FrameWriter {
    /// Appends a frame. False: there is no room for it, or it is longer than a frame may be.
    #[must_use]
    pub fn push(&mut self, frame: &[u8]) -> bool {
        let whole = PREFIX_LEN + frame.len();
        let prefix = match u32::try_from(frame.len()) {
            Ok(len) if frame.len() <= FRAME_MAX => len.to_be_bytes(),
            _ => return false,
        };
        if self.bytes.len() - self.waiting.len() < whole {
            return false;
        }
        if self.bytes.len() - self.waiting.end < whole {
            self.bytes.copy_within(self.waiting.clone(), 0);
            self.waiting = 0..self.waiting.len();
        }
        let (head, body) = self.bytes[self.waiting.end..][..whole].split_at_mut(PREFIX_LEN);
        head.copy_from_slice(&prefix);
        body.copy_from_slice(frame);
        self.waiting.end += whole;
        true
    }

    /// What is to be sent next.
    pub fn waiting(&self) -> &[u8] {
        &self.bytes[self.waiting.clone()]
    }

    /// The frames that wait, if whole frames were sent so far.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.waiting();
        std::iter::from_fn(move || {
            let (prefix, behind) = rest.split_first_chunk::<PREFIX_LEN>()?;
            let len = usize::try_from(u32::from_be_bytes(*prefix)).ok()?;
            let (frame, behind) = behind.split_at_checked(len)?;
            rest = behind;
            Some(frame)
        })
    }

    /// Notes that the first `count` frames that waited have been sent.
    pub fn sent_frames(&mut self, count: usize) {
        let len = self.frames().take(count).map(|frame| PREFIX_LEN + frame.len()).sum();
        self.sent(len);
    }

    /// Notes that the first `len` bytes that waited have been sent.
    pub fn sent(&mut self, len: usize) {
        self.waiting.start = (self.waiting.start + len).min(self.waiting.end);
        if self.waiting.is_empty() {
            self.waiting = 0..0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Receives `stream` in pieces of these lengths, in turn, and takes all frames.
    fn read(mut stream: &[u8], pieces: &[usize]) -> Result<Vec<Vec<u8>>, InvalidLength> {
        let mut reader = FrameReader::default();
        let mut frames = Vec::new();
        let mut pieces = pieces.iter().cycle();
        while !stream.is_empty() {
            let room = reader.room();
            let len = stream.len().min(room.len()).min(*pieces.next().unwrap());
            assert!(len > 0, "no room for the rest of a frame");
            room[..len].copy_from_slice(&stream[..len]);
            reader.received(len);
            stream = &stream[len..];
            while let Some(frame) = reader.take()? {
                frames.push(frame.to_vec());
            }
        }
        Ok(frames)
    }

    fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let len = prop_oneof![4 => 1..200_usize, 1 => 1..=FRAME_MAX];
        let frame = (len, any::<u8>()).prop_map(|(len, fill)| vec![fill; len]);
        prop::collection::vec(frame, 0..12)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_whatever_the_pieces(
            frames in frames(),
            sends in prop::collection::vec(1..100_000_usize, 1..8),
            pieces in prop::collection::vec(1..150_000_usize, 1..8),
        ) {
            let mut writer = FrameWriter::default();
            let (mut stream, mut sends) = (Vec::new(), sends.iter().cycle());
            let mut send = |writer: &mut FrameWriter| {
                let len = writer.waiting().len().min(*sends.next().unwrap());
                stream.extend_from_slice(&writer.waiting()[..len]);
                writer.sent(len);
            };
            for frame in &frames {
                while !writer.push(frame) {
                    send(&mut writer);
                }
            }
            while !writer.waiting().is_empty() {
                send(&mut writer);
            }
            prop_assert_eq!(read(&stream, &pieces).unwrap(), frames);
        }

        #[test]
        fn any_bytes_are_frames_or_refused(
            stream in prop::collection::vec(any::<u8>(), 0..4000),
            piece in 1..5000_usize,
        ) {
            if let Ok(frames) = read(&stream, &[piece]) {
                prop_assert!(frames.iter().all(|frame| (1..=FRAME_MAX).contains(&frame.len())));
            }
        }
    }

    #[test]
    fn frames_that_wait_are_sent_one_by_one() {
        let mut writer = FrameWriter::default();
        let frames = [&b"one"[..], b"a longer one", b"3"];
        assert!(frames.into_iter().all(|frame| writer.push(frame)));
        assert!(writer.frames().eq(frames));
        writer.sent_frames(1);
        assert!(writer.frames().eq(frames.into_iter().skip(1)));
        writer.sent_frames(9);
        assert!(writer.waiting().is_empty() && writer.frames().next().is_none());
    }

    #[test]
    fn a_length_that_no_frame_has_ends_the_stream() {
        for len in [0, u32::try_from(FRAME_MAX).unwrap() + 1, u32::MAX] {
            let stream = len.to_be_bytes();
            assert_eq!(read(&stream, &[4]), Err(InvalidLength(len)));
        }
    }

    #[test]
    fn a_peer_that_does_not_read_fills_the_buffer_and_no_more() {
        let mut writer = FrameWriter::default();
        let pushed = (0..1000).take_while(|_| writer.push(&[0; 1514])).count();
        assert_eq!(pushed, WRITE_LEN / (PREFIX_LEN + 1514));
        writer.sent(PREFIX_LEN + 1514);
        assert!(writer.push(&[0; 1514]) && !writer.push(&[0; 1514]));
        assert!(!FrameWriter::default().push(&[0; FRAME_MAX + 1]));
    }
}
