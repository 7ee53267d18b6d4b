//! The state that a new daemon finds after the previous one has ended, by whatever cause.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use serde_json::{Value, json};
use umacvlan_core::MacAddr;
use umacvlan_netlink::Rtnl;
use umacvlan_sys::ethtool::{Ethtool, ReceiveOffloads};
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::{Machine, add_parent, events, link_id, netns_path, root_or_skip};

use crate::keeper::kill_keeper;

const OTHER: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0x77]);

#[test]
fn links_are_readopted_in_any_namespace() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let guest = Netns::create().unwrap();
    let mut daemon = machine.start(&[]);
    let add = |name: &str, more| link_id(&daemon.add(name, more).ok());
    let same = add("same", json!({"netns": netns_path(&guest), "mode": "private", "mtu": 1400}));
    let renamed = add("renamed", Value::Null);
    let moved = add("moved", json!({"mode": "source", "macaddr": ["02:00:00:00:00:09"]}));
    let other_mac = add("other-mac", json!({"mode": "vepa", "bcqueuelen": 7}));
    let before: Vec<Value> = daemon.links();
    daemon.kill();

    let index = |machine: &mut Machine, name: &str| machine.interface(name).unwrap().index;
    let at = index(&mut machine, "renamed");
    machine.rtnl.set_name(at, "eth9").unwrap();
    let at = index(&mut machine, "moved");
    machine.rtnl.set_netns_as(at, &guest, "eth0").unwrap();
    let at = index(&mut machine, "other-mac");
    machine.rtnl.set_mac(at, OTHER).unwrap();

    for start in ["after SIGKILL", "after SIGTERM"] {
        let mut daemon = machine.start(&[]);
        assert_eq!(daemon.links().len(), 4, "{start}");
        let as_before = |id: u64, keys: &[&str]| {
            let was = before.iter().find(|link| link["umacvlan"]["id"] == id).unwrap();
            let is = daemon.link(id);
            for &key in keys {
                assert_eq!(is[key], was[key], "{start}: {key} of number {id}");
            }
            is
        };
        let all = ["ifname", "ifindex", "address", "mtu", "flags", "linkinfo"];
        as_before(same, &all);
        let is = as_before(renamed, &["ifindex", "address", "mtu", "flags", "linkinfo"]);
        assert_eq!(is["ifname"], "eth9", "{start}");
        let is = as_before(moved, &["address", "mtu", "linkinfo"]);
        assert_eq!(is["ifname"], "eth0", "{start}");
        let place = format!("net:[{}]", guest.id().ino);
        assert_eq!(is["umacvlan"]["netns"], place, "{start}");
        let is = as_before(other_mac, &["ifname", "ifindex", "linkinfo", "flags"]);
        assert_eq!(is["address"], OTHER.to_string(), "{start}");
        daemon.terminate();
    }
}

/// AF_XDP needs checksum offload and GRO to be off, and a killed daemon cannot turn them on again.
/// The test writes the daemon's record itself, because not every machine allows a daemon to lock as
/// much memory as AF_XDP takes.
#[test]
fn offloads_that_a_killed_daemon_turned_off_are_restored() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let ethtool = machine.netns.run(Ethtool::open).unwrap().unwrap();
    let offloads = || ethtool.receive_offloads("p0").unwrap();
    machine.configure("[parent.p0]\n");
    machine.start(&[]).kill();
    let file = machine.file("state/parent-p0.json");
    let mut written: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(written["record"]["switched_off"], json!({"lro": false, "vlan": false}));
    written["record"]["switched_off"]["vlan"] = json!(true);
    fs::write(&file, written.to_string()).unwrap();
    assert!(
        ethtool.switch_off("p0", ReceiveOffloads::CHANGE_FRAMES).unwrap().vlan,
        "a veth takes tags out"
    );
    assert_eq!(offloads(), ReceiveOffloads::default());
    machine.start(&[]).kill();
    assert_eq!(offloads(), ReceiveOffloads { vlan: true, ..ReceiveOffloads::default() });
}

#[test]
fn a_link_that_is_gone_is_forgotten_and_its_number_never_used_again() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start(&[]);
    let stays = link_id(&daemon.add("stays", Value::Null).ok());
    let goes = link_id(&daemon.add("goes", Value::Null).ok());
    daemon.kill();
    let index = machine.interface("goes").unwrap().index;
    machine.rtnl.delete(index).unwrap();
    let mut daemon = machine.start(&[]);
    assert_eq!(daemon.links().len(), 1);
    assert!(link_id(&daemon.add("goes", Value::Null).ok()) > goes);
    assert!(!machine.file(&format!("state/link-{goes}.json")).exists());
    daemon.link(stays);
    let log = daemon.terminate();
    assert!(log.contains(&format!("link goes, number {goes}, is gone")), "{log}");
}

