//! `umacvlan lab`: it reports its findings in words and by its exit status, needs no root where
//! user namespaces are allowed, and leaves nothing behind in any case.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use umacvlan_testkit::{root_or_skip, skip};

use crate::world::UMACVLAN;

fn lab(words: &[&str]) -> Command {
    let mut command = Command::new(UMACVLAN);
    command.arg("lab").args(words).stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn one_mode_is_shown_beside_the_kernel_and_as_promised() {
    if !root_or_skip() {
        return;
    }
    let output = lab(&["--quick", "--mode", "private", "--hairpin", "on"]).output().unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("private, hairpin on"), "{text}");
    assert!(text.contains("all as docs/semantics.md promises"), "{text}");
    assert!(text.contains("Gbit/s"), "{text}");
    assert!(!text.contains('\x1b'), "colours belong on a terminal only: {text}");
}

#[test]
fn the_kernels_semantics_are_those_of_the_engine_too() {
    if !root_or_skip() {
        return;
    }
    let words = ["--no-cost", "--mode", "private", "--hairpin", "on", "--semantics", "kernel"];
    let output = lab(&words).output().unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("all as docs/semantics.md promises"), "{text}");
}

#[test]
fn by_the_rules_of_linux_7_3_a_hairpin_brings_bridge_a_second_copy() {
    if !root_or_skip() {
        return;
    }
    let words = ["--no-cost", "--mode", "bridge", "--hairpin", "on", "--semantics", "kernel-7.3"];
    let output = lab(&[&words[..], &["-j"]].concat()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cells = report["reach"].as_array().unwrap();
    let twice = cells.iter().filter(|cell| cell["ours"] == 2 && cell["expected_copies"] == 2);
    assert_eq!(twice.count(), 12, "each of four to three siblings: {report}");
}

#[cfg(feature = "af-xdp")]
#[test]
fn every_mode_is_as_promised_with_veth_pairs() {
    if !root_or_skip() {
        return;
    }
    let words = ["--port", "veth", "--no-cost", "--no-kernel", "--hairpin", "on"];
    let output = lab(&words).output().unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("all as docs/semantics.md promises"), "{text}");
}

#[test]
fn json_holds_every_cell_of_both() {
    if !root_or_skip() {
        return;
    }
    let output = lab(&["--quick", "--mode", "bridge", "--hairpin", "off", "-j"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let costs = report["cost"].as_array().unwrap();
    assert!(costs.iter().any(|row| row["measure"] == "frames"), "{report}");
    for row in costs {
        let by: BTreeSet<_> = row["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|column| &column["by"])
            .map(Value::to_string)
            .collect();
        assert!(by.contains("\"kernel\"") && by.len() >= 2, "{row}");
    }
}

#[test]
fn reachability_is_the_same_with_two_workers() {
    if !root_or_skip() {
        return;
    }
    for mode in ["bridge", "source"] {
        let words = ["--quick", "--mode", mode, "--no-kernel", "--workers", "2"];
        let output = lab(&words).output().unwrap();
        let text = text(&output);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{error}");
        assert!(text.contains("2 workers") && text.contains("as docs/semantics.md"), "{text}");
    }
}

/// In every mode, with the program in the driver and in the stack.
#[test]
fn reachability_is_the_same_with_af_xdp() {
    if !root_or_skip() {
        return;
    }
    if cfg!(not(feature = "af-xdp")) {
        return skip("built without the feature af-xdp");
    }
    for backend in ["af-xdp-native", "af-xdp-generic"] {
        let words = ["--no-cost", "--no-kernel", "--backend", backend];
        let output = lab(&words).output().unwrap();
        let text = text(&output);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{error}");
        assert!(text.contains(&format!("the backend {backend}.")), "{text}");
        assert!(text.contains("all as docs/semantics.md promises"), "{text}");
    }
}

#[test]
fn it_needs_no_kernel_macvlan_and_says_that_it_is_absent() {
    if !root_or_skip() {
        return;
    }
    let output =
        lab(&["--quick", "--mode", "vepa", "--hairpin", "off", "--no-kernel"]).output().unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("--no-kernel"), "{text}");
}

#[test]
fn an_unprivileged_user_enters_a_user_namespace() {
    if !root_or_skip() {
        return;
    }
    if !std::fs::read_to_string("/proc/sys/user/max_user_namespaces")
        .is_ok_and(|most| most.trim() != "0")
    {
        return skip("this machine allows no user namespaces");
    }
    // Runs in a mount namespace of its own, because other users may be unable to reach the binary,
    // and because a bare machine may have a /dev/net/tun for root only.
    let script = "mount -t tmpfs -o mode=755 tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200 \
        && cp \"$0\" /dev/net/umacvlan && cd / && exec setpriv --reuid 65534 --regid 65534 \
        --clear-groups /dev/net/umacvlan lab --quick --mode bridge --hairpin off";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, UMACVLAN]).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("all as docs/semantics.md promises"), "{text}");
}

#[test]
fn killed_in_the_middle_it_leaves_no_namespace_and_no_process() {
    if !root_or_skip() {
        return;
    }
    let mut child = lab(&["--quick"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The first table is printed while the next mode is being set up.
    let shown =
        lines.by_ref().map(Result::unwrap).find(|line| line.starts_with("bridge, hairpin on"));
    assert!(shown.is_some());
    let pid = child.id();
    let spaces = namespaces_of(pid);
    assert!(spaces.len() > 4, "the lab has namespaces of its own: {spaces:?}");
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    // The lab is one process with descriptors, so when it is gone, no other process holds any.
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    let left: Vec<_> = all_namespaces().intersection(&spaces).cloned().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The network namespaces that a process holds by descriptors, without the one of this test.
fn namespaces_of(pid: u32) -> BTreeSet<String> {
    let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets
        .filter(|target| *target != ours)
        .map(|target| target.to_string_lossy().into_owned())
        .filter(|target| target.starts_with("net:["))
        .collect()
}

/// Every network namespace that a process holds by a descriptor.
fn all_namespaces() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.flat_map(namespaces_of).collect()
}
