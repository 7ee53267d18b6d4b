//! `umacvlan bench path`: measures everybody in a network of its own, and says what it found.

use std::process::{Command, Stdio};

use serde_json::Value;
use umacvlan_engine::privilege::root_or_skip;

use crate::world::UMACVLAN;

#[test]
fn one_point_is_measured_of_everybody_who_can_be() {
    if !root_or_skip("one_point_is_measured_of_everybody_who_can_be") {
        return;
    }
    let words = "bench path --quick --path wire-to-sub --size 256 --measure mrr --time 0.03 \
                 --trials 2 --seed 1 -j";
    let output =
        Command::new(UMACVLAN).args(words.split_whitespace()).stdin(Stdio::null()).output();
    let output = output.unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
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
    // A kernel without macvlan is said to be one.
    assert_eq!(of("kernel").is_some(), ours["ratio"]["to"] == "kernel", "{report}");
    let offloads = &report["environment"]["offloads"];
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
fn what_does_not_exist_is_refused_and_not_measured() {
    for words in ["--path sub-to-sub --mode vepa", "--size 63", "--time 0", "--peer nobody"] {
        let mut command = Command::new(UMACVLAN);
        command.args(["bench", "path"]).args(words.split_whitespace()).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{words}");
    }
}
