//! `umacvlan bench path`: measures every data path in a network of its own and reports the results.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use umacvlan_testkit::{LIMIT, root_or_skip, skip};

use crate::world::UMACVLAN;

/// True if Open vSwitch can be measured; otherwise says that the test is skipped.
fn ovs_or_skip() -> bool {
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("ovs-vswitchd");
    command.arg("--version").env("PATH", path).stdout(Stdio::null());
    let found = command.status().is_ok();
    if !found {
        skip("Open vSwitch is not installed");
    }
    found && root_or_skip()
}

/// The running children of a process, with their names.
fn children(process: u32) -> Vec<(u32, String)> {
    let child = |entry: fs::DirEntry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let (name, parent) = alive(id)?;
        (parent == process).then_some((id, name))
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(child).collect()
}

/// The name and the parent of a running process.
fn alive(process: u32) -> Option<(String, u32)> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        value.map(|value| value.trim().to_owned())
    };
    let ended = field("State:")?.starts_with(['X', 'Z']);
    (!ended).then_some((field("Name:")?, field("PPid:")?.parse().ok()?))
}

/// Polls until `done` is true: no event tells when other processes start and end.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < end, "not in time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn one_point_of_every_available_data_path_is_measured() {
    if !root_or_skip() {
        return;
    }
    let report = measure("--path wire-to-sub --size 256 --measure mrr --trials 2");
    let points = report["points"].as_array().unwrap();
    let of = |peer: &str| points.iter().find(|point| point["key"]["peer"] == peer);
    for point in points {
        let key = &point["key"];
        assert_eq!((&key["path"], &key["traffic"]), (&"wire-to-sub".into(), &"unicast".into()));
        assert_eq!((&key["size"], &key["measure"]), (&256.into(), &"mrr".into()));
        assert_eq!(point["samples"].as_array().unwrap().len(), 2, "{point}");
        assert!(point["summary"]["median"].as_f64().unwrap() > 0.0, "{point}");
        assert_eq!(point["extra"]["duplicated"], 0.0, "{point}");
    }
    let ours = of("umacvlan").unwrap();
    assert!(ours["extra"]["engine_ns"].as_f64().unwrap() > 0.0, "{ours}");
    assert!(ours["extra"]["engine_syscalls"].as_f64().unwrap() > 0.0, "{ours}");
    // Either there are processor counters, or a note says why not.
    let notes = report["environment"]["notes"].to_string();
    assert_eq!(ours["extra"]["engine_cycles"].is_null(), notes.contains("cycles and"), "{report}");
    // A note says that the kernel has no macvlan.
    assert_eq!(of("kernel").is_some(), ours["ratio"]["to"] == "kernel", "{report}");
    // A note says that the machine has no Open vSwitch.
    let environment = &report["environment"];
    let notes = environment["notes"].to_string();
    assert_eq!(of("ovs").is_none(), notes.contains("ovs is left out"), "{notes}");
    let findings = environment["stability"]["findings"].as_array().unwrap();
    for name in ["timer-jitter", "other-load", "loss-at-low-load", "generator-distance"] {
        assert!(findings.iter().any(|finding| finding["name"] == name), "{name}: {findings:?}");
    }
    // No clock is exact, so a generator that has sent frames is never without an error.
    let distance = findings.iter().find(|finding| finding["name"] == "generator-distance");
    assert!(distance.unwrap()["value"].as_f64() > Some(0.0), "{findings:?}");
    let offloads = &environment["offloads"];
    for (interface, words) in [
        ("parent", "veth, tso on, gso on, gro off, tx-checksum on, "),
        ("wire", "veth, tso on, "),
        ("sub of umacvlan", "tun, "),
        ("sub of bridge", "veth, "),
    ] {
        let found = offloads[interface].as_str();
        assert!(found.is_some_and(|is| is.starts_with(words)), "{interface}: {offloads}");
    }
}

#[test]
fn open_vswitch_forwards_frames_and_streams_on_every_path_that_it_has() {
    if !ovs_or_skip() {
        return;
    }
    // A stream arrives only if the checksums of its frames are right.
    let report = measure("--peer ovs --size 256 --measure mrr,tcp --trials 1");
    let points = report["points"].as_array().unwrap();
    for path in ["wire-to-sub", "sub-to-wire", "sub-to-sub"] {
        let mut here = points.iter().filter(|point| point["key"]["path"] == path);
        assert!(here.all(|point| point["summary"]["median"].as_f64() > Some(0.0)), "{report}");
        for measure in ["mrr", "throughput", "cpu"] {
            let is_it = |p: &&Value| p["key"]["path"] == path && p["key"]["measure"] == measure;
            assert_eq!(points.iter().filter(is_it).count(), 1, "{path} {measure}: {report}");
        }
    }
    let environment = &report["environment"];
    assert!(environment["notes"].to_string().contains("Open vSwitch "), "{environment}");
    let sub = environment["offloads"]["sub of ovs"].as_str().unwrap();
    assert!(sub.starts_with("veth, tso off, ") && sub.contains("tx-checksum off"), "{sub}");
}

