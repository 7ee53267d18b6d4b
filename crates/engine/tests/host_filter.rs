//! The filter between parent and host: it hides the given addresses and ends with its creator.
#![cfg(feature = "af-xdp")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use umacvlan_core::options::PortIo;

use umacvlan_core::switch::HostFilterRules;
use umacvlan_core::{MacAddr, MacvlanFlag, Mode, ParentInfo, Semantics, SubConfig, Switch};
use umacvlan_engine::engine::{Event, HostFilterStatus, LinkAttribute, ParentOptions, SubChange};
use umacvlan_sys::bpf::Attachment;
use umacvlan_sys::bpf::host::HostFilter;
use umacvlan_testkit::root_or_skip;

use common::{Lab, PARENT, Place, frame, mac, next, reaches, send, wire};

/// Both ways to attach; this kernel has both if it is Linux 6.6 or later.
const WAYS: [Attachment; 2] = [Attachment::Tcx, Attachment::Clsact];

/// A parent without an engine, and sockets at both ends of its wire.
struct Bench {
    host: Place,
    stack: OwnedFd,
    far: OwnedFd,
    /// Keeps its interface alive.
    _beyond: Place,
}

impl Bench {
    fn new() -> Self {
        let (mut host, beyond) = (Place::new(), Place::new());
        wire(&mut host, &beyond);
        let (stack, far) = (host.socket(PARENT), beyond.socket("x0"));
        reaches(&far, &stack, &frame(mac(0), mac(0xff), 0));
        Self { host, stack, far, _beyond: beyond }
    }

    fn attach(&self, way: Attachment, view: &HostFilterRules) -> HostFilter {
        self.host.netns.run(|| HostFilter::attach_as(way, PARENT, view)).unwrap().unwrap()
    }

    /// Returns whether the host's stack receives a frame.
    fn hears(&self, bytes: &[u8]) -> bool {
        hears(&self.far, &self.stack, bytes)
    }

    /// Number of our filters on a `clsact`.
    fn filters(&self) -> usize {
        let show =
            || Command::new("tc").args(["filter", "show", "dev", PARENT, "ingress"]).output();
        let shown = self.host.netns.run(show).unwrap().unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        shown.lines().filter(|line| line.contains("umacvlan_gate")).count()
    }
}

/// Returns whether a frame passes. A second frame, sent after it, proves that it had enough time.
fn hears(far: &OwnedFd, stack: &OwnedFd, bytes: &[u8]) -> bool {
    const LAST: u32 = u32::MAX;
    send(far, bytes);
    send(far, &frame(MacAddr::BROADCAST, mac(0xfe), LAST));
    let heard: Vec<_> = std::iter::from_fn(|| next(stack, Duration::from_secs(5)))
        .take_while(|&number| number != LAST)
        .collect();
    // The stack has no tag in its frames.
    let at = if bytes[12..14] == [0x81, 0] { 18 } else { 14 };
    heard.contains(&u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()))
}

/// The filter entries for bridge sub-interfaces with these addresses.
fn view(stations: impl Iterator<Item = MacAddr>) -> HostFilterRules {
    let parent = ParentInfo { mac: mac(0), mtu: 1500, promisc: false };
    let mut switch = Switch::new(parent, Semantics::Kernel);
    for mac in stations {
        let config = SubConfig::new(mac, Mode::Bridge);
        let id = switch.add(&config).unwrap();
        switch.set_up(id, true).unwrap();
    }
    switch.host_filter_rules()
}

fn station(number: u16) -> MacAddr {
    let [high, low] = number.to_be_bytes();
    MacAddr::new([2, 1, 0, 0, high, low])
}

#[test]
fn the_filter_hides_frames_until_it_is_dropped() {
    if !root_or_skip() {
        return;
    }
    let bench = Bench::new();
    let (its, another) = (frame(mac(1), mac(0xff), 1), frame(mac(2), mac(0xff), 2));
    for way in WAYS {
        assert!(bench.hears(&its));
        let filter = bench.attach(way, &view([mac(1)].into_iter()));
        assert!(!bench.hears(&its), "{way}");
        assert!(bench.hears(&another) && bench.hears(&frame(mac(0), mac(1), 3)), "{way}");
        bench.host.netns.run(|| drop(filter)).unwrap();
        assert!(bench.hears(&its), "{way}");
    }
    assert_eq!(bench.filters(), 0);
}

