//! Queries about links, and changes that users make to links.

use std::fs;

use serde_json::{Value, json};
use umacvlan_netlink::Rtnl;
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::{Machine, events, link_id, netns_path, root_or_skip};

#[test]
fn a_parent_comes_with_its_first_link_and_goes_with_its_last_unless_it_is_configured() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    for configured in [false, true] {
        machine.configure(if configured { "[parent.p0]\n" } else { "" });
        let mut daemon = machine.start(&[]);
        let parents = || {
            let parents = daemon.ask("GET", "/v1/parents", Value::Null).ok();
            let view = |parent: &Value| (parent["links"].clone(), parent["configured"].clone());
            parents.as_array().unwrap().iter().map(view).collect::<Vec<_>>()
        };
        let own = configured.then_some((json!(0), json!(true)));
        assert_eq!(parents(), Vec::from_iter(own.clone()));
        for (number, name) in [(1, "mac1"), (2, "mac2")] {
            daemon.add(name, Value::Null).ok();
            assert_eq!(parents(), [(json!(number), json!(configured))]);
        }
        for name in ["mac1", "mac2"] {
            daemon.ask("DELETE", &format!("/v1/links/{name}"), Value::Null);
        }
        assert_eq!(parents(), Vec::from_iter(own));
        // A failed request for a link leaves no parent behind.
        assert_eq!(daemon.add("mac1", json!({"mtu": 9000})).status, 409);
        assert_eq!(parents().len(), usize::from(configured));
        daemon.terminate();
    }
}

#[test]
fn the_confined_daemon_hides_frames_of_links_from_the_host() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    machine.configure("[parent.p0]\n");
    let daemon = machine.start(&[]);
    let filter = || daemon.ask("GET", "/v1/parents", Value::Null).ok()[0]["host_filter"].clone();
    assert_eq!(filter(), "idle");
    daemon.add("mac1", Value::Null).ok();
    let there = if cfg!(feature = "af-xdp") { ["tcx", "clsact"] } else { ["none"; 2] };
    assert!(there.map(Value::from).contains(&filter()), "{}", filter());
}

#[test]
fn a_link_on_a_link_is_made_on_the_parent() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let daemon = machine.start(&[]);
    daemon.add("mac1", Value::Null).ok();
    let upper = daemon.add("mac2", json!({"parent": "mac1"})).ok();
    assert_eq!((&upper["link"], &upper["umacvlan"]["parent"]), (&json!("p0"), &json!("p0")));
    let refused = daemon.add("mac3", json!({"parent": "mac1", "mode": "passthru"}));
    assert_eq!(refused.json()["errno"], 22, "{refused:?}");
}

#[test]
fn a_refusal_has_the_errno_of_the_kernels_macvlan() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let daemon = machine.start(&[]);
    let first = daemon.add("mac1", Value::Null).ok();
    daemon.add("mac2", Value::Null).ok();
    let own = machine.interface("p0").unwrap().mac.unwrap().to_string();
    let (exists, none, wrong) = (json!(17), json!(19), json!(22));
    let (in_use, unavailable) = (json!(98), json!(99));
    for (name, more, errno) in [
        ("mac1", json!({}), &exists),
        ("p0", json!({}), &exists),
        ("mac3", json!({"parent": "nowhere"}), &none),
        ("mac3", json!({"parent": "lo"}), &wrong),
        ("mac3", json!({"mode": "passthru"}), &wrong),
        ("mac3", json!({"mtu": 1501}), &wrong),
        ("mac3", json!({"mtu": 67}), &wrong),
        ("mac3", json!({"macaddr": ["02:00:00:00:00:09"]}), &wrong),
        ("mac3", json!({"address": first["address"]}), &in_use),
        ("mac3", json!({"address": own}), &in_use),
        ("mac3", json!({"address": "01:00:00:00:00:09"}), &unavailable),
    ] {
        let refused = daemon.add(name, more.clone());
        assert_eq!(&refused.json()["errno"], errno, "{name} {more}: {refused:?}");
        assert!(machine.interface("mac3").is_none(), "{more}");
    }
    for (change, errno) in [
        (json!({"address": first["address"]}), &in_use),
        (json!({"address": "00:00:00:00:00:00"}), &unavailable),
        (json!({"mtu": 1501}), &wrong),
        (json!({"name": "mac1"}), &exists),
        (json!({"macvlan": {"mode": "passthru"}}), &wrong),
    ] {
        let refused = daemon.ask("PATCH", "/v1/links/mac2", change.clone());
        assert_eq!(&refused.json()["errno"], errno, "{change}: {refused:?}");
    }
    let small = daemon.ask("PATCH", "/v1/links/mac2", json!({"mtu": 67}));
    assert_eq!(small.json()["kernel"], "mtu less than device minimum");
}

