//! Bad input: one line names the action, the object, the reason and the remedy, and nothing is left
//! behind.

use std::process::Command;

use umacvlan_netlink::BridgeOptions;
use umacvlan_testkit::root_or_skip;

use crate::world::{UMACVLAN, World, run};

/// Runs a command that must fail, and returns its one-line error message.
fn refusal(world: &mut World, command: &mut Command) -> String {
    let before = world.interfaces();
    let output = world.output(command);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(output.stdout.is_empty(), "{:?}", output.stdout);
    assert_eq!(world.interfaces(), before, "left behind after: {errors}");
    let line = errors.strip_prefix("umacvlan: ").expect(&errors);
    let line = line.strip_suffix('\n').expect(&errors);
    assert!(!line.contains('\n'), "{errors}");
    line.to_owned()
}

/// The error message for these arguments, which must contain all of `parts`.
fn refused(words: &[&str], parts: &[&str]) {
    if !root_or_skip() {
        return;
    }
    let line = refusal(&mut World::new(), &mut run(words));
    told(&line, parts);
}

fn told(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "no {part:?} in: {line}");
    }
}

/// `umacvlan run`, started by a shell that first runs `before`.
fn after(shell: &str, words: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = format!("{shell} \"$0\" run --parent p0 \"$@\"");
    command.args(["-c", &script, UMACVLAN]).args(words);
    command
}

#[test]
fn an_absent_parent_is_named() {
    if !root_or_skip() {
        return;
    }
    let mut command = Command::new(UMACVLAN);
    command.args(["run", "--parent", "eth7", "--sub", "m1"]);
    let line = refusal(&mut World::new(), &mut command);
    told(&line, &["parent eth7 does not exist", "ip link"]);
}

#[test]
fn loopback_is_no_parent() {
    if !root_or_skip() {
        return;
    }
    let mut command = Command::new(UMACVLAN);
    command.args(["run", "--parent", "lo", "--sub", "m1"]);
    let line = refusal(&mut World::new(), &mut command);
    told(&line, &["parent lo is a loopback", "need an Ethernet interface"]);
}

#[test]
fn the_port_of_a_bridge_is_no_parent() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new();
    world.rtnl.add_bridge("sw", &BridgeOptions::default()).unwrap();
    let (port, bridge) = (world.link("p0").index, world.link("sw").index);
    world.rtnl.set_master(port, Some(bridge)).unwrap();
    let line = refusal(&mut world, &mut run(&["--sub", "m1"]));
    told(&line, &["parent p0 is a port of sw", "take it out of sw"]);
}

#[test]
fn a_name_in_use_is_refused_and_its_owner_stays() {
    refused(&["--sub", "m1", "--sub", "q0"], &["q0", "in use", "choose another"]);
}

#[test]
fn a_name_is_given_to_one_sub_only() {
    refused(&["--sub", "m1", "--sub", "m1,mode=bridge"], &["--sub m1 is given twice"]);
}

#[test]
fn a_name_that_is_too_long_is_refused() {
    refused(
        &["--sub", "m1", "--sub", "sixteen-letters-"],
        &["\"sixteen-letters-\"", "1 to 15 characters"],
    );
}

#[test]
fn an_invalid_mac_is_refused_with_an_example() {
    refused(
        &["--sub", "m1,address=02:00:00"],
        &["--sub m1: address: \"02:00:00\" is not a MAC", "as in 02:"],
    );
}

#[test]
fn a_group_is_no_address() {
    refused(
        &["--sub", "m1", "--sub", "m2,address=01:00:5e:00:00:01"],
        &["m2: 01:00:5e:00:00:01", "first byte is even"],
    );
}

#[test]
fn the_second_passthru_is_refused_and_the_first_undone() {
    refused(
        &["--sub", "m1,mode=passthru", "--sub", "m2,mode=passthru"],
        &["m2: this parent has a passthru sub-interface"],
    );
}

#[test]
fn an_absent_namespace_is_named_with_the_file_that_was_tried() {
    refused(
        &["--sub", "m1,netns=umv-absent"],
        &["--sub m1: netns", "/run/netns/umv-absent", "ip netns list"],
    );
}

#[test]
fn an_absent_cpu_is_refused_with_those_there_are() {
    refused(&["--sub", "m1", "--cpu", "4711"], &["--cpu 4711", "choose one of 0"]);
}

#[test]
fn a_source_list_outside_source_mode_is_refused() {
    refused(
        &["--sub", "m1,mode=bridge,macaddr=02:00:00:00:00:01"],
        &["m1: only a source sub-interface has a source list"],
    );
}

#[test]
fn without_capabilities_they_are_named() {
    if !root_or_skip() {
        return;
    }
    let drop = "exec setpriv --bounding-set -all --inh-caps -all";
    let line = refusal(&mut World::new(), &mut after(drop, &["--sub", "m1"]));
    told(&line, &["not permitted", "CAP_NET_ADMIN", "run as root"]);
}

#[test]
fn without_dev_net_tun_it_says_how_to_get_it() {
    if !root_or_skip() {
        return;
    }
    // A mount namespace of its own, with nothing in /dev/net.
    let hide = "unshare --mount sh -c 'mount -t tmpfs none /dev/net && exec \"$0\" \"$@\"'";
    let line = refusal(&mut World::new(), &mut after(hide, &["--sub", "m1"]));
    told(&line, &["TAP m1", "/dev/net/tun is not there", "modprobe tun"]);
}

#[test]
fn a_lack_of_descriptors_is_reported_at_any_point() {
    if !root_or_skip() {
        return;
    }
    let names: Vec<String> = (0..30).map(|number| format!("m{number}")).collect();
    let words: Vec<&str> = names.iter().flat_map(|name| ["--sub", name]).collect();
    let mut world = World::new();
    // From too few descriptors to start with to too few for the last sub-interface.
    for limit in 6..32 {
        let few = format!("ulimit -n {limit}; exec");
        let line = refusal(&mut world, &mut after(&few, &words));
        told(&line, &["Too many open files", "ulimit -n"]);
    }
}

#[test]
fn usage_errors_have_a_status_of_their_own() {
    for words in [
        &["run", "--sub", "m1"][..],
        &["run", "--parent", "p0"],
        &["run", "--parent", "p0", "--sub", "m1", "--poll", "never"],
        &["run", "--parent", "p0", "--sub", "m1", "--stats", "0"],
    ] {
        let output = Command::new(UMACVLAN).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
    }
}
