//! The package is replaced by a newer or an older one while a connection lasts: the next daemon finds
//! state files with fields that it does not know, or without fields that it would have written.

use std::fs;

use serde_json::{Value, json};
use umacvlan_testkit::{Sandbox, root_or_skip};

use crate::stream::Stream;
use crate::{machine, shown};

/// The fields of records of the first version.
const FIRST: [&str; 15] = [
    "id",
    "config",
    "parent",
    "name",
    "netns",
    "index",
    "mac",
    "mode",
    "nodst",
    "nopromisc",
    "bc_queue_len",
    "sources",
    "own_mac",
    "mtu",
    "bc_cutoff",
];

/// Changes the record of every link and parent.
fn change(sandbox: &Sandbox, change: impl Fn(&mut serde_json::Map<String, Value>)) {
    let mut count = 0;
    for entry in fs::read_dir(sandbox.path("run/umacvlan/state")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.starts_with("link-") && !name.starts_with("parent-") {
            continue;
        }
        let mut file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(file["record"].as_object_mut().unwrap());
        fs::write(&path, file.to_string()).unwrap();
        count += 1;
    }
    assert_eq!(count, 3, "two links and a parent");
}

#[test]
fn a_connection_outlives_an_upgrade_and_a_downgrade() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = machine();
    let before = shown(&mut sandbox);
    let stream = Stream::open(&sandbox.netns("net1"), &sandbox.netns("net2"), "10.0.0.12");
    stream.advance();
    // The former daemon was of the first version.
    sandbox.end_daemon("TERM");
    change(&sandbox, |record| record.retain(|field, _| FIRST.contains(&field.as_str())));
    sandbox.daemon("");
    stream.advance();
    assert_eq!(shown(&mut sandbox), before);
    // It was newer.
    sandbox.end_daemon("TERM");
    change(&sandbox, |record| drop(record.insert("newer".to_owned(), json!({"than": ["this"]}))));
    sandbox.daemon("");
    stream.advance();
    stream.close();
    assert_eq!(shown(&mut sandbox), before);
    assert_eq!(sandbox.ok("ls /run/umacvlan/state | grep damaged || true"), "");
}
