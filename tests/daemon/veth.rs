//! Links of the port kind veth: what the kernel forwards goes on without a daemon, the next one takes it
//! over, and nothing is left of a link that ends.
#![cfg(feature = "af-xdp")]

use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};
use umacvlan_core::MacAddr;
use umacvlan_netlink::Rtnl;
use umacvlan_sys::netns::Netns;
use umacvlan_sys::{poll, raw_socket};
use umacvlan_testkit::{BpfFs, Daemon, Machine, Scratch, netns_path, root_or_skip};

use crate::keeper::{kill_keeper, until};

/// For local experiments (IEEE 802).
const ETHERTYPE: u16 = 0x88b5;

/// The most frames of a stream on their way, so that no socket is full.
const WINDOW: u64 = 32;

/// A machine whose daemons pin in a BPF file system of its own.
struct World {
    machine: Machine,
    bpf: BpfFs,
}

impl World {
    fn new() -> Self {
        Self { machine: Machine::new(env!("CARGO_BIN_EXE_umacvlan")), bpf: BpfFs::new() }
    }

    fn start(&self) -> Daemon {
        let dir = self.bpf.path().join("umacvlan");
        self.machine.start(&["--bpf-dir", dir.to_str().unwrap()])
    }

    /// How many links of programs are pinned.
    fn links(&self) -> usize {
        let is_link = |pin: &&std::path::PathBuf| pin.to_string_lossy().contains("umacvlan_");
        self.bpf.pins().iter().filter(is_link).count()
    }
}

fn mac(last: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, last])
}

/// Adds a link with the address `last` in a namespace of its own.
fn add(daemon: &Daemon, name: &str, last: u8, port: &str) -> Netns {
    let guest = Netns::create().unwrap();
    let more = json!({"address": mac(last).to_string(), "netns": netns_path(&guest), "port": port});
    daemon.add(name, more).ok();
    guest
}

fn socket(netns: &Netns, name: &str) -> OwnedFd {
    let open = || raw_socket::open(raw_socket::index_of(name).unwrap(), ETHERTYPE);
    netns.run(open).unwrap().unwrap()
}

fn frame(dst: MacAddr, src: MacAddr) -> Vec<u8> {
    let mut frame = [dst.octets(), src.octets()].concat();
    frame.extend(ETHERTYPE.to_be_bytes());
    frame.resize(60, 0);
    frame
}

/// True if a frame from `src` comes before `time` has passed.
fn arrives(socket: &OwnedFd, src: MacAddr, time: Duration) -> bool {
    let mut buffer = [0; 128];
    let end = Instant::now() + time;
    loop {
        // Once after the interface was down there is an error.
        if let Ok(Some(len)) = raw_socket::receive(socket.as_fd(), &mut buffer) {
            if buffer[..len].get(6..12) == Some(&src.octets()) {
                return true;
            }
            continue;
        }
        let left = end.saturating_duration_since(Instant::now());
        let mut wanted = [poll::Interest::readable(socket.as_fd())];
        if left.is_zero() || poll::wait(&mut wanted, left).unwrap() == 0 {
            return false;
        }
    }
}

/// Sends a frame until it arrives, because changes take a while to be followed.
fn reaches(from: &OwnedFd, to: &OwnedFd, dst: MacAddr, src: MacAddr) {
    until("a frame", || {
        raw_socket::send(from.as_fd(), &frame(dst, src), 1).unwrap();
        arrives(to, src, Duration::from_millis(50))
    });
}

/// Frames that are sent all the time, and counted where they arrive.
struct Stream {
    stop: Arc<AtomicBool>,
    got: Arc<AtomicU64>,
    sender: JoinHandle<u64>,
    receiver: JoinHandle<()>,
}

