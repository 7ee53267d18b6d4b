//! The fast path gives the verdicts of the rules after any updates, and is used wherever it can be.

use proptest::prelude::*;

use crate::rules::{RuleWord, Rules};

use super::*;

/// The number of addresses that sub-interfaces may have; one more is outside.
const ADDRESSES: u8 = 8;

fn switch() -> Switch {
    Switch::new(parent(), Semantics::Documented)
}

fn up(switch: &mut Switch, n: u8, mode: Mode) -> SubIndex {
    let id = switch.add(&config(mac(n), mode)).unwrap();
    switch.set_up(id, true).unwrap();
    id
}

/// One update, decoded from four numbers. Some fail, which is fine.
fn change(switch: &mut Switch, [what, which, to, at]: [u8; 4]) -> Result<(), SwitchError> {
    let ids: Vec<_> = switch.subs().map(|(id, _)| id).collect();
    let mode = match to % 12 {
        0..=5 => Mode::Bridge,
        6 | 7 => Mode::Vepa,
        8 => Mode::Private,
        9 | 10 => Mode::Source,
        _ => Mode::Passthru,
    };
    let (address, odd) = (mac(at % ADDRESSES), to & 1 == 1);
    let Some(&id) = ids.get(usize::from(which) % ids.len().max(1)) else {
        // Passthru can only be the first one.
        let mode = if what % 4 == 0 { Mode::Passthru } else { mode };
        return switch.add(&config(address, mode)).map(drop);
    };
    match what % 16 {
        0..=2 => {
            let listed = (mode == Mode::Source).then(|| mac(which % ADDRESSES));
            let mut config = config(address, mode);
            config.settings.flags = MacvlanFlags::default().with(MacvlanFlag::Nodst, at & 16 != 0);
            config.settings.sources.extend(listed);
            switch.add(&config).map(drop)
        }
        3 => switch.remove(id).map(drop).ok_or(SwitchError::NoSuchSub),
        4..=7 => switch.set_up(id, to % 4 != 0),
        8 => switch.set_mac(id, address),
        9 => switch.set_mode(id, mode),
        10 => switch.add_source(id, address),
        11 => switch.remove_source(id, address),
        12 => switch.flush_sources(id),
        13 if at & 32 != 0 => {
            let mut rules = Rules::default();
            let text = ["off", "on", "a", "b"][usize::from(to % 4)];
            rules.add(RuleWord::Isolation, text).unwrap();
            switch.set_rules(id, rules)
        }
        13 if at & 16 != 0 => switch.set_flag(id, MacvlanFlag::Spoofchk, odd),
        13 => switch.set_flag(id, MacvlanFlag::Nodst, odd),
        14 => {
            switch.set_semantics(if odd { Semantics::Kernel } else { Semantics::Documented });
            Ok(())
        }
        _ => {
            switch.set_parent_mtu(if odd { 1500 } else { 1400 });
            Ok(())
        }
    }
}

/// Fails unless both verdicts are the same.
fn same(fast: Verdict<'_>, rules: Verdict<'_>) {
    assert!(fast.copies.eq(rules.copies));
    match (fast.action, rules.action) {
        (Action::Deliver(one), Action::Deliver(other)) => assert_eq!(one, other),
        (Action::Drop(one), Action::Drop(other)) => assert_eq!(one, other),
        (Action::Flood(one), Action::Flood(other)) => {
            assert_eq!((one.rule(), one.cursor()), (other.rule(), other.cursor()));
        }
        (Action::Host, Action::Host) | (Action::Wire, Action::Wire) => {}
        (one, other) => panic!("{one:?} and {other:?}"),
    }
}

/// Compares the verdicts on a frame from every address to every address.
fn compare(switch: &Switch, len: usize, gso: bool) {
    let group = MacAddr::new([1, 0, 0x5e, 0, 0, 1]);
    let addresses = || (0..=ADDRESSES).map(mac).chain([PARENT]);
    for dst in addresses().chain([group, MacAddr::BROADCAST, MacAddr::ZERO]) {
        for src in addresses() {
            let mut bytes = [dst.octets(), src.octets()].concat();
            bytes.resize(len, 0);
            let frame = Frame::new(&bytes).unwrap();
            same(switch.ingress(frame), switch.decide_ingress(frame, |_| ()));
            for id in (0..4).map(SubIndex) {
                let rules = switch.decide_egress(id, frame, gso, |_| ());
                same(switch.egress(id, frame, gso), rules);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_fast_path_gives_every_frame_the_verdict_of_the_rules(
        changes in prop::collection::vec(any::<[u8; 4]>(), 1..32),
        len in prop::sample::select(vec![60, 1418, 1419, 1518, 1519]),
        gso: bool,
    ) {
        let mut switch = switch();
        for numbers in changes {
            // A failed update must leave the fast path as it was, too.
            let _ = change(&mut switch, numbers);
            compare(&switch, len, gso);
        }
    }
}

/// Whether the fast path is used for frames from the wire, and from sub-interfaces.
fn in_use(switch: &Switch) -> (bool, bool) {
    (switch.fast_path.ingress, switch.fast_path.egress_below > 0)
}

#[test]
fn the_fast_path_is_used_while_only_the_destination_matters() {
    let mut switch = switch();
    let bridge = up(&mut switch, 1, Mode::Bridge);
    assert_eq!(in_use(&switch), (true, true));
    let other = up(&mut switch, 2, Mode::Vepa);
    assert_eq!(
        in_use(&switch),
        (true, false),
        "frames for a sibling may have to leave by the wire"
    );
    switch.set_up(other, false).unwrap();
    assert_eq!(in_use(&switch), (true, true), "one that is down does not exist");
    switch.set_mode(other, Mode::Private).unwrap();
    switch.set_up(other, true).unwrap();
    assert_eq!(in_use(&switch), (false, false));
    switch.set_semantics(Semantics::Kernel);
    assert_eq!(in_use(&switch), (true, false), "the kernel does not isolate unicast");
    switch.set_mode(other, Mode::Source).unwrap();
    assert_eq!(in_use(&switch), (false, false));
    switch.set_up(other, false).unwrap();
    switch.add_source(other, mac(9)).unwrap();
    assert_eq!(in_use(&switch), (true, true), "the list has no effect");
    switch.set_flag(other, MacvlanFlag::Nodst, true).unwrap();
    assert_eq!(in_use(&switch), (false, false), "nodst has an effect even while it is down");
    switch.remove(other);
    assert_eq!(in_use(&switch), (true, true));
    switch.remove(bridge);
    up(&mut switch, 0, Mode::Passthru);
    assert_eq!(in_use(&switch), (false, false));
}
