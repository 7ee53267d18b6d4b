//! Unicast from the wire.

use super::*;

#[test]
fn a_stranger_reaches_the_owner_of_the_address_and_nobody_else() {
    let (lab, [private, vepa, bridge, _]) = Lab::mixed();
    for id in [private, vepa, bridge].concat() {
        assert_eq!(lab.ingress(FAR, lab.mac(id)), to_sub(id));
    }
}

#[test]
fn a_source_sub_gets_nothing_by_its_address() {
    let (lab, [.., source]) = Lab::mixed();
    assert_eq!(lab.ingress(FAR, lab.mac(source[0])), host());
}

#[test]
fn the_address_of_the_parent_is_the_hosts() {
    let (lab, _) = Lab::mixed();
    assert_eq!(lab.ingress(FAR, PARENT), host());
}

#[test]
fn an_unknown_address_is_the_hosts() {
    let (lab, _) = Lab::mixed();
    assert_eq!(lab.ingress(FAR, NOBODY), host());
}

#[test]
fn a_down_sub_does_not_exist() {
    let (mut lab, subs) = Lab::mixed();
    for id in subs.concat() {
        lab.down(id);
        assert_eq!(lab.ingress(FAR, lab.mac(id)), host());
    }
}

#[test]
fn a_sub_that_was_removed_does_not_exist() {
    let (mut lab, [_, _, bridge, _]) = Lab::mixed();
    let mac = lab.mac(bridge[0]);
    assert!(lab.switch.remove(bridge[0]).is_some());
    assert_eq!(lab.ingress(FAR, mac), host());
}

#[test]
fn pause_for_one_station_is_delivered_as_any_frame() {
    let (lab, [_, _, bridge, _]) = Lab::mixed();
    let bytes = bytes(lab.mac(bridge[0]), FAR, MAC_CONTROL, 60);
    assert_eq!(lab.ingress_of(&bytes), to_sub(bridge[0]));
}

#[test]
fn a_tag_changes_nothing() {
    let (lab, [private, vepa, bridge, _]) = Lab::mixed();
    for tpid in [0x8100, 0x88a8] {
        let mut tagged = bytes(lab.mac(bridge[1]), FAR, tpid, 64);
        tagged[14..16].copy_from_slice(&10_u16.to_be_bytes());
        assert_eq!(lab.ingress_of(&tagged), to_sub(bridge[1]));
        tagged[..6].fill(0xff);
        let all = [private, vepa, bridge].concat();
        assert_eq!(lab.ingress_of(&tagged), to_subs(&all).and_host());
    }
}

#[test]
fn the_wire_may_send_more_than_the_receivers_mtu() {
    let (mut lab, [_, _, bridge, _]) = Lab::mixed();
    lab.switch.set_mtu(bridge[0], 1000).unwrap();
    let long = bytes(lab.mac(bridge[0]), FAR, 0x88b5, 1300);
    assert_eq!(lab.ingress_of(&long), to_sub(bridge[0]));
    let long = bytes(MacAddr::BROADCAST, FAR, 0x88b5, 1300);
    assert!(lab.ingress_of(&long).subs.contains(&bridge[0]));
}

#[test]
fn reflected_unicast_is_delivered_in_the_kernels_semantics() {
    let (lab, subs) = Lab::mixed_with(Semantics::Kernel);
    let [private, vepa, bridge, _] = subs;
    for sender in subs.concat() {
        for target in [private, vepa, bridge].concat() {
            let outcome = lab.ingress(lab.mac(sender), lab.mac(target));
            assert_eq!(outcome, to_sub(target), "{sender:?} to {target:?}");
        }
    }
}

#[test]
fn reflected_unicast_never_joins_a_private_sub_and_a_sibling() {
    let (lab, subs) = Lab::mixed();
    let [private, vepa, bridge, _] = subs;
    for sender in subs.concat() {
        for target in [private, vepa, bridge].concat() {
            let outcome = lab.ingress(lab.mac(sender), lab.mac(target));
            let apart = private.contains(&sender) || private.contains(&target);
            let expected = if apart && sender != target {
                dropped(DropReason::PrivateIsolation)
            } else {
                to_sub(target)
            };
            assert_eq!(outcome, expected, "{sender:?} to {target:?}");
        }
    }
}

#[test]
fn isolation_ends_at_subs_that_are_down() {
    let (mut lab, [private, _, bridge, _]) = Lab::mixed();
    lab.down(bridge[0]);
    let spoofed = lab.mac(bridge[0]);
    assert_eq!(lab.ingress(spoofed, lab.mac(private[0])), to_sub(private[0]));
}

#[test]
fn the_host_reaches_a_private_sub_through_a_hairpin() {
    let (lab, [private, ..]) = Lab::mixed();
    assert_eq!(lab.ingress(PARENT, lab.mac(private[0])), to_sub(private[0]));
}

#[test]
fn a_private_sub_reaches_the_host_through_a_hairpin() {
    let (lab, [private, .., source]) = Lab::mixed();
    assert_eq!(lab.ingress(lab.mac(private[0]), PARENT), host());
    // Nobody hears it by this address, so there is nothing to isolate.
    let to_source = lab.ingress(lab.mac(private[0]), lab.mac(source[0]));
    assert_eq!(to_source, host());
}

#[test]
fn passthru_takes_all_unicast() {
    let mut lab = Lab::new(Semantics::Documented);
    let owner = lab.up(Mode::Passthru);
    for dst in [PARENT, NOBODY, FAR] {
        for src in [FAR, PARENT, NOBODY] {
            assert_eq!(lab.ingress(src, dst), to_sub(owner));
        }
    }
}

#[test]
fn passthru_swallows_unicast_while_it_is_down() {
    let mut lab = Lab::new(Semantics::Documented);
    let owner = lab.up(Mode::Passthru);
    lab.down(owner);
    assert_eq!(lab.ingress(FAR, PARENT), dropped(DropReason::Down));
    assert_eq!(lab.ingress(FAR, NOBODY), dropped(DropReason::Down));
    assert_eq!(lab.ingress(FAR, MacAddr::BROADCAST), host());
}

#[test]
fn the_host_has_its_unicast_back_when_passthru_is_removed() {
    let mut lab = Lab::new(Semantics::Documented);
    let owner = lab.up(Mode::Passthru);
    assert!(lab.switch.remove(owner).is_some());
    assert_eq!(lab.ingress(FAR, PARENT), host());
}

#[test]
fn a_parent_renumbered_to_the_address_of_a_sub_leaves_it_its_frames() {
    let (mut lab, [_, _, bridge, _]) = Lab::mixed();
    lab.switch.set_parent_mac(lab.mac(bridge[0]));
    assert_eq!(lab.ingress(FAR, lab.mac(bridge[0])), to_sub(bridge[0]));
}
