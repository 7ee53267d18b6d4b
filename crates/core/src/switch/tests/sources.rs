//! Source lists.

use super::*;

fn list(test: &mut TestSwitch, id: SubIndex, sources: &[MacAddr]) {
    test.switch.set_sources(id, sources).unwrap();
}

#[test]
fn frames_from_a_listed_address_are_copied_whatever_the_destination() {
    let (mut test, [private, vepa, bridge, source]) = TestSwitch::mixed();
    list(&mut test, source[0], &[OUTSIDE]);
    let copies = [source[0]];
    let to = |dst| test.ingress(OUTSIDE, dst);
    assert_eq!(to(test.mac(source[0])), host().after_copies(&copies));
    assert_eq!(to(PARENT), host().after_copies(&copies));
    assert_eq!(to(UNKNOWN), host().after_copies(&copies));
    assert_eq!(to(UNJOINED), host().after_copies(&copies));
    let one = to_sub(bridge[0]).after_copies(&copies);
    assert_eq!(to(test.mac(bridge[0])), one);
    let all = to_subs(&[private, vepa, bridge].concat()).and_host();
    assert_eq!(to(MacAddr::BROADCAST), all.after_copies(&copies));
}

#[test]
fn frames_from_an_unlisted_address_are_not_copied() {
    let (mut test, [_, _, bridge, source]) = TestSwitch::mixed();
    list(&mut test, source[0], &[OUTSIDE]);
    assert_eq!(test.ingress(UNKNOWN, test.mac(source[0])), host());
    assert_eq!(test.ingress(UNKNOWN, test.mac(bridge[0])), to_sub(bridge[0]));
}

#[test]
fn each_sub_that_lists_an_address_gets_a_copy() {
    let (mut test, [_, _, bridge, source]) = TestSwitch::mixed();
    list(&mut test, source[0], &[OUTSIDE]);
    list(&mut test, source[1], &[UNKNOWN, OUTSIDE]);
    let outcome = test.ingress(OUTSIDE, test.mac(bridge[0]));
    assert_eq!(outcome, to_sub(bridge[0]).after_copies(&source));
}

#[test]
fn a_down_sub_gets_no_copy() {
    let (mut test, [.., source]) = TestSwitch::mixed();
    list(&mut test, source[0], &[OUTSIDE]);
    list(&mut test, source[1], &[OUTSIDE]);
    test.down(source[0]);
    assert_eq!(test.ingress(OUTSIDE, PARENT), host().after_copies(&source[1..]));
}

#[test]
fn nodst_delivers_to_source_subs_only() {
    let (mut test, [_, _, bridge, source]) = TestSwitch::mixed();
    list(&mut test, source[0], &[OUTSIDE]);
    list(&mut test, source[1], &[OUTSIDE]);
    test.switch.set_flag(source[1], MacvlanFlag::Nodst, true).unwrap();
    for dst in [test.mac(bridge[0]), PARENT, MacAddr::BROADCAST, UNKNOWN] {
        let taken = dropped(DropReason::Nodst).after_copies(&source);
        assert_eq!(test.ingress(OUTSIDE, dst), taken);
    }
    test.switch.set_flag(source[1], MacvlanFlag::Nodst, false).unwrap();
    assert_eq!(test.ingress(OUTSIDE, PARENT), host().after_copies(&source));
}

#[test]
fn nodst_applies_even_while_its_sub_is_down() {
    let (mut test, [_, _, bridge, source]) = TestSwitch::mixed();
    list(&mut test, source[0], &[OUTSIDE]);
    list(&mut test, source[1], &[OUTSIDE]);
    test.switch.set_flag(source[1], MacvlanFlag::Nodst, true).unwrap();
    test.down(source[1]);
    for dst in [test.mac(bridge[0]), MacAddr::BROADCAST] {
        let taken = dropped(DropReason::Nodst).after_copies(&source[..1]);
        assert_eq!(test.ingress(OUTSIDE, dst), taken);
    }
}

