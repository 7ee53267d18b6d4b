//! [`Rtnl`]: sends one rtnetlink request at a time and returns the reply.

use std::io;

use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST,
    NLMSG_ALIGNTO, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload, NlasIterator,
    parse_string,
};
use netlink_packet_route::RouteNetlinkMessage;
use umacvlan_sys::netlink::{NetlinkSocket, Received};
use umacvlan_sys::netns::Netns;

use super::utf8::make_utf8;
use super::{Error, Result};

/// A socket for requests to one namespace, which it keeps alive.
#[derive(Debug)]
pub struct Rtnl {
    socket: NetlinkSocket,
    /// Sequence number of the last request, which its reply repeats.
    sequence: u32,
    /// Holds one datagram.
    buffer: Vec<u8>,
}

impl Rtnl {
    /// Opens a socket in the namespace of the calling thread.
    ///
    /// # Errors
    /// The socket cannot be opened.
    pub fn open() -> Result<Self> {
        let socket = NetlinkSocket::open().map_err(|e| Error::new("open a netlink socket", e))?;
        // Linux before 4.12 adds no texts to errors; everything else works.
        let _ = socket.explain_errors();
        Ok(Self { socket, sequence: 0, buffer: vec![0; DATAGRAM] })
    }

    /// Opens a socket in the namespace `netns`, which stays alive until this is dropped: for namespaces
    /// that this process created, and for a short time in others.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the socket cannot be opened.
    pub fn open_in(netns: &Netns) -> Result<Self> {
        netns
            .run(Self::open)
            .map_err(|e| Error::new("open a netlink socket in another namespace", e))?
    }

    /// The cookie of the namespace of this socket, which no other namespace has until the next boot;
    /// `None` before Linux 5.14.
    pub fn netns_cookie(&self) -> Option<u64> {
        self.socket.netns_cookie()
    }

    /// How many requests were sent on this socket: each is a round trip to the kernel.
    pub const fn requests(&self) -> u32 {
        self.sequence
    }

    /// Sends a request without `NLM_F_DUMP`, and returns the messages before the acknowledgement. In an
    /// error, `action` continues "cannot ...".
    pub(super) fn request(
        &mut self,
        action: &str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        self.exchange(message, NLM_F_REQUEST | NLM_F_ACK | flags, usize::MAX)
            .map(|reply| reply.messages)
            .map_err(|failure| failure.into_error(action))
    }

    /// Sends a request for a list, and repeats it if the list changed while the kernel sent it.
    pub(super) fn dump(
        &mut self,
        action: &str,
        message: &RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        self.dump_at_most(action, message, usize::MAX)
    }

    /// As [`Self::dump`], for a list that a user may make as long as he likes: an error after
    /// `most` entries. The rest of the list then stays in the socket, which is to be closed.
    pub(super) fn dump_at_most(
        &mut self,
        action: &str,
        message: &RouteNetlinkMessage,
        most: usize,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        let mut reply = Reply::default();
        for _ in 0..DUMP_ATTEMPTS {
            reply = self
                .exchange(message.clone(), NLM_F_REQUEST | NLM_F_DUMP, most)
                .map_err(|failure| failure.into_error(action))?;
            if !reply.interrupted {
                break;
            }
        }
        // If the list keeps changing, the last attempt is used.
        Ok(reply.messages)
    }

    fn exchange(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        most: usize,
    ) -> std::result::Result<Reply, RequestFailure> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes)?;

        let mut reply = Reply::default();
        loop {
            let len = match self.socket.recv(&mut self.buffer)? {
                Received::Messages { len, .. } => len,
                Received::Empty | Received::Lost => {
                    return Err(RequestFailure::from(io::Error::other("the reply was lost")));
                }
            };
            make_utf8(&mut self.buffer[..len]);
            if reply.decode(&self.buffer[..len], self.sequence)? {
                return reply.finish();
            }
            if reply.messages.len() > most {
                let why = format!("the list has more than {most} entries");
                return Err(RequestFailure::from(io::Error::other(why)));
            }
        }
    }
}

/// The reply of the kernel as far as it has been received.
#[derive(Default)]
pub(super) struct Reply {
    pub(super) messages: Vec<RouteNetlinkMessage>,
    /// The list changed while the kernel sent it.
    interrupted: bool,
    /// The first message that could not be decoded. The rest of the reply must still be received, because
    /// it would precede the reply to the next request.
    unreadable: Option<io::Error>,
}

impl Reply {
    /// Decodes one datagram; true if it ends the reply to request number `sequence`.
    pub(super) fn decode(
        &mut self,
        datagram: &[u8],
        sequence: u32,
    ) -> std::result::Result<bool, RequestFailure> {
        for message in split(datagram) {
            let message = message.map_err(RequestFailure::from)?;
            if message.sequence_number() != sequence {
                continue;
            }
            self.interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
            let capped = message.flags() & NLM_F_CAPPED != 0;
            match NetlinkMessage::deserialize(message.into_inner()) {
                Err(e) => self.unreadable = Some(invalid(e)),
                Ok(NetlinkMessage { payload, .. }) => match payload {
                    NetlinkPayload::InnerMessage(inner) => self.messages.push(inner),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(true),
                    NetlinkPayload::Error(error) => {
                        return Err(RequestFailure::read(&error, capped));
                    }
                    NetlinkPayload::Done(done) if done.code == 0 => return Ok(true),
                    NetlinkPayload::Done(done) => {
                        return Err(RequestFailure::from(io::Error::from_raw_os_error(
                            done.code.wrapping_neg(),
                        )));
                    }
                    _ => {}
                },
            }
        }
        Ok(false)
    }

