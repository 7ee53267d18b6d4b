//! What a link was refused or had claimed before a restart holds after it.

use std::fs;

use serde_json::{Value, json};
use umacvlan_netlink::Rtnl;
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::{Machine, link_id, netns_path, root_or_skip};

use crate::keeper::{kill_keeper, until};

const MAC: &str = "02:00:00:00:00:11";

#[test]
fn a_link_that_waits_for_its_address_waits_after_a_restart_too() {
    if !root_or_skip() {
        return;
    }
    for keeper in [true, false] {
        let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
        let mut daemon = machine.start(&[]);
        let guest = Netns::create().unwrap();
        daemon.add("mac1", json!({"address": MAC})).ok();
        let second = json!({"address": MAC, "up": false, "netns": netns_path(&guest)});
        let id = link_id(&daemon.add("mac2", second).ok());
        let mut inside = Rtnl::open_in(&guest).unwrap();
        let index = inside.link("mac2").unwrap().unwrap().index;
        inside.set_up(index, true).unwrap();
        let record = machine.file(&format!("state/link-{id}.json"));
        until("the refusal to be written down", || {
            fs::read_to_string(&record).unwrap().contains("\"held\"")
        });
        daemon.kill();
        if !keeper {
            kill_keeper(&machine);
        }
        let daemon = machine.start(&[]);
        let up = |inside: &mut Rtnl| inside.link_by_index(index).unwrap().unwrap().is_up();
        assert!(!up(&mut inside), "the other one has the address");
        daemon.ask("DELETE", "/v1/links/mac1", Value::Null);
        until("the second to come up", || up(&mut inside));
        until("that to be written down", || {
            !fs::read_to_string(&record).unwrap().contains("\"held\"")
        });
    }
}

#[test]
fn an_address_is_an_owner_s_after_a_restart_too() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start(&[]);
    let owned = |owner: &str| json!({"owner": owner, "address": MAC, "up": false});
    daemon.add("mac1", owned("one")).ok();
    for _ in 0..2 {
        let refused = daemon.add("mac2", owned("two"));
        assert_eq!(refused.code(), "refused", "{:?}", refused.json());
        daemon.kill();
        daemon = machine.start(&[]);
    }
}

#[test]
fn rules_are_edited_and_hold_after_a_restart_too() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start(&[]);
    let rules = json!({"isolation": "web", "allow_ip": ["192.0.2.7", "fd00::7"]});
    daemon.add("mac1", json!({"mode": "bridge", "rules": rules, "up": false})).ok();
    let change = |rules: Value| json!({"macvlan": {"rules": rules}});
    let edit = json!({"allow_ip": {"del": ["fd00::7"]}, "allow_ethertype": ["arp", "ipv4"]});
    daemon.ask("PATCH", "/v1/links/mac1", change(edit)).ok();
    for (wrong, words) in [
        (change(json!({"isolation": "a b"})), "is not on, off or the name of a group"),
        (change(json!({"isolate": "a"})), "is not a rule"),
        (json!({"macvlan": {"mode": "source"}}), "mode source receives by its list"),
    ] {
        let refused = daemon.ask("PATCH", "/v1/links/mac1", wrong);
        assert!(refused.json().to_string().contains(words), "{:?}", refused.json());
    }
    for _ in 0..2 {
        let shown = daemon.ask("GET", "/v1/links/mac1", Value::Null).ok();
        let expected = json!({
            "allow_ethertype": ["ipv4", "arp"], "allow_ip": ["192.0.2.7"], "isolation": "web",
        });
        assert_eq!(shown["linkinfo"]["info_data"]["rules"], expected);
        daemon.kill();
        daemon = machine.start(&[]);
    }
}

#[test]
fn limits_hold_after_a_restart_too() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start(&[]);
    daemon.add("mac1", json!({"limits": {"rate": "100mbit", "bcrate": 50}, "up": false})).ok();
    let change = |limits: Value| json!({"macvlan": {"limits": limits}});
    daemon.ask("PATCH", "/v1/links/mac1", change(json!({"tx_rate": "none", "rx_pps": 9}))).ok();
    for (wrong, words) in [
        (json!({"tx_burst": "64kb"}), "there is no tx_rate"),
        (json!({"rate": "fast"}), "is not a rate"),
    ] {
        let refused = daemon.ask("PATCH", "/v1/links/mac1", change(wrong));
        assert!(refused.json().to_string().contains(words), "{:?}", refused.json());
    }
    for _ in 0..2 {
        let shown = daemon.ask("GET", "/v1/links/mac1", Value::Null).ok();
        let expected = json!({"bcrate": "50", "rx_pps": "9", "rx_rate": "100mbit"});
        assert_eq!(shown["linkinfo"]["info_data"]["limits"], expected);
        daemon.kill();
        daemon = machine.start(&[]);
    }
}
