//! `umacvlan doctor`: its report on a small known network, which it does not change.

use std::process::{Command, Output};

use serde_json::Value;
use umacvlan_netlink::BridgeOptions;
use umacvlan_testkit::root_or_skip;

use crate::world::{UMACVLAN, World};

/// A socket without a listener.
const NOBODY: [&str; 2] = ["--socket", "/nonexistent/umacvlan.sock"];

fn doctor(words: &[&str]) -> Command {
    let mut command = Command::new(UMACVLAN);
    command.args(NOBODY).arg("doctor").args(words);
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {}", text(output)))
}

/// The check of that name.
fn check<'a>(checks: &'a Value, name: &str) -> &'a Value {
    let mut found = checks.as_array().unwrap().iter().filter(|check| check["name"] == name);
    found.next().unwrap_or_else(|| panic!("no {name} in {checks}"))
}

fn interface<'a>(report: &'a Value, name: &str) -> &'a Value {
    check(&report["interfaces"], name)
}

/// A veth that can be a parent, one in a bridge, the bridge, and loopback.
fn world() -> World {
    let mut world = World::new();
    world.rtnl.add_veth("port", "far", None).unwrap();
    world.rtnl.add_bridge("sw", &BridgeOptions::default()).unwrap();
    let (port, bridge) = (world.link("port").index, world.link("sw").index);
    world.rtnl.set_master(port, Some(bridge)).unwrap();
    world
}

#[test]
fn each_interface_is_judged_and_none_is_changed() {
    if !root_or_skip() {
        return;
    }
    let mut world = world();
    let before = world.interfaces();
    let output = world.output(&mut doctor(&["-j"]));
    assert_eq!(world.interfaces(), before);
    assert!(output.status.success(), "{}", text(&output));
    let report = json(&output);
    assert_eq!(report["usable"], true);
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    for name in ["kernel", "capabilities", "tap", "tap-offloads", "af-packet", "af-xdp"] {
        assert_eq!(check(&report["machine"], name)["state"], "ok", "{report}");
    }
    let filter = if cfg!(feature = "af-xdp") { "ok" } else { "warn" };
    assert_eq!(check(&report["machine"], "host-filter")["state"], filter, "{report}");
    let veth = if cfg!(feature = "af-xdp") { "ok" } else { "info" };
    assert_eq!(check(&report["machine"], "port-veth")["state"], veth, "{report}");
    let parent = interface(&report, "p0");
    assert_eq!(parent["suitable"], true);
    assert_eq!(parent["driver"], "veth");
    assert_eq!(parent["backend"]["name"], "af-packet");
    assert_eq!(interface(&report, "sw")["suitable"], true);
    for name in ["port", "lo"] {
        let other = interface(&report, name);
        assert_eq!(other["suitable"], false);
        assert_eq!(check(&other["checks"], "parent")["state"], "info", "{other}");
        assert!(other["backend"].is_null());
    }
    assert_eq!(check(&report["daemon"], "daemon")["state"], "info", "{report}");
}

#[test]
fn a_requested_interface_that_cannot_be_a_parent_fails() {
    if !root_or_skip() {
        return;
    }
    let world = world();
    for (name, words) in [
        ("lo", "loopback"),
        ("port", "-> use sw; or ip link set dev port nomaster"),
        ("eth7", "does not exist"),
    ] {
        let output = world.output(&mut doctor(&["p0", name]));
        assert_eq!(output.status.code(), Some(1), "{name}: {}", text(&output));
        assert!(text(&output).contains(words), "{name}: {}", text(&output));
    }
    let output = world.output(&mut doctor(&["p0"]));
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("sw") && !text.contains('\x1b'), "{text}");
}

#[test]
fn a_parent_that_is_down_comes_with_the_command_that_sets_it_up() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new();
    let index = world.link("p0").index;
    world.rtnl.set_up(index, false).unwrap();
    let text = text(&world.output(&mut doctor(&["p0"])));
    assert!(text.contains("it is down\n"), "{text}");
    assert!(text.contains("-> ip link set dev p0 up"), "{text}");
}

