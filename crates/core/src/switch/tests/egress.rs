//! Frames from sub-interfaces.

use super::*;

#[test]
fn bridge_to_bridge_is_local_and_not_on_the_wire() {
    let (test, [_, _, bridge, _]) = TestSwitch::mixed();
    for target in bridge {
        assert_eq!(test.egress(bridge[0], test.mac(target)), to_sub(target));
    }
}

#[test]
fn bridge_to_any_other_destination_is_on_the_wire_only() {
    let (mut test, [private, vepa, bridge, source]) = TestSwitch::mixed();
    for target in [private, vepa, source].concat() {
        assert_eq!(test.egress(bridge[0], test.mac(target)), wire());
    }
    for target in [PARENT, OUTSIDE, UNKNOWN] {
        assert_eq!(test.egress(bridge[0], target), wire());
    }
    test.down(bridge[1]);
    assert_eq!(test.egress(bridge[0], test.mac(bridge[1])), wire());
}

#[test]
fn every_other_mode_sends_everything_to_the_wire() {
    let (test, [private, vepa, bridge, source]) = TestSwitch::mixed();
    let subs = [private, vepa, bridge, source].concat();
    for from in [private, vepa, source].concat() {
        for dst in subs.iter().map(|&id| test.mac(id)) {
            assert_eq!(test.egress(from, dst), wire());
        }
        for dst in [PARENT, OUTSIDE, MacAddr::BROADCAST, JOINED, UNJOINED] {
            assert_eq!(test.egress(from, dst), wire());
        }
    }
}

#[test]
fn passthru_sends_everything_to_the_wire() {
    let mut test = TestSwitch::new(Semantics::Documented);
    let owner = test.up(Mode::Passthru);
    for dst in [PARENT, OUTSIDE, MacAddr::BROADCAST, JOINED] {
        assert_eq!(test.egress(owner, dst), wire());
    }
}

#[test]
fn a_group_frame_of_bridge_reaches_bridge_siblings_and_the_wire() {
    let (test, [_, _, bridge, _]) = TestSwitch::mixed();
    for dst in [MacAddr::BROADCAST, JOINED] {
        let outcome = test.egress(bridge[0], dst);
        assert_eq!(outcome, to_sub(bridge[1]).and_wire());
    }
}

#[test]
fn a_sibling_gets_only_groups_that_it_joined() {
    let (mut test, [_, _, bridge, _]) = TestSwitch::mixed();
    assert_eq!(test.egress(bridge[0], UNJOINED), wire());
    test.join(bridge[1], &[UNJOINED]);
    let outcome = test.egress(bridge[0], UNJOINED);
    assert_eq!(outcome, to_sub(bridge[1]).and_wire());
    test.down(bridge[1]);
    assert_eq!(test.egress(bridge[0], UNJOINED), wire());
}

#[test]
fn a_flood_among_siblings_never_takes_the_broadcast_queue() {
    let (mut test, [_, _, bridge, _]) = TestSwitch::mixed();
    test.switch.set_parent_promisc(true);
    let bytes = bytes(MacAddr::BROADCAST, test.mac(bridge[0]), 0x88b5, 60);
    let frame = Frame::new(&bytes).unwrap();
    match test.switch.egress(bridge[0], frame, false).action {
        Action::Flood(flood) => assert!(!flood.rule().deferred()),
        then => panic!("{then:?}"),
    }
}

#[test]
fn pause_goes_to_the_wire_only() {
    let (test, [_, _, bridge, _]) = TestSwitch::mixed();
    let pause = bytes(MacAddr::BROADCAST, test.mac(bridge[0]), MAC_CONTROL, 60);
    assert_eq!(test.egress_of(bridge[0], &pause), wire());
}

#[test]
fn a_down_sub_sends_nothing() {
    let (mut test, subs) = TestSwitch::mixed();
    for id in subs.concat() {
        test.down(id);
        assert_eq!(test.egress(id, OUTSIDE), dropped(DropReason::Down));
        let broadcast = test.egress(id, MacAddr::BROADCAST);
        assert_eq!(broadcast, dropped(DropReason::Down));
    }
}

#[test]
fn a_sub_that_was_removed_sends_nothing() {
    let (mut test, [_, _, bridge, _]) = TestSwitch::mixed();
    assert!(test.switch.remove(bridge[0]).is_some());
    let bytes = bytes(OUTSIDE, mac(1), 0x88b5, 60);
    let outcome = test.egress_of(bridge[0], &bytes);
    assert_eq!(outcome, dropped(DropReason::Down));
}