#[test]
fn open_vswitch_runs_privately_and_ends_with_a_killed_bench() {
    if !ovs_or_skip() {
        return;
    }
    let words = "bench path --peer ovs --path sub-to-sub --measure mrr --time 60";
    let mut command = Command::new(UMACVLAN);
    command.args(words.split_whitespace());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut bench = command.spawn().unwrap();
    let mut programs = Vec::new();
    wait_until("database and switch are there", || {
        programs = children(bench.id());
        ["ovsdb-server", "ovs-vswitchd"]
            .iter()
            .all(|wanted| programs.iter().any(|(_, name)| name == wanted))
    });
    assert!(!Path::new("/tmp/conf.db").exists() && !Path::new("/tmp/db.sock").exists());
    bench.kill().unwrap();
    bench.wait().unwrap();
    wait_until("they have ended", || programs.iter().all(|(id, _)| alive(*id).is_none()));
}

#[test]
fn the_baseline_is_reported_below_ours() {
    if !root_or_skip() {
        return;
    }
    for path in ["wire-to-sub", "sub-to-wire", "sub-to-sub"] {
        let words = format!("--path {path} --size 64 --measure mrr,rtt --peer umacvlan,floor");
        let report = measure(&(words + " --trials 1"));
        let points = report["points"].as_array().unwrap();
        let of = |peer: &str, measure: &str| {
            let is = |key: &Value| key["peer"] == peer && key["measure"] == measure;
            points.iter().find(|point| is(&point["key"]))
        };
        // A machine without io_uring has no baseline, and a note says so.
        let Some(floor) = of("floor", "mrr") else {
            assert!(report["environment"]["notes"].to_string().contains("floor is left out"));
            return;
        };
        assert!(floor["extra"]["engine_ns"].as_f64().unwrap() > 0.0, "{floor}");
        assert!(of("floor", "rtt").is_some(), "{report}");
        let ours = of("umacvlan", "mrr").unwrap();
        // Zero frames have no quotient: on a busy machine the sender may sleep through so short a
        // trial.
        let both = [floor, ours].map(|point| point["summary"]["median"].as_f64().unwrap() > 0.0);
        assert!(both != [true; 2] || ours["extra"]["ratio.floor"].is_f64(), "{ours}");
    }
}

#[cfg(feature = "af-xdp")]
#[test]
fn uplinks_are_measured_alone_with_baselines_for_af_xdp() {
    if !root_or_skip() {
        return;
    }
    let peers = "--peer umacvlan,umacvlan-xdp,floor-xdp --trials 2";
    let report = measure(&format!("--path wire-to-sub --size 64 --measure uplink,mrr {peers}"));
    let points = report["points"].as_array().unwrap();
    let of = |peer: &str, measure: &str| {
        let is = |key: &Value| key["peer"] == peer && key["measure"] == measure;
        points.iter().find(|point| is(&point["key"])).unwrap()
    };
    for peer in ["umacvlan", "umacvlan-xdp", "floor-xdp"] {
        let point = of(peer, "uplink");
        assert!(point["summary"]["median"].as_f64().unwrap() > 0.0, "{point}");
        assert!(point["extra"]["engine_ns"].as_f64().unwrap() > 0.0, "{point}");
        of(peer, "mrr");
    }
    let ours = of("umacvlan-xdp", "uplink");
    let figures = ["ratio.floor.low", "ratio.floor", "ratio.floor.high"];
    let figures = figures.map(|name| ours["extra"][name].as_f64().unwrap());
    assert!(figures.is_sorted(), "{figures:?}");
    assert!(of("umacvlan", "uplink")["extra"]["ratio.floor"].is_null(), "another means");
}

#[test]
fn cost_is_measured_over_the_number_of_sub_interfaces() {
    if !root_or_skip() {
        return;
    }
    let report = measure("--growth --path wire-to-sub --measure mrr,storm --subs 1,6 --trials 2");
    let points = report["points"].as_array().unwrap();
    let figure = |words: [&str; 3], subs: u64, name: &str| {
        let [traffic, measure, peer] = words;
        let is = |key: &Value| {
            key["traffic"] == traffic
                && key["measure"] == measure
                && key["peer"] == peer
                && key["subs"] == subs
        };
        let point = points.iter().find(|point| is(&point["key"]));
        point.unwrap_or_else(|| panic!("{words:?} {subs}: {report}"))["extra"][name].as_f64()
    };
    assert_eq!(figure(["unicast", "mrr", "umacvlan"], 1, "ratio.fewest"), None);
    assert!(figure(["unicast", "mrr", "umacvlan"], 6, "ratio.fewest").unwrap() > 0.0);
    let copies = |subs| figure(["broadcast", "mrr", "umacvlan"], subs, "copies").unwrap();
    // The learning broadcasts are copies too, but at full speed most frames are lost.
    assert!(copies(1) > 0.0 && copies(1) < 1.1 && copies(6) > 0.0, "{report}");
    assert!(figure(["unicast", "latency-storm", "umacvlan"], 6, "ratio.calm").unwrap() > 0.0);
    assert!(figure(["unicast", "latency-storm", "umacvlan"], 6, "storm_copies").unwrap() > 0.0);
}

