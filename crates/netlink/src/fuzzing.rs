//! The decoders of this crate for any bytes, for `umacvlan-fuzz`.

use netlink_packet_route::RouteNetlinkMessage;

use super::Link;
use super::address::address;
use super::groups::parse_groups;
use super::monitor::Notification;
use super::nsid::assigned;
use super::rtnl::{Reply, split};
use super::unicast_list::secondary;
use super::utf8::make_utf8;
use super::xdp_features::attribute_of;

/// Decodes a datagram as the reply to a request, as far as the process asks the kernel for anything.
pub fn reply(datagram: &[u8]) {
    let mut datagram = datagram.to_vec();
    make_utf8(&mut datagram);
    let sequence = datagram.get(8..).and_then(|rest| rest.first_chunk().copied());
    let mut reply = Reply::default();
    // A datagram that is no reply is an error.
    let _ = reply.decode(&datagram, u32::from_ne_bytes(sequence.unwrap_or_default()));
    for message in reply.messages {
        let _ = secondary(&message, 3);
        match message {
            RouteNetlinkMessage::NewLink(message) => drop(Link::from_message(message)),
            RouteNetlinkMessage::NewAddress(message) => drop(address(&message)),
            RouteNetlinkMessage::NewNsId(message) => drop(assigned(&message)),
            _ => {}
        }
    }
    let _ = attribute_of(&datagram, 3);
}

/// Decodes a datagram as events.
pub fn events(datagram: &[u8]) {
    let mut datagram = datagram.to_vec();
    make_utf8(&mut datagram);
    for message in split(&datagram).map_while(Result::ok) {
        // An event that is not understood makes the engine look at everything.
        let _ = Notification::read(&message, None);
        let _ = Notification::read(&message, Some(1));
    }
}

/// Decodes the kernel's list of multicast groups.
pub fn groups(text: &[u8]) {
    // A line that is not understood is an error.
    let _ = parse_groups(&String::from_utf8_lossy(text));
}
