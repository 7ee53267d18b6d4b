//! Frames from sub-interfaces.

use super::*;

#[test]
fn bridge_to_bridge_is_local_and_not_on_the_wire() {
    let (lab, [_, _, bridge, _]) = Lab::mixed();
    for target in bridge {
        assert_eq!(lab.egress(bridge[0], lab.mac(target)), to_sub(target));
    }
}

#[test]
fn bridge_to_anybody_else_is_on_the_wire_only() {
    let (mut lab, [private, vepa, bridge, source]) = Lab::mixed();
    for target in [private, vepa, source].concat() {
        assert_eq!(lab.egress(bridge[0], lab.mac(target)), wire());
    }
    for target in [PARENT, FAR, NOBODY] {
        assert_eq!(lab.egress(bridge[0], target), wire());
    }
    lab.down(bridge[1]);
    assert_eq!(lab.egress(bridge[0], lab.mac(bridge[1])), wire());
}

#[test]
fn every_other_mode_sends_everything_to_the_wire() {
    let (lab, [private, vepa, bridge, source]) = Lab::mixed();
    let subs = [private, vepa, bridge, source].concat();
    for from in [private, vepa, source].concat() {
        for dst in subs.iter().map(|&id| lab.mac(id)) {
            assert_eq!(lab.egress(from, dst), wire());
        }
        for dst in [PARENT, FAR, MacAddr::BROADCAST, JOINED, STRANGE] {
            assert_eq!(lab.egress(from, dst), wire());
        }
    }
}

#[test]
fn passthru_sends_everything_to_the_wire() {
    let mut lab = Lab::new(Semantics::Documented);
    let owner = lab.up(Mode::Passthru);
    for dst in [PARENT, FAR, MacAddr::BROADCAST, JOINED] {
        assert_eq!(lab.egress(owner, dst), wire());
    }
}

#[test]
fn a_group_frame_of_bridge_reaches_bridge_siblings_and_the_wire() {
    let (lab, [_, _, bridge, _]) = Lab::mixed();
    for dst in [MacAddr::BROADCAST, JOINED] {
        let outcome = lab.egress(bridge[0], dst);
        assert_eq!(outcome, to_sub(bridge[1]).and_wire());
    }
}

#[test]
fn a_sibling_hears_only_groups_it_joined() {
    let (mut lab, [_, _, bridge, _]) = Lab::mixed();
    assert_eq!(lab.egress(bridge[0], STRANGE), wire());
    lab.join(bridge[1], &[STRANGE]);
    let outcome = lab.egress(bridge[0], STRANGE);
    assert_eq!(outcome, to_sub(bridge[1]).and_wire());
    lab.down(bridge[1]);
    assert_eq!(lab.egress(bridge[0], STRANGE), wire());
}

#[test]
fn a_flood_among_siblings_never_takes_the_queue() {
    let (mut lab, [_, _, bridge, _]) = Lab::mixed();
    lab.switch.set_parent_promisc(true);
    let bytes = bytes(MacAddr::BROADCAST, lab.mac(bridge[0]), 0x88b5, 60);
    let frame = Frame::new(&bytes).unwrap();
    match lab.switch.egress(bridge[0], frame, false).action {
        Action::Flood(flood) => assert!(!flood.rule().deferred()),
        then => panic!("{then:?}"),
    }
}

#[test]
fn pause_goes_to_the_wire_only() {
    let (lab, [_, _, bridge, _]) = Lab::mixed();
    let pause = bytes(MacAddr::BROADCAST, lab.mac(bridge[0]), MAC_CONTROL, 60);
    assert_eq!(lab.egress_of(bridge[0], &pause), wire());
}

#[test]
fn a_down_sub_sends_nothing() {
    let (mut lab, subs) = Lab::mixed();
    for id in subs.concat() {
        lab.down(id);
        assert_eq!(lab.egress(id, FAR), dropped(DropReason::Down));
        let broadcast = lab.egress(id, MacAddr::BROADCAST);
        assert_eq!(broadcast, dropped(DropReason::Down));
    }
}

#[test]
fn a_sub_that_was_removed_sends_nothing() {
    let (mut lab, [_, _, bridge, _]) = Lab::mixed();
    assert!(lab.switch.remove(bridge[0]).is_some());
    let bytes = bytes(FAR, mac(1), 0x88b5, 60);
    let outcome = lab.egress_of(bridge[0], &bytes);
    assert_eq!(outcome, dropped(DropReason::Down));
}

#[test]
fn any_source_address_may_be_used() {
    let (lab, [private, _, bridge, _]) = Lab::mixed();
    // A private sub-interface's address included: the sender is still a bridge one.
    for src in [NOBODY, lab.mac(private[0]), PARENT] {
        let unicast = bytes(lab.mac(bridge[1]), src, 0x88b5, 60);
        assert_eq!(lab.egress_of(bridge[0], &unicast), to_sub(bridge[1]));
        let broadcast = bytes(MacAddr::BROADCAST, src, 0x88b5, 60);
        let outcome = lab.egress_of(bridge[0], &broadcast);
        assert_eq!(outcome, to_sub(bridge[1]).and_wire());
    }
}

#[test]
fn a_flooded_frame_has_to_fit_the_receivers_mtu() {
    let (mut lab, [_, _, bridge, _]) = Lab::mixed();
    let third = lab.up(Mode::Bridge);
    lab.switch.set_mtu(bridge[1], 1000).unwrap();
    let from = lab.mac(bridge[0]);
    let fitting = bytes(MacAddr::BROADCAST, from, 0x88b5, 1018);
    let long = bytes(MacAddr::BROADCAST, from, 0x88b5, 1019);
    let both = to_subs(&[bridge[1], third]).and_wire();
    assert_eq!(lab.egress_of(bridge[0], &fitting), both);
    let outcome = Outcome { too_long: vec![bridge[1]], ..to_sub(third).and_wire() };
    assert_eq!(lab.egress_of(bridge[0], &long), outcome);
    let gso = lab.switch.egress(bridge[0], Frame::new(&long).unwrap(), true);
    assert_eq!(Outcome::from(gso), both);
}

#[test]
fn a_filter_is_asked_before_the_length() {
    let (mut lab, [_, _, bridge, _]) = Lab::mixed();
    let third = lab.up(Mode::Bridge);
    lab.join(third, &[STRANGE]);
    let long = bytes(STRANGE, lab.mac(bridge[0]), 0x88b5, 1519);
    let outcome = Outcome { too_long: vec![third], ..wire() };
    assert_eq!(lab.egress_of(bridge[0], &long), outcome);
}

#[test]
fn local_unicast_has_to_fit_the_parents_mtu() {
    let (mut lab, [_, _, bridge, _]) = Lab::mixed();
    lab.switch.set_mtu(bridge[1], 1000).unwrap();
    let (from, to) = (lab.mac(bridge[0]), lab.mac(bridge[1]));
    let fitting = bytes(to, from, 0x88b5, 1518);
    let long = bytes(to, from, 0x88b5, 1519);
    assert_eq!(lab.egress_of(bridge[0], &fitting), to_sub(bridge[1]));
    let outcome = lab.egress_of(bridge[0], &long);
    assert_eq!(outcome, dropped(DropReason::TooLong));
    let gso = lab.switch.egress(bridge[0], Frame::new(&long).unwrap(), true);
    assert_eq!(Outcome::from(gso), to_sub(bridge[1]));
}