#[test]
fn nodst_without_a_list_has_no_effect() {
    let (mut test, [_, _, bridge, _]) = TestSwitch::mixed();
    test.switch.set_flag(bridge[0], MacvlanFlag::Nodst, true).unwrap();
    assert_eq!(test.ingress(OUTSIDE, test.mac(bridge[0])), to_sub(bridge[0]));
}

#[test]
fn a_source_sub_that_lists_itself_gets_its_reflected_frame_twice() {
    let (mut test, [.., source]) = TestSwitch::mixed();
    let own = test.mac(source[0]);
    list(&mut test, source[0], &[own]);
    let outcome = test.ingress(own, MacAddr::BROADCAST);
    assert_eq!(outcome, to_sub(source[0]).after_copies(&source[..1]));
}

#[test]
fn frames_from_a_listed_private_sub_are_copied() {
    let (mut test, [private, _, bridge, source]) = TestSwitch::mixed();
    let sender = test.mac(private[0]);
    list(&mut test, source[0], &[sender]);
    let copies = &source[..1];
    let echo = test.ingress(sender, MacAddr::BROADCAST);
    assert_eq!(echo, to_sub(private[0]).after_copies(copies));
    let unicast = test.ingress(sender, test.mac(bridge[0]));
    let isolated = dropped(DropReason::PrivateIsolation);
    assert_eq!(unicast, isolated.after_copies(copies));
}

#[test]
fn local_unicast_from_a_listed_bridge_sub_is_copied() {
    let (mut test, [_, vepa, bridge, source]) = TestSwitch::mixed();
    let sender = test.mac(bridge[0]);
    list(&mut test, source[0], &[sender]);
    for target in bridge {
        let outcome = test.egress(bridge[0], test.mac(target));
        assert_eq!(outcome, to_sub(target).after_copies(&source[..1]));
    }
    // These do not pass the parent's receive path.
    assert_eq!(test.egress(bridge[0], test.mac(vepa[0])), wire());
    let broadcast = test.egress(bridge[0], MacAddr::BROADCAST);
    assert_eq!(broadcast, to_sub(bridge[1]).and_wire());
}

#[test]
fn nodst_takes_local_unicast_but_no_local_broadcast() {
    let (mut test, [_, _, bridge, source]) = TestSwitch::mixed();
    let sender = test.mac(bridge[0]);
    list(&mut test, source[0], &[sender]);
    test.switch.set_flag(source[0], MacvlanFlag::Nodst, true).unwrap();
    let taken = dropped(DropReason::Nodst);
    let outcome = test.egress(bridge[0], test.mac(bridge[1]));
    assert_eq!(outcome, taken.after_copies(&source[..1]));
    let broadcast = test.egress(bridge[0], MacAddr::BROADCAST);
    assert_eq!(broadcast, to_sub(bridge[1]).and_wire());
    test.down(source[0]);
    let outcome = test.egress(bridge[0], test.mac(bridge[1]));
    assert_eq!(outcome, dropped(DropReason::Nodst));
}

#[test]
fn a_local_frame_that_is_too_long_is_not_copied() {
    let (mut test, [_, _, bridge, source]) = TestSwitch::mixed();
    let sender = test.mac(bridge[0]);
    list(&mut test, source[0], &[sender]);
    let long = bytes(test.mac(bridge[1]), sender, 0x88b5, 1519);
    let outcome = test.egress_of(bridge[0], &long);
    assert_eq!(outcome, dropped(DropReason::TooLong));
}

#[test]
fn adding_twice_and_removing_an_unlisted_address_are_no_errors() {
    let (mut test, [.., source]) = TestSwitch::mixed();
    let id = source[0];
    for _ in 0..2 {
        assert_eq!(test.switch.add_source(id, OUTSIDE), Ok(()));
    }
    assert_eq!(test.switch.sub(id).unwrap().sources(), [OUTSIDE]);
    assert_eq!(test.ingress(OUTSIDE, PARENT), host().after_copies(&[id]));
    assert_eq!(test.switch.remove_source(id, UNKNOWN), Ok(()));
    for _ in 0..2 {
        assert_eq!(test.switch.remove_source(id, OUTSIDE), Ok(()));
        assert_eq!(test.ingress(OUTSIDE, PARENT), host());
    }
}

