//! Updates of the switch, and their errors.

use super::*;

#[test]
fn passthru_has_the_parents_address_whatever_is_configured() {
    let mut test = TestSwitch::new(Semantics::Documented);
    let id = test.switch.add(&config(MacAddr::ZERO, Mode::Passthru));
    assert_eq!(test.mac(id.unwrap()), PARENT);
}

#[test]
fn passthru_excludes_other_sub_interfaces() {
    let mut test = TestSwitch::new(Semantics::Documented);
    let bridge = test.up(Mode::Bridge);
    let passthru = config(MacAddr::ZERO, Mode::Passthru);
    assert_eq!(test.switch.add(&passthru), Err(SwitchError::ParentShared));
    assert!(test.switch.remove(bridge).is_some());
    let owner = test.switch.add(&passthru).unwrap();
    assert_eq!(test.switch.add(&passthru), Err(SwitchError::ParentOwned));
    for mode in SHARING_MODES {
        let refused = test.switch.add(&config(mac(9), mode));
        assert_eq!(refused, Err(SwitchError::ParentOwned));
    }
    assert!(test.switch.remove(owner).is_some());
    assert!(test.switch.add(&config(mac(9), Mode::Bridge)).is_ok());
}

#[test]
fn every_mode_change_is_allowed_except_to_or_from_passthru() {
    for before in SHARING_MODES {
        for after in SHARING_MODES {
            let mut test = TestSwitch::new(Semantics::Documented);
            let id = test.up(before);
            assert_eq!(test.switch.set_mode(id, after), Ok(()));
            let refused = test.switch.set_mode(id, Mode::Passthru);
            assert_eq!(refused, Err(SwitchError::FixedPassthru));
            assert_eq!(test.switch.sub(id).unwrap().mode(), after);
        }
        let mut test = TestSwitch::new(Semantics::Documented);
        let owner = test.up(Mode::Passthru);
        let refused = test.switch.set_mode(owner, before);
        assert_eq!(refused, Err(SwitchError::FixedPassthru));
        assert_eq!(test.switch.set_mode(owner, Mode::Passthru), Ok(()));
    }
}

#[test]
fn an_address_in_use_is_an_error_when_the_sub_comes_up() {
    let (mut test, [_, _, bridge, _]) = TestSwitch::mixed();
    let used = test.mac(bridge[0]);
    let twin = test.switch.add(&config(used, Mode::Vepa)).unwrap();
    let refused = Err(SwitchError::AddressOfSub(used));
    assert_eq!(test.switch.set_up(twin, true), refused);
    assert_eq!(test.switch.set_up(twin, false), Ok(()));
    test.down(bridge[0]);
    assert_eq!(test.switch.set_up(twin, true), Ok(()));
    assert_eq!(test.switch.set_up(bridge[0], true), refused);
    assert_eq!(test.ingress(OUTSIDE, used), to_sub(twin));
}

#[test]
fn the_parents_address_is_an_error_when_the_sub_comes_up() {
    let mut test = TestSwitch::new(Semantics::Documented);
    let id = test.switch.add(&config(PARENT, Mode::Bridge)).unwrap();
    let refused = Err(SwitchError::AddressOfParent(PARENT));
    assert_eq!(test.switch.set_up(id, true), refused);
}

#[test]
fn an_address_in_use_cannot_be_set_up_or_down() {
    let (mut test, [_, vepa, bridge, _]) = TestSwitch::mixed();
    let (id, other) = (vepa[0], test.mac(bridge[0]));
    for up in [true, false] {
        test.switch.set_up(id, up).unwrap();
        let refused = test.switch.set_mac(id, other);
        assert_eq!(refused, Err(SwitchError::AddressOfSub(other)));
        let refused = test.switch.set_mac(id, PARENT);
        assert_eq!(refused, Err(SwitchError::AddressOfParent(PARENT)));
    }
}

#[test]
fn the_address_of_a_down_sub_can_be_set() {
    let (mut test, [_, vepa, bridge, _]) = TestSwitch::mixed();
    let mac = test.mac(bridge[0]);
    test.down(bridge[0]);
    assert_eq!(test.switch.set_mac(vepa[0], mac), Ok(()));
    let refused = test.switch.set_up(bridge[0], true);
    assert_eq!(refused, Err(SwitchError::AddressOfSub(mac)));
}

