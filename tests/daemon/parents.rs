//! Parents: each is one interface, whatever its name is, and has one daemon.

use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use umacvlan_core::MacAddr;
use umacvlan_netlink::Link;
use umacvlan_sys::netns::Netns;
use umacvlan_sys::{poll, raw_socket};
use umacvlan_testkit::{Daemon, LIMIT, Machine, ask, events, link_id, root_or_skip};

/// The EtherType of the tests' frames: for local experiments (IEEE 802).
const ETHERTYPE: u16 = 0x88b5;

/// Starts a daemon with a state, a socket and a mount namespace of its own.
fn start_another(machine: &Machine, dir: &Path) -> Daemon {
    let dir = dir.display();
    let script = format!(
        "exec unshare --mount \"$0\" daemon --ready-fd 3 --state {dir}/state \
         --socket {dir}/socket --config {} 3>&1",
        machine.file("umacvlan.toml").display()
    );
    machine.start_command(machine.command(&script, &[]))
}

#[test]
fn an_interface_has_one_daemon_and_the_next_one_has_it_after_that() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut first = machine.start(&[]);
    let dir = machine.file("another");
    let mut second = start_another(&machine, &dir);
    let add = |parent: &str| {
        let body = json!({"name": "mac2", "parent": parent, "mode": "bridge"}).to_string();
        ask(&dir.join("socket"), "POST", "/v1/links", &body)
    };
    first.add("mac1", Value::Null).ok();
    let holder = format!("process {}:", first.id());
    for parent in ["p0", "p0.77"] {
        let refused = add(parent);
        assert_eq!(
            (refused.code().as_str(), refused.json()["errno"].as_i64()),
            ("refused", Some(16))
        );
        let message = refused.json()["message"].to_string();
        assert!(message.contains("p0 is served") && message.contains(&holder), "{message}");
    }
    let mut run = Command::new(env!("CARGO_BIN_EXE_umacvlan"));
    run.args(["run", "--parent", "p0", "--sub", "mac3"]);
    let refused = machine.netns.run(|| run.output()).unwrap().unwrap();
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && message.contains(&holder), "{message}");

    first.kill();
    add("p0.77").ok();
    let log = first_refused(&machine);
    assert!(log.contains(&format!("process {}:", second.id())), "{log}");
    assert_eq!(ask(&dir.join("socket"), "DELETE", "/v1/links/mac2", "").status / 100, 2);
    let first = machine.start(&[]);
    assert_eq!(first.links()[0]["operstate"], "UP", "re-adopted once the parent is free");
    second.terminate();
}

#[test]
fn a_link_on_a_macvlan_of_the_kernel_is_on_the_nic_below() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let kernel_macvlan = "ip link add link p0 name kernel0 type macvlan mode bridge";
    let mut ip = Command::new("sh");
    ip.args(["-c", kernel_macvlan]);
    assert!(machine.netns.run(|| ip.status()).unwrap().unwrap().success());
    let daemon = machine.start(&[]);
    let link = daemon.add("mac1", json!({"parent": "kernel0"})).ok();
    assert_eq!(link["link"], "p0");
    let mut run = Command::new(env!("CARGO_BIN_EXE_umacvlan"));
    run.args(["run", "--parent", "kernel0", "--sub", "mac3"]);
    let refused = machine.netns.run(|| run.output()).unwrap().unwrap();
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success(), "{message}");
    assert!(message.contains("kernel0 is a macvlan of the kernel"), "{message}");
}

/// The log of the first daemon, which starts while another one has its parent.
fn first_refused(machine: &Machine) -> String {
    let mut first = machine.start(&[]);
    assert!(first.links().is_empty());
    assert!(machine.file("state/link-1.json").exists());
    first.terminate()
}

/// A machine with two NICs: `p0`, whose wire ends at `q0`, and `p1`, whose wire ends at `q1`.
fn two_nics() -> Machine {
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    add_wire(&mut machine, "p1", "q1");
    machine
}

fn add_wire(machine: &mut Machine, parent: &str, far: &str) {
    machine.rtnl.add_veth(parent, far, None).unwrap();
    for name in [parent, far] {
        set_up(machine, name);
    }
}

fn set_up(machine: &mut Machine, name: &str) {
    let index = machine.interface(name).unwrap().index;
    machine.rtnl.set_up(index, true).unwrap();
}

/// Renames an interface, down meanwhile as `ip` and udev have it.
fn rename(machine: &mut Machine, from: &str, to: &str) {
    let index = machine.interface(from).unwrap().index;
    machine.rtnl.set_up(index, false).unwrap();
    machine.rtnl.set_name(index, to).unwrap();
    machine.rtnl.set_up(index, true).unwrap();
    machine.wait_until("the carrier", |machine| machine.interface(to).unwrap().is_running());
}

fn swap(machine: &mut Machine) {
    for (from, to) in [("p0", "spare"), ("p1", "p0"), ("spare", "p1")] {
        rename(machine, from, to);
    }
}

