//! The keeper of descriptors: what outlives a daemon, what proves that an interface is a link, and the
//! end of links whose namespace has ended.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use umacvlan_core::MacAddr;
use umacvlan_netlink::{Link, Rtnl};
use umacvlan_sys::netns::Netns;
use umacvlan_sys::tap::Tap;
use umacvlan_testkit::{Daemon, LIMIT, Machine, events, link_id, netns_path, root_or_skip, signal};

/// The process id of the keeper of a machine, if it runs.
fn keeper(machine: &Machine) -> Option<u32> {
    let socket = machine.file("state/keeper.sock");
    let is_keeper = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = words.split(|&byte| byte == 0).collect();
        words.get(1) == Some(&&b"keeper"[..])
            && words.get(3) == Some(&socket.as_os_str().as_encoded_bytes())
    };
    let entries = fs::read_dir("/proc").unwrap();
    let mut pids = entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.find(is_keeper)
}

/// Returns when `done` is true, which no event reports.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < end, "not in time: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Kills the keeper and waits until it is gone.
pub(crate) fn kill_keeper(machine: &Machine) {
    signal(keeper(machine).expect("a keeper"), "KILL");
    until("the keeper to go", || keeper(machine).is_none());
}

fn add_in(daemon: &Daemon, name: &str, guest: &Netns) -> Value {
    daemon.add(name, json!({"netns": netns_path(guest)})).ok()
}

/// A persistent TAP as root in a tenant's namespace can make it, with an index and an address of its
/// choice.
fn forge(guest: &Netns, index: u32, mac: MacAddr) {
    let mut rtnl = Rtnl::open_in(guest).unwrap();
    loop {
        let Ok(tap) = guest.run(|| Tap::create("forged")).unwrap() else {
            // The one before is not gone yet.
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        let made = rtnl.link("forged").unwrap().unwrap();
        assert!(made.index <= index, "{made:?}");
        if made.index == index {
            tap.set_mac(mac).unwrap();
            tap.set_persistent(true).unwrap();
            return rtnl.set_up(index, true).unwrap();
        }
    }
}

fn mac_of(link: &Value) -> MacAddr {
    link["address"].as_str().unwrap().parse().unwrap()
}

fn index_of(link: &Value) -> u32 {
    u32::try_from(link["ifindex"].as_u64().unwrap()).unwrap()
}

#[test]
fn the_keeper_holds_descriptors_and_nothing_else() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start(&[]);
    daemon.add("mac1", Value::Null).ok();
    let pid = keeper(&machine).expect("a keeper");
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    let status = read("status");
    let value = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("{key}: {status}")).trim().to_owned()
    };
    assert_eq!(value("Name"), "um-keeper");
    for ids in [value("Uid"), value("Gid")] {
        assert!(ids.split_whitespace().all(|id| id == "65530"), "{ids}");
    }
    assert_eq!(value("Groups"), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&value(set), 16), Ok(0), "{set}");
    }
    assert_eq!((value("NoNewPrivs"), value("Seccomp")), ("1".to_owned(), "2".to_owned()));
    assert_eq!(value("Threads"), "1");
    let stat = read("stat");
    let session = stat.rsplit(')').next().unwrap().split_whitespace().nth(3).unwrap();
    assert_eq!(session, pid.to_string(), "{stat}");
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let held: Vec<_> =
        descriptors.map(|entry| fs::read_link(entry.unwrap().path()).unwrap()).collect();
    let expected = |path: &&std::path::PathBuf| {
        let text = path.to_string_lossy();
        text.starts_with("socket:")
            || text == "/dev/null"
            || text.ends_with("/keeper.sock")
            || text == "/dev/net/tun"
    };
    assert_eq!(held.iter().filter(|path| path.as_path() == Path::new("/dev/net/tun")).count(), 1);
    assert!(held.iter().all(|path| expected(&path)), "{held:?}");

    // The next daemon finds the same one, and it ends when there is nothing to hold.
    for signal in ["KILL", "TERM"] {
        daemon.end(signal);
        daemon = machine.start(&[]);
        assert_eq!(keeper(&machine), Some(pid));
    }
    daemon.ask("DELETE", "/v1/links/mac1", Value::Null);
    daemon.terminate();
    until("the keeper to end", || keeper(&machine).is_none());
}