#[test]
fn the_current_address_can_always_be_set() {
    let (mut test, [_, vepa, bridge, _]) = TestSwitch::mixed();
    let mac = test.mac(bridge[0]);
    assert_eq!(test.switch.set_mac(bridge[0], mac), Ok(()));
    test.down(bridge[0]);
    test.switch.set_mac(vepa[0], mac).unwrap();
    assert_eq!(test.switch.set_mac(bridge[0], mac), Ok(()));
}

#[test]
fn a_new_address_applies_from_the_next_frame_on() {
    let (mut test, [_, vepa, ..]) = TestSwitch::mixed();
    let before = test.mac(vepa[0]);
    test.switch.set_mac(vepa[0], UNKNOWN).unwrap();
    assert_eq!(test.ingress(OUTSIDE, before), host());
    assert_eq!(test.ingress(OUTSIDE, UNKNOWN), to_sub(vepa[0]));
}

#[test]
fn a_group_or_zero_is_no_address() {
    let (mut test, [_, vepa, ..]) = TestSwitch::mixed();
    for bad in [MacAddr::ZERO, JOINED, MacAddr::BROADCAST] {
        let refused = SwitchError::NotUnicast(bad);
        assert_eq!(test.switch.set_mac(vepa[0], bad), Err(refused));
        let added = test.switch.add(&config(bad, Mode::Vepa));
        assert_eq!(added, Err(refused));
    }
}

#[test]
fn setting_up_twice_is_no_error() {
    let (mut test, [_, vepa, ..]) = TestSwitch::mixed();
    assert_eq!(test.switch.set_up(vepa[0], true), Ok(()));
    assert_eq!(test.ingress(OUTSIDE, test.mac(vepa[0])), to_sub(vepa[0]));
}

#[test]
fn passthru_and_its_parent_change_their_address_together() {
    let mut test = TestSwitch::new(Semantics::Documented);
    let owner = test.up(Mode::Passthru);
    test.switch.set_mac(owner, mac(5)).unwrap();
    assert_eq!(test.switch.parent().mac, mac(5));
    assert_eq!(test.ingress(mac(5), UNJOINED), to_sub(owner));
    test.switch.set_parent_mac(mac(6));
    assert_eq!(test.mac(owner), mac(6));
    assert_eq!(test.ingress(mac(6), UNJOINED), to_sub(owner));
    assert_eq!(test.ingress(mac(5), UNJOINED), host());
}

#[test]
fn removing_passthru_restores_the_parents_address() {
    let mut test = TestSwitch::new(Semantics::Documented);
    let owner = test.up(Mode::Passthru);
    test.switch.set_mac(owner, mac(5)).unwrap();
    test.switch.set_mac(owner, mac(6)).unwrap();
    // The kernel reports our own change.
    test.switch.set_parent_mac(mac(6));
    assert!(test.switch.remove(owner).is_some());
    assert_eq!(test.switch.parent().mac, PARENT);
}

#[test]
fn the_parent_keeps_an_address_it_was_given_directly() {
    let mut test = TestSwitch::new(Semantics::Documented);
    let owner = test.up(Mode::Passthru);
    test.switch.set_mac(owner, mac(5)).unwrap();
    test.switch.set_parent_mac(mac(6));
    test.switch.set_mac(owner, mac(7)).unwrap();
    assert!(test.switch.remove(owner).is_some());
    assert_eq!(test.switch.parent().mac, mac(6));
}

#[test]
fn an_mtu_stays_between_68_and_the_parents() {
    let mut test = TestSwitch::new(Semantics::Documented);
    let id = test.up(Mode::Bridge);
    assert_eq!(test.switch.sub(id).unwrap().mtu(), MTU);
    let above = Err(SwitchError::MtuAboveParent { mtu: 1501, parent: MTU });
    assert_eq!(test.switch.set_mtu(id, 1501), above);
    assert_eq!(test.switch.set_mtu(id, 67), Err(SwitchError::MtuTooSmall(67)));
    assert_eq!(test.switch.set_mtu(id, 68), Ok(()));
    assert_eq!(test.switch.sub(id).unwrap().mtu(), 68);
    for (mtu, fine) in [(67, false), (68, true), (1500, true), (1501, false)] {
        let config = SubConfig { mtu: Some(mtu), ..config(mac(50), Mode::Bridge) };
        assert_eq!(test.switch.add(&config).is_ok(), fine, "{mtu}");
    }
}

