//! Conservation: each frame that a parent or a link received is counted once more by its fate.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use umacvlan_testkit::LIMIT;

use crate::world::World;

impl World {
    /// Returns when the counters of parent and links add up. Two requests are needed to read them,
    /// so frames in between are one reason to read again; floods that wait are another.
    pub(crate) fn check_counters(&mut self) {
        let end = Instant::now() + LIMIT;
        loop {
            let parents = self.ok("umacvlan -j parent show");
            let links = self.ok("umacvlan -j -d -s link show");
            let parents: Vec<Value> = serde_json::from_str(&parents).unwrap();
            let links: Vec<Value> = serde_json::from_str(&links).unwrap();
            match imbalance(&parents[0], &links) {
                None => return,
                Some(why) => assert!(Instant::now() < end, "{why}\n{}", self.report()),
            }
            sleep(Duration::from_millis(20));
        }
    }
}

/// Says which sum of the counters differs.
fn imbalance(parent: &Value, links: &[Value]) -> Option<String> {
    let wire = &parent["wire"];
    let all: Vec<&Value> = links
        .iter()
        .map(|link| &link["umacvlan"]["counters"])
        .chain([&parent["removed"]])
        .collect();
    let sum = |of: fn(&Value) -> u64| all.iter().map(|counters| of(counters)).sum::<u64>();
    let to_links = wire["delivered"].as_u64()?
        + sum(|c| number(&c["local"]))
        + number(&wire["copies"])
        + number(&wire["replicas"]);
    let sums = [
        (
            "received from the wire",
            number(&wire["received"]["frames"]),
            number(&wire["delivered"])
                + number(&wire["flooded"])
                + number(&wire["host"])
                + total(&wire["dropped"]),
        ),
        (
            "offered to the wire",
            number(&wire["offered"]),
            number(&wire["sent"]["frames"]) + total(&wire["unsent"]),
        ),
        (
            "passed to the wire",
            number(&wire["offered"]),
            sum(|c| number(&c["wire"]) + number(&c["flooded"])),
        ),
        (
            "received from links",
            sum(|c| number(&c["received"]["frames"])),
            sum(|c| {
                number(&c["local"])
                    + number(&c["flooded"])
                    + number(&c["wire"])
                    + total(&c["dropped"])
            }),
        ),
        (
            "offered to links",
            sum(|c| number(&c["offered"])),
            sum(|c| number(&c["delivered"]["frames"]) + total(&c["lost"])),
        ),
        ("passed to links", sum(|c| number(&c["offered"])), to_links),
    ];
    let wrong = sums.into_iter().find(|(_, left, right)| left != right);
    wrong.map(|(what, left, right)| format!("{what}: {left} is not {right}: {parent:#}"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no counter"))
}

/// The sum of all reasons.
fn total(reasons: &Value) -> u64 {
    reasons.as_object().map_or(0, |reasons| reasons.values().map(number).sum())
}
