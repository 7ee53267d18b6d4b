//! Links whose far end is a program: `type macvtap`.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use umacvlan_testkit::vhost_user::{EVENT_IDX, MRG_RXBUF, VERSION_1, VhostUser};
use umacvlan_testkit::{Daemon, LIMIT, Machine, link_id, root_or_skip};

use crate::keeper::until;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];

fn stream() -> Value {
    json!({"port": "stream", "address": "02:00:00:00:00:11"})
}

/// Runs `umacvlan` with these words, for the daemon of a machine.
pub(crate) fn umacvlan(machine: &Machine, words: &str) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_umacvlan"));
    command.arg("--socket").arg(machine.socket()).args(words.split(' '));
    let output = machine.netns.run(|| command.output()).unwrap().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// A program that connects, again and again, until somebody listens.
fn connect(socket: &Path) -> UnixStream {
    let mut connected = None;
    until("a listener", || {
        connected = UnixStream::connect(socket).ok();
        connected.is_some()
    });
    let stream = connected.unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// A broadcast frame from this address, behind its length.
fn broadcast(from: [u8; 6]) -> Vec<u8> {
    [&60_u32.to_be_bytes()[..], &[0xff; 6], &from, &[0x88, 0xb5], &[0; 46]].concat()
}

fn port(daemon: &Daemon, id: u64) -> Value {
    daemon.link(id)["umacvlan"]["port"].clone()
}

#[test]
fn a_macvtap_is_made_shown_changed_and_removed() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let daemon = machine.start(&[]);
    let run = |words: &str| {
        let (ok, text) = umacvlan(&machine, words);
        assert!(ok, "{words}: {text}");
        text
    };
    let add = "link add link p0 name vm1 address 02:00:00:00:00:11 type macvtap mode bridge";
    run(&format!("{add} port stream group root"));
    let socket = machine.file("ports/vm1.sock");
    let made = fs::metadata(&socket).unwrap();
    assert_eq!((made.permissions().mode() & 0o777, made.gid()), (0o660, 0));
    // The fields and values of `ip -d -j link show` for a macvtap of the kernel, but for its index and
    // those of its stack and its offloads.
    let mut shown: Value = serde_json::from_str(&run("-d -j link show vm1")).unwrap();
    let own = shown[0].as_object_mut().unwrap().remove("umacvlan").unwrap();
    let as_kernel = json!([{
        "ifindex": 0, "link": "p0", "ifname": "vm1", "flags": ["BROADCAST", "MULTICAST"],
        "mtu": 1500, "qdisc": "noop", "operstate": "DOWN", "linkmode": "DEFAULT",
        "group": "default", "txqlen": 500, "link_type": "ether", "address": "02:00:00:00:00:11",
        "broadcast": "ff:ff:ff:ff:ff:ff", "promiscuity": 0, "allmulti": 0, "min_mtu": 68,
        "max_mtu": 65535, "linkinfo": {"info_kind": "macvtap", "info_data":
            {"mode": "bridge", "bcqueuelen": 1000, "usedbcqueuelen": 1000}},
        "num_tx_queues": 1, "num_rx_queues": 1
    }]);
    assert_eq!(shown, as_kernel);
    let expected = json!({"kind": "stream", "socket": socket, "group": 0, "connections": 0});
    assert_eq!(own["port"], expected);
    assert_eq!(own["all_groups"], true);

    run("link set vm1 up mtu 1400 alias web type macvtap mode vepa");
    let mut program = connect(&socket);
    let pid = std::process::id();
    until("the program to be shown", || run("-d link show vm1").contains(&format!("pid {pid}")));
    let line = run("link show type macvtap");
    assert!(line.contains("<BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1400"), "{line}");
    program.write_all(&broadcast(MAC)).unwrap();
    until("the frame to be counted", || {
        let stats = &daemon.links()[0]["stats64"];
        (&stats["tx"]["packets"], &stats["tx"]["bytes"]) == (&json!(1), &json!(60))
    });
    let own = format!("link set vm1 netns {pid}");
    for (words, message) in [
        (own.as_str(), "cannot move to a namespace"),
        ("link set vm1 name vm2", "cannot get another name"),
        ("link set vm1 type macvtap port stream", "delete it and make it again"),
        ("link add link p0 vm1 type macvtap port stream", "the name is in use"),
        ("link add link p0 vm1 type macvlan", "the name is in use"),
        ("link add link p0 p0 type macvtap port stream", "the name is in use"),
    ] {
        let (ok, text) = umacvlan(&machine, words);
        assert!(!ok && text.contains(message), "{words}: {text}");
    }
    run("link add link p0 type macvtap port stream");
    assert!(machine.file("ports/macvtap0.sock").exists());
    run("link del vm1");
    assert!(!socket.exists());
    program.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_macvtap_comes_back_with_the_daemon_and_its_program_connects_again() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start(&[]);
    let more = json!({"mtu": 1400, "alias": "web", "promisc": true, "txqueuelen": 7});
    let mut body = stream();
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let id = link_id(&daemon.add("vm1", body).ok());
    daemon.ask("PATCH", "/v1/links/vm1", json!({"mtu": 1300, "address": "02:00:00:00:00:12"})).ok();
    daemon.add("mac1", Value::Null).ok();
    let socket = machine.file("ports/vm1.sock");
    let comparable = |daemon: &Daemon| {
        let mut link = daemon.link(id);
        link["umacvlan"]["port"] = Value::Null;
        link["umacvlan"]["counters"] = Value::Null;
        link["stats64"] = Value::Null;
        (link["flags"].take(), link)
    };
    for end in ["TERM", "KILL"] {
        let mut program = connect(&socket);
        until("the connection", || port(&daemon, id)["pid"] == std::process::id());
        let before = comparable(&daemon);
        daemon.end(end);
        // It may have got frames before.
        let _ = program.read_to_end(&mut Vec::new());
        daemon = machine.start(&[]);
        let mut again = connect(&socket);
        until("the connection", || port(&daemon, id)["pid"] == std::process::id());
        assert_eq!(comparable(&daemon), before, "{end}");
        again.write_all(&broadcast(MAC)).unwrap();
        until("its frame", || daemon.link(id)["umacvlan"]["counters"]["received"]["frames"] == 1);
    }
    assert_eq!(daemon.links().len(), 2);
    daemon.ask("DELETE", "/v1/links/vm1", Value::Null);
    daemon.kill();
    let daemon = machine.start(&[]);
    assert_eq!(daemon.links().len(), 1);
    assert!(!socket.exists());
}