#[test]
fn any_source_address_may_be_used() {
    let (test, [private, _, bridge, _]) = TestSwitch::mixed();
    // A private sub-interface's address included: the sender is still a bridge one.
    for src in [UNKNOWN, test.mac(private[0]), PARENT] {
        let unicast = bytes(test.mac(bridge[1]), src, 0x88b5, 60);
        assert_eq!(test.egress_of(bridge[0], &unicast), to_sub(bridge[1]));
        let broadcast = bytes(MacAddr::BROADCAST, src, 0x88b5, 60);
        let outcome = test.egress_of(bridge[0], &broadcast);
        assert_eq!(outcome, to_sub(bridge[1]).and_wire());
    }
}

#[test]
fn a_flooded_frame_has_to_fit_the_receivers_mtu() {
    let (mut test, [_, _, bridge, _]) = TestSwitch::mixed();
    let third = test.up(Mode::Bridge);
    test.switch.set_mtu(bridge[1], 1000).unwrap();
    let from = test.mac(bridge[0]);
    let fitting = bytes(MacAddr::BROADCAST, from, 0x88b5, 1018);
    let long = bytes(MacAddr::BROADCAST, from, 0x88b5, 1019);
    let both = to_subs(&[bridge[1], third]).and_wire();
    assert_eq!(test.egress_of(bridge[0], &fitting), both);
    let outcome = Outcome { too_long: vec![bridge[1]], ..to_sub(third).and_wire() };
    assert_eq!(test.egress_of(bridge[0], &long), outcome);
    let gso = test.switch.egress(bridge[0], Frame::new(&long).unwrap(), true);
    assert_eq!(Outcome::from(gso), both);
}

#[test]
fn the_filter_applies_before_the_length_check() {
    let (mut test, [_, _, bridge, _]) = TestSwitch::mixed();
    let third = test.up(Mode::Bridge);
    test.join(third, &[UNJOINED]);
    let long = bytes(UNJOINED, test.mac(bridge[0]), 0x88b5, 1519);
    let outcome = Outcome { too_long: vec![third], ..wire() };
    assert_eq!(test.egress_of(bridge[0], &long), outcome);
}

#[test]
fn local_unicast_has_to_fit_the_parents_mtu() {
    let (mut test, [_, _, bridge, _]) = TestSwitch::mixed();
    test.switch.set_mtu(bridge[1], 1000).unwrap();
    let (from, to) = (test.mac(bridge[0]), test.mac(bridge[1]));
    let fitting = bytes(to, from, 0x88b5, 1518);
    let long = bytes(to, from, 0x88b5, 1519);
    assert_eq!(test.egress_of(bridge[0], &fitting), to_sub(bridge[1]));
    let outcome = test.egress_of(bridge[0], &long);
    assert_eq!(outcome, dropped(DropReason::TooLong));
    let gso = test.switch.egress(bridge[0], Frame::new(&long).unwrap(), true);
    assert_eq!(Outcome::from(gso), to_sub(bridge[1]));
}

#[test]
fn spoofchk_lets_only_the_own_addresses_pass_in_every_mode() {
    let (mut test, subs) = TestSwitch::mixed();
    let other = test.mac(subs[2][0]);
    for id in subs.into_iter().flatten() {
        let (own, added, unknown) = (test.mac(id), mac(0x70), mac(0x71));
        let out = |test: &TestSwitch, from| test.egress_of(id, &bytes(mac(0x72), from, 0x88b5, 60));
        let broadcast = |test: &TestSwitch, from| {
            test.egress_of(id, &bytes(MacAddr::BROADCAST, from, 0x88b5, 60)).drop
        };
        assert_eq!(out(&test, unknown), wire(), "off");
        test.switch.set_flag(id, MacvlanFlag::Spoofchk, true).unwrap();
        test.switch.set_secondary(id, vec![added]).unwrap();
        for from in [own, added] {
            assert_eq!((out(&test, from), broadcast(&test, from)), (wire(), None), "{from}");
        }
        for from in [unknown, other, MacAddr::BROADCAST, MacAddr::ZERO] {
            if from != own {
                assert_eq!(out(&test, from), dropped(DropReason::Spoofed), "{from}");
                assert_eq!(broadcast(&test, from), Some(DropReason::Spoofed), "{from}");
            }
        }
        test.switch.set_secondary(id, Vec::new()).unwrap();
        assert_eq!(out(&test, added), dropped(DropReason::Spoofed), "taken away");
        test.switch.set_flag(id, MacvlanFlag::Spoofchk, false).unwrap();
        assert_eq!(out(&test, unknown), wire(), "off again");
    }
}