impl Stream {
    fn start(from: OwnedFd, to: OwnedFd, dst: MacAddr, src: MacAddr) -> Self {
        while arrives(&to, src, Duration::ZERO) {}
        let (stop, got) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, arrived) = (Arc::clone(&stop), Arc::clone(&got));
        let sender = thread::spawn(move || {
            let mut sent = 0;
            while !stopped.load(Ordering::SeqCst) {
                if sent < arrived.load(Ordering::SeqCst) + WINDOW {
                    let frame = frame(dst, src);
                    sent += raw_socket::send(from.as_fd(), &frame, 1).unwrap() as u64;
                }
                thread::sleep(Duration::from_micros(200));
            }
            sent
        });
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&got));
        let receiver = thread::spawn(move || {
            // After the end of the sender a duplicate would come within this time.
            loop {
                if arrives(&to, src, Duration::from_millis(300)) {
                    counted.fetch_add(1, Ordering::SeqCst);
                } else if stopped.load(Ordering::SeqCst) {
                    break;
                }
            }
        });
        Self { stop, got, sender, receiver }
    }

    /// Returns when more frames have arrived.
    fn goes_on(&self, when: &str) {
        let before = self.got.load(Ordering::SeqCst);
        until(when, || self.got.load(Ordering::SeqCst) > before + 2 * WINDOW);
    }

    /// Ends it; every frame has arrived once.
    fn end(self, what: &str) {
        self.stop.store(true, Ordering::SeqCst);
        let sent = self.sender.join().unwrap();
        self.receiver.join().unwrap();
        assert_eq!(self.got.load(Ordering::SeqCst), sent, "{what}");
    }
}