#[test]
fn the_configuration_has_macvtaps_too() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let link = |more: &str| {
        format!("[link.vm1]\nparent = \"p0\"\nmode = \"bridge\"\nport = \"stream\"\n{more}")
    };
    machine.configure(&link("group = 0\n"));
    let mut daemon = machine.start(&[]);
    let socket = machine.file("ports/vm1.sock");
    let id = link_id(&daemon.links()[0]);
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&socket), 0o660);
    daemon.end("KILL");
    let daemon = machine.start(&[]);
    assert_eq!(link_id(&daemon.links()[0]), id, "it is the same link");
    let (ok, saved) = umacvlan(&machine, "config show");
    assert!(ok && saved.contains("port = \"stream\"") && saved.contains("group = 0"), "{saved}");
    // Another owner of the socket is another link.
    machine.configure(&link(""));
    let (ok, text) = umacvlan(&machine, "config reload");
    assert!(ok, "{text}");
    assert_eq!(mode(&socket), 0o600);
    assert_ne!(link_id(&daemon.links()[0]), id);
    machine.configure(&link("netns = \"blue\"\n"));
    let (ok, text) = umacvlan(&machine, "config reload");
    assert!(!ok && text.contains("expected no namespace"), "{text}");
}

#[test]
fn a_macvtap_without_a_word_is_for_vhost_user_and_comes_back() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start(&[]);
    let run = |words: &str| {
        let (ok, text) = umacvlan(&machine, words);
        assert!(ok, "{words}: {text}");
        text
    };
    run("link add link p0 name vm1 address 02:00:00:00:00:11 type macvtap mode bridge");
    run("link add link p0 name vm2 type macvtap port vhost-user");
    let socket = machine.file("ports/vm1.sock");
    for end in ["TERM", "KILL"] {
        run("link set vm1 up");
        drop(connect(&socket));
        let mut program = VhostUser::connect(&socket, MRG_RXBUF | VERSION_1 | EVENT_IDX);
        until("the carrier", || run("link show vm1").contains("LOWER_UP"));
        let shown = run("-d link show vm1");
        let rings =
            "rings running queues 1 memory 4194304 in 1 regions features MRG_RXBUF,EVENT_IDX";
        assert!(shown.contains("port vhost-user") && shown.contains(rings), "{shown}");
        program.send(&broadcast(MAC)[4..]);
        let counted = || daemon.links()[0]["umacvlan"]["counters"]["received"]["frames"].clone();
        until("its frame", || counted() == 1);
        daemon.end(end);
        program.wait_for_end();
        daemon = machine.start(&[]);
        assert_eq!(daemon.links().len(), 2);
    }
    let saved = run("config show");
    assert_eq!(saved.matches("port = \"vhost-user\"").count(), 2, "{saved}");
    run("link del vm1");
    assert!(!socket.exists());
}

