//! `umacvlan explain`, as far as it needs no daemon. The examples of umacvlan(8) cover the queries
//! of a daemon's table.

use std::process::{Command, Output};

use serde_json::Value;

use crate::world::UMACVLAN;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/umacvlan.toml");

fn explain(words: &[&str]) -> Output {
    let mut command = Command::new(UMACVLAN);
    command.args(["explain", "--socket", "/nonexistent/socket"]).args(words);
    command.output().unwrap()
}

fn lab(test: &str) -> std::path::PathBuf {
    let name = format!("umacvlan-explain-{test}-{}.toml", std::process::id());
    let path = std::env::temp_dir().join(name);
    let link = |name: &str, n: u8| {
        format!(
            "[link.{name}]\nparent = \"eth0\"\nmode = \"bridge\"\naddress = \"02:00:00:00:00:0{n}\"\n"
        )
    };
    std::fs::write(&path, link("mac1", 1) + &link("mac2", 2)).unwrap();
    path
}

#[test]
fn the_deciding_rule_is_marked_and_nothing_else_is_asked() {
    let lab = lab("text");
    let config = lab.to_str().unwrap();
    // The frame may be one word of the shell or many.
    for words in
        [&["mac1 egress dst=02:00:00:00:00:02"][..], &["mac1", "egress", "dst=02:00:00:00:00:02"]]
    {
        let output = explain(&[words, &["--config", config]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let marked: Vec<&str> = text.lines().filter(|line| line.starts_with("> ")).collect();
        assert_eq!(marked, ["> 3.1    nothing is against it: mac2 gets it, and the wire does not"]);
        assert!(text.contains("verdict: deliver: mac2\n"), "{text}");
    }
    let _ = std::fs::remove_file(lab);
}

#[test]
fn programs_get_one_object() {
    let lab = lab("json");
    let config = lab.to_str().unwrap();
    let hex = "ff ff ff ff ff ff 02 00 00 00 00 09 08 06";
    let output = explain(&["eth0", "ingress", "--hex", hex, "--config", config, "-j"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["verdict"], "flood");
    assert_eq!(answer["to"], serde_json::json!(["mac1", "mac2"]));
    assert_eq!(answer["steps"][3]["section"], "2.3.3");
    let _ = std::fs::remove_file(lab);
}

#[test]
fn errors_are_reported_on_one_line() {
    for (words, status, told) in [
        (&["mac1"][..], 1, "no direction"),
        (&["mac1", "egress", "dst=02:00:00:00:00:02"], 1, "start"),
        (
            &["nobody", "egress", "dst=02:00:00:00:00:02", "--config", EXAMPLE],
            1,
            "has no link nobody",
        ),
        (&["eth9", "ingress", "dst=02:00:00:00:00:02", "--config", EXAMPLE], 1, "no parent"),
        (&["eth0", "ingress", "--mtu", "1500"], 2, "--config"),
    ] {
        let output = explain(words);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{words:?}: {error}");
        assert!(error.contains(told), "{words:?}: {error}");
        assert!(status == 2 || error.lines().count() == 1, "{error}");
    }
}
