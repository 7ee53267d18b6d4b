//! The daemon is killed, again and again, while a connection lasts.

use umacvlan_testkit::root_or_skip;

use crate::stream::Stream;
use crate::{machine, shown};

/// Number of times that the daemon is killed.
const TIMES: usize = 20;

#[test]
fn a_connection_outlives_twenty_daemons() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = machine();
    let before = shown(&mut sandbox);
    assert_eq!(before.len(), 2, "{before:#?}");
    let stream = Stream::open(&sandbox.netns("net1"), &sandbox.netns("net2"), "10.0.0.12");
    stream.advance();
    for _ in 0..TIMES {
        sandbox.end_daemon("KILL");
        sandbox.daemon("");
        stream.advance();
    }
    sandbox.end_daemon("TERM");
    sandbox.daemon("");
    stream.advance();
    stream.close();
    assert_eq!(shown(&mut sandbox), before);
}

#[test]
fn user_changes_while_no_daemon_runs_are_kept() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = machine();
    sandbox.end_daemon("KILL");
    sandbox.script(
        "ip -n net1 link set mac1 down
         ip -n net1 link set mac1 name eth0 address 02:00:00:00:01:01
         ip -n net1 link set eth0 up
         ip netns add net3
         ip -n net2 link set mac2 netns net3",
    );
    sandbox.daemon("");
    let links = shown(&mut sandbox);
    let found: Vec<_> = links
        .iter()
        .map(|link| {
            (link["ifname"].as_str(), link["address"].as_str(), link["umacvlan"]["netns"].as_str())
        })
        .collect();
    let wanted = [
        (Some("eth0"), Some("02:00:00:00:01:01"), Some("net1")),
        (Some("mac2"), Some("02:00:00:00:00:02"), Some("net3")),
    ];
    assert_eq!(found, wanted);
    sandbox.script(
        "ip -n net3 addr add 10.0.0.12/24 dev mac2
         ip -n net3 link set mac2 up
         ip netns exec net3 ping -c 3 -i 0.2 -W 2 10.0.0.11",
    );
}

#[test]
fn a_frame_that_is_sent_between_two_daemons_arrives() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = machine();
    sandbox.ok("ip netns exec net1 ping -c 1 -W 5 10.0.0.12");
    sandbox.end_daemon("KILL");
    let sent = "ip netns exec net1 grep Icmp: /proc/net/snmp";
    let before = sandbox.ok(sent);
    // One request, which nobody repeats.
    sandbox
        .ok("{ ip netns exec net1 ping -c 1 -W 30 10.0.0.12 >/run/ping; echo $? >>/run/ping; } \
         >/dev/null 2>&1 & true");
    sandbox.file("run/before", &before);
    sandbox.ok(&format!("until ! {sent} | cmp -s - /run/before; do :; done"));
    sandbox.daemon("");
    sandbox.ok("until grep -qx '[0-9]*' /run/ping; do :; done");
    let printed = sandbox.ok("cat /run/ping");
    assert!(printed.contains(" 0% packet loss"), "{printed}");
}
