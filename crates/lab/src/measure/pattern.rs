//! The bytes of TCP streams, which the receiver compares one by one.

use std::io;
use std::sync::LazyLock;

/// The place in the pattern of the next byte that is sent or received.
#[derive(Debug, Default)]
pub(super) struct Pattern {
    at: usize,
}

impl Pattern {
    /// The next bytes to send.
    pub(super) fn next(&self) -> &'static [u8] {
        &PATTERN[self.at..self.at + CHUNK]
    }

    /// Goes on behind bytes that were sent.
    pub(super) const fn advance(&mut self, sent: usize) {
        self.at = (self.at + sent) % PERIOD;
    }

    /// Compares received bytes, at most [`CHUNK`], and goes on behind them.
    ///
    /// # Errors
    /// They are others than were sent.
    pub(super) fn check(&mut self, received: &[u8]) -> io::Result<()> {
        if !self.next().starts_with(received) {
            return Err(io::Error::other("other bytes arrived than were sent"));
        }
        self.advance(received.len());
        Ok(())
    }
}

/// Bytes of one write and one read: enough for two of the largest GSO packets.
pub(super) const CHUNK: usize = 128 * 1024;

/// The period of the stream in bytes. It is prime, so that a lost, repeated or misplaced frame,
/// page or window shifts the pattern and is noticed.
const PERIOD: usize = 65_521;

/// Random bytes of that period, long enough for a chunk that begins anywhere in it.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_u32;
    let period: Vec<u8> = std::iter::repeat_with(|| {
        // An xorshift generator (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()[0]
    })
    .take(PERIOD)
    .collect();
    period.iter().copied().cycle().take(PERIOD + CHUNK).collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_in_pieces_is_received_in_others() {
        let (mut sender, mut receiver) = (Pattern::default(), Pattern::default());
        let mut sent = Vec::new();
        for length in [1, CHUNK, 65_520, 65_521, 65_522] {
            sent.extend_from_slice(&sender.next()[..length]);
            sender.advance(length);
        }
        assert!(sent.chunks(70_001).all(|bytes| receiver.check(bytes).is_ok()));
        let mut shifted = Pattern::default();
        assert!(shifted.check(&sent[1..1000]).is_err(), "a lost byte");
    }
}
