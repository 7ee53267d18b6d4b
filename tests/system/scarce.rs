//! A daemon that runs out of descriptors or disk space.

use umacvlan_testkit::root_or_skip;

use crate::{machine, shown};

const PING: &str = "ip netns exec net1 ping -q -c 3 -i 0.2 -W 2 10.0.0.12";

#[test]
fn a_daemon_out_of_descriptors_refuses_more_links_and_keeps_those_it_has() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = machine();
    sandbox.ok(
        "prlimit --pid $(cat /run/pid) --nofile=$(($(ls /proc/$(cat /run/pid)/fd | wc -l) + 12))",
    );
    let mut made = 0;
    let refused = loop {
        let ran = sandbox.run(&format!("umacvlan link add link p0 more{made} type macvlan"));
        if ran.status != 0 {
            break ran;
        }
        made += 1;
        assert!(made < 50, "descriptors do not run out");
    };
    assert!(refused.stderr.contains("Too many open files"), "{refused:?}");
    assert_eq!(shown(&mut sandbox).len(), 2 + made);
    sandbox.ok(PING);
    for number in 0..made {
        sandbox.ok(&format!("umacvlan link del more{number}"));
    }
    sandbox.ok("umacvlan link add link p0 again type macvlan");
}

#[test]
fn a_state_that_cannot_be_written_makes_no_link_and_disturbs_none() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = machine();
    let before = shown(&mut sandbox);
    sandbox.end_daemon("TERM");
    // The keeper of this directory would hold the TAPs for the next daemon here.
    sandbox.script(
        "pkill um-keeper
         mkdir /run/small
         mount -t tmpfs -o size=256k none /run/small
         cp -a /run/umacvlan/state/. /run/small/",
    );
    sandbox.daemon("--state /run/small");
    assert_eq!(shown(&mut sandbox), before);
    sandbox.ok("dd if=/dev/zero of=/run/small/ballast bs=1k count=1000 2>/dev/null; true");
    let refused = sandbox.run("umacvlan link add link p0 more type macvlan");
    assert_ne!(refused.status, 0);
    assert!(refused.stderr.contains("No space left on device"), "{refused:?}");
    assert!(!sandbox.ok("ip link show").contains("more"), "a link without state was left");
    assert_eq!(shown(&mut sandbox), before);
    sandbox.ok(PING);
    sandbox.script("rm /run/small/ballast\numacvlan link add link p0 more type macvlan");
    sandbox.end_daemon("KILL");
    sandbox.daemon("--state /run/small");
    assert_eq!(shown(&mut sandbox).len(), 3);
}
