//! The secondary unicast addresses of an interface: those that its stack has added to its filter.

use netlink_packet_core::DefaultNla;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use umacvlan_core::MacAddr;

use super::{Result, Rtnl};

/// The most entries that are read. The list of a bridge port has what the bridge has learned there,
/// too, before its own addresses; a port with more than this many has none for us.
const ENTRIES_MAX: usize = 8192;

impl Rtnl {
    /// The secondary unicast addresses of an interface (`self permanent` of `bridge fdb`), in order:
    /// those of interfaces on top of it, and of packet sockets. An interface that does not exist has
    /// none. No event tells of changes.
    ///
    /// # Errors
    /// The request failed, or the list is too long: then no other request should follow.
    pub fn unicast_list(&mut self, index: u32) -> Result<Vec<MacAddr>> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = index;
        // The kernel looks for an interface in a `struct ifinfomsg` only, which has its index in the
        // same place and is four bytes longer: the length of an empty attribute.
        message.attributes = vec![NeighbourAttribute::Other(DefaultNla::new(0, Vec::new()))];
        let message = RouteNetlinkMessage::GetNeighbour(message);
        let action = format!("list the addresses of interface {index}");
        let reply = self.dump_at_most(&action, &message, ENTRIES_MAX)?;
        let mut macs: Vec<_> = reply.iter().filter_map(|it| secondary(it, index)).collect();
        macs.sort_unstable();
        macs.dedup();
        Ok(macs)
    }
}

/// The address in an entry, if it is a secondary unicast one of this interface.
pub(super) fn secondary(message: &RouteNetlinkMessage, index: u32) -> Option<MacAddr> {
    let RouteNetlinkMessage::NewNeighbour(entry) = message else {
        return None;
    };
    let own = entry.header.flags.contains(NeighbourFlags::Own);
    if !own || entry.header.ifindex != index {
        return None;
    }
    let octets = entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => <[u8; 6]>::try_from(&bytes[..]).ok(),
        _ => None,
    })?;
    Some(MacAddr::new(octets)).filter(|mac| mac.is_valid_unicast())
}
