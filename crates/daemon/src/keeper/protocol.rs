//! The messages between a daemon and its keeper.
//!
//! A message is a version, a kind, and link numbers of eight bytes, little-endian. Descriptors
//! travel beside it. The next daemon may be of a later release than the keeper, so what a kind means
//! never changes.
//!
//! What is held for a parent has a number as a link has, with the [`UPLINK`] bit: an earlier keeper
//! refuses its sockets and goes on, and an earlier daemon has them closed as those of an unknown link.

use umacvlan_sys::message_socket::DESCRIPTORS_MAX;

/// The version of all kinds below.
const VERSION: u8 = 1;

/// The bit that makes a number one for the sockets on a parent, with the index of its interface. No link
/// has a number as large.
pub const UPLINK: u64 = 1 << 63;

/// The length of a message without link numbers.
const HEADER_LEN: usize = 2;

/// The length of a link number.
const LINK_LEN: usize = size_of::<u64>();

/// The length of the longest message.
pub const MESSAGE_MAX: usize = HEADER_LEN + DESCRIPTORS_MAX * LINK_LEN;

const PUT: u8 = 1;
const DROP: u8 = 2;
const TAKE: u8 = 3;
const DONE: u8 = 16;
const REFUSED: u8 = 17;
const HELD: u8 = 18;

/// A message of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Hold these descriptors, the queues of the link in their order or the sockets on a parent, in place
    /// of those held for it.
    Put(u64),
    /// Close the descriptors of the link.
    Drop(u64),
    /// Send duplicates of everything that is held: any number of [`Message::Held`], then
    /// [`Message::Done`].
    Take,
    /// The request was carried out.
    Done,
    /// The request was not carried out, because a descriptor is not what is held for such a number.
    Refused,
    /// The link of each descriptor, in the order of its queues.
    Held(Vec<u64>),
}

/// A message that does not follow the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// It has another number of descriptors than its kind has.
    #[error("a message of kind {kind} has {descriptors} descriptors")]
    Descriptors {
        /// Its kind.
        kind: u8,
        /// The number of its descriptors.
        descriptors: usize,
    },
    /// It is not as long as its kind is.
    #[error("a message has the wrong length, {0} bytes")]
    Length(usize),
    /// It is of an unknown kind.
    #[error("a message has the unknown kind {0}")]
    Kind(u8),
    /// It is of an unknown version.
    #[error("a message has version {0}, and this is {VERSION}")]
    Version(u8),
}

impl Message {
    /// The bytes of the message.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, links) = match self {
            Self::Put(link) => (PUT, std::slice::from_ref(link)),
            Self::Drop(link) => (DROP, std::slice::from_ref(link)),
            Self::Take => (TAKE, &[][..]),
            Self::Done => (DONE, &[][..]),
            Self::Refused => (REFUSED, &[][..]),
            Self::Held(links) => (HELD, &links[..]),
        };
        let links = links.iter().flat_map(|link| link.to_le_bytes());
        [VERSION, kind].into_iter().chain(links).collect()
    }

    /// Decodes a message that arrived with this number of descriptors.
    ///
    /// # Errors
    /// It does not follow the protocol.
    pub fn decode(bytes: &[u8], descriptors: usize) -> Result<Self, ProtocolError> {
        let wrong = ProtocolError::Length(bytes.len());
        let (&[version, kind], links) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(wrong)?;
        if version != VERSION {
            return Err(ProtocolError::Version(version));
        }
        let (links, rest) = links.as_chunks::<LINK_LEN>();
        if !rest.is_empty() || bytes.len() > MESSAGE_MAX {
            return Err(wrong);
        }
        let links: Vec<u64> = links.iter().copied().map(u64::from_le_bytes).collect();
        let (message, right) = match (kind, &links[..]) {
            (PUT, &[link]) => (Self::Put(link), (1..=DESCRIPTORS_MAX).contains(&descriptors)),
            (DROP, &[link]) => (Self::Drop(link), descriptors == 0),
            (TAKE, []) => (Self::Take, descriptors == 0),
            (DONE, []) => (Self::Done, descriptors == 0),
            (REFUSED, []) => (Self::Refused, descriptors == 0),
            (HELD, [_, ..]) => (Self::Held(links.clone()), descriptors == links.len()),
            (PUT | DROP | TAKE | DONE | REFUSED | HELD, _) => return Err(wrong),
            _ => return Err(ProtocolError::Kind(kind)),
        };
        if right { Ok(message) } else { Err(ProtocolError::Descriptors { kind, descriptors }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_decoded_as_it_was_encoded() {
        let held = Message::Held((0..DESCRIPTORS_MAX as u64).collect());
        assert_eq!(held.encode().len(), MESSAGE_MAX);
        for (message, descriptors) in [
            (Message::Put(u64::MAX), 1),
            (Message::Put(0), DESCRIPTORS_MAX),
            (Message::Drop(7), 0),
            (Message::Take, 0),
            (Message::Done, 0),
            (Message::Refused, 0),
            (Message::Held(vec![1]), 1),
            (held, DESCRIPTORS_MAX),
        ] {
            assert_eq!(Message::decode(&message.encode(), descriptors), Ok(message));
        }
    }

    #[test]
    fn what_does_not_follow_the_protocol_is_an_error() {
        let too_long = Message::Held(vec![0; DESCRIPTORS_MAX + 1]).encode();
        for (bytes, descriptors) in [
            (&[][..], 0),
            (&[VERSION], 0),
            (&[VERSION, TAKE, 0], 0),
            (&[VERSION, TAKE, 0, 0, 0, 0, 0, 0, 0, 0], 0),
            (&[VERSION, PUT], 1),
            (&[VERSION, HELD], 0),
            (&too_long, DESCRIPTORS_MAX + 1),
        ] {
            let length = ProtocolError::Length(bytes.len());
            assert_eq!(Message::decode(bytes, descriptors), Err(length), "{bytes:?}");
        }
        assert_eq!(Message::decode(&[2, TAKE], 0), Err(ProtocolError::Version(2)));
        assert_eq!(Message::decode(&[VERSION, 99], 0), Err(ProtocolError::Kind(99)));
        for (message, descriptors) in [
            (Message::Put(1), 0),
            (Message::Put(1), DESCRIPTORS_MAX + 1),
            (Message::Drop(1), 1),
            (Message::Take, 1),
            (Message::Held(vec![1, 2]), 1),
        ] {
            let bytes = message.encode();
            let wrong = ProtocolError::Descriptors { kind: bytes[1], descriptors };
            assert_eq!(Message::decode(&bytes, descriptors), Err(wrong));
        }
    }
}
