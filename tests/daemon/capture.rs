//! Captures: by the command, and by a client that does not read.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use umacvlan_core::MacAddr;
use umacvlan_sys::netns::Netns;
use umacvlan_sys::{poll, raw_socket};
use umacvlan_testkit::{Daemon, LIMIT, Machine, connect, netns_path, root_or_skip, signal};

use crate::keeper::until;

/// For local experiments (IEEE 802).
const ETHERTYPE: u16 = 0x88b5;

/// Frames on their way at a time, so that no socket is full.
const WINDOW: usize = 32;

struct World {
    // Dropped in this order.
    daemon: Daemon,
    guests: [Netns; 2],
    machine: Machine,
}

impl World {
    fn new() -> Self {
        let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
        let daemon = machine.start(&[]);
        let guests = [1, 2].map(|last| {
            let guest = Netns::create().unwrap();
            let mac = mac(last).to_string();
            let more = json!({"address": mac, "netns": netns_path(&guest), "up": true});
            daemon.add(&format!("mac{last}"), more).ok();
            guest
        });
        Self { daemon, guests, machine }
    }

    fn sockets(&self) -> [OwnedFd; 2] {
        [1, 2].map(|last| {
            let open = || raw_socket::open(raw_socket::index_of(&format!("mac{last}"))?, ETHERTYPE);
            self.guests[last - 1].run(open).unwrap().unwrap()
        })
    }

    /// `umacvlan capture`, which has begun when this returns.
    fn capture(&self, words: &[&str]) -> (Child, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_umacvlan"));
        command.arg("--socket").arg(self.machine.socket()).arg("capture").args(words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::with_capacity(1, child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        (child, line)
    }
}

fn mac(last: usize) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, u8::try_from(last).unwrap()])
}

/// A frame from the first guest to the second.
fn frame(len: usize) -> Vec<u8> {
    let mut frame = [mac(2).octets(), mac(1).octets()].concat();
    frame.extend(ETHERTYPE.to_be_bytes());
    frame.resize(len, 7);
    frame
}

/// Sends frames and receives all of them.
fn exchange([from, to]: &[OwnedFd; 2], frame: &[u8], count: usize) {
    let mut buffer = vec![0; 2048];
    let end = Instant::now() + LIMIT;
    let (mut sent, mut got) = (0, 0);
    while got < count {
        assert!(Instant::now() < end, "{got} of {count}");
        let room = (WINDOW - (sent - got)).min(count - sent);
        if room > 0 {
            sent += raw_socket::send(from.as_fd(), frame, room).unwrap();
        }
        let mut wanted = [poll::Interest::readable(to.as_fd())];
        poll::wait(&mut wanted, std::time::Duration::from_millis(100)).unwrap();
        while let Ok(Some(len)) = raw_socket::receive(to.as_fd(), &mut buffer) {
            got += usize::from(buffer[..len] == *frame);
        }
    }
}

fn end(mut child: Child) -> (Option<i32>, String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    (child.wait().unwrap().code(), out, err)
}

