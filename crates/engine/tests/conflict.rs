//! Two sub-interfaces with one address: who is refused, who is down, and who comes up by itself.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use umacvlan_core::options::PortIo;
use umacvlan_core::{MacAddr, MacvlanSettings, Mode, SwitchError};
use umacvlan_engine::Error;
use umacvlan_engine::engine::{Event, LinkAttribute, SubOptions, SubStatus};
use umacvlan_testkit::root_or_skip;

use common::{Lab, PARENT, Place, frame, mac, reaches, until};

/// Makes a sub-interface that is down and claims its address, as for a container.
fn claim(lab: &Lab, name: &str, mac: MacAddr, place: &Place) -> Result<SubStatus, Error> {
    let options = SubOptions {
        name: name.to_owned(),
        mac: Some(mac),
        settings: MacvlanSettings::new(Mode::Bridge),
        netns: Some(place.netns.try_clone().unwrap()),
        claims_mac: true,
        ..SubOptions::default()
    };
    lab.engine().add_sub(PARENT, options)
}

/// `s1` with address 1 is up; the user of `s2` sets it up with the same address, and it is down again.
fn conflict() -> (Lab, Place, Place) {
    let lab = Lab::new(PortIo::Auto);
    let (first, mut second) = (Place::new(), Place::new());
    lab.add("s1", 1, Mode::Bridge, &first);
    let options = SubOptions {
        name: "s2".to_owned(),
        mac: Some(mac(1)),
        settings: MacvlanSettings::new(Mode::Bridge),
        netns: Some(second.netns.try_clone().unwrap()),
        ..SubOptions::default()
    };
    let made = lab.engine().add_sub(PARENT, options).unwrap();
    assert_eq!(made.conflict, Some(SwitchError::AddressOfSub(mac(1))));
    set_up(&lab, &mut second);
    (lab, first, second)
}

/// Sets `s2` up as its user, and waits until it is down again.
fn set_up(lab: &Lab, place: &mut Place) {
    lab.forget();
    let index = place.index("s2");
    place.rtnl.set_up(index, true).unwrap();
    lab.event("down again", |event| matches!(event, Event::Reverted { sub, .. } if sub == "s2"));
    place.until("it is down again", "s2", |link| !link.is_up());
}

fn comes_up(lab: &Lab, place: &mut Place, what: &str) {
    lab.event(what, |event| matches!(event, Event::ConflictEnded { sub, .. } if sub == "s2"));
    assert!(place.link("s2").is_up() && lab.sub("s2").up, "{what}");
}

#[test]
fn a_sub_that_was_set_down_comes_up_when_its_address_is_free() {
    if !root_or_skip() {
        return;
    }
    type End = fn(&Lab, &mut Place);
    let ends: [(&str, End); 4] = [
        ("the other is set down", |_, first| {
            let index = first.index("s1");
            first.rtnl.set_up(index, false).unwrap();
        }),
        ("the other has another address", |_, first| {
            let index = first.index("s1");
            first.rtnl.set_mac(index, mac(3)).unwrap();
        }),
        ("the other is removed", |lab, _| lab.engine().remove_sub(lab.number("s1")).unwrap()),
        ("the other ends with its namespace", |_, first| *first = Place::new()),
    ];
    for (what, end) in ends {
        let (lab, mut first, mut second) = conflict();
        lab.forget();
        end(&lab, &mut first);
        comes_up(&lab, &mut second, what);
        let (near, far) = (second.socket("s2"), lab.far.socket("x0"));
        reaches(&far, &near, &frame(mac(1), mac(0xff), 1));
    }
}

#[test]
fn a_sub_whose_own_address_changes_comes_up() {
    if !root_or_skip() {
        return;
    }
    let (lab, _first, mut second) = conflict();
    lab.forget();
    let index = second.index("s2");
    second.rtnl.set_mac(index, mac(4)).unwrap();
    comes_up(&lab, &mut second, "it has another address");
    assert_eq!(lab.sub("s2").mac, mac(4));
}

#[test]
fn the_address_of_the_parent_is_free_when_the_parent_has_another_one() {
    if !root_or_skip() {
        return;
    }
    let (mut lab, _first, mut second) = conflict();
    let (parent, index) = (lab.host.index(PARENT), second.index("s2"));
    lab.engine().remove_sub(lab.number("s1")).unwrap();
    second.rtnl.set_up(index, false).unwrap();
    until("down", || !lab.sub("s2").up);
    lab.host.rtnl.set_mac(parent, mac(1)).unwrap();
    until("the parent's address", || lab.parent().mac == mac(1));
    set_up(&lab, &mut second);
    assert_eq!(lab.sub("s2").conflict, Some(SwitchError::AddressOfParent(mac(1))));
    lab.forget();
    lab.host.rtnl.set_mac(parent, mac(7)).unwrap();
    comes_up(&lab, &mut second, "the parent has another address");
}

