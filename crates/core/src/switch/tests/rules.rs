//! The rules that the kernel does not have.

use crate::rules::{RuleWord, Rules};

use super::*;

fn rules(words: &[(RuleWord, &str)]) -> Rules {
    let mut rules = Rules::default();
    words.iter().for_each(|(word, text)| rules.add(*word, text).unwrap());
    rules
}

fn isolated(group: &str) -> Rules {
    rules(&[(RuleWord::Isolation, group)])
}

/// Bridge sub-interfaces in these groups, all up.
fn bridges<const N: usize>(groups: [&str; N]) -> (TestSwitch, [SubIndex; N]) {
    let mut test = TestSwitch::new(Semantics::Documented);
    let ids = groups.map(|group| {
        let id = test.up(Mode::Bridge);
        test.switch.set_rules(id, isolated(group)).unwrap();
        id
    });
    (test, ids)
}

#[test]
fn groups_reach_themselves_those_without_a_group_and_the_wire() {
    let (test, [web, peer, db, alone, lone, open]) =
        bridges(["web", "web", "db", "on", "on", "off"]);
    let send = |from, to| test.egress_of(from, &bytes(test.mac(to), test.mac(from), 0x88b5, 60));
    for (from, reached) in [
        (web, vec![peer, open]),
        (db, vec![open]),
        (alone, vec![open]),
        (open, vec![web, peer, db, alone, lone]),
    ] {
        for to in [web, peer, db, alone, lone, open].into_iter().filter(|&to| to != from) {
            let expected = match reached.contains(&to) {
                true => to_sub(to),
                false => dropped(DropReason::Isolated),
            };
            assert_eq!(send(from, to), expected, "{from:?} to {to:?}");
        }
        let outside = bytes(OUTSIDE, test.mac(from), 0x88b5, 60);
        assert_eq!(test.egress_of(from, &outside), wire());
        for group in [MacAddr::BROADCAST, JOINED] {
            let flood = bytes(group, test.mac(from), 0x88b5, 60);
            assert_eq!(test.egress_of(from, &flood), to_subs(&reached).and_wire(), "{group}");
        }
        let received = bytes(test.mac(from), OUTSIDE, 0x88b5, 60);
        assert_eq!(test.ingress_of(&received), to_sub(from), "from the wire");
    }
}

#[test]
fn what_a_switch_reflects_stays_isolated() {
    for mode in [Mode::Bridge, Mode::Vepa, Mode::Private] {
        let (mut test, [web, db]) = bridges(["web", "db"]);
        let vepa = test.up(mode);
        test.switch.set_rules(vepa, isolated("db")).unwrap();
        let to = |to| bytes(test.mac(to), test.mac(vepa), 0x88b5, 60);
        assert_eq!(test.egress_of(vepa, &to(web)), dropped(DropReason::Isolated));
        assert_eq!(test.ingress_of(&to(web)).subs, [], "reflected unicast, {mode}");
        let flood = test.ingress_of(&bytes(MacAddr::BROADCAST, test.mac(vepa), 0x88b5, 60));
        assert!(!flood.subs.contains(&web), "reflected broadcast, {mode}");
        assert_eq!(flood.subs.contains(&db), mode == Mode::Vepa);
    }
}

#[test]
fn an_address_of_a_sibling_outside_its_group_is_no_way_around() {
    let (mut test, [web, db]) = bridges(["web", "db"]);
    test.switch.set_secondary(db, vec![mac(0x70)]).unwrap();
    let out = bytes(mac(0x70), test.mac(web), 0x88b5, 60);
    assert_eq!(test.egress_of(web, &out), dropped(DropReason::Isolated));
    // The sender is known, whatever address it sends from.
    let out = bytes(test.mac(db), OUTSIDE, 0x88b5, 60);
    assert_eq!(test.egress_of(web, &out), dropped(DropReason::Isolated));
    let flood = bytes(MacAddr::BROADCAST, OUTSIDE, 0x88b5, 60);
    assert_eq!(test.egress_of(web, &flood), wire());
}