    fn finish(self) -> std::result::Result<Self, RequestFailure> {
        match self.unreadable {
            Some(e) => Err(RequestFailure::from(e)),
            None => Ok(self),
        }
    }
}

/// The cause of an [`Error`], without the action that failed.
pub(super) struct RequestFailure {
    source: io::Error,
    explanation: Option<String>,
}

impl RequestFailure {
    fn read(error: &ErrorMessage, capped: bool) -> Self {
        let errno = error.raw_code().wrapping_neg();
        let source = io::Error::from_raw_os_error(errno);
        Self { source, explanation: explanation(&error.header, capped) }
    }

    fn into_error(self, action: &str) -> Error {
        Error::new(action, self.source).explained(self.explanation)
    }
}

impl From<io::Error> for RequestFailure {
    fn from(source: io::Error) -> Self {
        Self { source, explanation: None }
    }
}

/// The messages of one datagram.
pub(super) fn split(mut datagram: &[u8]) -> impl Iterator<Item = io::Result<NetlinkBuffer<&[u8]>>> {
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let message = match NetlinkBuffer::new_checked(datagram) {
            Ok(message) => message,
            Err(e) => {
                datagram = &[];
                return Some(Err(invalid(e)));
            }
        };
        // `new_checked` has made sure that the length fits into the datagram, hence into usize.
        let len = message.length() as usize;
        let (this, _) = datagram.split_at(len);
        let aligned = len.next_multiple_of(usize::from(NLMSG_ALIGNTO));
        datagram = datagram.get(aligned..).unwrap_or_default();
        Some(Ok(NetlinkBuffer::new(this)))
    })
}

pub(super) fn invalid(error: netlink_packet_core::DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

/// The kernel's text in the rest of an error message. It follows the header of the request if the kernel
/// left the body out (`capped`), else the whole request.
fn explanation(rest: &[u8], capped: bool) -> Option<String> {
    let request = if capped {
        NLMSGHDR_LEN
    } else {
        let len = u32::from_ne_bytes(*rest.first_chunk()?);
        usize::try_from(len).ok()?.next_multiple_of(4)
    };
    NlasIterator::new(rest.get(request..)?)
        .filter_map(std::result::Result::ok)
        .find(|attribute| attribute.kind() == NLMSGERR_ATTR_MSG)
        .and_then(|attribute| parse_string(attribute.value()).ok())
}

/// Bytes of the receive buffer: more than the kernel's datagrams of a list (32 KiB), and than the message
/// about one interface without its virtual functions.
const DATAGRAM: usize = 64 * 1024;
/// Attempts to get a list that changes while the kernel sends it.
const DUMP_ATTEMPTS: usize = 8;
/// Length of `struct nlmsghdr`.
const NLMSGHDR_LEN: usize = 16;
/// The attribute with the text of an error (linux/netlink.h).
const NLMSGERR_ATTR_MSG: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unprivileged_user_can_list_the_interfaces() {
        let links = Rtnl::open().unwrap().links().unwrap();
        assert!(links.iter().any(|link| link.name == "lo"), "{links:?}");
    }

    #[test]
    fn a_datagram_splits_into_its_messages() {
        let mut datagram = Vec::new();
        for (len, pad) in [(16_u32, 0), (18, 2), (16, 0)] {
            datagram.extend(len.to_ne_bytes());
            datagram.resize(datagram.len() + (len as usize - 4) + pad, 0);
        }
        let lengths: Vec<_> = split(&datagram).map(|m| m.unwrap().length()).collect();
        assert_eq!(lengths, [16, 18, 16]);
    }

    #[test]
    fn a_wrong_length_ends_a_datagram() {
        for len in [0_u32, 15, 17, u32::MAX] {
            let mut datagram = len.to_ne_bytes().to_vec();
            datagram.resize(16, 0);
            let messages: Vec<_> = split(&datagram).collect();
            assert_eq!(messages.len(), 1);
            assert!(messages[0].is_err(), "length {len}");
        }
    }

    #[test]
    fn the_text_of_an_error_follows_the_request() {
        let words = [8 + 4, 0, 1, 0, b'n', b'o', b' ', b'l', b'u', b'c', b'k', 0];
        let mut capped = vec![0; 16];
        capped.extend(words);
        assert_eq!(explanation(&capped, true).as_deref(), Some("no luck"));

        let mut whole = 22_u32.to_ne_bytes().to_vec();
        whole.resize(24, 0);
        whole.extend(words);
        assert_eq!(explanation(&whole, false).as_deref(), Some("no luck"));
        assert_eq!(explanation(&whole[..10], false), None);
    }
}
