//! Unicast from the wire.

use super::*;

#[test]
fn unicast_reaches_the_sub_with_the_address_and_no_other() {
    let (test, [private, vepa, bridge, _]) = TestSwitch::mixed();
    for id in [private, vepa, bridge].concat() {
        assert_eq!(test.ingress(OUTSIDE, test.mac(id)), to_sub(id));
    }
}

#[test]
fn a_source_sub_gets_nothing_by_its_address() {
    let (test, [.., source]) = TestSwitch::mixed();
    assert_eq!(test.ingress(OUTSIDE, test.mac(source[0])), host());
}

#[test]
fn unicast_for_the_parent_is_left_to_the_host() {
    let (test, _) = TestSwitch::mixed();
    assert_eq!(test.ingress(OUTSIDE, PARENT), host());
}

#[test]
fn unicast_for_an_unknown_address_is_left_to_the_host() {
    let (test, _) = TestSwitch::mixed();
    assert_eq!(test.ingress(OUTSIDE, UNKNOWN), host());
}

#[test]
fn a_down_sub_does_not_exist() {
    let (mut test, subs) = TestSwitch::mixed();
    for id in subs.concat() {
        test.down(id);
        assert_eq!(test.ingress(OUTSIDE, test.mac(id)), host());
    }
}

#[test]
fn a_sub_that_was_removed_does_not_exist() {
    let (mut test, [_, _, bridge, _]) = TestSwitch::mixed();
    let mac = test.mac(bridge[0]);
    assert!(test.switch.remove(bridge[0]).is_some());
    assert_eq!(test.ingress(OUTSIDE, mac), host());
}

#[test]
fn unicast_pause_is_delivered_like_any_frame() {
    let (test, [_, _, bridge, _]) = TestSwitch::mixed();
    let bytes = bytes(test.mac(bridge[0]), OUTSIDE, MAC_CONTROL, 60);
    assert_eq!(test.ingress_of(&bytes), to_sub(bridge[0]));
}

#[test]
fn a_vlan_tag_is_ignored() {
    let (test, [private, vepa, bridge, _]) = TestSwitch::mixed();
    for tpid in [0x8100, 0x88a8] {
        let mut tagged = bytes(test.mac(bridge[1]), OUTSIDE, tpid, 64);
        tagged[14..16].copy_from_slice(&10_u16.to_be_bytes());
        assert_eq!(test.ingress_of(&tagged), to_sub(bridge[1]));
        tagged[..6].fill(0xff);
        let all = [private, vepa, bridge].concat();
        assert_eq!(test.ingress_of(&tagged), to_subs(&all).and_host());
    }
}

#[test]
fn the_wire_may_send_more_than_the_receivers_mtu() {
    let (mut test, [_, _, bridge, _]) = TestSwitch::mixed();
    test.switch.set_mtu(bridge[0], 1000).unwrap();
    let long = bytes(test.mac(bridge[0]), OUTSIDE, 0x88b5, 1300);
    assert_eq!(test.ingress_of(&long), to_sub(bridge[0]));
    let long = bytes(MacAddr::BROADCAST, OUTSIDE, 0x88b5, 1300);
    assert!(test.ingress_of(&long).subs.contains(&bridge[0]));
}

#[test]
fn reflected_unicast_is_delivered_in_the_kernels_semantics() {
    let (test, subs) = TestSwitch::mixed_with(Semantics::Kernel);
    let [private, vepa, bridge, _] = subs;
    for sender in subs.concat() {
        for target in [private, vepa, bridge].concat() {
            let outcome = test.ingress(test.mac(sender), test.mac(target));
            assert_eq!(outcome, to_sub(target), "{sender:?} to {target:?}");
        }
    }
}

#[test]
fn reflected_unicast_between_a_private_sub_and_a_sibling_is_dropped() {
    let (test, subs) = TestSwitch::mixed();
    let [private, vepa, bridge, _] = subs;
    for sender in subs.concat() {
        for target in [private, vepa, bridge].concat() {
            let outcome = test.ingress(test.mac(sender), test.mac(target));
            let isolated = private.contains(&sender) || private.contains(&target);
            let expected = if isolated && sender != target {
                dropped(DropReason::PrivateIsolation)
            } else {
                to_sub(target)
            };
            assert_eq!(outcome, expected, "{sender:?} to {target:?}");
        }
    }
}

#[test]
fn a_down_sub_is_not_isolated() {
    let (mut test, [private, _, bridge, _]) = TestSwitch::mixed();
    test.down(bridge[0]);
    let spoofed = test.mac(bridge[0]);
    assert_eq!(test.ingress(spoofed, test.mac(private[0])), to_sub(private[0]));
}

#[test]
fn the_host_reaches_a_private_sub_through_a_hairpin() {
    let (test, [private, ..]) = TestSwitch::mixed();
    assert_eq!(test.ingress(PARENT, test.mac(private[0])), to_sub(private[0]));
}

#[test]
fn a_private_sub_reaches_the_host_through_a_hairpin() {
    let (test, [private, .., source]) = TestSwitch::mixed();
    assert_eq!(test.ingress(test.mac(private[0]), PARENT), host());
    // A source sub-interface does not receive by address, so there is nothing to isolate.
    let to_source = test.ingress(test.mac(private[0]), test.mac(source[0]));
    assert_eq!(to_source, host());
}

#[test]
fn passthru_takes_all_unicast() {
    let mut test = TestSwitch::new(Semantics::Documented);
    let owner = test.up(Mode::Passthru);
    for dst in [PARENT, UNKNOWN, OUTSIDE] {
        for src in [OUTSIDE, PARENT, UNKNOWN] {
            assert_eq!(test.ingress(src, dst), to_sub(owner));
        }
    }
}

#[test]
fn passthru_drops_unicast_while_it_is_down() {
    let mut test = TestSwitch::new(Semantics::Documented);
    let owner = test.up(Mode::Passthru);
    test.down(owner);
    assert_eq!(test.ingress(OUTSIDE, PARENT), dropped(DropReason::Down));
    assert_eq!(test.ingress(OUTSIDE, UNKNOWN), dropped(DropReason::Down));
    assert_eq!(test.ingress(OUTSIDE, MacAddr::BROADCAST), host());
}

#[test]
fn the_host_gets_unicast_again_when_passthru_is_removed() {
    let mut test = TestSwitch::new(Semantics::Documented);
    let owner = test.up(Mode::Passthru);
    assert!(test.switch.remove(owner).is_some());
    assert_eq!(test.ingress(OUTSIDE, PARENT), host());
}

#[test]
fn a_sub_keeps_its_frames_when_the_parent_gets_its_address() {
    let (mut test, [_, _, bridge, _]) = TestSwitch::mixed();
    test.switch.set_parent_mac(test.mac(bridge[0]));
    assert_eq!(test.ingress(OUTSIDE, test.mac(bridge[0])), to_sub(bridge[0]));
}