#[test]
fn the_keeper_ends_with_the_state_directory() {
    if !root_or_skip() {
        return;
    }
    let ways: [fn(&Machine); 2] = [
        |machine| fs::remove_dir_all(machine.file("state")).unwrap(),
        |machine| fs::rename(machine.file("state"), machine.file("away")).unwrap(),
    ];
    for take_away in ways {
        let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
        let mut daemon = machine.start(&[]);
        daemon.add("mac1", Value::Null).ok();
        daemon.kill();
        take_away(&machine);
        until("the keeper to end", || keeper(&machine).is_none());
    }
}

#[test]
fn a_link_ends_with_its_namespace_after_a_restart() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start(&[]);
    for signal in ["KILL", "TERM"] {
        let guest = Netns::create().unwrap();
        let id = link_id(&add_in(&daemon, "mac1", &guest));
        daemon.end(signal);
        daemon = machine.start(&[]);
        daemon.link(id);
        let mut heard = events(&machine.file("socket"));
        drop(guest);
        heard.find(|event| event["event"] == "link_deleted" && event["id"] == id).unwrap();
        assert!(daemon.links().is_empty());
    }
}

#[test]
fn a_link_whose_namespace_ended_meanwhile_is_gone() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start(&[]);
    let guest = Netns::create().unwrap();
    let id = link_id(&add_in(&daemon, "mac1", &guest));
    daemon.kill();
    drop(guest);
    let mut daemon = machine.start(&[]);
    assert!(daemon.links().is_empty());
    assert!(!machine.file(&format!("state/link-{id}.json")).exists());
    let log = daemon.terminate();
    assert!(log.contains(&format!("link mac1, number {id}, is gone")), "{log}");
    until("the keeper to end", || keeper(&machine).is_none());
}

#[test]
fn a_daemon_waits_for_the_end_of_one_that_gets_a_signal() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut before = machine.start(&[]);
    for number in 0..100 {
        before.add(&format!("mac{number}"), json!({"up": false})).ok();
    }
    for signal in ["KILL", "TERM", "KILL"] {
        before.signal(signal);
        // The one before still has the state, the sockets and the interface.
        let next = machine.start(&[]);
        assert_eq!(next.links().len(), 100, "after SIG{signal}");
        before = next;
    }
}

#[test]
fn more_links_than_one_message_holds_are_kept() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start(&[]);
    for number in 0..260 {
        daemon.add(&format!("mac{number}"), json!({"up": false})).ok();
    }
    let before: Vec<_> = daemon.links().iter().map(link_id).collect();
    daemon.kill();
    let mut daemon = machine.start(&[]);
    assert_eq!(daemon.links().iter().map(link_id).collect::<Vec<_>>(), before);
    let log = daemon.terminate();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

#[test]
fn a_killed_daemon_s_links_lose_their_carrier_if_no_other_starts() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start(&[]);
    let id = link_id(&daemon.add("mac1", Value::Null).ok());
    daemon.kill();
    assert!(machine.interface("mac1").unwrap().is_running(), "frames wait in it");
    machine.wait_until("mac1 loses its carrier", |machine| {
        !machine.interface("mac1").unwrap().is_running()
    });
    let daemon = machine.start(&[]);
    assert_eq!(daemon.link(id)["operstate"], "UP");
}

