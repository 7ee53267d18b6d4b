//! Group frames from the wire.

use super::*;

fn filter(allmulti: bool, promisc: bool) -> MulticastFilter {
    MulticastFilter { allmulti, promisc, ..MulticastFilter::default() }
}

#[test]
fn a_group_frame_from_outside_reaches_the_host_and_all_subs_but_source() {
    let (test, [private, vepa, bridge, _]) = TestSwitch::mixed();
    let all = [private, vepa, bridge].concat();
    for src in [OUTSIDE, PARENT] {
        for dst in [MacAddr::BROADCAST, JOINED] {
            assert_eq!(test.ingress(src, dst), to_subs(&all).and_host());
        }
    }
}

#[test]
fn a_group_without_members_is_left_to_the_host() {
    let (test, _) = TestSwitch::mixed();
    assert_eq!(test.ingress(OUTSIDE, UNJOINED), host());
}

#[test]
fn a_group_reaches_its_members() {
    let (mut test, [private, vepa, ..]) = TestSwitch::mixed();
    test.join(private[0], &[UNJOINED, JOINED]);
    test.join(vepa[1], &[UNJOINED]);
    let members = [private[0], vepa[1]];
    assert_eq!(test.ingress(OUTSIDE, UNJOINED), to_subs(&members).and_host());
    test.join(vepa[1], &[]);
    assert_eq!(test.ingress(OUTSIDE, UNJOINED), to_sub(private[0]).and_host());
}

#[test]
fn allmulti_and_promisc_accept_every_group() {
    for filter in [filter(true, false), filter(false, true)] {
        let (mut test, [_, vepa, ..]) = TestSwitch::mixed();
        test.switch.set_filter(vepa[0], filter).unwrap();
        assert_eq!(test.ingress(OUTSIDE, UNJOINED), to_sub(vepa[0]).and_host());
    }
}

#[test]
fn promisc_does_not_get_unicast_for_siblings() {
    let (mut test, [_, vepa, bridge, _]) = TestSwitch::mixed();
    test.switch.set_filter(vepa[0], filter(false, true)).unwrap();
    assert_eq!(test.ingress(OUTSIDE, test.mac(bridge[0])), to_sub(bridge[0]));
    assert_eq!(test.ingress(OUTSIDE, UNKNOWN), host());
}

#[test]
fn broadcast_passes_an_empty_filter() {
    let mut test = TestSwitch::new(Semantics::Documented);
    let vepa = test.up(Mode::Vepa);
    test.join(vepa, &[]);
    let outcome = test.ingress(OUTSIDE, MacAddr::BROADCAST);
    assert_eq!(outcome, to_sub(vepa).and_host());
}

#[test]
fn a_down_sub_gets_no_group_frame() {
    let (mut test, [private, vepa, bridge, _]) = TestSwitch::mixed();
    test.down(vepa[0]);
    let rest = [&private[..], &vepa[1..], &bridge].concat();
    for dst in [MacAddr::BROADCAST, JOINED] {
        assert_eq!(test.ingress(OUTSIDE, dst), to_subs(&rest).and_host());
    }
}

#[test]
fn a_reflected_group_frame_of_private_or_source_reaches_its_sender_alone() {
    let (test, [private, .., source]) = TestSwitch::mixed();
    for id in [private, source].concat() {
        for dst in [MacAddr::BROADCAST, JOINED, UNJOINED] {
            assert_eq!(test.ingress(test.mac(id), dst), to_sub(id));
        }
    }
}

#[test]
fn a_reflected_group_frame_of_passthru_reaches_its_sender_alone() {
    let mut test = TestSwitch::new(Semantics::Documented);
    let owner = test.up(Mode::Passthru);
    for dst in [MacAddr::BROADCAST, UNJOINED] {
        assert_eq!(test.ingress(PARENT, dst), to_sub(owner));
    }
}

#[test]
fn a_reflected_pause_frame_reaches_its_sender() {
    let (test, [private, ..]) = TestSwitch::mixed();
    let pause = bytes(JOINED, test.mac(private[0]), MAC_CONTROL, 60);
    assert_eq!(test.ingress_of(&pause), to_sub(private[0]));
}

