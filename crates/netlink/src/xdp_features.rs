//! What a driver can do with XDP: asked of the kernel, and not tried.
//!
//! By the genetlink family `netdev` (`linux/netdev.h`, since Linux 6.3), which answers everybody.
//! Two questions of one attribute each, so the bytes are put together here.

use std::io;

use netlink_packet_core::{NLM_F_REQUEST, NlasIterator};
use umacvlan_sys::netlink::{NetlinkSocket, Received};

/// Bytes of `struct nlmsghdr` and `struct genlmsghdr`.
const HEADERS: usize = 16 + 4;

/// `CTRL_CMD_GETFAMILY` of the family of families, with `CTRL_ATTR_FAMILY_NAME`, which answers
/// `CTRL_ATTR_FAMILY_ID` (`linux/genetlink.h`).
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// `NETDEV_CMD_DEV_GET` with `NETDEV_A_DEV_IFINDEX`, which answers `NETDEV_A_DEV_XDP_FEATURES`.
const DEV_GET: u8 = 1;
const IFINDEX: u16 = 1;
const XDP_FEATURES: u16 = 3;

/// `NETDEV_XDP_ACT_XSK_ZEROCOPY`.
const ZERO_COPY: u64 = 8;

/// Bytes of an answer, with room to spare.
const ANSWER: usize = 8192;

/// Whether the driver of the interface of that index, in the namespace of the calling thread, says
/// that AF_XDP goes without copies there.
///
/// # Errors
/// `ENOENT` before Linux 6.3, which does not know; there is no such interface.
pub fn supports_zero_copy(index: u32) -> io::Result<bool> {
    let socket = NetlinkSocket::open_generic()?;
    let control = u16::try_from(libc::GENL_ID_CTRL).map_err(io::Error::other)?;
    let family = ask(&socket, (control, GET_FAMILY), (FAMILY_NAME, b"netdev\0"), FAMILY_ID)?;
    let family = u16::from_ne_bytes(*family.first_chunk().ok_or(io::ErrorKind::InvalidData)?);
    let features = ask(&socket, (family, DEV_GET), (IFINDEX, &index.to_ne_bytes()), XDP_FEATURES)?;
    let features = features.first_chunk().ok_or(io::ErrorKind::InvalidData)?;
    Ok(u64::from_ne_bytes(*features) & ZERO_COPY != 0)
}

/// The attribute `wanted` of the answer to a command of a family.
fn ask(
    socket: &NetlinkSocket,
    (family, command): (u16, u8),
    (kind, value): (u16, &[u8]),
    wanted: u16,
) -> io::Result<Vec<u8>> {
    let attribute = u16::try_from(4 + value.len()).map_err(io::Error::other)?;
    let mut message = vec![0; HEADERS];
    message[4..6].copy_from_slice(&family.to_ne_bytes());
    message[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    message[16..18].copy_from_slice(&[command, 1]);
    message.extend([attribute.to_ne_bytes(), kind.to_ne_bytes()].concat());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
    let len = u32::try_from(message.len()).map_err(io::Error::other)?;
    message[..4].copy_from_slice(&len.to_ne_bytes());
    socket.send(&message)?;
    let mut buffer = [0; ANSWER];
    match socket.recv(&mut buffer)? {
        Received::Messages { len, .. } => attribute_of(&buffer[..len], wanted),
        Received::Empty | Received::Lost => Err(io::Error::other("the answer was lost")),
    }
}

/// An attribute of an answer, or the refusal that it is.
fn attribute_of(answer: &[u8], wanted: u16) -> io::Result<Vec<u8>> {
    let (headers, attributes) =
        answer.split_first_chunk::<HEADERS>().ok_or(io::ErrorKind::InvalidData)?;
    let [_, _, _, _, low, high, .., a, b, c, d] = *headers;
    if i32::from(u16::from_ne_bytes([low, high])) == libc::NLMSG_ERROR {
        // `struct nlmsgerr` begins where another message has its second header.
        return Err(io::Error::from_raw_os_error(-i32::from_ne_bytes([a, b, c, d])));
    }
    let mut found = NlasIterator::new(attributes).filter_map(Result::ok);
    let found = found.find(|attribute| attribute.kind() == wanted);
    let found = found.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODATA))?;
    Ok(found.value().to_vec())
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn an_answer_that_is_cut_off_is_an_error() {
        let mut answer = [0; HEADERS + 12];
        answer[HEADERS..HEADERS + 4].copy_from_slice(&[12, 0, 3, 0]);
        assert_eq!(attribute_of(&answer, 3).unwrap(), [0; 8]);
        assert!(attribute_of(&answer, 1).is_err());
        for len in 0..answer.len() {
            assert!(attribute_of(&answer[..len], 3).is_err(), "{len}");
        }
    }
}