#[test]
fn a_namespace_without_a_parent_fails() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new();
    let index = world.link("p0").index;
    world.rtnl.delete(index).unwrap();
    let output = world.output(&mut doctor(&[]));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("no interface of this network namespace"));
}

#[test]
fn a_user_without_rights_is_told_which_are_missing() {
    if !root_or_skip() {
        return;
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.args([UMACVLAN]).args(NOBODY).args(["doctor", "-j"]);
    let output = World::new().output(&mut command);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let report = json(&output);
    let capabilities = check(&report["machine"], "capabilities");
    assert_eq!(capabilities["state"], "fail");
    let found = capabilities["found"].as_str().unwrap();
    assert!(found.contains("CAP_NET_ADMIN, CAP_NET_RAW, CAP_NET_BROADCAST"), "{found}");
    assert!(capabilities["mend"].as_str().unwrap().contains("as root"));
    assert_eq!(interface(&report, "p0")["suitable"], true);
}

#[test]
fn it_needs_no_environment() {
    if !root_or_skip() {
        return;
    }
    let world = World::new();
    let output = world.output(doctor(&[]).env_clear());
    assert!(output.status.success(), "{}", text(&output));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn without_dev_net_tun_it_fails_and_says_how_to_get_it() {
    if !root_or_skip() {
        return;
    }
    // A mount namespace of its own, with nothing in /dev/net.
    let hide = "unshare --mount sh -c 'mount -t tmpfs none /dev/net && exec \"$0\" \"$@\"' \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", hide, "sh", UMACVLAN]).args(NOBODY).args(["doctor", "p0"]);
    let output = World::new().output(&mut command);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("modprobe tun"), "{}", text(&output));
}

#[test]
fn a_running_daemon_is_reported_with_its_links() {
    if !root_or_skip() {
        return;
    }
    let world = World::new();
    let folder = std::env::temp_dir().join(format!("umv-doctor-daemon-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("empty.toml"), "").unwrap();
    let path = |file: &str| folder.join(file).to_str().unwrap().to_owned();
    let (socket, state, config) = (path("sock"), path("state"), path("empty.toml"));
    let mut daemon = Command::new(UMACVLAN);
    daemon.args(["daemon", "--socket", &socket, "--state", &state, "--config", &config]);
    let running = world.spawn(&mut daemon);
    running.until_error("ready on");

    let mut command = Command::new(UMACVLAN);
    command.args(["doctor", "-j", "p0"]).env("UMACVLAN_SOCKET", &socket);
    let report = json(&world.output(&mut command));
    let found = check(&report["daemon"], "daemon");
    assert_eq!(found["state"], "ok", "{report}");
    assert!(found["found"].as_str().unwrap().ends_with("listens: 0 links on 0 parents"));
    let permissions = check(&report["daemon"], "socket");
    assert_eq!(permissions["state"], "ok", "{permissions}");
    running.terminate();
    let report = json(&world.output(&mut command));
    assert_eq!(check(&report["daemon"], "daemon")["state"], "info", "{report}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_vlan_is_judged_by_its_interface_and_needs_none_of_its_own() {
    if !root_or_skip() {
        return;
    }
    let world = world();
    let output = world.output(&mut doctor(&["-j", "p0.10"]));
    assert!(output.status.success(), "{}", text(&output));
    let report = json(&output);
    let vlan = interface(&report, "p0.10");
    assert_eq!(vlan["suitable"], true);
    let found = check(&vlan["checks"], "vlan")["found"].as_str().unwrap();
    assert_eq!(found, "VLAN 10 of p0: in user space, no 8021q is needed");
    for name in ["p0.4095", "none.10"] {
        assert!(!world.output(&mut doctor(&[name])).status.success(), "{name}");
    }
}