#[test]
fn passthru_and_the_host_get_the_groups_that_passthru_joined() {
    let mut test = TestSwitch::new(Semantics::Documented);
    let owner = test.up(Mode::Passthru);
    for dst in [MacAddr::BROADCAST, JOINED] {
        assert_eq!(test.ingress(OUTSIDE, dst), to_sub(owner).and_host());
    }
    assert_eq!(test.ingress(OUTSIDE, UNJOINED), host());
}

#[test]
fn a_reflected_group_frame_of_vepa_reaches_vepa_and_bridge_and_the_host() {
    let (test, [_, vepa, bridge, _]) = TestSwitch::mixed();
    for dst in [MacAddr::BROADCAST, JOINED] {
        let listeners = [vepa[1], bridge[0], bridge[1]];
        let outcome = test.ingress(test.mac(vepa[0]), dst);
        assert_eq!(outcome, to_subs(&listeners).and_host());
    }
    assert_eq!(test.ingress(test.mac(vepa[0]), UNJOINED), host());
}

#[test]
fn a_group_frame_from_the_address_of_bridge_reaches_vepa_and_bridge_by_the_rules_of_7_3() {
    for semantics in [Semantics::Kernel7_3, Semantics::Documented, Semantics::Kernel] {
        let (mut test, [private, vepa, bridge, _]) = TestSwitch::mixed_with(semantics);
        test.switch.set_running_kernel(KernelRelease::V7_3);
        for dst in [MacAddr::BROADCAST, JOINED] {
            let listeners = [&vepa[..], &bridge].concat();
            let outcome = test.ingress(test.mac(bridge[0]), dst);
            assert_eq!(outcome, to_subs(&listeners).and_host());
            let outcome = test.ingress(test.mac(vepa[0]), dst);
            assert_eq!(outcome, to_subs(&[vepa[1], bridge[0], bridge[1]]).and_host());
            assert_eq!(test.ingress(test.mac(private[0]), dst), to_sub(private[0]));
        }
        test.switch.set_semantics(Semantics::Kernel6_18);
        let outcome = test.ingress(test.mac(bridge[0]), MacAddr::BROADCAST);
        assert_eq!(outcome, to_subs(&vepa).and_host());
    }
}

#[test]
fn a_reflected_group_frame_of_bridge_reaches_vepa_and_the_host() {
    let (test, [_, vepa, bridge, _]) = TestSwitch::mixed();
    for dst in [MacAddr::BROADCAST, JOINED] {
        let outcome = test.ingress(test.mac(bridge[0]), dst);
        assert_eq!(outcome, to_subs(&vepa).and_host());
    }
    assert_eq!(test.ingress(test.mac(bridge[0]), UNJOINED), host());
}

#[test]
fn the_address_of_a_down_sub_counts_as_outside() {
    let (mut test, [private, vepa, bridge, _]) = TestSwitch::mixed();
    test.down(private[0]);
    let rest = [&private[1..], &vepa, &bridge].concat();
    let outcome = test.ingress(test.mac(private[0]), MacAddr::BROADCAST);
    assert_eq!(outcome, to_subs(&rest).and_host());
}

#[test]
fn group_pause_is_left_to_the_host() {
    let (test, _) = TestSwitch::mixed();
    for dst in [MacAddr::BROADCAST, JOINED] {
        assert_eq!(test.ingress_of(&bytes(dst, OUTSIDE, MAC_CONTROL, 60)), host());
    }
}

#[test]
fn a_new_mode_applies_from_the_next_frame_on() {
    let (mut test, [private, vepa, bridge, _]) = TestSwitch::mixed();
    test.switch.set_mode(bridge[1], Mode::Private).unwrap();
    let outcome = test.ingress(test.mac(vepa[0]), MacAddr::BROADCAST);
    assert_eq!(outcome, to_subs(&[vepa[1], bridge[0]]).and_host());
    assert_eq!(test.egress(bridge[0], test.mac(bridge[1])), wire());
    let back = test.ingress(test.mac(private[0]), test.mac(bridge[1]));
    assert_eq!(back, dropped(DropReason::PrivateIsolation));
}