/// The far end of the wire on which a link's frames leave.
fn wire_of(machine: &mut Machine, link: &str) -> &'static str {
    machine.wait_until("the carrier of the link", |machine| {
        machine.interface(link).is_some_and(|link| link.is_running())
    });
    let ends = ["q0", "q1"];
    let Link { index, mac, .. } = machine.interface(link).unwrap();
    let indexes = ends.map(|end| machine.interface(end).unwrap().index);
    let open = |index| raw_socket::open(index, ETHERTYPE).unwrap();
    let (near, far) = machine.netns.run(|| (open(index), indexes.map(open))).unwrap();
    let mut frame = [MacAddr::BROADCAST.octets(), mac.unwrap().octets()].concat();
    frame.extend(ETHERTYPE.to_be_bytes());
    frame.resize(60, 0);
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        raw_socket::send(near.as_fd(), &frame, 1).unwrap();
        let mut wanted = far.each_ref().map(|far| poll::Interest::readable(far.as_fd()));
        poll::wait(&mut wanted, Duration::from_millis(50)).unwrap();
        for (far, name) in far.iter().zip(ends) {
            if raw_socket::receive(far.as_fd(), &mut [0; 64]).unwrap().is_some() {
                return name;
            }
        }
    }
    panic!("no frame of {link} leaves")
}

fn add(daemon: &Daemon, name: &str, parent: &str) -> u64 {
    link_id(&daemon.add(name, json!({"parent": parent})).ok())
}

/// The name of the parent of a link, which is also the one after the `@`.
fn parent_of(daemon: &Daemon, link: u64) -> String {
    let link = daemon.link(link);
    assert_eq!(link["link"], link["umacvlan"]["parent"]);
    link["link"].as_str().unwrap().to_owned()
}

fn parent(daemon: &Daemon, name: &str) -> Value {
    let parents = daemon.ask("GET", "/v1/parents", Value::Null).ok();
    let found = parents.as_array().unwrap().iter().find(|parent| parent["name"] == name);
    found.unwrap_or_else(|| panic!("no parent {name}: {parents:#}")).clone()
}

#[test]
fn links_stay_with_a_renamed_parent_and_its_old_name_means_another_interface() {
    if !root_or_skip() {
        return;
    }
    let mut machine = two_nics();
    let mut daemon = machine.start(&[]);
    let (first, tagged) = (add(&daemon, "mac1", "p0"), add(&daemon, "mac2", "p0.77"));
    let mut heard = events(&machine.file("socket"));
    rename(&mut machine, "p0", "lan0");
    let refused = daemon.add("mac3", json!({"parent": "p0"}));
    assert_eq!(refused.code(), "no_device", "no interface has that name");
    rename(&mut machine, "p1", "p0");
    let also = add(&daemon, "mac5", "lan0");
    assert_eq!(parent_of(&daemon, also), "lan0");
    let second = add(&daemon, "mac3", "p0");
    let other = add(&daemon, "mac4", "p0.77");
    let renamed = heard.find(|event| event["event"] == "parent_renamed").unwrap();
    assert_eq!((&renamed["parent"], &renamed["from"]), (&json!("lan0"), &json!("p0")));
    // A clean end, a kill, and a start with both names as they are now.
    for _ in 0..3 {
        let ids = [first, tagged, second, other];
        let parents = ids.map(|id| parent_of(&daemon, id));
        assert_eq!(parents, ["lan0", "lan0.77", "p0", "p0.77"]);
        assert_eq!(wire_of(&mut machine, "mac1"), "q0");
        assert_eq!(wire_of(&mut machine, "mac3"), "q1");
        assert_eq!(parent(&daemon, "p0")["links"], 1);
        daemon.kill();
        daemon = machine.start(&[]);
    }
    let all = daemon.ask("GET", "/v1/parents", Value::Null).ok();
    assert_eq!(all.as_array().unwrap().len(), 4, "{all:#}");
}

#[test]
fn links_stay_with_nics_that_swap_their_names() {
    if !root_or_skip() {
        return;
    }
    let mut machine = two_nics();
    let mut daemon = machine.start(&[]);
    let links = [add(&daemon, "mac1", "p0"), add(&daemon, "mac2", "p1")];
    let check = |machine: &mut Machine, daemon: &Daemon, names: [&str; 2]| {
        assert_eq!(wire_of(machine, "mac1"), "q0");
        assert_eq!(wire_of(machine, "mac2"), "q1");
        assert_eq!(links.map(|link| parent_of(daemon, link)), names);
    };
    swap(&mut machine);
    check(&mut machine, &daemon, ["p1", "p0"]);
    daemon.kill();
    let mut daemon = machine.start(&[]);
    check(&mut machine, &daemon, ["p1", "p0"]);
    daemon.terminate();
    swap(&mut machine);
    let mut daemon = machine.start(&[]);
    check(&mut machine, &daemon, ["p0", "p1"]);
    // By request, a name is that of the interface which has it now.
    add(&daemon, "mac3", "p1");
    assert_eq!(wire_of(&mut machine, "mac3"), "q1");
    daemon.terminate();
}

