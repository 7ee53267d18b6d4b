//! A state directory that is full, read-only or gone: what cannot be written down does not happen.

use serde_json::Value;
use umacvlan_testkit::{Sandbox, root_or_skip};

use crate::{machine, shown};

/// Changes that need room for the state.
const CHANGES: [&str; 12] = [
    "umacvlan -n net1 link set mac1 type macvlan mode private",
    "umacvlan -n net1 link set mac1 type macvlan mode source macaddr add 02:00:00:00:00:99",
    "umacvlan -n net1 link set mac1 type macvlan bcqueuelen 77",
    "umacvlan -n net1 link set mac1 type macvlan bclim 7",
    "umacvlan -n net1 link set mac1 address 02:00:00:00:00:77",
    "umacvlan -n net1 link set mac1 name other",
    "umacvlan -n net1 link set mac1 netns net2",
    "umacvlan link add link p0 name more type macvlan",
    "umacvlan link add link p0 name more type macvlan mode bridge bclim 7",
    "umacvlan link add link q0 name more type macvlan",
    "umacvlan config reload",
    "umacvlan config save --force",
];

/// Changes that remove something of the state, for which there is room on a full disk.
const REMOVALS: [&str; 1] = ["umacvlan -n net1 link del mac1"];

/// Changes of what the interface keeps by itself.
const UNRECORDED: &str = "umacvlan -n net1 link set mac1 down mtu 1400
                          umacvlan -n net1 link set mac1 up mtu 1500";

/// What a user sees of links and parents.
fn everything(sandbox: &mut Sandbox) -> (Vec<Value>, String) {
    let parents = sandbox.ok("umacvlan -j -d parent show");
    let parents: Vec<Value> = serde_json::from_str(&parents).unwrap();
    let lasting = ["name", "address", "mtu", "configured", "links", "bclim", "usedbcqueuelen"];
    let parent = |parent: &Value| lasting.map(|key| format!("{key} {}", parent[key])).join(" ");
    (shown(sandbox), parents.iter().map(parent).collect::<Vec<_>>().join("; "))
}

/// A machine whose daemon has its state in `/run/small/state`, and a configuration with one more
/// parent that is not loaded yet.
fn small() -> Sandbox {
    let mut sandbox = machine();
    // The limit is the parent's, whose state is not to be lost by a restart either.
    sandbox.ok("umacvlan -n net1 link set mac1 type macvlan bclim 3");
    sandbox.end_daemon("TERM");
    sandbox.script(
        "pkill um-keeper
         mkdir /run/small
         mount -t tmpfs -o size=256k none /run/small
         mkdir -m 700 /run/small/state
         cp -a /run/umacvlan/state/. /run/small/state/
         touch /run/umacvlan.toml",
    );
    start(&mut sandbox);
    sandbox
}

fn start(sandbox: &mut Sandbox) {
    sandbox.daemon("--state /run/small/state --config /run/umacvlan.toml");
}

fn refused(fault: &str, lift: &str, changes: &[&str], words: &str) {
    let mut sandbox = small();
    let before = everything(&mut sandbox);
    sandbox.ok("echo '[parent.q0]' >/run/umacvlan.toml");
    sandbox.ok(fault);
    for change in changes {
        let ran = sandbox.run(change);
        assert_ne!(ran.status, 0, "{fault}: {change} is done");
        assert!(ran.stderr.contains(words), "{change}: {ran:?}");
        assert_eq!(everything(&mut sandbox), before, "{fault}: {change}");
        let left =
            sandbox.ok("ip link show; ip -n net1 link show; ls /run/small/* | grep new; true");
        assert!(!left.contains("more") && !left.contains(".new"), "{change}: {left}");
        assert_eq!(sandbox.ok("cat /run/umacvlan.toml"), "[parent.q0]\n", "{change}");
    }
    sandbox.script(UNRECORDED);
    sandbox.ok("ip netns exec net1 ping -q -c 2 -i 0.2 -W 5 10.0.0.12");
    sandbox.ok(": >/run/umacvlan.toml");
    sandbox.end_daemon("KILL");
    sandbox.ok(lift);
    start(&mut sandbox);
    assert_eq!(everything(&mut sandbox), before, "after a restart: {fault}");
    sandbox.ok(FREE);
    for change in [CHANGES[0], "umacvlan -n net2 link del mac2"] {
        sandbox.ok(change);
    }
    sandbox.end_daemon("KILL");
    start(&mut sandbox);
    let after = shown(&mut sandbox);
    assert_eq!(after.len(), 1);
    assert_eq!(after[0]["linkinfo"]["info_data"]["mode"], "private");
}

/// Makes every state directory writable again.
const FREE: &str = "rm -f /run/small/ballast; mount -o remount,rw /run/small; \
                    ! test -d /run/small/away || mv /run/small/away /run/small/state";

#[test]
fn on_a_full_disk_nothing_changes_that_needs_room() {
    if !root_or_skip() {
        return;
    }
    let fill = "cat /dev/zero >/run/small/ballast 2>/dev/null; \
                ! echo more >>/run/small/ballast 2>/dev/null";
    refused(fill, "true", &CHANGES, "No space left on device");
}

#[test]
fn on_a_read_only_file_system_nothing_changes() {
    if !root_or_skip() {
        return;
    }
    let changes = [&CHANGES[..], &REMOVALS].concat();
    refused("mount -o remount,ro /run/small", "true", &changes, "Read-only file system");
}

#[test]
fn without_a_state_directory_nothing_changes() {
    if !root_or_skip() {
        return;
    }
    let changes = [&CHANGES[..], &REMOVALS].concat();
    refused("mv /run/small/state /run/small/away", FREE, &changes, "No such file or directory");
}

#[test]
fn what_a_user_changes_meanwhile_is_written_when_there_is_room_again() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = small();
    sandbox.ok("cat /dev/zero >/run/small/ballast 2>/dev/null; true");
    sandbox.ok("ip -n net1 link set mac1 address 02:00:00:00:00:55");
    let log =
        "for i in $(seq 600); do grep -q 'WORDS' /run/log && exit 0; sleep 0.05; done; exit 1";
    let wait = |sandbox: &mut Sandbox, words: &str| {
        sandbox.ok(&format!("({})", log.replace("WORDS", words)));
    };
    wait(&mut sandbox, "number 1 cannot be written");
    sandbox.ok("rm /run/small/ballast");
    wait(&mut sandbox, "state of link number 1 is written");
    let record = sandbox.ok("cat /run/small/state/link-1.json");
    assert!(record.contains("02:00:00:00:00:55"), "{record}");
    assert_eq!(sandbox.ok("grep -c 'number 1 cannot be written' /run/log"), "1\n");
}
