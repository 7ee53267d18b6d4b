//! The XDP features of a driver, as the kernel reports them.
//!
//! This uses the generic netlink family `netdev` (`linux/netdev.h`, since Linux 6.3), which needs no
//! privilege. Two requests with one attribute each are encoded here by hand.

use std::io;

use netlink_packet_core::{NLM_F_REQUEST, NlasIterator};
use umacvlan_sys::netlink::{NetlinkSocket, Received};

/// Bytes of `struct nlmsghdr` and `struct genlmsghdr`.
const HEADERS: usize = 16 + 4;

/// `CTRL_CMD_GETFAMILY` of the family `nlctrl`: `CTRL_ATTR_FAMILY_NAME` in the request,
/// `CTRL_ATTR_FAMILY_ID` in the reply (`linux/genetlink.h`).
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// `NETDEV_CMD_DEV_GET`: `NETDEV_A_DEV_IFINDEX` in the request, `NETDEV_A_DEV_XDP_FEATURES` in the
/// reply.
const DEV_GET: u8 = 1;
const IFINDEX: u16 = 1;
const XDP_FEATURES: u16 = 3;

/// `NETDEV_XDP_ACT_XSK_ZEROCOPY`.
const ZERO_COPY: u64 = 8;

/// Bytes of the receive buffer, more than any reply here.
const REPLY_MAX: usize = 8192;

/// True if the driver of the interface with that index, in the namespace of the calling thread, reports
/// support for AF_XDP zero-copy.
///
/// # Errors
/// `ENOENT` before Linux 6.3, which has no such report; there is no such interface.
pub fn supports_zero_copy(index: u32) -> io::Result<bool> {
    let socket = NetlinkSocket::open_generic()?;
    let control = u16::try_from(libc::GENL_ID_CTRL).map_err(io::Error::other)?;
    let family = request(&socket, (control, GET_FAMILY), (FAMILY_NAME, b"netdev\0"), FAMILY_ID)?;
    let family = u16::from_ne_bytes(*family.first_chunk().ok_or(io::ErrorKind::InvalidData)?);
    let features =
        request(&socket, (family, DEV_GET), (IFINDEX, &index.to_ne_bytes()), XDP_FEATURES)?;
    let features = features.first_chunk().ok_or(io::ErrorKind::InvalidData)?;
    Ok(u64::from_ne_bytes(*features) & ZERO_COPY != 0)
}

/// Sends a command of a family, and returns the attribute `wanted` of the reply.
fn request(
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
    let mut buffer = [0; REPLY_MAX];
    match socket.recv(&mut buffer)? {
        Received::Messages { len, .. } => attribute_of(&buffer[..len], wanted),
        Received::Empty | Received::Lost => Err(io::Error::other("the reply was lost")),
    }
}

/// An attribute of a reply, or the error in it.
pub(super) fn attribute_of(reply: &[u8], wanted: u16) -> io::Result<Vec<u8>> {
    let (headers, attributes) =
        reply.split_first_chunk::<HEADERS>().ok_or(io::ErrorKind::InvalidData)?;
    let [_, _, _, _, low, high, .., a, b, c, d] = *headers;
    if i32::from(u16::from_ne_bytes([low, high])) == libc::NLMSG_ERROR {
        // `struct nlmsgerr` is where other messages have their second header.
        return Err(io::Error::from_raw_os_error(i32::from_ne_bytes([a, b, c, d]).wrapping_neg()));
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
    fn a_truncated_reply_is_an_error() {
        let mut answer = [0; HEADERS + 12];
        answer[HEADERS..HEADERS + 4].copy_from_slice(&[12, 0, 3, 0]);
        assert_eq!(attribute_of(&answer, 3).unwrap(), [0; 8]);
        assert!(attribute_of(&answer, 1).is_err());
        for len in 0..answer.len() {
            assert!(attribute_of(&answer[..len], 3).is_err(), "{len}");
        }
    }
}