#[test]
fn without_the_keeper_a_link_is_found_where_it_was_and_nowhere_else() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let (guest, other) = (Netns::create().unwrap(), Netns::create().unwrap());
    let mut inside = Rtnl::open_in(&guest).unwrap();
    let mut daemon = machine.start(&[]);
    let stays = add_in(&daemon, "stays", &guest);
    let renamed = add_in(&daemon, "renamed", &guest);
    let moved = add_in(&daemon, "moved", &guest);
    let other_mac = add_in(&daemon, "other-mac", &guest);
    daemon.kill();
    kill_keeper(&machine);
    inside.set_name(index_of(&renamed), "eth9").unwrap();
    inside.set_netns_as(index_of(&moved), &other, "moved").unwrap();
    inside.set_mac(index_of(&other_mac), MacAddr::new([2, 0, 0, 0, 0, 0x79])).unwrap();

    let mut daemon = machine.start(&[]);
    let found: Vec<_> = daemon.links().iter().map(link_id).collect();
    assert_eq!(found, [link_id(&stays), link_id(&renamed)]);
    assert!(inside.link("other-mac").unwrap().is_some_and(|link| !link.is_running()));
    let log = daemon.terminate();
    let ino = |netns: &Netns| netns.id().ino;
    for (index, at, why) in [
        (index_of(&moved), ino(&other), "another namespace"),
        (index_of(&other_mac), ino(&guest), "another address"),
    ] {
        let told = log.lines().any(|line| {
            line.contains(&format!("index {index}, in net:[{at}] is not attached"))
                && line.contains(why)
        });
        assert!(told, "{why}: {log}");
    }
}

#[test]
fn what_a_tenant_makes_to_be_taken_for_a_gone_link_gets_nothing() {
    if !root_or_skip() {
        return;
    }
    for with_keeper in [true, false] {
        let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
        let (victim, tenant) = (Netns::create().unwrap(), Netns::create().unwrap());
        let mut daemon = machine.start(&[]);
        let link = add_in(&daemon, "mac1", &victim);
        daemon.kill();
        if with_keeper {
            drop(victim);
        } else {
            kill_keeper(&machine);
            Rtnl::open_in(&victim).unwrap().delete(index_of(&link)).unwrap();
        }
        forge(&tenant, index_of(&link), mac_of(&link));

        let mut daemon = machine.start(&[]);
        assert!(daemon.links().is_empty(), "with a keeper: {with_keeper}");
        let forged = Rtnl::open_in(&tenant).unwrap().link("forged").unwrap().unwrap();
        assert!(!forged.is_running(), "{forged:?}");
        let parents = daemon.ask("GET", "/v1/parents", Value::Null).ok();
        assert_eq!(parents, json!([]));
        let log = daemon.terminate();
        assert!(log.contains(&format!("number {}, is gone", link_id(&link))), "{log}");
        let told = log.contains("TAP forged") && log.contains("is not attached");
        assert_eq!(told, !with_keeper, "{log}");
    }
}

/// A tenant in whose own namespace the link was cannot have another link's either.
#[test]
fn a_forged_tap_in_the_namespace_of_a_link_is_not_that_link() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let guest = Netns::create().unwrap();
    let mut daemon = machine.start(&[]);
    let link = add_in(&daemon, "mac1", &guest);
    daemon.kill();
    let mut inside = Rtnl::open_in(&guest).unwrap();
    inside.delete(index_of(&link)).unwrap();
    forge(&guest, index_of(&link) + 1, mac_of(&link));
    let daemon = machine.start(&[]);
    assert!(daemon.links().is_empty());
    assert!(inside.link("forged").unwrap().is_some_and(|link: Link| !link.is_running()));
}

#[test]
fn a_keeper_that_is_stopped_for_a_while_does_not_take_a_living_daemon_s_carrier() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let daemon = machine.start(&[]);
    daemon.add("mac1", Value::Null).ok();
    let pid = keeper(&machine).expect("a keeper");
    signal(pid, "STOP");
    // The daemon gives up waiting for it.
    daemon.add("mac2", Value::Null).ok();
    signal(pid, "CONT");
    // Longer than it leaves links without a daemon their carrier.
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        assert!(machine.interface("mac1").unwrap().is_running(), "the daemon is there");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_daemon_that_starts_when_the_keeper_was_just_killed_starts_another_one() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start(&[]);
    let id = link_id(&daemon.add("mac1", Value::Null).ok());
    for _ in 0..5 {
        let former = keeper(&machine).expect("a keeper");
        daemon.kill();
        signal(former, "KILL");
        daemon = machine.start(&[]);
        assert_eq!(daemon.link(id)["operstate"], "UP");
        until("another keeper", || keeper(&machine).is_some_and(|pid| pid != former));
    }
}
