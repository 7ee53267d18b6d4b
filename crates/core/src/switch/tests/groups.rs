//! Group frames from the wire.

use super::*;

fn open(allmulti: bool, promisc: bool) -> MulticastFilter {
    MulticastFilter { allmulti, promisc, ..MulticastFilter::default() }
}

#[test]
fn a_strangers_group_frame_reaches_all_but_source_subs_and_the_host() {
    let (lab, [private, vepa, bridge, _]) = Lab::mixed();
    let all = [private, vepa, bridge].concat();
    for src in [FAR, PARENT] {
        for dst in [MacAddr::BROADCAST, JOINED] {
            assert_eq!(lab.ingress(src, dst), to_subs(&all).and_host());
        }
    }
}

#[test]
fn a_group_that_nobody_joined_is_the_hosts() {
    let (lab, _) = Lab::mixed();
    assert_eq!(lab.ingress(FAR, STRANGE), host());
}

#[test]
fn a_group_reaches_those_who_joined_it() {
    let (mut lab, [private, vepa, ..]) = Lab::mixed();
    lab.join(private[0], &[STRANGE, JOINED]);
    lab.join(vepa[1], &[STRANGE]);
    let members = [private[0], vepa[1]];
    assert_eq!(lab.ingress(FAR, STRANGE), to_subs(&members).and_host());
    lab.join(vepa[1], &[]);
    assert_eq!(lab.ingress(FAR, STRANGE), to_sub(private[0]).and_host());
}

#[test]
fn allmulti_and_promisc_open_the_filter_to_every_group() {
    for filter in [open(true, false), open(false, true)] {
        let (mut lab, [_, vepa, ..]) = Lab::mixed();
        lab.switch.set_filter(vepa[0], filter).unwrap();
        assert_eq!(lab.ingress(FAR, STRANGE), to_sub(vepa[0]).and_host());
    }
}

#[test]
fn promisc_hears_no_unicast_of_others() {
    let (mut lab, [_, vepa, bridge, _]) = Lab::mixed();
    lab.switch.set_filter(vepa[0], open(false, true)).unwrap();
    assert_eq!(lab.ingress(FAR, lab.mac(bridge[0])), to_sub(bridge[0]));
    assert_eq!(lab.ingress(FAR, NOBODY), host());
}

#[test]
fn broadcast_passes_an_empty_filter() {
    let mut lab = Lab::new(Semantics::Documented);
    let vepa = lab.up(Mode::Vepa);
    lab.join(vepa, &[]);
    let outcome = lab.ingress(FAR, MacAddr::BROADCAST);
    assert_eq!(outcome, to_sub(vepa).and_host());
}

#[test]
fn a_down_sub_hears_no_group() {
    let (mut lab, [private, vepa, bridge, _]) = Lab::mixed();
    lab.down(vepa[0]);
    let rest = [&private[..], &vepa[1..], &bridge].concat();
    for dst in [MacAddr::BROADCAST, JOINED] {
        assert_eq!(lab.ingress(FAR, dst), to_subs(&rest).and_host());
    }
}

#[test]
fn the_echo_of_private_and_source_subs_goes_back_to_them_alone() {
    let (lab, [private, .., source]) = Lab::mixed();
    for id in [private, source].concat() {
        for dst in [MacAddr::BROADCAST, JOINED, STRANGE] {
            assert_eq!(lab.ingress(lab.mac(id), dst), to_sub(id));
        }
    }
}

#[test]
fn the_echo_of_passthru_goes_back_to_it_alone() {
    let mut lab = Lab::new(Semantics::Documented);
    let owner = lab.up(Mode::Passthru);
    for dst in [MacAddr::BROADCAST, STRANGE] {
        assert_eq!(lab.ingress(PARENT, dst), to_sub(owner));
    }
}

#[test]
fn the_echo_ignores_what_the_frame_carries() {
    let (lab, [private, ..]) = Lab::mixed();
    let pause = bytes(JOINED, lab.mac(private[0]), MAC_CONTROL, 60);
    assert_eq!(lab.ingress_of(&pause), to_sub(private[0]));
}

#[test]
fn passthru_hears_what_it_joined_and_the_host_hears_it_too() {
    let mut lab = Lab::new(Semantics::Documented);
    let owner = lab.up(Mode::Passthru);
    for dst in [MacAddr::BROADCAST, JOINED] {
        assert_eq!(lab.ingress(FAR, dst), to_sub(owner).and_host());
    }
    assert_eq!(lab.ingress(FAR, STRANGE), host());
}

#[test]
fn a_reflected_group_frame_of_vepa_reaches_vepa_and_bridge_and_the_host() {
    let (lab, [_, vepa, bridge, _]) = Lab::mixed();
    for dst in [MacAddr::BROADCAST, JOINED] {
        let listeners = [vepa[1], bridge[0], bridge[1]];
        let outcome = lab.ingress(lab.mac(vepa[0]), dst);
        assert_eq!(outcome, to_subs(&listeners).and_host());
    }
    assert_eq!(lab.ingress(lab.mac(vepa[0]), STRANGE), host());
}

#[test]
fn a_reflected_group_frame_of_bridge_reaches_vepa_and_the_host() {
    let (lab, [_, vepa, bridge, _]) = Lab::mixed();
    for dst in [MacAddr::BROADCAST, JOINED] {
        let outcome = lab.ingress(lab.mac(bridge[0]), dst);
        assert_eq!(outcome, to_subs(&vepa).and_host());
    }
    assert_eq!(lab.ingress(lab.mac(bridge[0]), STRANGE), host());
}

