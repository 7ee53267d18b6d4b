//! A tenant who breaks a rule again and again: the log stays readable, and others are served.

use serde_json::Value;
use umacvlan_testkit::{LinkMonitor, Sandbox, root_or_skip};

use crate::machine;

#[test]
fn what_a_tenant_can_have_logged_is_limited_and_counted() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = machine();
    // Each of these takes the address of the other link, and is reverted.
    sandbox.ok(
        "for i in $(seq 200); do ip -n net1 link set mac1 address 02:00:00:00:00:02; done; true",
    );
    let lines = |sandbox: &mut Sandbox| {
        let count = sandbox.ok("grep -c 'given its old address again' /run/log; true");
        count.trim().parse::<usize>().unwrap()
    };
    sandbox.ok(
        "(for i in $(seq 600); do grep -q 'link mac1.* more in 10 s' /run/log && exit 0; sleep 0.05; \
         done; cat /run/log >&2; exit 1)",
    );
    let written = lines(&mut sandbox);
    assert!((5..=15).contains(&written), "{written} lines");
    sandbox.ok("ip netns exec net1 ping -q -c 2 -i 0.2 -W 5 10.0.0.12");
}

/// The queue of a TAP counts frames, of which each may have 64 KB: 100 000 were a gigabyte in seconds.
#[test]
fn a_tenant_cannot_lengthen_the_queue_of_a_link() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = machine();
    let length = |sandbox: &mut Sandbox, name: &str| {
        let shown = sandbox.ok(&format!("ip -n net1 -j link show {name}"));
        serde_json::from_str::<Value>(&shown).unwrap()[0]["txqlen"].as_u64().unwrap()
    };
    let until = |sandbox: &mut Sandbox, frames| {
        let mut monitor = LinkMonitor::open(&sandbox.netns("net1"));
        monitor.wait_until("txqueuelen is set back", || length(sandbox, "mac1") == frames);
    };
    assert_eq!(length(&mut sandbox, "mac1"), 4096);
    sandbox.ok("ip -n net1 link set mac1 txqueuelen 100000");
    until(&mut sandbox, 4096);
    sandbox.ok("ip -n net1 link set mac1 txqueuelen 100");
    // What the operator sets holds for the next daemon, too.
    sandbox.ok("umacvlan -n net1 link set mac1 txqueuelen 5000");
    sandbox.end_daemon("KILL");
    sandbox.ok("ip -n net1 link set mac1 txqueuelen 100000");
    sandbox.daemon("");
    until(&mut sandbox, 5000);
    assert!(sandbox.ok("cat /run/log").contains("txqueuelen 100000 is more than its owner allows"));
}