#[test]
fn a_name_that_is_no_utf8_beside_a_link_does_not_hide_it() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let guest = Netns::create().unwrap();
    let mut daemon = machine.start(&[]);
    let link = link_id(&daemon.add("mac1", json!({"netns": netns_path(&guest)})).ok());
    daemon.kill();
    let name = OsStr::from_bytes(b"\xff\xfeA");
    let add = || Command::new("ip").args(["link", "add"]).arg(name).args(["type", "veth"]).status();
    assert!(guest.run(add).unwrap().unwrap().success());
    let daemon = machine.start(&[]);
    assert_eq!(daemon.link(link)["ifname"], "mac1");
}

#[test]
fn a_link_waits_until_the_daemon_can_look_for_it() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    machine.configure("[link.mac2]\nparent = \"p0\"\n");
    let guest = Netns::create().unwrap();
    let mut daemon = machine.start(&[]);
    let link = link_id(&daemon.add("mac1", json!({"netns": netns_path(&guest)})).ok());
    let before = daemon.links();
    assert_eq!(before.len(), 2);
    daemon.kill();
    kill_keeper(&machine);
    // More namespaces than the daemon may have descriptors.
    let crowd: Vec<_> = (0..250).map(|_| Netns::create().unwrap()).collect();
    let mut daemon = machine.start_command(machine.command("ulimit -n 200", &[]));
    assert!(daemon.links().is_empty());
    assert!(machine.file(&format!("state/link-{link}.json")).exists());
    assert!(machine.file("state/parent-p0.json").exists());
    let mut heard = events(&machine.file("socket"));
    drop(crowd);
    for _ in 0..2 {
        heard.find(|event| event["event"] == "link_added").unwrap();
    }
    let ids = |links: &[Value]| links.iter().map(link_id).collect::<Vec<_>>();
    assert_eq!(ids(&daemon.links()), ids(&before));
    let log = daemon.terminate();
    let told = log.lines().filter(|line| line.contains("mac1") && line.contains("may exist"));
    assert_eq!(told.count(), 1, "{log}");
}

#[test]
fn a_configuration_file_that_is_gone_is_no_empty_one() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let place = machine.file("umacvlan.toml").display().to_string();
    // The default file, which need not exist, in a mount namespace of the daemon's own.
    let before = format!(
        "[ \"$1\" = inside ] || exec unshare -m sh -c '{}' \"$0\" \"$@\"",
        format_args!(
            "mount -t tmpfs none /etc && mkdir /etc/umacvlan || exit 1
             [ -e {place} ] && cp {place} /etc/umacvlan/umacvlan.toml
             for word; do shift; case $word in *umacvlan.toml|--config) ;; *) set -- \"$@\" \"$word\";; esac; done
             exec \"$0\" daemon --ready-fd 3 \"$@\" 3>&1"
        )
    );
    machine.configure("[link.mac1]\nparent = \"p0\"\n");
    let mut daemon = machine.start_command(machine.command(&before, &[]));
    let links = daemon.links();
    assert_eq!(links.len(), 1);
    daemon.kill();
    fs::remove_file(&place).unwrap();
    for _ in 0..2 {
        let mut daemon = machine.start_command(machine.command(&before, &[]));
        let kept = daemon.links();
        assert_eq!(kept.iter().map(link_id).collect::<Vec<_>>(), [link_id(&links[0])]);
        let log = daemon.terminate();
        assert!(log.contains("WARN") && log.contains("there is no /etc/umacvlan"), "{log}");
    }
    machine.configure("");
    let daemon = machine.start_command(machine.command(&before, &[]));
    assert!(daemon.links().is_empty(), "an empty file is a wish");
}