#[test]
fn no_unicast_frame_is_lost_while_the_daemon_is_killed_and_started_again() {
    if !root_or_skip() {
        return;
    }
    let world = World::new();
    let mut daemon = world.start();
    let one = add(&daemon, "mac1", 1, "veth");
    let two = add(&daemon, "mac2", 2, "veth");
    let three = add(&daemon, "mac3", 3, "tap");
    let (s1, s2, s3) = (|| socket(&one, "mac1"), || socket(&two, "mac2"), socket(&three, "mac3"));
    let far = || socket(&world.machine.netns, "q0");
    reaches(&far(), &s1(), mac(1), mac(0xff));
    let streams = [
        ("between siblings", Stream::start(s1(), s2(), mac(2), mac(1))),
        ("to the wire", Stream::start(s1(), far(), mac(0xfe), mac(0x11))),
        ("from the wire", Stream::start(far(), s1(), mac(1), mac(0xfd))),
    ];
    let go_on = |when: &str| streams.iter().for_each(|(_, stream)| stream.goes_on(when));
    go_on("frames with the first daemon");
    for (signal, keeper) in [("KILL", true), ("TERM", true), ("KILL", false)] {
        daemon.end(signal);
        if !keeper {
            kill_keeper(&world.machine);
        }
        go_on("frames without a daemon");
        daemon = world.start();
        go_on("frames with the next daemon");
        // What the daemon forwards works again, and both kinds hear each other.
        reaches(&s1(), &s3, mac(3), mac(1));
        reaches(&s3, &s2(), MacAddr::BROADCAST, mac(3));
    }
    for (what, stream) in streams {
        stream.end(what);
    }
    let link = daemon.links().into_iter().find(|link| link["ifname"] == "mac1").unwrap();
    let interface = &link["umacvlan"]["interface"];
    assert_eq!(interface["kind"], "veth");
    let (answered, all) = (&interface["answered"], &interface["frames"]);
    let (answered, all) = (answered.as_u64().unwrap(), all.as_u64().unwrap());
    // Of unicast all but what met the TAP beside it.
    assert!(answered > 0 && answered * 100 >= all * 90, "{interface}");
    for name in ["mac1", "mac2"] {
        assert!(world.links() > 0);
        daemon.ask("DELETE", &format!("/v1/links/{name}"), Value::Null);
    }
    assert_eq!(world.bpf.pins(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_veth_link_ends_with_its_namespace_with_a_daemon_and_without() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new();
    let mut daemon = world.start();
    let [one, two] = ["mac1", "mac2"].map(|name| {
        let last = name.as_bytes()[3] - b'0';
        add(&daemon, name, last, "veth")
    });
    assert_eq!(world.links(), 5);
    drop(one);
    until("the end of the link", || daemon.links().len() == 1);
    assert_eq!(world.links(), 3);
    daemon.kill();
    drop(two);
    world.machine.wait_until("the end of the pair", |it| it.interface("mac2-h0").is_none());
    daemon = world.start();
    assert!(daemon.links().is_empty());
    assert_eq!(world.bpf.pins(), Vec::<std::path::PathBuf>::new());
    for name in ["mac1-h0", "mac1-s0", "mac2-h0", "mac2-s0"] {
        assert!(world.machine.interface(name).is_none(), "{name}");
    }
    let files = std::fs::read_dir(world.machine.file("state")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.starts_with("link-")));
}

#[test]
fn what_a_tenant_does_to_its_end_while_no_daemon_runs_is_followed() {
    if !root_or_skip() {
        return;
    }
    let world = World::new();
    let mut daemon = world.start();
    let one = add(&daemon, "mac1", 1, "veth");
    let two = add(&daemon, "mac2", 2, "veth");
    let three = add(&daemon, "mac3", 3, "veth");
    daemon.kill();
    let inside = |netns: &Netns, name: &str| {
        let mut rtnl = Rtnl::open_in(netns).unwrap();
        let index = rtnl.link(name).unwrap().unwrap().index;
        (rtnl, index)
    };
    // Another name and address; deleted; moved to a namespace of its own.
    let (mut rtnl, index) = inside(&one, "mac1");
    rtnl.set_up(index, false).unwrap();
    rtnl.set_name(index, "eth0").unwrap();
    rtnl.set_mac(index, mac(9)).unwrap();
    rtnl.set_up(index, true).unwrap();
    let (mut rtnl, index) = inside(&two, "mac2");
    rtnl.delete(index).unwrap();
    let (mut rtnl, index) = inside(&three, "mac3");
    let four = Netns::create().unwrap();
    rtnl.set_netns(index, &four).unwrap();
    let (mut rtnl, index) = inside(&four, "mac3");
    rtnl.set_up(index, true).unwrap();
    daemon = world.start();
    let mut names: Vec<_> = daemon.links().iter().map(|link| link["ifname"].clone()).collect();
    names.sort_by_key(ToString::to_string);
    assert_eq!(names, ["eth0", "mac3"]);
    let (s1, s3) = (socket(&one, "eth0"), socket(&four, "mac3"));
    let far = socket(&world.machine.netns, "q0");
    reaches(&far, &s1, mac(9), mac(0xff));
    reaches(&s1, &s3, mac(3), mac(9));
    reaches(&s3, &s1, MacAddr::BROADCAST, mac(3));
    assert_eq!(world.links(), 5);
}

/// How many frames the kernel has forwarded for the first link.
fn answered(daemon: &Daemon) -> u64 {
    daemon.links()[0]["umacvlan"]["interface"]["answered"].as_u64().unwrap()
}

#[test]
fn a_capture_has_the_frames_that_the_kernel_forwards_otherwise() {
    if !root_or_skip() {
        return;
    }
    let world = World::new();
    let daemon = world.start();
    let (first, second) = (add(&daemon, "mac1", 1, "veth"), add(&daemon, "mac2", 2, "veth"));
    let (from, to) = (socket(&first, "mac1"), socket(&second, "mac2"));
    let send = || reaches(&from, &to, mac(2), mac(1));
    let by_kernel = || {
        let before = answered(&daemon);
        send();
        answered(&daemon) > before
    };
    until("the kernel to forward", by_kernel);
    for (what, named) in [("p0", "/mac1"), ("mac2", "/mac2")] {
        let mut capture = Command::new("timeout");
        capture.args(["-s", "INT", "30", env!("CARGO_BIN_EXE_umacvlan")]);
        capture.arg("--socket").arg(world.machine.socket()).args(["capture", what, "-c", "3"]);
        capture.args(["ether", "proto", "0x88b5"]);
        capture.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut capture = capture.spawn().unwrap();
        let mut told = BufReader::new(capture.stderr.take().unwrap());
        let mut line = String::new();
        for _ in 0..2 {
            told.read_line(&mut line).unwrap();
        }
        assert!(
            line.contains(named) && line.contains(" meanwhile, and the kernel again"),
            "{line}"
        );
        (0..3).for_each(|_| send());
        let output = capture.wait_with_output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(shown.lines().filter(|line| line.contains("/mac2 ")).count(), 3, "{shown}");
        until("the kernel to forward again", by_kernel);
    }
}

#[test]
fn without_a_bpf_file_system_it_is_refused_or_a_tap() {
    if !root_or_skip() {
        return;
    }
    let world = World::new();
    let scratch = Scratch::new();
    let dir = scratch.path().join("umacvlan");
    let options = ["--bpf-dir", dir.to_str().unwrap()];
    let daemon = world.machine.start(&options);
    let refused = daemon.add("mac1", json!({"port": "veth"}));
    let message = refused.json()["message"].to_string();
    assert!(message.contains("is no BPF file system (mount -t bpf bpf "), "{message}");
    let link = daemon.add("mac1", json!({"port": "auto"})).ok();
    let interface = &link["umacvlan"]["interface"];
    assert_eq!(interface["kind"], "tap");
    let why = interface["why"].as_str().unwrap();
    assert!(why.contains("is no BPF file system"), "{why}");
    drop(daemon);
    // One that cannot be written, and one of somebody else.
    let none: Option<&str> = None;
    mount(Some("bpf"), scratch.path(), Some("bpf"), MsFlags::empty(), none).unwrap();
    let check = |reason: &str| {
        let daemon = world.machine.start(&options);
        let refused = daemon.add("mac2", json!({"port": "veth"}));
        let message = refused.json()["message"].to_string();
        assert!(message.contains(reason), "{message}");
        assert!(daemon.links().iter().all(|link| link["ifname"] != "mac2"));
    };
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    check("others can write there");
    std::fs::remove_dir(&dir).unwrap();
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, scratch.path(), none, read_only, none).unwrap();
    check("Read-only file system");
    umount2(scratch.path(), MntFlags::MNT_DETACH).unwrap();
}