#[test]
fn a_smaller_parent_mtu_reduces_larger_ones_and_a_larger_one_does_not_grow_them() {
    let mut test = TestSwitch::new(Semantics::Documented);
    let (large, small) = (test.up(Mode::Bridge), test.up(Mode::Bridge));
    test.switch.set_mtu(small, 1400).unwrap();
    assert_eq!(test.switch.set_parent_mtu(1450), [large]);
    let mtu = |test: &TestSwitch, id| test.switch.sub(id).unwrap().mtu();
    assert_eq!((mtu(&test, large), mtu(&test, small)), (1450, 1400));
    assert_eq!(test.switch.set_parent_mtu(2000), []);
    assert_eq!((mtu(&test, large), mtu(&test, small)), (1450, 1400));
}

#[test]
fn the_longest_request_sets_the_broadcast_queue() {
    let mut test = TestSwitch::new(Semantics::Documented);
    assert_eq!(test.switch.bc_queue_len(), 0);
    let (one, two) = (test.up(Mode::Bridge), test.up(Mode::Bridge));
    assert_eq!(test.switch.bc_queue_len(), 1000);
    test.switch.set_bc_queue_len(two, 2000).unwrap();
    assert_eq!(test.switch.bc_queue_len(), 2000);
    test.switch.set_bc_queue_len(two, 0).unwrap();
    assert_eq!(test.switch.bc_queue_len(), 1000);
    test.switch.set_bc_queue_len(one, 0).unwrap();
    assert_eq!(test.switch.bc_queue_len(), 0);
    test.switch.set_bc_queue_len(one, 7).unwrap();
    assert!(test.switch.remove(one).is_some());
    assert_eq!(test.switch.bc_queue_len(), 0);
}

#[test]
fn updates_of_a_removed_sub_are_errors() {
    let mut test = TestSwitch::new(Semantics::Documented);
    let gone = test.up(Mode::Source);
    assert!(test.switch.remove(gone).is_some());
    assert!(test.switch.remove(gone).is_none());
    let refused = Err(SwitchError::NoSuchSub);
    let switch = &mut test.switch;
    assert_eq!(switch.set_up(gone, true), refused);
    assert_eq!(switch.set_mac(gone, OUTSIDE), refused);
    assert_eq!(switch.set_mode(gone, Mode::Vepa), refused);
    assert_eq!(switch.set_mtu(gone, 1000), refused);
    assert_eq!(switch.set_flag(gone, MacvlanFlag::Nodst, true), refused);
    assert_eq!(switch.set_flag(gone, MacvlanFlag::Nopromisc, true), refused);
    assert_eq!(switch.set_bc_queue_len(gone, 1), refused);
    assert_eq!(switch.set_filter(gone, MulticastFilter::default()), refused);
    assert_eq!(switch.add_source(gone, OUTSIDE), refused);
    assert_eq!(switch.remove_source(gone, OUTSIDE), refused);
    assert_eq!(switch.set_sources(gone, &[]), refused);
    assert_eq!(switch.flush_sources(gone), refused);
    assert!(switch.sub(gone).is_none());
}

#[test]
fn a_failed_add_has_no_effect() {
    let mut test = TestSwitch::new(Semantics::Documented);
    let mut bad = config(mac(1), Mode::Source);
    bad.settings.sources = vec![OUTSIDE, MacAddr::ZERO];
    let refused = SwitchError::NotUnicast(MacAddr::ZERO);
    assert_eq!(test.switch.add(&bad), Err(refused));
    assert_eq!(test.switch.subs().count(), 0);
    assert_eq!(test.ingress(OUTSIDE, PARENT), host());
    assert_eq!(test.switch.bc_queue_len(), 0);
}

#[test]
fn a_parent_carries_65536_subs_and_reuses_their_indexes() {
    let mut switch = Switch::new(parent(), Semantics::Documented);
    let mac = |n: u32| {
        let [_, a, b, c] = n.to_be_bytes();
        MacAddr::new([2, 0, 0, a, b, c])
    };
    for n in 0..65_536 {
        let id = switch.add(&config(mac(n), Mode::Vepa)).unwrap();
        switch.set_up(id, true).unwrap();
    }
    let full = switch.add(&config(mac(65_536), Mode::Vepa));
    assert_eq!(full, Err(SwitchError::TooMany));
    let last = switch.subs().last().unwrap().0;
    assert_eq!(last.index(), 65_535);
    let broadcast = bytes(MacAddr::BROADCAST, OUTSIDE, 0x88b5, 60);
    let outcome = Outcome::from(switch.ingress(Frame::new(&broadcast).unwrap()));
    assert_eq!(outcome.subs.len(), 65_536);
    assert!(switch.remove(last).is_some());
    let again = switch.add(&config(mac(65_536), Mode::Vepa)).unwrap();
    assert_eq!(again, last);
    assert!(!switch.sub(again).unwrap().up());
}