#[test]
fn a_damaged_file_is_set_aside_and_costs_one_link_at_most() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start(&[]);
    let lost = link_id(&daemon.add("lost", Value::Null).ok());
    let stays = link_id(&daemon.add("stays", Value::Null).ok());
    daemon.kill();
    fs::write(machine.file(&format!("state/link-{lost}.json")), "{\"version\":1,").unwrap();
    fs::write(machine.file("state/parent-p0.json"), [0xff; 64]).unwrap();
    fs::write(machine.file("state/config.json"), "[]").unwrap();
    let mut daemon = machine.start(&[]);
    let links = daemon.links();
    assert_eq!(links.iter().map(link_id).collect::<Vec<_>>(), [stays]);
    assert!(machine.file(&format!("state/link-{lost}.damaged")).exists());
    assert!(machine.interface("lost").is_some(), "an interface is deleted for want of a file");
    let log = daemon.terminate();
    assert!(log.contains("ERROR") && log.contains("set aside"), "{log}");
}

#[test]
fn a_full_disk_refuses_a_link_and_leaves_nothing_of_it() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    fs::create_dir(machine.file("state")).unwrap();
    // Eight pages, in a mount namespace of the daemon's own. Each file takes one page.
    let mount = format!(
        "[ \"$1\" = inside ] || exec unshare -m sh -c '{}' \"$0\" \"$@\"",
        format_args!(
            "mount -t tmpfs -o size=32k none {} && exec \"$0\" daemon --ready-fd 3 \"$@\" 3>&1",
            machine.file("state").display()
        )
    );
    let daemon = machine.start_command(machine.command(&mount, &[]));
    let mut names = Vec::new();
    let refused = loop {
        let name = format!("mac{}", names.len());
        let answer = daemon.add(&name, Value::Null);
        if answer.status >= 400 {
            break answer;
        }
        names.push(name);
        assert!(names.len() < 10, "the disk does not fill up");
    };
    assert_eq!((refused.status, refused.code().as_str()), (507, "storage"));
    assert!(!names.is_empty());
    let next = format!("mac{}", names.len());
    assert!(machine.interface(&next).is_none());
    assert_eq!(daemon.links().len(), names.len());
    let first = names.first().unwrap();
    assert_eq!(daemon.ask("DELETE", &format!("/v1/links/{first}"), Value::Null).status / 100, 2);
    daemon.add(&next, Value::Null).ok();
}

#[test]
fn a_lack_of_descriptors_refuses_a_link_and_affects_no_other() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start_command(machine.command("ulimit -n 64", &[]));
    let mut names = Vec::new();
    let refused = loop {
        let name = format!("mac{}", names.len());
        let answer = daemon.add(&name, Value::Null);
        if answer.status >= 400 {
            break answer;
        }
        names.push(name);
        assert!(names.len() < 64, "there are descriptors without end");
    };
    assert_eq!(refused.json()["errno"], 24, "{refused:?}");
    let next = format!("mac{}", names.len());
    assert!(machine.interface(&next).is_none());
    let running = daemon.links();
    assert_eq!(running.len(), names.len());
    assert!(running.iter().all(|link| link["operstate"] == "UP"), "{running:#?}");
    for name in names.iter().take(4) {
        daemon.ask("DELETE", &format!("/v1/links/{name}"), Value::Null);
    }
    daemon.add(&next, Value::Null).ok();
    daemon.terminate();
}

#[test]
fn links_wait_for_a_parent_that_is_gone_at_the_start() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start(&[]);
    let link = link_id(&daemon.add("mac1", Value::Null).ok());
    daemon.kill();
    let parent = machine.interface("p0").unwrap().index;
    machine.rtnl.delete(parent).unwrap();

    let daemon = machine.start(&[]);
    assert_eq!(daemon.link(link)["operstate"], "LOWERLAYERDOWN");
    let parents = daemon.ask("GET", "/v1/parents", Value::Null).ok();
    assert_eq!((&parents[0]["name"], &parents[0]["present"]), (&json!("p0"), &json!(false)));
    let mut heard = events(&machine.file("socket"));
    add_parent(&mut machine.rtnl);
    heard.find(|event| event["event"] == "parent_back").unwrap();
    heard.find(|event| event["event"] == "carrier" && event["on"] == true).unwrap();
    assert_eq!(daemon.link(link)["operstate"], "UP");
}