#[test]
fn each_daemon_connects_to_a_program_that_listens() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start(&[]);
    let path = machine.file("program.sock");
    fs::write(&path, "no socket").unwrap();
    let path = path.display();
    let add = "link add link p0 name vm1 type macvtap mode bridge port stream client";
    let (ok, text) = umacvlan(&machine, &format!("{add} {path}"));
    assert!(ok, "{text}");
    let id = link_id(&daemon.links()[0]);
    let ended = || port(&daemon, id)["ended"].as_str().unwrap_or_default().to_owned();
    until("the reason", || ended().contains("Connection refused (os error 111); nobody listens"));
    fs::remove_file(machine.file("program.sock")).unwrap();
    let listener = UnixListener::bind(machine.file("program.sock")).unwrap();
    listener.set_nonblocking(true).unwrap();
    for _ in 0..2 {
        let mut program = None;
        until("a connection", || {
            program = program.take().or_else(|| listener.accept().ok());
            program.is_some()
        });
        until("the connection", || port(&daemon, id)["pid"] == std::process::id());
        let shown = port(&daemon, id);
        assert_eq!((&shown["client"], &shown["socket"]), (&json!(true), &json!(path.to_string())));
        let (_, text) = umacvlan(&machine, "-d link show vm1");
        assert!(text.contains(&format!("umacvlan port stream client {path} pid")), "{text}");
        daemon.end("KILL");
        daemon = machine.start(&[]);
    }
    let ports = machine.file("ports");
    let ports = ports.display();
    let (_, saved) = umacvlan(&machine, "config show");
    assert!(saved.contains(&format!("client = \"{path}\"")), "{saved}");
    for (words, message) in [
        (
            format!("{add} program.sock"),
            "client \"program.sock\" is no path of a socket: expected an absolute",
        ),
        (format!("{add} /{}", "x".repeat(107)), "is no path of a socket: expected an absolute"),
        (format!("{add} {path} user root"), "leave them out"),
        (format!("{add} {ports}/vm9.sock"), "is where the daemon itself listens"),
        ("link set vm1 type macvtap client /run/x".to_owned(), "delete it and make it again"),
        ("link add link p0 type macvlan client /run/x".to_owned(), "unknown option \"client\""),
    ] {
        let (ok, text) = umacvlan(&machine, &words.replace("name vm1 ", "name vm2 "));
        assert!(!ok && text.contains(message), "{words}: {text}");
    }
    assert!(umacvlan(&machine, "link del vm1").0);
    assert!(machine.file("program.sock").exists(), "it is the program's");
}

#[test]
fn a_program_that_sends_datagrams_goes_on_with_the_next_daemon() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start(&[]);
    let run = |words: &str| {
        let (ok, text) = umacvlan(&machine, words);
        assert!(ok, "{words}: {text}");
        text
    };
    let add = "link add link p0 name vm1 address 02:00:00:00:00:11 type macvtap mode bridge";
    run(&format!("{add} port dgram group root"));
    run("link set vm1 up");
    let (socket, own) = (machine.file("ports/vm1.sock"), machine.file("program.sock"));
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let program = UnixDatagram::bind(&own).unwrap();
    program.set_nonblocking(true).unwrap();
    let id = link_id(&daemon.links()[0]);
    for end in ["TERM", "KILL"] {
        until("the carrier", || {
            // There may be no daemon, or no room yet.
            let _ = program.send_to(&broadcast(MAC)[4..], &socket);
            run("link show vm1").contains("LOWER_UP")
        });
        let (text, shown) = (run("-d link show vm1"), port(&daemon, id));
        let line = format!("umacvlan port dgram socket {} group 0 pid", socket.display());
        let peer = format!("peer {} connections 1", own.display());
        assert!(text.contains(&line) && text.contains(&peer), "{text}");
        let expected = (json!("dgram"), json!(std::process::id()), json!(own));
        assert_eq!(
            (&shown["kind"], &shown["pid"], &shown["peer"]),
            (&expected.0, &expected.1, &expected.2)
        );
        let counted = || daemon.link(id)["umacvlan"]["counters"]["received"]["frames"].clone();
        until("its frames", || counted().as_u64() >= Some(2));
        daemon.end(end);
        daemon = machine.start(&[]);
    }
    assert!(run("config show").contains("port = \"dgram\""));
    let (ok, text) = umacvlan(&machine, &format!("{add} port dgram client {}", own.display()));
    assert!(!ok && text.contains("client is for port stream and vhost-user"), "{text}");
    run("link del vm1");
    assert!(!socket.exists() && own.exists());
}