#[test]
fn a_parent_that_was_renamed_while_no_daemon_ran_is_found_by_its_interface() {
    if !root_or_skip() {
        return;
    }
    let mut machine = two_nics();
    machine.configure("[parent.p0]\n[link.mac1]\nparent = \"p0\"\n");
    let mut daemon = machine.start(&[]);
    let link = link_id(&daemon.links()[0]);
    daemon.kill();
    rename(&mut machine, "p0", "lan0");
    rename(&mut machine, "p1", "p0");
    let mut daemon = machine.start(&[]);
    assert_eq!(daemon.links().len(), 1);
    assert_eq!(parent_of(&daemon, link), "lan0");
    assert_eq!(wire_of(&mut machine, "mac1"), "q0");
    assert_eq!(parent(&daemon, "lan0")["configured"], true);
    assert_eq!(daemon.ask("POST", "/v1/config/reload", Value::Null).status / 100, 2);
    assert_eq!(parent_of(&daemon, link), "lan0");
    // The file with the new name changes nothing.
    machine.configure("[parent.lan0]\n[link.mac1]\nparent = \"lan0\"\n");
    assert_eq!(daemon.ask("POST", "/v1/config/reload", Value::Null).status / 100, 2);
    assert_eq!(parent_of(&daemon, link), "lan0");
    let log = daemon.terminate();
    assert!(log.contains("write lan0 into the configuration"), "{log}");
}

#[test]
fn another_interface_with_the_name_of_a_lost_parent_is_reported_and_not_used() {
    if !root_or_skip() {
        return;
    }
    for running in [true, false] {
        let mut machine = two_nics();
        let mut daemon = machine.start(&[]);
        let link = add(&daemon, "mac1", "p0");
        let mut heard = events(&machine.file("socket"));
        if !running {
            daemon.kill();
        }
        let index = machine.interface("p0").unwrap().index;
        machine.rtnl.delete(index).unwrap();
        rename(&mut machine, "p1", "p0");
        if running {
            // What is published has been logged.
            heard.find(|event| event["event"] == "trouble").unwrap();
        } else {
            daemon = machine.start(&[]);
        }
        let lost = parent(&daemon, "p0");
        assert_eq!(lost["present"], false);
        let notice = lost["notice"].as_str().unwrap();
        assert!(notice.contains("p0 is another interface now"), "{notice}");
        assert_eq!(daemon.link(link)["operstate"], "LOWERLAYERDOWN");
        add(&daemon, "mac2", "p0");
        assert_eq!(wire_of_second(&mut machine), "q1");
        assert_eq!(daemon.link(link)["operstate"], "LOWERLAYERDOWN");
        let log = daemon.terminate();
        assert!(!running || log.contains("p0 is another interface now"), "{log}");
    }
}

/// As [`wire_of`] for `mac2`, where only `q1` is left.
fn wire_of_second(machine: &mut Machine) -> &'static str {
    add_wire(machine, "spare", "q0");
    wire_of(machine, "mac2")
}

#[test]
fn a_parent_returns_from_another_namespace_and_a_new_one_of_its_name_with_a_notice() {
    if !root_or_skip() {
        return;
    }
    let mut machine = two_nics();
    let daemon = machine.start(&[]);
    let link = add(&daemon, "mac1", "p0");
    let guest = Netns::create().unwrap();
    let mut heard = events(&machine.file("socket"));
    let index = machine.interface("p0").unwrap().index;
    machine.rtnl.set_netns_as(index, &guest, "away").unwrap();
    heard.find(|event| event["event"] == "parent_lost").unwrap();
    // The name is that of another interface while the parent is away.
    rename(&mut machine, "p1", "p0");
    let mut inside = umacvlan_netlink::Rtnl::open_in(&guest).unwrap();
    inside.set_netns_as(index, &machine.netns, "back").unwrap();
    heard.find(|event| event["event"] == "parent_back").unwrap();
    set_up(&mut machine, "back");
    assert_eq!(wire_of(&mut machine, "mac1"), "q0");
    assert_eq!(parent_of(&daemon, link), "back");
    assert_eq!(parent(&daemon, "back")["notice"], Value::Null);

    let index = machine.interface("back").unwrap().index;
    machine.rtnl.delete(index).unwrap();
    heard.find(|event| event["event"] == "parent_lost").unwrap();
    add_wire(&mut machine, "back", "q0");
    heard.find(|event| event["event"] == "parent_back").unwrap();
    assert_eq!(wire_of(&mut machine, "mac1"), "q0");
    let notice = parent(&daemon, "back")["notice"].to_string();
    assert!(notice.contains("taken for the same interface"), "{notice}");
}