#[test]
fn a_name_is_looked_up_in_the_given_or_the_daemons_namespace() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let (one, two) = (Netns::create().unwrap(), Netns::create().unwrap());
    let daemon = machine.start(&[]);
    let add = |place: Value| link_id(&daemon.add("eth0", json!({"netns": place})).ok());
    let ids = [add(Value::Null), add(json!(netns_path(&one))), add(json!(netns_path(&two)))];
    let get = |query: &str| daemon.ask("GET", &format!("/v1/links/eth0{query}"), Value::Null);
    assert_eq!(link_id(&get("").ok()), ids[0]);
    assert_eq!(link_id(&get(&format!("?netns={}", netns_path(&two))).ok()), ids[2]);
    assert_eq!(get("?netns=umv-no-such").code(), "no_namespace");
    daemon.ask("DELETE", "/v1/links/eth0", Value::Null);
    let ambiguous = get("").json();
    assert_eq!(ambiguous["code"], "no_device");
    let why = ambiguous["message"].as_str().unwrap();
    let ways = [&one, &two].map(|netns| format!("-n net:[{}]", netns.id().ino)).join(", ");
    assert!(why.ends_with(&format!("choose one with {ways}")), "{why}");
    daemon.ask("DELETE", &format!("/v1/links/eth0?netns={}", netns_path(&one)), Value::Null);
    assert_eq!(link_id(&get("").ok()), ids[2]);
}

#[test]
fn without_a_name_a_link_gets_the_next_one_that_is_free() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let daemon = machine.start(&[]);
    let name = |pattern: &str| daemon.add(pattern, Value::Null).ok()["ifname"].clone();
    assert_eq!((name(""), name("")), (json!("macvlan0"), json!("macvlan1")));
    assert_eq!((name("p%d"), name("x%d")), (json!("p1"), json!("x0")));
}

#[test]
fn user_changes_to_an_interface_are_reported_and_saved() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let guest = Netns::create().unwrap();
    let daemon = machine.start(&[]);
    let link = link_id(&daemon.add("mac1", Value::Null).ok());
    let mut heard = events(&machine.file("socket"));
    let mut tells = |event: &str| heard.find(|heard| heard["event"] == event).unwrap();
    let file = machine.file(&format!("state/link-{link}.json"));
    let written = || -> Value {
        serde_json::from_slice::<Value>(&fs::read(&file).unwrap()).unwrap()["record"].clone()
    };

    let at = machine.interface("mac1").unwrap().index;
    machine.rtnl.set_name(at, "mac9").unwrap();
    let changed = tells("link_changed");
    assert_eq!(
        (&changed["link"]["ifname"], &changed["changed"]),
        (&json!("mac9"), &json!(["ifname"]))
    );
    assert_eq!(written()["name"], "mac9");

    machine.rtnl.set_netns_as(at, &guest, "eth0").unwrap();
    let moved = tells("link_moved");
    assert_eq!(moved["link"]["umacvlan"]["netns"], format!("net:[{}]", guest.id().ino));
    assert_eq!(moved["from"], Value::Null);
    assert_eq!(written()["netns"][1], guest.id().ino);

    let mut inside = Rtnl::open_in(&guest).unwrap();
    let at = inside.link("eth0").unwrap().unwrap().index;
    inside.delete(at).unwrap();
    assert_eq!(tells("link_deleted")["id"], link);
    assert!(!file.exists());
    assert!(daemon.links().is_empty());
}
