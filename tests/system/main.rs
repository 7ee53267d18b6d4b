//! `umacvlan` as a whole on a machine of its own: macvlan tutorials, and faults around a daemon.
//! After each fault `umacvlan link show` shows the desired state, and links that the fault does not
//! concern are unaffected.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod configured;
mod crowd;
mod killed;
mod lost;
mod noisy;
mod renamed;
mod scarce;
mod stream;
mod tutorial;
mod unwritable;
mod versions;
mod vlans;

use umacvlan_testkit::Sandbox;

/// A machine with the parent `p0`, and `mac1` and `mac2`, bridge links in `net1` and `net2` with
/// 10.0.0.11 and 10.0.0.12.
fn machine() -> Sandbox {
    let mut sandbox = Sandbox::new(env!("CARGO_BIN_EXE_umacvlan"));
    sandbox.script("ip link add p0 up type veth peer name q0\nip link set q0 up");
    sandbox.daemon("");
    for number in [1, 2] {
        let lines = "ip netns add netN
             umacvlan link add link p0 macN netns netN address 02:00:00:00:00:0N type macvlan mode bridge
             ip -n netN addr add 10.0.0.1N/24 dev macN
             ip -n netN link set macN up
             ip -n netN neigh add 10.0.0.12 lladdr 02:00:00:00:00:02 dev macN
             ip -n netN neigh replace 10.0.0.11 lladdr 02:00:00:00:00:01 dev macN";
        sandbox.script(&lines.replace('N', &number.to_string()));
    }
    sandbox
}

/// The lasting part of the output of `link show` for all links.
fn shown(sandbox: &mut Sandbox) -> Vec<serde_json::Value> {
    let text = sandbox.ok("umacvlan -j -d link show");
    let mut links: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    for link in &mut links {
        // Measured, not configured.
        link["umacvlan"] = serde_json::json!({
            "id": link["umacvlan"]["id"], "netns": link["umacvlan"]["netns"],
        });
    }
    links
}
