//! [`InterfaceIdentity`]: whether an interface is the one that it was before, whatever its name is.

use umacvlan_core::MacAddr;
use umacvlan_netlink::Link;
use umacvlan_sys::ethtool::Ethtool;

/// The attributes that tell the interface of a parent from others.
///
/// A NIC has a permanent address or a place on a bus. A virtual interface has neither: then its
/// index counts, which no other interface gets in its namespace, and after that its address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceIdentity {
    /// Its index.
    pub index: u32,
    /// The namespace in which it has that index: the number that
    /// [`cookie`](umacvlan_sys::netns::cookie) returns.
    pub netns: u64,
    /// Its address.
    pub mac: MacAddr,
    /// The permanent address of its NIC, if it has one.
    pub permanent_mac: Option<MacAddr>,
    /// The place of its NIC on a bus, as `ethtool -i` shows it, if it has one.
    pub bus: Option<String>,
}

/// Whether an interface is the same as another one that was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sameness {
    /// It is.
    Same,
    /// Nothing speaks against it.
    Possible,
    /// It is another one.
    Other,
}

impl InterfaceIdentity {
    /// The identity of an interface in the namespace of the calling thread. `netns` is the number of
    /// that namespace.
    pub fn of(link: &Link, netns: u64) -> Self {
        // An interface with a kind is virtual, and what its driver says about a bus is no place.
        let nic = link.kind.is_none();
        let place = || Ethtool::open().and_then(|ethtool| ethtool.bus(&link.name)).ok();
        Self {
            index: link.index,
            netns,
            mac: link.mac.unwrap_or_default(),
            permanent_mac: link.permanent_mac,
            bus: nic.then(place).flatten().filter(|place| !place.is_empty()),
        }
    }

    /// Whether an interface is this one. `newest` is the highest index of all interfaces when this
    /// one was there: an interface up to that index was there, too.
    pub fn compare(&self, other: &Self, newest: u32) -> Sameness {
        let same = |same| if same { Sameness::Same } else { Sameness::Other };
        if let (Some(one), Some(other)) = (self.permanent_mac, other.permanent_mac) {
            return same(one == other);
        }
        if let (Some(one), Some(other)) = (&self.bus, &other.bus) {
            return same(one == other);
        }
        if self.is_nic() != other.is_nic() {
            return Sameness::Other;
        }
        let here = self.netns == other.netns;
        match () {
            () if here && self.index == other.index => Sameness::Same,
            () if self.mac == other.mac => Sameness::Same,
            () if here && other.index <= newest => Sameness::Other,
            () => Sameness::Possible,
        }
    }

    fn is_nic(&self) -> bool {
        self.permanent_mac.is_some() || self.bus.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn virtual_one(index: u32, mac: u8) -> InterfaceIdentity {
        let mac = MacAddr::new([2, 0, 0, 0, 0, mac]);
        InterfaceIdentity { index, netns: 1, mac, ..InterfaceIdentity::default() }
    }

    fn nic(index: u32, permanent: Option<u8>, bus: Option<&str>) -> InterfaceIdentity {
        InterfaceIdentity {
            permanent_mac: permanent.map(|last| MacAddr::new([0, 0, 0, 0, 0, last])),
            bus: bus.map(str::to_owned),
            ..virtual_one(index, 1)
        }
    }

    #[test]
    fn a_virtual_interface_is_known_by_its_index_and_then_by_its_address() {
        let it = virtual_one(5, 1);
        let elsewhere = |index, mac| InterfaceIdentity { netns: 2, ..virtual_one(index, mac) };
        for (other, expected) in [
            (virtual_one(5, 2), Sameness::Same),
            (virtual_one(9, 1), Sameness::Same),
            (virtual_one(7, 2), Sameness::Other),
            (virtual_one(8, 2), Sameness::Possible),
            (elsewhere(5, 2), Sameness::Possible),
            (elsewhere(5, 1), Sameness::Same),
        ] {
            assert_eq!(it.compare(&other, 7), expected, "{other:?}");
        }
    }

    #[test]
    fn a_nic_is_known_by_its_permanent_address_or_its_place() {
        let (known, placed) =
            (nic(5, Some(1), Some("0000:00:03.0")), nic(5, None, Some("virtio0")));
        for (it, other, expected) in [
            (&known, nic(9, Some(1), Some("0000:00:04.0")), Sameness::Same),
            (&known, nic(5, Some(2), Some("0000:00:03.0")), Sameness::Other),
            (&known, nic(9, None, Some("0000:00:03.0")), Sameness::Same),
            (&placed, nic(9, None, Some("virtio0")), Sameness::Same),
            (&placed, nic(5, None, Some("virtio1")), Sameness::Other),
            (&placed, virtual_one(5, 1), Sameness::Other),
            (&virtual_one(5, 1), placed.clone(), Sameness::Other),
        ] {
            assert_eq!(it.compare(&other, 7), expected, "{it:?} {other:?}");
        }
    }
}
