//! [`Lease`]: an address, and what comes with it.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::message::Reply;

/// Seconds of a lease that never ends (RFC 2131, section 3.3).
const INFINITE: u32 = u32::MAX;

/// The most of each kind of address that is kept of a message.
const ADDRESSES_MAX: usize = 8;

/// What a server has assigned. Times are those of the owner's clock.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// The length of its prefix in bits.
    pub prefix_len: u8,
    /// The identifier of the server, which is one of its addresses.
    pub server: Ipv4Addr,
    /// The MAC address from which its acknowledgement came: the server's, or that of its relay.
    pub server_mac: [u8; 6],
    /// The routers, the preferred one first; none if there are classless routes.
    pub routers: Vec<Ipv4Addr>,
    /// Classless static routes (RFC 3442).
    pub routes: Vec<StaticRoute>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// The domain of the network.
    pub domain: Option<String>,
    /// When it is to be renewed with the server (T1).
    pub renew: Duration,
    /// When it is to be renewed with any server (T2).
    pub rebind: Duration,
    /// When it ends; `None` if never.
    pub expires: Option<Duration>,
}

/// A route that a server has assigned.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct StaticRoute {
    /// The network.
    pub to: Ipv4Addr,
    /// The length of its prefix in bits.
    pub prefix_len: u8,
    /// The router; unspecified if the network is on the link.
    pub via: Ipv4Addr,
}

impl Lease {
    /// The lease that an acknowledgement at this time gives; `None` if something that it needs is
    /// missing or cannot be.
    pub(crate) fn acknowledged(reply: &Reply, since: Duration) -> Option<Self> {
        let (server, seconds) = (reply.server?, reply.lease?);
        if !is_assignable(reply.address) || seconds == 0 {
            return None;
        }
        let prefix_len = reply.prefix_len.unwrap_or_else(|| class_len(reply.address));
        let length = Duration::from_secs(seconds.into());
        // A server that lies must not have the client ask all the time.
        let share = |given: Option<u32>, default: Duration| {
            let given = Duration::from_secs(given.unwrap_or(0).into());
            let sane = given >= (length / 16).max(Duration::from_secs(1)) && given < length;
            if sane { given } else { default }
        };
        // RFC 2131, section 4.4.5: 0.5 and 0.875 of the time.
        let rebind = share(reply.rebind, length / 8 * 7);
        let renew = share(reply.renew, length / 2).min(rebind);
        let infinite = seconds == INFINITE;
        let few = |all: &[Ipv4Addr]| {
            let usable = all.iter().copied().filter(|one| is_assignable(*one));
            usable.take(ADDRESSES_MAX).collect::<Vec<_>>()
        };
        Some(Self {
            address: reply.address,
            prefix_len,
            server,
            server_mac: reply.sender,
            // RFC 3442: with classless routes the routers are ignored.
            routers: if reply.routes.is_empty() { few(&reply.routers) } else { Vec::new() },
            routes: reply.routes.clone(),
            dns: few(&reply.dns),
            domain: reply.domain.clone(),
            renew: since + if infinite { length } else { renew },
            rebind: since + if infinite { length } else { rebind },
            expires: (!infinite).then_some(since + length),
        })
    }

    /// Whether it has ended at this time.
    pub fn is_over(&self, now: Duration) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    /// Whether it gives the same as another one, whatever their times.
    pub fn gives_the_same(&self, other: &Self) -> bool {
        let Self { renew, rebind, expires, server_mac, .. } = *self;
        *self == Self { renew, rebind, expires, server_mac, ..other.clone() }
    }
}

/// Whether a host can have this address: not one of "this network", loopback, or group.
pub(crate) fn is_assignable(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && !address.is_loopback() && first < 224
}

/// The prefix length of the class of an address (RFC 791), where a server names none.
fn class_len(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..128 => 8,
        128..192 => 16,
        _ => 24,
    }
}