#[test]
fn the_filter_follows_its_entries_and_grows() {
    if !root_or_skip() {
        return;
    }
    let bench = Bench::new();
    let to = |number| frame(station(number), mac(0xff), number.into());
    for way in WAYS {
        let mut filter = bench.attach(way, &view((0..10).map(station)));
        let mut show = |stations: std::ops::Range<u16>| {
            let view = view(stations.map(station));
            bench.host.netns.run(|| filter.set_rules(&view)).unwrap().unwrap();
        };
        show(5..15);
        assert!(bench.hears(&to(4)) && !bench.hears(&to(5)) && !bench.hears(&to(14)), "{way}");
        show(5..3000);
        assert!(bench.hears(&to(4)) && !bench.hears(&to(5)) && !bench.hears(&to(2999)), "{way}");
        show(0..0);
        assert!(bench.hears(&to(5)) && bench.hears(&to(2999)), "{way}");
        bench.host.netns.run(|| drop(filter)).unwrap();
    }
}

#[test]
fn a_vlan_that_the_host_has_a_device_for_is_the_host_s() {
    if !root_or_skip() {
        return;
    }
    let bench = Bench::new();
    let mut filter = bench.attach(Attachment::Tcx, &view([mac(1)].into_iter()));
    let tagged = |vid: u8| {
        let mut bytes = frame(mac(1), mac(0xff), 1);
        bytes.splice(12..12, [0x81, 0, 0, vid]);
        bytes
    };
    assert!(!bench.hears(&tagged(10)));
    filter.set_vlans(&[10, 4094]).unwrap();
    assert!(bench.hears(&tagged(10)) && !bench.hears(&tagged(11)) && filter.has_vlans());
    filter.set_vlans(&[11]).unwrap();
    assert!(!bench.hears(&tagged(10)) && bench.hears(&tagged(11)));
}

/// Tells the child how to attach. A process without this variable is not the child.
const WAY: &str = "UMACVLAN_TEST_WAY";

/// Attaches in a process with a second thread that waits, until it is killed.
#[test]
fn child_that_attaches_and_waits() {
    let Ok(way) = std::env::var(WAY) else {
        return;
    };
    let way = WAYS.into_iter().find(|known| known.to_string() == way).unwrap();
    let _filter = HostFilter::attach_as(way, PARENT, &view([mac(1)].into_iter())).unwrap();
    eprintln!("attached");
    loop {
        std::thread::park();
    }
}

/// A child process that has attached the filter.
fn child(bench: &Bench, way: Attachment) -> Child {
    let start = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_attaches_and_waits", "--nocapture"])
            .env(WAY, way.to_string())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
    };
    let mut child = bench.host.netns.run(start).unwrap().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let said = stderr.lines().map(Result::unwrap).find(|line| line.contains("attached"));
    assert!(said.is_some(), "the child could not attach");
    child
}

#[test]
fn a_killed_process_leaves_the_host_everything() {
    if !root_or_skip() {
        return;
    }
    let bench = Bench::new();
    let its = frame(mac(1), mac(0xff), 1);
    for way in WAYS {
        let mut child = child(&bench, way);
        assert!(!bench.hears(&its), "{way}");
        child.kill().unwrap();
        child.wait().unwrap();
        // The kernel releases a program some moments after its process.
        common::until("the host hears all", || bench.hears(&its));
    }
    assert_eq!(bench.filters(), 1, "the gate of the killed one");
    let next = bench.attach(Attachment::Clsact, &HostFilterRules::default());
    assert_eq!(bench.filters(), 1, "the next one has taken it away");
    bench.host.netns.run(|| drop(next)).unwrap();
    assert_eq!(bench.filters(), 0);
}

