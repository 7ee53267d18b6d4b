//! Links whose far end is a program behind an interface: `port tap` and `port dev`.

use serde_json::{Value, json};
use umacvlan_netlink::Rtnl;
use umacvlan_sys::tap::Tap;
use umacvlan_testkit::{Machine, link_id, root_or_skip};

use crate::keeper::until;
use crate::ports::umacvlan;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];

/// A broadcast frame from the address of the link, behind a vnet header.
fn broadcast() -> Vec<u8> {
    [&[0; 10][..], &[0xff; 6], &MAC, &[0x88, 0xb5], &[0; 46]].concat()
}

#[test]
fn a_tap_for_a_program_outlives_the_daemon_and_goes_with_its_link() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start(&[]);
    let add =
        "link add link p0 name vm1 address 02:00:00:00:00:11 type macvtap mode bridge port tap";
    let (ok, text) = umacvlan(&machine, &format!("{add} user 107 group 36"));
    assert!(ok, "{text}");
    let id = link_id(&daemon.links()[0]);
    let made = machine.interface("vm1").unwrap();
    assert_eq!((made.persist, made.owner), (Some(true), Some(107)));
    assert!(umacvlan(&machine, "link set vm1 up mtu 1400 txqueuelen 9").0);
    assert_eq!(machine.interface("vm1").unwrap().txqlen, 9);
    // The program opens it by its name.
    let tap = machine.netns.run(|| Tap::attach("vm1")).unwrap().unwrap();
    tap.set_carrier(true).unwrap();
    let shown = |machine: &Machine| umacvlan(machine, "-d link show vm1").1;
    for end in ["TERM", "KILL"] {
        until("the carrier", || shown(&machine).contains("LOWER_UP"));
        let line = format!("umacvlan port tap dev vm1 index {} user 107 group 36", made.index);
        assert!(shown(&machine).contains(&line), "{}", shown(&machine));
        tap.send(&broadcast()).unwrap();
        let received = || daemon.link(id)["umacvlan"]["counters"]["received"]["frames"].clone();
        until("its frame", || received() == 1);
        daemon.end(end);
        assert_eq!(machine.interface("vm1").unwrap().index, made.index);
        daemon = machine.start(&[]);
        assert_eq!(link_id(&daemon.links()[0]), id, "it is the same link");
    }
    let (_, saved) = umacvlan(&machine, "config show");
    assert!(saved.contains("port = \"program-tap\"") && saved.contains("user = 107"), "{saved}");
    assert!(umacvlan(&machine, "link del vm1").0);
    assert!(machine.interface("vm1").is_none());
    assert!(tap.send(&broadcast()).is_err());
}

#[test]
fn an_interface_that_is_there_is_served_and_given_back_by_the_next_daemon() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut rtnl = Rtnl::open_in(&machine.netns).unwrap();
    rtnl.add_veth("h0", "v0", None).unwrap();
    let index = rtnl.link("v0").unwrap().unwrap().index;
    rtnl.set_up(index, true).unwrap();
    let mut daemon = machine.start(&[]);
    let (ok, text) = umacvlan(&machine, "link add link p0 name vm1 type macvtap port dev h0");
    assert!(ok, "{text}");
    assert!(umacvlan(&machine, "link set vm1 up").0);
    let port = daemon.links()[0]["umacvlan"]["port"].clone();
    assert_eq!((&port["kind"], &port["dev"]), (&json!("dev"), &json!("h0")));
    assert_eq!(port["socket"], Value::Null);
    assert!(machine.interface("h0").unwrap().is_up());
    for (words, why) in [
        ("name vm2 type macvtap port dev h0", "is that of another link"),
        ("name vm2 type macvtap port dev p0", "is a parent of links"),
        ("name vm2 type macvtap port dev nothing", "does not exist"),
        ("name vm2 type macvtap port dev a/b", "dev \"a/b\""),
        ("name vm2 type macvtap port dev h0 user root", "neither user, group nor client"),
        ("name vm2 type macvtap port tap client /run/x", "leave client and dev out"),
        ("name vm2 type macvtap port dgram client /run/x", "client is for port stream"),
        ("name vm2 type macvtap port dev", "Command line is not complete"),
    ] {
        let (ok, text) = umacvlan(&machine, &format!("link add link p0 {words}"));
        assert!(!ok && text.contains(why), "{words}: {text}");
    }
    // The next daemon has it without an interface first, and then with it.
    daemon.end("KILL");
    let index = machine.interface("h0").unwrap().index;
    rtnl.delete(index).unwrap();
    let daemon = machine.start(&[]);
    let ended = || daemon.links()[0]["umacvlan"]["port"]["ended"].to_string();
    assert!(ended().contains("h0 does not exist"), "{}", ended());
    rtnl.add_veth("h0", "v0", None).unwrap();
    until("the interface", || ended() == "null");
    assert!(umacvlan(&machine, "link del vm1").0);
    assert!(!machine.interface("h0").unwrap().is_up(), "it was down at first");
}

#[test]
fn the_configuration_has_programs_behind_interfaces() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    machine.configure("[link.vm1]\nparent = \"p0\"\nport = \"program-tap\"\n");
    let daemon = machine.start(&[]);
    let id = link_id(&daemon.links()[0]);
    assert!(machine.interface("vm1").is_some());
    machine.configure("[link.vm2]\nparent = \"p0\"\nport = \"dev\"\ndev = \"missing\"\n");
    let (ok, text) = umacvlan(&machine, "config reload");
    assert!(!ok && text.contains("missing does not exist"), "{text}");
    machine.configure("[link.vm1]\nparent = \"p0\"\nport = \"stream\"\n");
    assert!(umacvlan(&machine, "config reload").0);
    assert!(machine.interface("vm1").is_none(), "it is another link");
    assert_ne!(link_id(&daemon.links()[0]), id);
}