#[test]
fn a_parent_gets_its_address_back_from_a_link_of_a_former_daemon() {
    if !root_or_skip() {
        return;
    }
    // An address that no other test uses, because links are searched for in all namespaces.
    let other = MacAddr::new([2, 0, 0, 0, 0, 0x78]);
    for deleted in [false, true] {
        let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
        let own = machine.interface("p0").unwrap().mac;
        let mut daemon = machine.start(&[]);
        daemon.add("mac1", json!({"mode": "passthru"})).ok();
        daemon.ask("PATCH", "/v1/links/mac1", json!({"address": other.to_string()})).ok();
        machine.wait_until("the link's address", |machine| {
            machine.interface("p0").unwrap().mac == Some(other)
        });
        daemon.kill();
        assert_eq!(machine.interface("p0").unwrap().mac, Some(other));
        if deleted {
            let index = machine.interface("mac1").unwrap().index;
            machine.rtnl.delete(index).unwrap();
        }
        let daemon = machine.start(&[]);
        if !deleted {
            daemon.ask("DELETE", "/v1/links/mac1", Value::Null);
        }
        assert_eq!(machine.interface("p0").unwrap().mac, own, "deleted meanwhile: {deleted}");
    }
}

#[test]
fn user_changes_to_a_configured_link_survive_a_restart() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    machine.configure("[link.mac1]\nparent = \"p0\"\nmode = \"bridge\"\n");
    let guest = Netns::create().unwrap();
    let mut daemon = machine.start(&[]);
    let link = daemon.links().remove(0);
    assert_eq!(link["umacvlan"]["config"], "mac1");
    let at = machine.interface("mac1").unwrap().index;
    machine.rtnl.set_netns_as(at, &guest, "eth0").unwrap();
    let mut inside = Rtnl::open_in(&guest).unwrap();
    let at = inside.link("eth0").unwrap().unwrap().index;
    inside.set_up(at, true).unwrap();
    daemon.kill();

    let mut daemon = machine.start(&[]);
    assert_eq!(daemon.links().len(), 1);
    let again = daemon.link(link_id(&link));
    assert_eq!((&again["ifname"], &again["umacvlan"]["config"]), (&json!("eth0"), &json!("mac1")));
    assert_eq!(again["operstate"], "UP");
    assert!(machine.interface("mac1").is_none());
    daemon.terminate();

    // Changes to the file since then are applied.
    machine.configure("[link.mac1]\nparent = \"p0\"\nmode = \"bridge\"\nmtu = 1300\n");
    let daemon = machine.start(&[]);
    let again = daemon.link(link_id(&link));
    assert_eq!((&again["ifname"], &again["mtu"]), (&json!("eth0"), &json!(1300)));
}

#[test]
fn reloading_a_saved_configuration_changes_nothing() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    machine.configure("[link.mac1]\nparent = \"p0\"\n");
    let mut daemon = machine.start(&[]);
    daemon.add("mac2", json!({"mtu": 1400})).ok();
    let nothing = json!({"changes": []});
    let save = || {
        daemon.ask("POST", "/v1/config/save", Value::Null).ok();
        let file = fs::read_to_string(machine.file("umacvlan.toml")).unwrap();
        assert_eq!(daemon.ask("GET", "/v1/config", Value::Null).body, file);
        assert_eq!(daemon.ask("POST", "/v1/config/diff", Value::Null).ok(), nothing);
        assert_eq!(daemon.ask("POST", "/v1/config/reload", Value::Null).ok(), nothing);
        file
    };
    let file = save();
    assert!(file.contains("[link.mac2]") && file.contains("mtu = 1400"), "{file}");
    // From then on the link belongs to the file and is removed with its entry.
    assert_eq!(daemon.links()[1]["umacvlan"]["config"], "mac2");
    machine.configure("[link.mac1]\nparent = \"p0\"\n");
    daemon.ask("POST", "/v1/config/reload", Value::Null).ok();
    assert_eq!(daemon.links().len(), 1);
    daemon.terminate();
    machine.wait_until("mac2 to go", |machine| machine.interface("mac2").is_none());
}

#[test]
fn links_go_on_with_as_many_workers_as_the_configuration_has_now() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    machine.configure("[engine]\nworkers = 2\n");
    let mut daemon = machine.start(&[]);
    let number = link_id(&daemon.add("mac1", json!({"mode": "bridge"})).ok());
    let before = daemon.link(number);
    for workers in [2, 1, 3] {
        daemon.kill();
        machine.configure(&format!("[engine]\nworkers = {workers}\n"));
        daemon = machine.start(&[]);
        let now = daemon.link(number);
        for key in ["ifname", "ifindex", "address", "flags", "linkinfo"] {
            assert_eq!(now[key], before[key], "{workers} workers: {key}");
        }
        let parents = daemon.ask("GET", "/v1/parents", Value::Null).json();
        assert_eq!(parents[0]["workers"].as_array().unwrap().len(), workers, "{parents}");
    }
}