#[test]
fn a_down_sub_counts_as_a_stranger() {
    let (mut lab, [private, vepa, bridge, _]) = Lab::mixed();
    lab.down(private[0]);
    let rest = [&private[1..], &vepa, &bridge].concat();
    let outcome = lab.ingress(lab.mac(private[0]), MacAddr::BROADCAST);
    assert_eq!(outcome, to_subs(&rest).and_host());
}

#[test]
fn pause_is_the_hosts() {
    let (lab, _) = Lab::mixed();
    for dst in [MacAddr::BROADCAST, JOINED] {
        assert_eq!(lab.ingress_of(&bytes(dst, FAR, MAC_CONTROL, 60)), host());
    }
}

#[test]
fn a_change_of_mode_holds_from_the_next_frame_on() {
    let (mut lab, [private, vepa, bridge, _]) = Lab::mixed();
    lab.switch.set_mode(bridge[1], Mode::Private).unwrap();
    let outcome = lab.ingress(lab.mac(vepa[0]), MacAddr::BROADCAST);
    assert_eq!(outcome, to_subs(&[vepa[1], bridge[0]]).and_host());
    assert_eq!(lab.egress(bridge[0], lab.mac(bridge[1])), wire());
    let back = lab.ingress(lab.mac(private[0]), lab.mac(bridge[1]));
    assert_eq!(back, dropped(DropReason::PrivateIsolation));
}

/// Whether a group frame from the wire takes the broadcast queue.
fn deferred(lab: &Lab, dst: MacAddr) -> bool {
    let bytes = bytes(dst, FAR, 0x88b5, 60);
    match lab.switch.ingress(Frame::new(&bytes).unwrap()).action {
        Action::Flood(flood) => flood.rule().deferred(),
        then => panic!("{dst} is not flooded: {then:?}"),
    }
}

#[test]
fn broadcast_and_groups_of_several_take_the_queue() {
    let (mut lab, [_, vepa, bridge, _]) = Lab::mixed();
    lab.join(vepa[0], &[STRANGE]);
    assert!(deferred(&lab, MacAddr::BROADCAST));
    assert!(deferred(&lab, JOINED));
    assert!(!deferred(&lab, STRANGE));
    lab.join(bridge[0], &[STRANGE]);
    assert!(deferred(&lab, STRANGE));
    lab.switch.set_bc_cutoff(2);
    assert!(!deferred(&lab, STRANGE));
    assert!(deferred(&lab, MacAddr::BROADCAST));
    lab.switch.set_bc_cutoff(0);
    assert!(deferred(&lab, STRANGE));
}

#[test]
fn nothing_takes_the_queue_below_a_limit_of_zero() {
    let (mut lab, _) = Lab::mixed();
    lab.switch.set_parent_promisc(true);
    lab.switch.set_bc_cutoff(-1);
    assert!(!deferred(&lab, MacAddr::BROADCAST));
    assert!(!deferred(&lab, JOINED));
}

#[test]
fn everything_takes_the_queue_when_the_parent_hears_everything() {
    let (mut lab, [_, vepa, bridge, _]) = Lab::mixed();
    lab.join(vepa[0], &[STRANGE]);
    lab.switch.set_parent_promisc(true);
    assert!(deferred(&lab, STRANGE));
    lab.switch.set_parent_promisc(false);
    lab.switch.set_filter(bridge[0], open(true, false)).unwrap();
    assert!(deferred(&lab, STRANGE));
    lab.down(bridge[0]);
    assert!(!deferred(&lab, STRANGE));
}

#[test]
fn passthru_opens_the_parent_unless_told_not_to() {
    let mut lab = Lab::new(Semantics::Documented);
    let owner = lab.up(Mode::Passthru);
    assert!(deferred(&lab, JOINED));
    lab.switch.set_flag(owner, MacvlanFlag::Nopromisc, true).unwrap();
    assert!(!deferred(&lab, JOINED));
}

#[test]
fn a_flood_goes_on_where_it_stood() {
    let (lab, [private, vepa, bridge, _]) = Lab::mixed();
    let bytes = bytes(MacAddr::BROADCAST, FAR, 0x88b5, 60);
    let verdict = lab.switch.ingress(Frame::new(&bytes).unwrap());
    let Action::Flood(mut flood) = verdict.action else {
        panic!("{verdict:?}");
    };
    let first: Vec<_> = flood.by_ref().take(2).collect();
    let rest: Vec<_> = lab.switch.flood(flood.rule(), flood.cursor()).collect();
    let all = [first, rest].concat();
    let expected: Vec<_> = [private, vepa, bridge].concat();
    assert_eq!(all, expected.into_iter().map(Replica::Deliver).collect::<Vec<_>>());
}

#[test]
fn a_flood_ends_for_good() {
    let (lab, _) = Lab::mixed();
    let bytes = bytes(MacAddr::BROADCAST, FAR, 0x88b5, 60);
    let verdict = lab.switch.ingress(Frame::new(&bytes).unwrap());
    let Action::Flood(mut flood) = verdict.action else {
        panic!("{verdict:?}");
    };
    assert_eq!(flood.by_ref().count(), 6);
    assert_eq!(flood.next(), None);
    assert_eq!(flood.next(), None);
}
