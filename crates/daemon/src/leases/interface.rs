//! What DHCP does inside the namespace of a link.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::libc::{EADDRNOTAVAIL, EEXIST, ENODEV, ESRCH};
use umacvlan_dhcp::Lease;
use umacvlan_engine::Engine;
use umacvlan_engine::engine::SubId;
use umacvlan_netlink::{self as netlink, IpPrefix, Route, Rtnl};
use umacvlan_sys::netns::Netns;
use umacvlan_sys::{dhcp_socket, raw_socket};

use super::Place;

/// The maker of routes from DHCP (`RTPROT_DHCP` of linux/rtnetlink.h).
const PROTOCOL: u8 = 16;

/// How often, and after which times, to look whether the daemon has forwarded a message.
const LOOKS: u32 = 200;
const LOOK: Duration = Duration::from_millis(1);

/// The namespace of a link, if the link is where it was seen last.
pub(super) fn netns(engine: &Engine, id: u64, place: Place) -> io::Result<Netns> {
    let netns = engine.namespace(SubId(id)).map_err(io::Error::other)?;
    match netns.id() == place.netns() {
        true => Ok(netns),
        false => Err(io::Error::other("it is being moved")),
    }
}

/// A socket for DHCP on the interface of that index.
pub(super) fn socket(netns: &Netns, index: u32) -> io::Result<OwnedFd> {
    netns.run(|| dhcp_socket::open(index))?
}

/// Assigns what a lease gives, in place of what a former one gave.
///
/// # Errors
/// The kernel refuses it.
pub(super) fn assign(
    netns: &Netns,
    index: u32,
    former: Option<&Lease>,
    lease: &Lease,
) -> netlink::Result<()> {
    let mut rtnl = Rtnl::open_in(netns)?;
    if let Some(former) = former.filter(|former| !former.gives_the_same(lease)) {
        take_off(&mut rtnl, index, former)?;
    }
    tolerate(rtnl.add_address(index, lease.address.into(), lease.prefix_len), &[EEXIST])?;
    // A route that is there already, of another network for example, stays.
    routes(index, lease).iter().try_for_each(|route| tolerate(rtnl.add_route(route), &[EEXIST]))
}

/// Takes off what a lease gave.
///
/// # Errors
/// The kernel refuses it.
pub(super) fn withdraw(netns: &Netns, index: u32, lease: &Lease) -> netlink::Result<()> {
    take_off(&mut Rtnl::open_in(netns)?, index, lease)
}

fn take_off(rtnl: &mut Rtnl, index: u32, lease: &Lease) -> netlink::Result<()> {
    for route in routes(index, lease).iter().rev() {
        tolerate(rtnl.del_route(route), &[ESRCH, ENODEV])?;
    }
    let address = lease.address.into();
    tolerate(rtnl.del_address(index, address, lease.prefix_len), &[EADDRNOTAVAIL, ENODEV])
}

/// The routes of a lease, each after those that it needs.
fn routes(index: u32, lease: &Lease) -> Vec<Route> {
    let own = IpPrefix::new(lease.address.into(), lease.prefix_len);
    let default = lease.routers.first().map(|&via| (Ipv4Addr::UNSPECIFIED, 0, via));
    let given = lease.routes.iter().map(|route| (route.to, route.prefix_len, route.via));
    let mut routes: Vec<Route> = Vec::new();
    let mut add = |to: Ipv4Addr, prefix_len, via: Option<IpAddr>| {
        let to = IpPrefix::new(to.into(), prefix_len);
        let route =
            to.map(|to| Route { via, index: Some(index), protocol: PROTOCOL, ..Route::new(to) });
        routes.extend(route);
    };
    for (to, prefix_len, via) in given.chain(default) {
        let via = Some(via).filter(|via| !via.is_unspecified());
        if let Some(far) = via.filter(|via| !own.is_some_and(|own| own.contains((*via).into()))) {
            // A router beside the network, as a network of a single address has it.
            add(far, 32, None);
        }
        add(to, prefix_len, via.map(IpAddr::from));
    }
    routes
}

/// Sends the last message of a link, and waits until the daemon has forwarded it.
pub(super) fn send_last(netns: &Netns, index: u32, frame: &[u8]) -> io::Result<()> {
    let socket = socket(netns, index)?;
    let mut rtnl = Rtnl::open_in(netns).map_err(io::Error::other)?;
    let mut sent = || {
        let link = rtnl.link_by_index(index).ok().flatten();
        // One that is gone waits for nothing.
        link.map_or(u64::MAX, |link| link.stats.tx_packets)
    };
    let before = sent();
    raw_socket::send(socket.as_fd(), frame, 1)?;
    for _ in 0..LOOKS {
        if sent() > before {
            break;
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// These errors mean that it is done already.
fn tolerate(done: netlink::Result<()>, errors: &[i32]) -> netlink::Result<()> {
    match done {
        Err(error) if error.errno().is_some_and(|errno| errors.contains(&errno)) => Ok(()),
        done => done,
    }
}