/// Whether a group frame from the wire takes the broadcast queue.
fn deferred(test: &TestSwitch, dst: MacAddr) -> bool {
    let bytes = bytes(dst, OUTSIDE, 0x88b5, 60);
    match test.switch.ingress(Frame::new(&bytes).unwrap()).action {
        Action::Flood(flood) => flood.rule().deferred(),
        then => panic!("{dst} is not flooded: {then:?}"),
    }
}

#[test]
fn broadcast_and_groups_with_several_members_take_the_queue() {
    let (mut test, [_, vepa, bridge, _]) = TestSwitch::mixed();
    test.join(vepa[0], &[UNJOINED]);
    assert!(deferred(&test, MacAddr::BROADCAST));
    assert!(deferred(&test, JOINED));
    assert!(!deferred(&test, UNJOINED));
    test.join(bridge[0], &[UNJOINED]);
    assert!(deferred(&test, UNJOINED));
    test.switch.set_bc_cutoff(2);
    assert!(!deferred(&test, UNJOINED));
    assert!(deferred(&test, MacAddr::BROADCAST));
    test.switch.set_bc_cutoff(0);
    assert!(deferred(&test, UNJOINED));
}

#[test]
fn no_frame_takes_the_queue_with_a_negative_limit() {
    let (mut test, _) = TestSwitch::mixed();
    test.switch.set_parent_promisc(true);
    test.switch.set_bc_cutoff(-1);
    assert!(!deferred(&test, MacAddr::BROADCAST));
    assert!(!deferred(&test, JOINED));
}

#[test]
fn every_group_takes_the_queue_when_the_parent_receives_all_groups() {
    let (mut test, [_, vepa, bridge, _]) = TestSwitch::mixed();
    test.join(vepa[0], &[UNJOINED]);
    test.switch.set_parent_promisc(true);
    assert!(deferred(&test, UNJOINED));
    test.switch.set_parent_promisc(false);
    test.switch.set_filter(bridge[0], filter(true, false)).unwrap();
    assert!(deferred(&test, UNJOINED));
    test.down(bridge[0]);
    assert!(!deferred(&test, UNJOINED));
}

#[test]
fn passthru_makes_the_parent_receive_all_groups_unless_nopromisc() {
    let mut test = TestSwitch::new(Semantics::Documented);
    let owner = test.up(Mode::Passthru);
    assert!(deferred(&test, JOINED));
    test.switch.set_flag(owner, MacvlanFlag::Nopromisc, true).unwrap();
    assert!(!deferred(&test, JOINED));
}

#[test]
fn a_flood_resumes_at_its_cursor() {
    let (test, [private, vepa, bridge, _]) = TestSwitch::mixed();
    let bytes = bytes(MacAddr::BROADCAST, OUTSIDE, 0x88b5, 60);
    let verdict = test.switch.ingress(Frame::new(&bytes).unwrap());
    let Action::Flood(mut flood) = verdict.action else {
        panic!("{verdict:?}");
    };
    let first: Vec<_> = flood.by_ref().take(2).collect();
    let rest: Vec<_> = test.switch.flood(flood.rule(), flood.cursor()).collect();
    let all = [first, rest].concat();
    let expected: Vec<_> = [private, vepa, bridge].concat();
    assert_eq!(all, expected.into_iter().map(Replica::Deliver).collect::<Vec<_>>());
}

#[test]
fn a_finished_flood_stays_finished() {
    let (test, _) = TestSwitch::mixed();
    let bytes = bytes(MacAddr::BROADCAST, OUTSIDE, 0x88b5, 60);
    let verdict = test.switch.ingress(Frame::new(&bytes).unwrap());
    let Action::Flood(mut flood) = verdict.action else {
        panic!("{verdict:?}");
    };
    assert_eq!(flood.by_ref().count(), 6);
    assert_eq!(flood.next(), None);
    assert_eq!(flood.next(), None);
}
