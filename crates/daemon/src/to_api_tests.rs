//! What clients see of a link and a parent.

use umacvlan_core::Mode;

use super::*;
use crate::fixtures::{parent_status, sub_status};

fn shown(sub: &SubStatus, parent: &ParentStatus, context: LinkContext) -> LinkView {
    link(sub, parent, &SubStats::default(), context)
}

#[test]
fn a_link_is_shown_as_a_macvlan() {
    let (sub, parent) = (sub_status(3, "mac1"), parent_status("p0"));
    let up = LinkContext { parent_up: true, ..LinkContext::default() };
    let view = shown(&sub, &parent, up);
    assert_eq!((view.ifname.as_str(), view.link.as_deref()), ("mac1", Some("p0")));
    assert_eq!(view.linkinfo.info_kind, "macvlan");
    let info = view.linkinfo.info_data;
    assert_eq!((info.mode.as_str(), info.bcqueuelen, info.bclim), ("vepa", 1000, None));
    assert_eq!((info.nodst, info.macaddr_count), (None, None));
    assert_eq!((view.link_type.as_str(), view.group.as_str()), ("ether", "default"));
    assert_eq!((view.umacvlan.id, view.umacvlan.link_netnsid), (3, None));
}

#[test]
fn from_another_namespace_the_parent_is_an_index() {
    let (mut sub, parent) = (sub_status(3, "mac1"), parent_status("p0"));
    sub.parent_nsid = Some(5);
    let away = LinkContext { netns: Some("blue".to_owned()), ..LinkContext::default() };
    let view = shown(&sub, &parent, away);
    assert_eq!(view.link, None);
    assert_eq!((view.umacvlan.link_index, view.umacvlan.link_netnsid), (2, Some(5)));
    assert!(!view.flags.contains(&"M-DOWN".to_owned()));
}

#[test]
fn flags_and_state_are_those_of_a_macvlan() {
    let broadcast = LinkFlags::Broadcast | LinkFlags::Multicast;
    let running = LinkFlags::Up | LinkFlags::Running | LinkFlags::LowerUp;
    for (set, parent_up, words, state) in [
        (broadcast, true, "BROADCAST,MULTICAST", "DOWN"),
        (broadcast | running, true, "BROADCAST,MULTICAST,UP,LOWER_UP", "UP"),
        (
            broadcast | LinkFlags::Up,
            false,
            "NO-CARRIER,BROADCAST,MULTICAST,UP,M-DOWN",
            "LOWERLAYERDOWN",
        ),
        (
            broadcast | running | LinkFlags::Promisc | LinkFlags::Allmulti,
            true,
            "BROADCAST,MULTICAST,ALLMULTI,PROMISC,UP,LOWER_UP",
            "UP",
        ),
    ] {
        let mut sub = sub_status(1, "mac1");
        sub.link.flags = set;
        let context = LinkContext { parent_up, ..LinkContext::default() };
        let view = shown(&sub, &parent_status("p0"), context);
        assert_eq!((view.flags.join(",").as_str(), view.operstate.as_str()), (words, state));
    }
}

#[test]
fn a_source_list_shows_in_source_mode_only_and_bclim_unless_it_is_1() {
    let (mut sub, mut parent) = (sub_status(1, "mac1"), parent_status("p0"));
    (sub.settings.mode, parent.bc_cutoff) = (Mode::Source, -1);
    let info = shown(&sub, &parent, LinkContext::default()).linkinfo.info_data;
    assert_eq!((info.macaddr_count, &info.macaddr_data, info.bclim), (Some(0), &None, Some(-1)));
    sub.settings.sources = vec![MacAddr::new([2, 0, 0, 0, 0, 9])];
    let info = shown(&sub, &parent, LinkContext::default()).linkinfo.info_data;
    assert_eq!(info.macaddr_data, Some(vec!["02:00:00:00:00:09".to_owned()]));
}

#[test]
fn a_lost_frame_is_an_error_and_a_drop() {
    let mut sub = sub_status(1, "mac1");
    (sub.link.stats.rx_packets, sub.link.stats.tx_dropped) = (7, 2);
    let mut stats = SubStats { groups: 3, ..SubStats::default() };
    stats.lost.add(DropReason::Full, 4);
    stats.lost.add(DropReason::Down, 50);
    stats.dropped.add(DropReason::NoCarrier, 5);
    let Stats { rx, tx } = link(&sub, &parent_status("p0"), &stats, LinkContext::default()).stats64;
    assert_eq!((rx.packets, rx.errors, rx.dropped, rx.multicast), (7, 4, 4, 3));
    assert_eq!(tx.dropped, 7);
}
