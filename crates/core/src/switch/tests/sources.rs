//! Source lists.

use super::*;

fn list(lab: &mut Lab, id: SubIndex, sources: &[MacAddr]) {
    lab.switch.set_sources(id, sources).unwrap();
}

#[test]
fn a_listed_station_is_copied_whatever_the_destination() {
    let (mut lab, [private, vepa, bridge, source]) = Lab::mixed();
    list(&mut lab, source[0], &[FAR]);
    let copies = [source[0]];
    let to = |dst| lab.ingress(FAR, dst);
    assert_eq!(to(lab.mac(source[0])), host().after_copies(&copies));
    assert_eq!(to(PARENT), host().after_copies(&copies));
    assert_eq!(to(NOBODY), host().after_copies(&copies));
    assert_eq!(to(STRANGE), host().after_copies(&copies));
    let one = to_sub(bridge[0]).after_copies(&copies);
    assert_eq!(to(lab.mac(bridge[0])), one);
    let all = to_subs(&[private, vepa, bridge].concat()).and_host();
    assert_eq!(to(MacAddr::BROADCAST), all.after_copies(&copies));
}

#[test]
fn an_unlisted_station_is_not_copied() {
    let (mut lab, [_, _, bridge, source]) = Lab::mixed();
    list(&mut lab, source[0], &[FAR]);
    assert_eq!(lab.ingress(NOBODY, lab.mac(source[0])), host());
    assert_eq!(lab.ingress(NOBODY, lab.mac(bridge[0])), to_sub(bridge[0]));
}

#[test]
fn each_sub_that_lists_a_station_gets_a_copy() {
    let (mut lab, [_, _, bridge, source]) = Lab::mixed();
    list(&mut lab, source[0], &[FAR]);
    list(&mut lab, source[1], &[NOBODY, FAR]);
    let outcome = lab.ingress(FAR, lab.mac(bridge[0]));
    assert_eq!(outcome, to_sub(bridge[0]).after_copies(&source));
}

#[test]
fn a_down_sub_gets_no_copy() {
    let (mut lab, [.., source]) = Lab::mixed();
    list(&mut lab, source[0], &[FAR]);
    list(&mut lab, source[1], &[FAR]);
    lab.down(source[0]);
    assert_eq!(lab.ingress(FAR, PARENT), host().after_copies(&source[1..]));
}

#[test]
fn nodst_keeps_the_frame_from_everybody_but_source_subs() {
    let (mut lab, [_, _, bridge, source]) = Lab::mixed();
    list(&mut lab, source[0], &[FAR]);
    list(&mut lab, source[1], &[FAR]);
    lab.switch.set_flag(source[1], MacvlanFlag::Nodst, true).unwrap();
    for dst in [lab.mac(bridge[0]), PARENT, MacAddr::BROADCAST, NOBODY] {
        let taken = dropped(DropReason::Nodst).after_copies(&source);
        assert_eq!(lab.ingress(FAR, dst), taken);
    }
    lab.switch.set_flag(source[1], MacvlanFlag::Nodst, false).unwrap();
    assert_eq!(lab.ingress(FAR, PARENT), host().after_copies(&source));
}

#[test]
fn nodst_takes_the_frame_even_while_its_sub_is_down() {
    let (mut lab, [_, _, bridge, source]) = Lab::mixed();
    list(&mut lab, source[0], &[FAR]);
    list(&mut lab, source[1], &[FAR]);
    lab.switch.set_flag(source[1], MacvlanFlag::Nodst, true).unwrap();
    lab.down(source[1]);
    for dst in [lab.mac(bridge[0]), MacAddr::BROADCAST] {
        let taken = dropped(DropReason::Nodst).after_copies(&source[..1]);
        assert_eq!(lab.ingress(FAR, dst), taken);
    }
}

#[test]
fn nodst_without_a_list_does_nothing() {
    let (mut lab, [_, _, bridge, _]) = Lab::mixed();
    lab.switch.set_flag(bridge[0], MacvlanFlag::Nodst, true).unwrap();
    assert_eq!(lab.ingress(FAR, lab.mac(bridge[0])), to_sub(bridge[0]));
}

#[test]
fn a_source_sub_that_lists_itself_hears_its_echo_twice() {
    let (mut lab, [.., source]) = Lab::mixed();
    let own = lab.mac(source[0]);
    list(&mut lab, source[0], &[own]);
    let outcome = lab.ingress(own, MacAddr::BROADCAST);
    assert_eq!(outcome, to_sub(source[0]).after_copies(&source[..1]));
}

#[test]
fn a_private_sub_on_a_list_is_copied() {
    let (mut lab, [private, _, bridge, source]) = Lab::mixed();
    let sender = lab.mac(private[0]);
    list(&mut lab, source[0], &[sender]);
    let copies = &source[..1];
    let echo = lab.ingress(sender, MacAddr::BROADCAST);
    assert_eq!(echo, to_sub(private[0]).after_copies(copies));
    let unicast = lab.ingress(sender, lab.mac(bridge[0]));
    let isolated = dropped(DropReason::PrivateIsolation);
    assert_eq!(unicast, isolated.after_copies(copies));
}

#[test]
fn local_unicast_of_a_listed_bridge_sub_is_copied() {
    let (mut lab, [_, vepa, bridge, source]) = Lab::mixed();
    let sender = lab.mac(bridge[0]);
    list(&mut lab, source[0], &[sender]);
    for target in bridge {
        let outcome = lab.egress(bridge[0], lab.mac(target));
        assert_eq!(outcome, to_sub(target).after_copies(&source[..1]));
    }
    // These do not pass the parent's receive path.
    assert_eq!(lab.egress(bridge[0], lab.mac(vepa[0])), wire());
    let broadcast = lab.egress(bridge[0], MacAddr::BROADCAST);
    assert_eq!(broadcast, to_sub(bridge[1]).and_wire());
}

