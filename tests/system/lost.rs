//! The parent or a namespace disappears.

use umacvlan_testkit::root_or_skip;

use crate::stream::Stream;
use crate::{machine, shown};

const PING: &str = "ip netns exec net1 ping -q -c 3 -i 0.2 -W 2 10.0.0.12";

#[test]
fn links_outlive_a_parent_that_flaps_and_one_that_is_deleted() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = machine();
    let before = shown(&mut sandbox);
    for _ in 0..10 {
        sandbox.script("ip link set p0 down\nip link set p0 up");
    }
    sandbox.ok(PING);
    assert_eq!(shown(&mut sandbox), before);

    sandbox.ok("ip link del p0");
    sandbox.ok("umacvlan -j monitor >/run/events & until umacvlan -j link show | grep -q LOWERLAYERDOWN; do :; done");
    sandbox.script("ip link add p0 up type veth peer name q0\nip link set q0 up");
    sandbox.ok("until grep -q parent_back /run/events; do :; done");
    sandbox.ok(PING);
    assert_eq!(shown(&mut sandbox), before);
}

#[test]
fn a_parent_that_is_gone_when_the_daemon_starts_is_waited_for() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = machine();
    let before = shown(&mut sandbox);
    sandbox.end_daemon("KILL");
    sandbox.ok("ip link del p0");
    sandbox.daemon("");
    sandbox.script("ip link add p0 up type veth peer name q0\nip link set q0 up");
    sandbox.ok("until umacvlan -j link show | grep -q mac1; do :; done");
    sandbox.ok(PING);
    assert_eq!(shown(&mut sandbox), before);
}

#[test]
fn the_end_of_a_namespace_takes_its_link_and_no_other() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = machine();
    sandbox.script(
        "ip netns add net3
         umacvlan -n net3 link add link p0 mac3 type macvlan mode bridge",
    );
    let stream = Stream::open(&sandbox.netns("net1"), &sandbox.netns("net2"), "10.0.0.12");
    stream.advance();
    sandbox.ok("umacvlan -j monitor >/run/events & until [ $(umacvlan -br link show | wc -l) = 3 ]; do :; done");
    sandbox.ok("ip netns del net3");
    sandbox.ok("until [ $(umacvlan -br link show | wc -l) = 2 ]; do :; done");
    stream.advance();
    stream.close();
    let names: Vec<_> = shown(&mut sandbox).iter().map(|link| link["ifname"].clone()).collect();
    assert_eq!(names, ["mac1", "mac2"]);
}

#[test]
fn nothing_answers_for_a_namespace_that_ends_after_a_restart() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = machine();
    sandbox.ok("ip addr add 10.0.0.1/24 dev q0");
    for (signal, number) in [("KILL", 1), ("TERM", 2)] {
        sandbox.end_daemon(signal);
        sandbox.daemon("");
        let ping = format!("ping -c 1 -W 2 10.0.0.1{number}");
        sandbox.ok(&format!("until {ping}; do :; done"));
        sandbox.ok(&format!("ip netns del net{number}"));
        let left = 2 - number;
        sandbox.ok(&format!("until [ $(umacvlan -br link show | wc -l) = {left} ]; do :; done"));
        sandbox.ok("ip neigh flush dev q0");
        assert_ne!(sandbox.run(&ping).status, 0, "a ghost answers after SIG{signal}");
        let neighbour = sandbox.ok(&format!("ip neigh show 10.0.0.1{number}"));
        assert!(!neighbour.contains("lladdr"), "{neighbour}");
    }
}

#[test]
fn without_a_keeper_a_link_ends_when_its_namespace_is_unmounted() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = machine();
    sandbox.end_daemon("KILL");
    sandbox.ok("pkill -KILL um-keeper");
    sandbox.daemon("");
    // The next keeper has descriptors that keep the namespaces alive, too.
    sandbox.end_daemon("KILL");
    sandbox.daemon("");
    let before = shown(&mut sandbox);
    assert_eq!(before.len(), 2);
    // The daemon has seen the name once.
    sandbox.ok("umacvlan -j monitor >/run/events & sleep 3; ip netns del net2");
    sandbox.ok("until grep -q link_deleted /run/events; do :; done");
    assert_eq!(shown(&mut sandbox), before[..1]);
    let log = sandbox.ok("cat /run/log");
    assert!(log.contains("nothing but the daemon holds its namespace"), "{log}");
}
