//! A tenant who breaks a rule again and again: the log stays readable, and others are served.

use umacvlan_testkit::root_or_skip;

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
    let lines = |sandbox: &mut umacvlan_testkit::Sandbox| {
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
