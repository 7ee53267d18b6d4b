//! [`make_utf8`]: makes the names in messages UTF-8 before they are decoded.
//!
//! To the kernel an interface name, an alternative name and an alias are bytes, and whoever is root in
//! a namespace chooses them. The decoder takes UTF-8 only: one such name would make the whole list of
//! interfaces, or an event, unreadable.

use netlink_packet_core::NLMSG_ALIGNTO;

/// Replaces each byte that is not part of UTF-8 in the names of interfaces and addresses by `?`, in
/// all messages of a datagram. Lengths stay as they are. Other messages, and those with wrong lengths,
/// are left to the decoder.
pub(super) fn make_utf8(mut datagram: &mut [u8]) {
    while let Some(len) = word(datagram).filter(|&len| (HEADER..=datagram.len()).contains(&len)) {
        let (message, _) = datagram.split_at_mut(len);
        let (header, payload) = message.split_at_mut(HEADER);
        let (fixed, is_text): (usize, fn(u16) -> bool) = match kind(header) {
            Some(RTM_NEWLINK | RTM_DELLINK) => (LINK_HEADER, is_link_text),
            Some(RTM_NEWADDR | RTM_DELADDR) => (ADDRESS_HEADER, |kind| kind == IFA_LABEL),
            _ => (payload.len(), |_| false),
        };
        attributes(payload.get_mut(fixed..).unwrap_or_default(), is_text);
        datagram = datagram.get_mut(aligned(len)..).unwrap_or_default();
    }
}

/// Goes through attributes, and through the alternative names in their list.
fn attributes(mut rest: &mut [u8], is_text: fn(u16) -> bool) {
    loop {
        let (Some(len), Some(kind)) = (half(rest, 0), half(rest, 2)) else {
            return;
        };
        let Some(value) = rest.get_mut(ATTRIBUTE..usize::from(len)) else {
            return;
        };
        match kind & !NESTED {
            IFLA_PROP_LIST if is_text(IFLA_PROP_LIST) => {
                attributes(value, |kind| kind == IFLA_ALT_IFNAME);
            }
            kind if is_text(kind) => replace(value),
            _ => {}
        }
        rest = rest.get_mut(aligned(len.into())..).unwrap_or_default();
    }
}

fn is_link_text(kind: u16) -> bool {
    matches!(kind, IFLA_IFNAME | IFLA_QDISC | IFLA_IFALIAS | IFLA_PHYS_PORT_NAME | IFLA_PROP_LIST)
}

/// Replaces the bytes that are not UTF-8.
fn replace(text: &mut [u8]) {
    let mut from = 0;
    while let Err(error) = std::str::from_utf8(&text[from..]) {
        let start = from + error.valid_up_to();
        let end = error.error_len().map_or(text.len(), |len| start + len);
        text[start..end].fill(b'?');
        from = end;
    }
}

/// The first field of a message: its length with the header.
fn word(message: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_ne_bytes(*message.first_chunk()?)).ok()
}

/// The type of a message.
fn kind(header: &[u8]) -> Option<u16> {
    half(header, 4)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn aligned(len: usize) -> usize {
    len.next_multiple_of(usize::from(NLMSG_ALIGNTO))
}

/// Length of `struct nlmsghdr` (linux/netlink.h).
const HEADER: usize = 16;
/// Length of `struct nlattr` (linux/netlink.h).
const ATTRIBUTE: usize = 4;
/// `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER` (linux/netlink.h).
const NESTED: u16 = 0xc000;
/// Length of `struct ifinfomsg` (linux/rtnetlink.h).
const LINK_HEADER: usize = 16;
/// Length of `struct ifaddrmsg` (linux/if_addr.h).
const ADDRESS_HEADER: usize = 8;

// linux/rtnetlink.h.
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
// linux/if_link.h.
const IFLA_IFNAME: u16 = 3;
const IFLA_QDISC: u16 = 6;
const IFLA_IFALIAS: u16 = 20;
const IFLA_PHYS_PORT_NAME: u16 = 38;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
/// linux/if_addr.h.
const IFA_LABEL: u16 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(ATTRIBUTE + value.len()).unwrap();
        let mut bytes = len.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, fixed: usize, attributes: &[u8]) -> Vec<u8> {
        let len = HEADER + fixed + attributes.len();
        let mut bytes = u32::try_from(len).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADER + fixed, 0);
        bytes.extend(attributes);
        bytes
    }

    #[test]
    fn names_that_are_no_utf8_are_readable_and_nothing_else_changes() {
        let list =
            |name: &[u8]| attribute(IFLA_PROP_LIST | 0x8000, &attribute(IFLA_ALT_IFNAME, name));
        let link = |name: &[u8]| {
            let parts = [attribute(1, &[0xff; 6]), attribute(IFLA_IFNAME, name), list(name)];
            message(RTM_NEWLINK, LINK_HEADER, &parts.concat())
        };
        let address =
            |name: &[u8]| message(RTM_NEWADDR, ADDRESS_HEADER, &attribute(IFA_LABEL, name));
        let other = message(24, 12, &attribute(3, &[0xff; 4]));
        let mut sent = [link(b"\xff\xfeA\0"), other.clone(), address(b"\xc3\0")].concat();
        make_utf8(&mut sent);
        assert_eq!(sent, [link(b"??A\0"), other, address(b"?\0")].concat());
        let mut german = link("k\u{fc}che\0".as_bytes());
        make_utf8(&mut german);
        assert_eq!(german, link("k\u{fc}che\0".as_bytes()));
    }

    #[test]
    fn every_length_ends() {
        for len in 0..=u8::MAX {
            let mut one = message(RTM_NEWLINK, LINK_HEADER, &[len, 0, 3, 0, 0xff, 0xff]);
            make_utf8(&mut one);
            one[0] = len;
            make_utf8(&mut one);
        }
    }
}