#[test]
fn the_engine_keeps_the_filter_as_the_switch_is() {
    if !root_or_skip() {
        return;
    }
    let lab = Lab::new(PortIo::Plain);
    let (stack, far) = (lab.host.socket(PARENT), lab.far.socket("x0"));
    let to = |n| frame(mac(n), mac(0xff), n.into());
    reaches(&far, &stack, &to(0));
    let status = || lab.parent().host_filter;
    assert_eq!(status(), HostFilterStatus::Idle);

    let place = Place::new();
    let sub = lab.add("s1", 1, Mode::Vepa, &place);
    assert!(matches!(status(), HostFilterStatus::On(_)), "{:?}", status());
    assert!(!hears(&far, &stack, &to(1)) && hears(&far, &stack, &to(0)));

    let set = |sets| lab.engine().set_link(sub.number, sets).unwrap();
    set(vec![LinkAttribute::Mac(mac(2))]);
    assert!(hears(&far, &stack, &to(1)) && !hears(&far, &stack, &to(2)));
    set(vec![LinkAttribute::Up(false)]);
    assert!(hears(&far, &stack, &to(2)));
    set(vec![LinkAttribute::Up(true)]);
    assert!(!hears(&far, &stack, &to(2)));

    let change = |changes| lab.engine().change_sub(sub.number, changes).unwrap();
    change(vec![
        SubChange::Mode(Mode::Source),
        SubChange::AddSource(mac(0xff)),
        SubChange::Flag(MacvlanFlag::Nodst, true),
    ]);
    assert!(!hears(&far, &stack, &to(0)) && !hears(&far, &stack, &to(9)));
    change(vec![SubChange::Flag(MacvlanFlag::Nodst, false)]);
    assert!(hears(&far, &stack, &to(0)) && hears(&far, &stack, &to(2)));

    lab.engine().remove_sub(sub.number).unwrap();
    let owner = lab.add("s2", 0, Mode::Passthru, &place);
    assert!(!hears(&far, &stack, &to(0)) && !hears(&far, &stack, &to(9)));
    lab.engine().remove_sub(owner.number).unwrap();
    assert!(hears(&far, &stack, &to(0)) && hears(&far, &stack, &to(9)));

    lab.add("s3", 3, Mode::Bridge, &place);
    assert!(!hears(&far, &stack, &to(3)));
    lab.engine().remove_parent(PARENT).unwrap();
    assert!(hears(&far, &stack, &to(3)));
}

#[test]
fn a_parent_that_comes_back_gets_its_filter_back() {
    if !root_or_skip() {
        return;
    }
    let mut lab = Lab::new(PortIo::Plain);
    let place = Place::new();
    lab.add("s1", 1, Mode::Bridge, &place);
    let parent = lab.host.index(PARENT);
    lab.host.rtnl.delete(parent).unwrap();
    lab.event("parent gone", |event| matches!(event, Event::ParentGone { .. }));
    assert_eq!(lab.parent().host_filter, HostFilterStatus::Idle);
    wire(&mut lab.host, &lab.far);
    lab.event("parent back", |event| matches!(event, Event::ParentBack { .. }));
    assert!(matches!(lab.parent().host_filter, HostFilterStatus::On(_)));
    let (stack, far) = (lab.host.socket(PARENT), lab.far.socket("x0"));
    reaches(&far, &stack, &frame(mac(0), mac(0xff), 0));
    assert!(!hears(&far, &stack, &frame(mac(1), mac(0xff), 1)));
}

#[test]
fn the_filter_can_be_turned_off() {
    if !root_or_skip() {
        return;
    }
    let mut lab = Lab::new(PortIo::Plain);
    lab.start(PortIo::Plain, ParentOptions { host_gets_all: true, ..ParentOptions::default() });
    let place = Place::new();
    lab.add("s1", 1, Mode::Bridge, &place);
    let (stack, far) = (lab.host.socket(PARENT), lab.far.socket("x0"));
    reaches(&far, &stack, &frame(mac(0), mac(0xff), 0));
    assert!(hears(&far, &stack, &frame(mac(1), mac(0xff), 1)));
    assert!(matches!(lab.parent().host_filter, HostFilterStatus::Off(_)));
}
