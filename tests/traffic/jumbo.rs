//! Jumbo frames, also when the parent's MTU shrinks.

use std::net::UdpSocket;
use umacvlan_core::options::Backend;

use crate::sockets::{noise, receive, set_option};
use crate::world::{Plan, Station, on_both_paths, stats, sub};

/// A datagram for an MTU of 9000, and its frame: UDP, IP and Ethernet headers before it.
const JUMBO: usize = 8900;
const JUMBO_FRAME: u64 = 8900 + 8 + 20 + 14;

#[test]
fn jumbo_frames_pass_until_the_parents_mtu_shrinks() {
    pass_until(Backend::AfPacket);
}

#[cfg(feature = "af-xdp")]
#[test]
fn jumbo_frames_pass_by_af_xdp_until_the_parents_mtu_shrinks() {
    pass_until(Backend::AfXdp);
}

fn pass_until(backend: Backend) {
    let plan = Plan { mtu: 9000, backend, ..Plan::default() };
    on_both_paths(plan, |world| {
        let before = world.status();
        for (from, to) in
            [(&world.a, &world.b), (&world.a, &world.outside), (&world.outside, &world.b)]
        {
            assert_eq!(try_send(from, to, JUMBO), Ok(()));
        }
        let after = world.status();
        let sent = stats(&after, "a0").received.bytes - stats(&before, "a0").received.bytes;
        // Two ARP requests are counted as well.
        assert_eq!(sent, 2 * JUMBO_FRAME + 2 * 42);

        world.host.set_mtu(4000);
        world.until("both follow the parent", |status| {
            ["a0", "b0"].iter().all(|name| sub(status, name).mtu == 4000)
        });
        for station in [&mut world.a, &mut world.b] {
            station.link_until("its MTU is the parent's", |link| link.mtu == 4000);
        }
        assert_eq!(try_send(&world.a, &world.b, JUMBO), Err(libc::EMSGSIZE));
        assert_eq!(try_send(&world.a, &world.b, 3900), Ok(()));
        assert_eq!(try_send(&world.b, &world.outside, 3900), Ok(()));
    });
}

/// Sends a datagram that must not be fragmented and waits for it, or returns the errno.
fn try_send(from: &Station, to: &Station, length: usize) -> Result<(), i32> {
    let (sender, receiver): (UdpSocket, _) = (from.udp(0), to.udp(4000));
    set_option(&sender, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO);
    let bytes = noise(3, length);
    if let Err(error) = sender.send_to(&bytes, (to.ip, 4000)) {
        return Err(error.raw_os_error().unwrap());
    }
    assert!(receive(&receiver) == bytes);
    Ok(())
}