#[test]
fn the_tables_are_empty_when_every_sub_is_down() {
    let (mut test, subs) = TestSwitch::mixed();
    let open = MulticastFilter { groups: vec![JOINED], allmulti: true, promisc: true };
    for id in subs.concat() {
        test.switch.set_filter(id, open.clone()).unwrap();
        test.switch.set_filter(id, MulticastFilter::default()).unwrap();
        test.switch.set_filter(id, open.clone()).unwrap();
    }
    let table = &test.switch.table;
    assert!(table.has_private() && table.wants_all_multicast() && table.has_listeners(UNJOINED));
    for id in subs.concat() {
        test.down(id);
    }
    let table = &test.switch.table;
    assert!(!table.has_private() && !table.wants_all_multicast());
    assert!(!table.has_listeners(UNJOINED) && table.members(JOINED) == 0);
}

#[test]
fn each_error_has_the_kernels_number() {
    let above = SwitchError::MtuAboveParent { mtu: 2, parent: 1 };
    for (refusal, errno) in [
        (SwitchError::AddressOfParent(OUTSIDE), 98),
        (SwitchError::AddressOfSub(OUTSIDE), 98),
        (SwitchError::FixedPassthru, 22),
        (above, 22),
        (SwitchError::MtuTooSmall(1), 22),
        (SwitchError::NoSuchSub, 19),
        (SwitchError::NotUnicast(OUTSIDE), 99),
        (SwitchError::ParentOwned, 22),
        (SwitchError::ParentShared, 22),
        (SwitchError::SourcesOutsideSourceMode, 22),
        (SwitchError::TooMany, 28),
    ] {
        assert_eq!(refusal.errno(), errno, "{refusal}");
    }
}

#[test]
fn modes_and_semantics_parse_what_they_print() {
    for mode in Mode::ALL {
        assert_eq!(mode.to_string().parse(), Ok(mode));
    }
    for semantics in [Semantics::Documented, Semantics::Kernel] {
        assert_eq!(semantics.to_string().parse(), Ok(semantics));
    }
    assert!("Bridge".parse::<Mode>().is_err());
    assert!("".parse::<Semantics>().is_err());
    assert_eq!(Mode::default(), Mode::Vepa);
}

#[test]
fn add_uses_the_lowest_free_index() {
    let mut test = TestSwitch::new(Semantics::Documented);
    let switch = &mut test.switch;
    let id = |index| SubIndex::from_index(index).unwrap();
    let bridge = |n| config(mac(n), Mode::Bridge);
    assert_eq!(switch.add_with_index(id(700), &bridge(1)), Ok(()));
    assert_eq!(switch.add_with_index(id(700), &bridge(2)), Err(SwitchError::TooMany));
    assert_eq!([2, 3].map(|n| switch.add(&bridge(n)).unwrap()), [id(0), id(1)]);
    assert!(switch.remove(id(0)).is_some() && switch.remove(id(0)).is_none());
    assert_eq!([4, 5].map(|n| switch.add(&bridge(n)).unwrap()), [id(0), id(2)]);
    let numbers: Vec<_> = switch.subs().map(|(id, _)| id.index()).collect();
    assert_eq!(numbers, [0, 1, 2, 700]);
    assert_eq!(SubIndex::from_index(1 << 16), None);
}

#[test]
fn a_flood_starts_at_the_lowest_index_of_its_switch() {
    let mut test = TestSwitch::new(Semantics::Documented);
    for index in [900, 901, 500] {
        let id = SubIndex::from_index(index).unwrap();
        let n = u8::try_from(index % 251).unwrap();
        test.switch.add_with_index(id, &config(mac(n), Mode::Bridge)).unwrap();
        test.switch.set_up(id, true).unwrap();
    }
    let bytes = bytes(MacAddr::BROADCAST, mac(250), 0x88b5, 60);
    let Action::Flood(flood) = test.switch.ingress(Frame::new(&bytes).unwrap()).action else {
        panic!("no flood");
    };
    assert_eq!(flood.cursor(), 500);
    let listeners = flood.map(|replica| match replica {
        Replica::Deliver(id) | Replica::TooLong(id) => id.index(),
    });
    assert_eq!(listeners.collect::<Vec<_>>(), [500, 900, 901]);
}