#[test]
fn addresses_outside_are_those_on_the_list() {
    let (mut test, [own, sibling]) = bridges(["off", "off"]);
    let list = rules(&[(RuleWord::AllowMac, &OUTSIDE.to_string())]);
    test.switch.set_rules(own, list).unwrap();
    let unicast = |dst, src| bytes(dst, src, 0x88b5, 60);
    let mine = test.mac(own);
    assert_eq!(test.ingress_of(&unicast(mine, OUTSIDE)), to_sub(own));
    assert_eq!(test.ingress_of(&unicast(mine, UNKNOWN)), dropped(DropReason::NotAllowed));
    assert_eq!(test.egress_of(own, &unicast(OUTSIDE, mine)), wire());
    assert_eq!(test.egress_of(own, &unicast(UNKNOWN, mine)), dropped(DropReason::NotAllowed));
    let other = test.mac(sibling);
    assert_eq!(test.egress_of(own, &unicast(other, mine)), to_sub(sibling), "a sibling");
    assert_eq!(test.egress_of(sibling, &unicast(mine, UNKNOWN)), to_sub(own), "a sibling");
    let flood = |src| test.ingress_of(&unicast(MacAddr::BROADCAST, src));
    assert_eq!(flood(OUTSIDE), to_subs(&[own, sibling]).and_host());
    assert_eq!(flood(UNKNOWN), to_sub(sibling).and_host());
    let asks = test.egress_of(own, &unicast(MacAddr::BROADCAST, mine));
    assert_eq!(asks, to_sub(sibling).and_wire(), "it asks for addresses");
}

#[test]
fn ethertypes_are_those_on_the_list_in_both_directions() {
    let (mut test, [own, sibling]) = bridges(["off", "off"]);
    let list = rules(&[(RuleWord::AllowEthertype, "arp"), (RuleWord::AllowEthertype, "ipv4")]);
    test.switch.set_rules(own, list).unwrap();
    let refused = dropped(DropReason::NotAllowed);
    for (ethertype, passes) in [(0x0800, true), (0x0806, true), (0x86dd, false), (38, false)] {
        let frame = |dst, src| bytes(dst, src, ethertype, 60);
        let (mine, other) = (test.mac(own), test.mac(sibling));
        let expect =
            |passed: Outcome| if passes { passed } else { dropped(DropReason::NotAllowed) };
        assert_eq!(test.ingress_of(&frame(mine, OUTSIDE)), expect(to_sub(own)));
        assert_eq!(test.egress_of(own, &frame(OUTSIDE, mine)), expect(wire()));
        assert_eq!(test.egress_of(own, &frame(other, mine)), expect(to_sub(sibling)));
        assert_eq!(test.egress_of(sibling, &frame(mine, other)), expect(to_sub(own)));
        let flood = test.egress_of(sibling, &frame(MacAddr::BROADCAST, other));
        assert_eq!(flood.subs.contains(&own), passes);
    }
    let mut tagged = bytes(OUTSIDE, test.mac(own), 0x8100, 60);
    tagged[14..18].copy_from_slice(&[0, 5, 8, 0]);
    assert_eq!(test.egress_of(own, &tagged), refused, "a tag that is not listed");
    tagged[15] = 0;
    assert_eq!(test.egress_of(own, &tagged), wire(), "a priority");
}

#[test]
fn ip_addresses_of_the_sender_are_those_on_the_list() {
    let (mut test, [own]) = bridges(["off"]);
    test.switch.set_rules(own, rules(&[(RuleWord::AllowIp, "192.0.2.7")])).unwrap();
    for (last, expected) in [(7, wire()), (8, dropped(DropReason::Spoofed))] {
        let mut frame = bytes(OUTSIDE, test.mac(own), 0x0800, 60);
        frame[14] = 0x45;
        frame[26..30].copy_from_slice(&[192, 0, 2, last]);
        assert_eq!(test.egress_of(own, &frame), expected);
    }
    let received = bytes(test.mac(own), OUTSIDE, 0x0800, 60);
    assert_eq!(test.ingress_of(&received), to_sub(own), "what it receives is not checked");
}

#[test]
fn mode_source_and_rules_about_receiving_exclude_each_other() {
    let (mut test, [own]) = bridges(["web"]);
    assert_eq!(test.switch.set_mode(own, Mode::Source), Err(SwitchError::RulesInSourceMode));
    let sends = rules(&[(RuleWord::AllowIp, "192.0.2.7")]);
    test.switch.set_rules(own, sends).unwrap();
    test.switch.set_mode(own, Mode::Source).unwrap();
    assert_eq!(test.switch.set_rules(own, isolated("on")), Err(SwitchError::RulesInSourceMode));
}

#[test]
fn a_passthru_sub_interface_has_rules_too() {
    let mut test = TestSwitch::new(Semantics::Documented);
    let owner = test.up(Mode::Passthru);
    let list = rules(&[(RuleWord::AllowMac, &OUTSIDE.to_string())]);
    test.switch.set_rules(owner, list).unwrap();
    let from = |src| test.ingress_of(&bytes(UNKNOWN, src, 0x88b5, 60));
    assert_eq!((from(OUTSIDE), from(UNKNOWN)), (to_sub(owner), dropped(DropReason::NotAllowed)));
    assert!(test.switch.kernel_answers().senders.is_empty());
    assert!(!test.switch.kernel_answers().ingress);
}