#[test]
fn addresses_that_are_not_unicast_are_errors() {
    let (mut test, [.., source]) = TestSwitch::mixed();
    let id = source[0];
    list(&mut test, id, &[OUTSIDE]);
    for bad in [MacAddr::ZERO, JOINED, MacAddr::BROADCAST] {
        let refused = Err(SwitchError::NotUnicast(bad));
        assert_eq!(test.switch.add_source(id, bad), refused);
        assert_eq!(test.switch.remove_source(id, bad), refused);
        assert_eq!(test.switch.set_sources(id, &[UNKNOWN, bad]), refused);
    }
    assert_eq!(test.switch.sub(id).unwrap().sources(), [OUTSIDE]);
}

#[test]
fn only_source_subs_have_lists() {
    let (mut test, [private, vepa, bridge, _]) = TestSwitch::mixed();
    let refused = Err(SwitchError::SourcesOutsideSourceMode);
    for id in [private, vepa, bridge].concat() {
        assert_eq!(test.switch.add_source(id, OUTSIDE), refused);
        assert_eq!(test.switch.remove_source(id, OUTSIDE), refused);
        assert_eq!(test.switch.set_sources(id, &[]), refused);
        assert_eq!(test.switch.flush_sources(id), refused);
    }
    let mut listing = config(mac(77), Mode::Bridge);
    listing.settings.sources = vec![OUTSIDE];
    let refused = Err(SwitchError::SourcesOutsideSourceMode);
    assert_eq!(test.switch.add(&listing), refused);
}

#[test]
fn set_replaces_and_flush_empties() {
    let (mut test, [.., source]) = TestSwitch::mixed();
    let id = source[0];
    list(&mut test, id, &[UNKNOWN, OUTSIDE, OUTSIDE]);
    assert_eq!(test.switch.sub(id).unwrap().sources(), [OUTSIDE, UNKNOWN]);
    list(&mut test, id, &[UNKNOWN]);
    assert_eq!(test.ingress(OUTSIDE, PARENT), host());
    assert_eq!(test.ingress(UNKNOWN, PARENT), host().after_copies(&[id]));
    assert_eq!(test.switch.flush_sources(id), Ok(()));
    assert_eq!(test.ingress(UNKNOWN, PARENT), host());
}

#[test]
fn leaving_source_mode_and_removal_clear_the_list() {
    let (mut test, [.., source]) = TestSwitch::mixed();
    list(&mut test, source[0], &[OUTSIDE]);
    list(&mut test, source[1], &[OUTSIDE]);
    test.switch.set_mode(source[0], Mode::Source).unwrap();
    assert_eq!(test.ingress(OUTSIDE, PARENT), host().after_copies(&source));
    test.switch.set_mode(source[0], Mode::Bridge).unwrap();
    test.switch.set_mode(source[0], Mode::Source).unwrap();
    assert_eq!(test.ingress(OUTSIDE, PARENT), host().after_copies(&source[1..]));
    assert!(test.switch.remove(source[1]).is_some());
    assert_eq!(test.ingress(OUTSIDE, PARENT), host());
}

#[test]
fn listed_sources_are_those_of_subs_that_are_up() {
    let (mut test, [.., source]) = TestSwitch::mixed();
    list(&mut test, source[0], &[OUTSIDE]);
    list(&mut test, source[1], &[UNKNOWN]);
    assert_eq!(test.switch.listed_sources().collect::<Vec<_>>(), [OUTSIDE, UNKNOWN]);
    test.down(source[0]);
    assert_eq!(test.switch.listed_sources().collect::<Vec<_>>(), [UNKNOWN]);
}
