//! [`Member`] and [`Station`]: the hosts of a lab and their addresses.

use std::fmt;
use std::net::Ipv4Addr;

use umacvlan_core::MacAddr;
use umacvlan_sys::netns::Netns;

/// The number of members of a full lab.
pub const MEMBERS: usize = 6;

/// The number of sub-interfaces of a full lab. Passthru has one.
pub const SUBS: u8 = 4;

/// One of the hosts that send and receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// The sub-interface of this number, 1 to [`SUBS`].
    Sub(u8),
    /// The parent's own network stack.
    Host,
    /// A host on the other side of the switch.
    External,
}

impl Member {
    /// All members, in the order of every table.
    pub const ALL: [Self; MEMBERS] =
        [Self::Sub(1), Self::Sub(2), Self::Sub(3), Self::Sub(4), Self::Host, Self::External];

    /// The index in [`Member::ALL`].
    pub const fn index(self) -> usize {
        match self {
            Self::Sub(number) => number as usize - 1,
            Self::Host => 4,
            Self::External => 5,
        }
    }

    /// The IPv4 address in 10.76.0.0/24.
    pub const fn ip(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 76, 0, self.number())
    }

    /// The MAC address of the member's interface, except that a passthru sub-interface has the
    /// parent's, which is [`Member::Host`]'s.
    pub const fn mac(self) -> MacAddr {
        MacAddr::new([0x02, 0x4c, 0x41, 0x42, 0, self.number()])
    }

    /// The name of the member's interface, in its own namespace.
    pub const fn interface_name(self) -> &'static str {
        match self {
            Self::Sub(1) => "mac1",
            Self::Sub(2) => "mac2",
            Self::Sub(3) => "mac3",
            Self::Sub(_) => "mac4",
            Self::Host => "p0",
            Self::External => "eth0",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Sub(number) => number,
            Self::Host => 10,
            Self::External => 20,
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Host => "host",
            Self::External => "external",
            Self::Sub(_) => self.interface_name(),
        })
    }
}

/// An existing member, with its namespace and its interface's current MAC address.
#[derive(Clone, Copy, Debug)]
pub struct Station<'n> {
    /// The member.
    pub member: Member,
    /// The namespace of its interface and network stack.
    pub netns: &'n Netns,
    /// The MAC address of its interface.
    pub mac: MacAddr,
}