#[test]
fn a_sub_that_its_owner_sets_down_meanwhile_stays_down() {
    if !root_or_skip() {
        return;
    }
    let (lab, _first, mut second) = conflict();
    lab.engine().set_link(lab.number("s2"), vec![LinkAttribute::Up(false)]).unwrap();
    lab.forget();
    lab.engine().remove_sub(lab.number("s1")).unwrap();
    let second_is = lab.sub("s2");
    assert!(!second_is.up && second_is.conflict.is_none(), "{second_is:?}");
    assert!(!second.link("s2").is_up());
    let ended = |event: Event| matches!(event, Event::ConflictEnded { .. });
    assert!(!lab.engine().events().try_iter().any(ended));
}

#[test]
fn of_two_that_were_set_down_one_comes_up_and_then_the_other() {
    if !root_or_skip() {
        return;
    }
    let (lab, _first, _second) = conflict();
    let mut third = Place::new();
    let made = claim(&lab, "s3", mac(9), &third).unwrap();
    third.rtnl.set_mac(made.index, mac(1)).unwrap();
    third.rtnl.set_up(made.index, true).unwrap();
    lab.event("down again", |event| matches!(event, Event::Reverted { sub, .. } if sub == "s3"));
    third.rtnl.set_mac(made.index, mac(1)).unwrap();
    let up = || ["s2", "s3"].map(|name| lab.sub(name)).map(|sub| sub.up);
    lab.engine().remove_sub(lab.number("s1")).unwrap();
    until("the first is up", || up() == [true, false] || lab.sub("s3").mac != mac(1));
    lab.engine().remove_sub(lab.number("s2")).unwrap();
    until("the second is up", || lab.sub("s3").up);
}

#[test]
fn an_address_in_use_cannot_be_claimed() {
    if !root_or_skip() {
        return;
    }
    let lab = Lab::new(PortIo::Auto);
    let (one, other) = (Place::new(), Place::new());
    lab.add("s1", 1, Mode::Bridge, &one);
    let claimed = claim(&lab, "s2", mac(2), &one).unwrap();
    // Up, claimed though it is down, and the parent's.
    for taken in [mac(1), mac(2), mac(0)] {
        let refused = claim(&lab, "s9", taken, &other).unwrap_err();
        assert_eq!(refused.errno(), Some(libc::EADDRINUSE), "{refused}");
        assert!(refused.to_string().contains("address already in use"), "{refused}");
    }
    assert_eq!(lab.parent().subs.len(), 2);
    lab.engine().check_mac_free(claimed.number).unwrap();
    // One that is down and was made for nobody is in nobody's way, as in the kernel.
    lab.engine().set_link(lab.number("s1"), vec![LinkAttribute::Up(false)]).unwrap();
    claim(&lab, "s3", mac(1), &other).unwrap();
    lab.engine().set_link(lab.number("s1"), vec![LinkAttribute::Up(true)]).unwrap();
    let refused = lab.engine().check_mac_free(lab.number("s3")).unwrap_err();
    assert_eq!(refused.errno(), Some(libc::EADDRINUSE), "{refused}");
}

#[test]
fn an_address_is_claimed_once_the_namespace_that_had_it_has_ended() {
    if !root_or_skip() {
        return;
    }
    let lab = Lab::new(PortIo::Auto);
    for _ in 0..20 {
        let (old, new) = (Place::new(), Place::new());
        lab.add("s1", 1, Mode::Bridge, &old);
        drop(old);
        // The kernel ends a namespace some milliseconds later.
        let made = claim(&lab, "s1", mac(1), &new).unwrap();
        lab.engine().remove_sub(made.number).unwrap();
    }
}

#[test]
fn a_passthru_claims_the_address_of_its_parent() {
    if !root_or_skip() {
        return;
    }
    let lab = Lab::new(PortIo::Auto);
    let place = Place::new();
    let options = SubOptions {
        name: "s1".to_owned(),
        mac: Some(mac(0)),
        settings: MacvlanSettings::new(Mode::Passthru),
        netns: Some(place.netns.try_clone().unwrap()),
        claims_mac: true,
        ..SubOptions::default()
    };
    let made = lab.engine().add_sub(PARENT, options).unwrap();
    lab.engine().check_mac_free(made.number).unwrap();
    lab.engine().set_link(made.number, vec![LinkAttribute::Up(true)]).unwrap();
    assert!(lab.sub("s1").up && lab.sub("s1").conflict.is_none());
}