#[test]
fn streams_and_round_trips_are_measured_through_a_queue() {
    if !root_or_skip() {
        return;
    }
    let report = measure("--measure queue --trials 1");
    let points = report["points"].as_array().unwrap();
    let value = |measure: &str| {
        let is = |key: &Value| key["peer"] == "umacvlan" && key["measure"] == measure;
        let point = points.iter().find(|point| is(&point["key"]));
        point.unwrap_or_else(|| panic!("{measure}: {report}"))["summary"]["median"]
            .as_f64()
            .unwrap()
    };
    for queue in ["queue-200m", "queue-1g"] {
        for load in ["1", "8"] {
            value(&format!("{queue}-{load}-goodput"));
            value(&format!("{queue}-{load}-retransmits"));
            for trips in ["other", "wire", "same"] {
                assert!(value(&format!("{queue}-{load}-{trips}")) > 0.0, "{report}");
            }
        }
        assert!((0.0..=1.0).contains(&value(&format!("{queue}-shared-least"))), "{report}");
    }
    // What lies in the receivers' buffers when so short a trial begins is part of it.
    assert!(value("queue-200m-8-goodput") < 1e9, "the queue is missing: {report}");
    let notes = report["environment"]["notes"].to_string();
    let queue = "a queue of 200 Mbit/s is tbf on the parent with burst 32768 and limit 1250000";
    assert!(notes.contains(queue), "{notes}");
}

#[test]
fn an_idle_engine_is_measured() {
    if !root_or_skip() {
        return;
    }
    let report = measure("--measure idle-cpu --subs 5 --trials 1");
    let [point] = &report["points"].as_array().unwrap()[..] else {
        panic!("{report}");
    };
    assert_eq!((&point["key"]["peer"], &point["key"]["subs"]), (&"umacvlan".into(), &5.into()));
    assert_eq!(point["unit"], "%");
    assert!(point["summary"]["median"].as_f64().unwrap() < 100.0, "{point}");
}

/// The report of a short run.
fn measure(words: &str) -> Value {
    let mut command = Command::new(UMACVLAN);
    command.args("bench path --quick --time 0.03 --seed 1 -j".split_whitespace());
    let output = command.args(words.split_whitespace()).stdin(Stdio::null()).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn everyone_is_measured_beside_the_same_load() {
    if !root_or_skip() {
        return;
    }
    let report = measure("--load 2 --path sub-to-sub --size 64 --measure rtt --trials 1");
    let environment = &report["environment"];
    assert_eq!(environment["load"], 2);
    assert!(environment["notes"].to_string().contains("beside 2 busy threads"), "{environment}");
    assert!(!report["points"].as_array().unwrap().is_empty(), "{report}");
}

#[test]
fn what_cannot_be_measured_is_missing_and_the_rest_is_kept() {
    if !root_or_skip() {
        return;
    }
    // Too few descriptors for so many sub-interfaces.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 300; exec \"$@\"", "sh", UMACVLAN]);
    command.args("bench path --quick --time 0.03 --trials 2 --seed 1 -j".split_whitespace());
    command.args("--mode bridge --path sub-to-sub --size 64 --peer umacvlan".split_whitespace());
    command.args("--measure mrr --subs 2,600".split_whitespace());
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let points = report["points"].as_array().unwrap();
    assert!(points.iter().all(|point| point["key"]["subs"] == 2) && !points.is_empty());
    let missing = report["environment"]["missing"].as_array().unwrap();
    let named = |text: &Value| {
        text.as_str().is_some_and(|text| {
            text.contains("sub-to-sub bridge umacvlan with 600 sub-interfaces: ")
        })
    };
    assert!(missing.iter().any(named), "{missing:?}");
}

#[test]
fn unknown_names_are_refused_and_not_measured() {
    for words in [
        "--path sub-to-sub --mode vepa",
        "--size 63",
        "--time 0",
        "--peer nobody",
        "--subs 0",
        "--measure idle-cpu --peer kernel",
    ] {
        let mut command = Command::new(UMACVLAN);
        command.args(["bench", "path"]).args(words.split_whitespace()).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{words}");
    }
}
