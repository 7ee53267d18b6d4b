//! A thousand links in one batch.

use std::io::{self, Write};
use std::time::Instant;

use umacvlan_testkit::root_or_skip;

use crate::machine;

const COUNT: usize = 1000;

#[test]
fn a_thousand_links_are_made_and_removed_in_one_batch_each() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = machine();
    let lines = |line: &dyn Fn(usize) -> String| (0..COUNT).map(line).collect::<String>();
    sandbox.file(
        "run/add",
        &lines(&|n| format!("link add link p0 sub{n} up type macvlan mode bridge\n")),
    );
    sandbox.file("run/del", &lines(&|n| format!("link del sub{n}\n")));
    let memory = |sandbox: &mut crate::Sandbox| {
        let text = sandbox.ok("cat /proc/$(cat /run/pid)/status");
        let line = text.lines().find(|line| line.starts_with("VmRSS")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
    };

    let before = memory(&mut sandbox);
    let begun = Instant::now();
    sandbox.ok("umacvlan -batch /run/add");
    let made = begun.elapsed();
    assert_eq!(sandbox.ok("umacvlan -br link show | wc -l").trim(), (COUNT + 2).to_string());
    let after = memory(&mut sandbox);
    let begun = Instant::now();
    sandbox.ok("umacvlan -batch /run/del");
    let removed = begun.elapsed();
    assert_eq!(sandbox.ok("umacvlan -br link show | wc -l").trim(), "2");
    sandbox.ok("ip netns exec net1 ping -q -c 3 -i 0.2 -W 2 10.0.0.12");
    // Not eprintln: the test harness captures its output.
    let _ = writeln!(
        io::stderr(),
        "{COUNT} links: made in {made:.1?}, removed in {removed:.1?}, {} KB of the daemon's memory each",
        after.saturating_sub(before) / COUNT
    );
}
