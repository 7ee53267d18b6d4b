//! Sub-interfaces announce their addresses when their parent is another port of the network.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use umacvlan_core::Mode;
use umacvlan_core::options::PortIo;
use umacvlan_engine::engine::Event;
use umacvlan_netlink::{Link, set_sysctl};
use umacvlan_sys::{poll, raw_socket};
use umacvlan_testkit::root_or_skip;

use crate::common::{Lab, PARENT, Place, mac, until};
use crate::together;

/// Every EtherType (`linux/if_ether.h`).
const ETH_P_ALL: u16 = 3;

/// True if a frame with these bytes at `at` is received in time.
fn receives(socket: &OwnedFd, at: usize, bytes: &[u8]) -> bool {
    let mut buffer = [0; 128];
    loop {
        while let Some(len) = raw_socket::receive(socket.as_fd(), &mut buffer).unwrap() {
            if buffer[..len].get(at..).is_some_and(|tail| tail.starts_with(bytes)) {
                return true;
            }
        }
        let mut wanted = [poll::Interest::readable(socket.as_fd())];
        if poll::wait(&mut wanted, Duration::from_secs(5)).unwrap() == 0 {
            return false;
        }
    }
}

#[test]
fn addresses_are_announced_when_the_parent_returns() {
    if !root_or_skip() {
        return;
    }
    let _together = together();
    let mut lab = Lab::new(PortIo::Plain);
    let mut guest = Place::new();
    lab.add("s1", 1, Mode::Bridge, &guest);
    let index = guest.index("s1");
    for (setting, value) in [("disable_ipv6", "0"), ("accept_dad", "0"), ("keep_addr_on_down", "1")]
    {
        set_sysctl(&guest.netns, &format!("ipv6/conf/s1/{setting}"), value).unwrap();
    }
    guest.rtnl.add_address(index, "10.9.0.1".parse().unwrap(), 24).unwrap();
    guest.rtnl.add_address(index, "fd09::1".parse().unwrap(), 64).unwrap();

    let parent = lab.host.index(PARENT);
    lab.host.rtnl.delete(parent).unwrap();
    lab.event("parent gone", |event| matches!(event, Event::ParentGone { .. }));
    guest.until("no carrier", "s1", |link| link.is_up() && !link.is_running());

    // The far end listens before the parent has a carrier.
    lab.host.rtnl.add_veth(PARENT, "x0", Some(&lab.far.netns)).unwrap();
    let far = lab.far.index("x0");
    lab.far.rtnl.set_up(far, true).unwrap();
    let listen = || lab.far.netns.run(|| raw_socket::open(far, ETH_P_ALL)).unwrap().unwrap();
    let (arp, neighbours) = (listen(), listen());
    lab.event("parent back", |event| matches!(event, Event::ParentBack { .. }));
    let parent = lab.host.index(PARENT);
    lab.host.rtnl.set_up(parent, true).unwrap();
    guest.until("a carrier again", "s1", Link::is_running);

    let request = [&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &mac(1).octets()[..], &[10, 9, 0, 1]].concat();
    assert!(receives(&arp, 12, &request), "no gratuitous ARP request");
    // Type 136, override, and the address.
    let target = [0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let advertisement = [&[0x20, 0, 0, 0], &target[..]].concat();
    assert!(receives(&neighbours, 58, &advertisement), "no neighbour advertisement");
    until("the frames are counted", || lab.counters().is_balanced());
}