#[test]
fn nodst_takes_local_unicast_but_no_local_broadcast() {
    let (mut lab, [_, _, bridge, source]) = Lab::mixed();
    let sender = lab.mac(bridge[0]);
    list(&mut lab, source[0], &[sender]);
    lab.switch.set_flag(source[0], MacvlanFlag::Nodst, true).unwrap();
    let taken = dropped(DropReason::Nodst);
    let outcome = lab.egress(bridge[0], lab.mac(bridge[1]));
    assert_eq!(outcome, taken.after_copies(&source[..1]));
    let broadcast = lab.egress(bridge[0], MacAddr::BROADCAST);
    assert_eq!(broadcast, to_sub(bridge[1]).and_wire());
    lab.down(source[0]);
    let outcome = lab.egress(bridge[0], lab.mac(bridge[1]));
    assert_eq!(outcome, dropped(DropReason::Nodst));
}

#[test]
fn a_local_frame_that_is_too_long_is_not_copied() {
    let (mut lab, [_, _, bridge, source]) = Lab::mixed();
    let sender = lab.mac(bridge[0]);
    list(&mut lab, source[0], &[sender]);
    let long = bytes(lab.mac(bridge[1]), sender, 0x88b5, 1519);
    let outcome = lab.egress_of(bridge[0], &long);
    assert_eq!(outcome, dropped(DropReason::TooLong));
}

#[test]
fn adding_twice_and_removing_what_is_not_there_are_fine() {
    let (mut lab, [.., source]) = Lab::mixed();
    let id = source[0];
    for _ in 0..2 {
        assert_eq!(lab.switch.add_source(id, FAR), Ok(()));
    }
    assert_eq!(lab.switch.sub(id).unwrap().sources(), [FAR]);
    assert_eq!(lab.ingress(FAR, PARENT), host().after_copies(&[id]));
    assert_eq!(lab.switch.remove_source(id, NOBODY), Ok(()));
    for _ in 0..2 {
        assert_eq!(lab.switch.remove_source(id, FAR), Ok(()));
        assert_eq!(lab.ingress(FAR, PARENT), host());
    }
}

#[test]
fn addresses_that_no_station_has_are_refused() {
    let (mut lab, [.., source]) = Lab::mixed();
    let id = source[0];
    list(&mut lab, id, &[FAR]);
    for bad in [MacAddr::ZERO, JOINED, MacAddr::BROADCAST] {
        let refused = Err(SwitchError::NotUnicast(bad));
        assert_eq!(lab.switch.add_source(id, bad), refused);
        assert_eq!(lab.switch.remove_source(id, bad), refused);
        assert_eq!(lab.switch.set_sources(id, &[NOBODY, bad]), refused);
    }
    assert_eq!(lab.switch.sub(id).unwrap().sources(), [FAR]);
}

#[test]
fn only_source_subs_have_lists() {
    let (mut lab, [private, vepa, bridge, _]) = Lab::mixed();
    let refused = Err(SwitchError::SourcesOutsideSourceMode);
    for id in [private, vepa, bridge].concat() {
        assert_eq!(lab.switch.add_source(id, FAR), refused);
        assert_eq!(lab.switch.remove_source(id, FAR), refused);
        assert_eq!(lab.switch.set_sources(id, &[]), refused);
        assert_eq!(lab.switch.flush_sources(id), refused);
    }
    let mut listing = config(mac(77), Mode::Bridge);
    listing.settings.sources = vec![FAR];
    let refused = Err(SwitchError::SourcesOutsideSourceMode);
    assert_eq!(lab.switch.add(&listing), refused);
}

#[test]
fn set_replaces_and_flush_empties() {
    let (mut lab, [.., source]) = Lab::mixed();
    let id = source[0];
    list(&mut lab, id, &[NOBODY, FAR, FAR]);
    assert_eq!(lab.switch.sub(id).unwrap().sources(), [FAR, NOBODY]);
    list(&mut lab, id, &[NOBODY]);
    assert_eq!(lab.ingress(FAR, PARENT), host());
    assert_eq!(lab.ingress(NOBODY, PARENT), host().after_copies(&[id]));
    assert_eq!(lab.switch.flush_sources(id), Ok(()));
    assert_eq!(lab.ingress(NOBODY, PARENT), host());
}

#[test]
fn a_list_is_lost_with_the_mode_and_with_the_sub() {
    let (mut lab, [.., source]) = Lab::mixed();
    list(&mut lab, source[0], &[FAR]);
    list(&mut lab, source[1], &[FAR]);
    lab.switch.set_mode(source[0], Mode::Source).unwrap();
    assert_eq!(lab.ingress(FAR, PARENT), host().after_copies(&source));
    lab.switch.set_mode(source[0], Mode::Bridge).unwrap();
    lab.switch.set_mode(source[0], Mode::Source).unwrap();
    assert_eq!(lab.ingress(FAR, PARENT), host().after_copies(&source[1..]));
    assert!(lab.switch.remove(source[1]).is_some());
    assert_eq!(lab.ingress(FAR, PARENT), host());
}

#[test]
fn the_listed_are_those_of_subs_that_are_up() {
    let (mut lab, [.., source]) = Lab::mixed();
    list(&mut lab, source[0], &[FAR]);
    list(&mut lab, source[1], &[NOBODY]);
    assert_eq!(lab.switch.listed_sources().collect::<Vec<_>>(), [FAR, NOBODY]);
    lab.down(source[0]);
    assert_eq!(lab.switch.listed_sources().collect::<Vec<_>>(), [NOBODY]);
}