#[test]
fn the_configuration_has_the_kind_of_port_of_a_link_and_of_a_parent() {
    if !root_or_skip() {
        return;
    }
    let world = World::new();
    let link = "parent = \"p0\"\nmode = \"bridge\"\n";
    let file = |more: &str| {
        format!(
            "[parent.p0]\nport = \"veth\"\n[link.a]\n{link}[link.b]\n{link}port = \"tap\"\n{more}"
        )
    };
    world.machine.configure(&file(""));
    let mut daemon = world.start();
    let kinds = |daemon: &Daemon| -> Vec<(String, Value)> {
        let links = daemon.links();
        let kind = |link: &Value| {
            (
                link["ifname"].as_str().unwrap().to_owned(),
                link["umacvlan"]["interface"]["kind"].clone(),
            )
        };
        links.iter().map(kind).collect()
    };
    let expected = [("a".to_owned(), json!("veth")), ("b".to_owned(), Value::Null)];
    assert_eq!(kinds(&daemon), expected);
    // What runs is what is wanted, also for the next daemon.
    daemon.end("KILL");
    daemon = world.start();
    assert_eq!(kinds(&daemon), expected);
    let reload = daemon.ask("POST", "/v1/config/reload", Value::Null).ok();
    assert!(!reload.to_string().contains("make link"), "{reload}");
    // A link of another kind is another one.
    world.machine.configure(&file("").replace("port = \"tap\"\n", "port = \"auto\"\n"));
    daemon.ask("POST", "/v1/config/reload", Value::Null).ok();
    assert_eq!(kinds(&daemon)[1].1, json!("veth"));
    assert_eq!(world.links(), 5);
}

#[test]
fn sockets_of_a_daemon_whose_programs_are_gone_leave_nothing_out() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new();
    let mut daemon = world.start();
    let far = socket(&world.machine.netns, "q0");
    let one = add(&daemon, "mac1", 1, "veth");
    let _two = add(&daemon, "mac2", 2, "tap");
    reaches(&far, &socket(&one, "mac1"), mac(1), mac(0xff));
    daemon.kill();
    for pin in world.bpf.pins() {
        std::fs::remove_file(pin).unwrap();
    }
    let end = world.machine.interface("mac1-h0").unwrap().index;
    world.machine.rtnl.delete(end).unwrap();
    daemon = world.start();
    assert_eq!(daemon.links().len(), 1, "{:?}", daemon.links());
    // The address for which the sockets have left frames to the programs.
    let again = add(&daemon, "mac3", 1, "tap");
    reaches(&far, &socket(&again, "mac3"), mac(1), mac(0xfe));
}