#[test]
fn the_command_shows_frames_between_siblings_and_ends_when_it_is_told() {
    if !root_or_skip() {
        return;
    }
    let world = World::new();
    let sockets = world.sockets();
    let (text, begun) = world.capture(&["p0", "-c", "3", "ether", "proto", "0x88b5"]);
    assert_eq!(begun, "umacvlan: capturing on parent p0, Ctrl-C ends it\n");
    let file = world.machine.file("c.pcapng");
    let (whole, _) = world.capture(&["mac2", "-w", file.to_str().unwrap()]);
    exchange(&sockets, &frame(60), 3);
    let (status, out, err) = end(text);
    assert_eq!((status, err.as_str()), (Some(0), "umacvlan: 3 frames\n"));
    let is_between = |line: &str| {
        line.split_once("/mac1 ")
            .is_some_and(|(from, to)| from.contains("from net:") && to.contains("/mac2 "))
    };
    assert!(out.lines().all(is_between), "{out}");
    assert_eq!(out.lines().count(), 3);
    // It is asked to end when the frames are in the file, which is complete then.
    let has_frames =
        || fs::read(&file).unwrap_or_default().windows(46).filter(|it| *it == [7; 46]).count() >= 3;
    until("the frames in the file", has_frames);
    signal(whole.id(), "INT");
    let (status, _, err) = end(whole);
    assert_eq!(status, Some(0), "{err}");
    assert!(err.ends_with(" frames\n"), "{err}");
    // With the link, a capture of it ends, too.
    let (of_link, begun) = world.capture(&["mac2", "-j"]);
    assert!(begun.contains("/mac2, Ctrl-C ends it"), "{begun}");
    let id = world.daemon.links()[1]["umacvlan"]["id"].as_u64().unwrap();
    let netns = netns_path(&world.guests[1]);
    let path = format!("/v1/links/mac2?netns={}", netns.replace('/', "%2F"));
    world.daemon.ask("DELETE", &path, Value::Null);
    assert_ne!(world.daemon.links().len(), 2, "{id}");
    let (status, out, err) = end(of_link);
    assert!(err.contains("the link is gone") && status == Some(1), "{status:?} {err}");
    assert!(out.lines().last().unwrap().contains(r#""event":"ended""#), "{out}");
}

#[test]
fn what_is_wrong_with_a_capture_is_said() {
    if !root_or_skip() {
        return;
    }
    let world = World::new();
    for (words, why) in [
        (&["nothing"][..], "nothing is neither a parent nor a link"),
        (&["p0", "net", "10.0.0.0/8"], "\"net\" is not a known primitive"),
        (
            &["p0", "--reason", "bad"],
            "\"bad\" is not a drop reason; the reasons are bad_vnet_header",
        ),
        (&["p0", "-w", "/no/such/folder"], "cannot write /no/such/folder"),
    ] {
        let (child, line) = world.capture(words);
        let (status, out, _) = end(child);
        assert!(line.contains(why) && status == Some(1) && out.is_empty(), "{line} {out}");
    }
}

#[test]
fn a_client_that_does_not_read_holds_up_nothing_and_learns_what_it_has_missed() {
    if !root_or_skip() {
        return;
    }
    let world = World::new();
    let body = json!({"dev": "p0", "at": ["from_link", "to_link"]}).to_string();
    let mut stream = connect(&world.machine.socket());
    let length = body.len();
    write!(stream, "POST /v1/capture HTTP/1.0\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.by_ref().any(|line| line.contains("\"started\"")));
    // Each frame is captured twice: more than the queue, a reading and the socket hold together.
    let sent = 7000;
    exchange(&world.sockets(), &frame(1400), sent);
    let mut seen = 0;
    let left_out = lines.find_map(|line| {
        let line: Value = serde_json::from_str(&line).unwrap_or_default();
        seen += usize::from(line["frame"].as_str().is_some_and(|frame| frame.len() == 2800));
        (line["event"] == "left_out").then(|| line["count"].as_u64().unwrap())
    });
    assert!(left_out.unwrap() > 0);
    assert!(seen > 0 && seen < 2 * sent, "{seen}");
    // When the client has gone, others have its place.
    drop(lines);
    let (again, _) = world.capture(&["p0", "-c", "1", "ether", "proto", "0x88b5"]);
    exchange(&world.sockets(), &frame(60), 1);
    assert_eq!(end(again).0, Some(0));
}

#[test]
fn a_trace_has_the_steps_of_each_frame_and_top_its_rate() {
    if !root_or_skip() {
        return;
    }
    let world = World::new();
    let words = ["trace", "p0", "-c", "2", "-j", "ether", "proto", "0x88b5"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_umacvlan"));
    command.arg("--socket").arg(world.machine.socket()).args(words);
    let trace = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let sockets = world.sockets();
    // Until it has begun, nothing tells when.
    let mut trace = trace;
    until("the trace", || {
        exchange(&sockets, &frame(60), 1);
        trace.try_wait().unwrap().is_some()
    });
    let (status, out, err) = end(trace);
    assert_eq!((status, err.as_str()), (Some(0), ""));
    for line in out.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["frame"]["fate"], "deliver");
        assert_eq!(
            (&line["explained"]["verdict"], &line["explained"]["link"]),
            (&json!("deliver"), &json!("mac1"))
        );
        assert_eq!(line["explained"]["to"], json!(["mac2"]));
    }
    assert_eq!(out.lines().count(), 2);
    let mut command = Command::new(env!("CARGO_BIN_EXE_umacvlan"));
    command.arg("--socket").arg(world.machine.socket()).args(["trace", "p0", "--reason", "frob"]);
    let refused = command.output().unwrap();
    let why = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && why.contains("frob"), "{why}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_umacvlan"));
    command.arg("--socket").arg(world.machine.socket()).args(["top", "--once", "-n", "0.1"]);
    let table = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(
        table.contains("/mac1 ") && table.contains("/mac2 ") && table.contains("\np0 "),
        "{table}"
    );
    let rates: Value =
        serde_json::from_slice(&command.args(["-j", "--filter", "mac1"]).output().unwrap().stdout)
            .unwrap();
    assert_eq!(rates["links"].as_array().unwrap().len(), 1);
    assert_eq!(rates["workers"][0]["parent"], "p0");
}
