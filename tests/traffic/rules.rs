//! Isolation, allow-lists and source addresses on the way through real sockets.

use umacvlan_core::DropReason;
use umacvlan_core::rules::RuleWord;

use crate::icmp::assert_echoes;
use crate::world::{Plan, World, on_every_path, stats};

/// Sends datagrams from `a` until one was dropped for this reason.
fn until_dropped(world: &World, to: (std::net::Ipv4Addr, u16), reason: DropReason) {
    let sender = world.a.udp(0);
    world.until("a datagram is dropped", |status| {
        // An error is of a frame before it.
        let _ = sender.send_to(b"stays here", to);
        stats(status, "a0").dropped[reason] > 0
    });
}

#[test]
fn rules_change_while_sockets_talk() {
    on_every_path(Plan::default(), |world| {
        let (b, outside) = ((world.b.ip, 7009), (world.outside.ip, 7009));
        assert_echoes(&world.a, &world.b, 56);
        assert_echoes(&world.a, &world.outside, 56);

        world.rules("a0", &[(RuleWord::Isolation, "web")]);
        assert_echoes(&world.a, &world.b, 56);
        world.rules("b0", &[(RuleWord::Isolation, "on")]);
        until_dropped(world, b, DropReason::Isolated);
        assert_echoes(&world.a, &world.outside, 56);
        assert_echoes(&world.outside, &world.b, 56);
        world.rules("b0", &[(RuleWord::Isolation, "web")]);
        assert_echoes(&world.a, &world.b, 1472);

        let own = world.a.ip.to_string();
        world.rules("a0", &[(RuleWord::AllowIp, &own), (RuleWord::AllowEthertype, "ipv4")]);
        assert_echoes(&world.a, &world.b, 8000);
        world.rules("a0", &[(RuleWord::AllowIp, "192.0.2.7")]);
        until_dropped(world, b, DropReason::Spoofed);
        world.rules("a0", &[(RuleWord::AllowMac, "02:00:00:00:00:77")]);
        until_dropped(world, outside, DropReason::NotAllowed);
        world.rules("a0", &[]);
        assert_echoes(&world.a, &world.outside, 56);
    });
}
