//! Workers whose privileges are dropped before their first turn can do all their work.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use umacvlan_core::options::{Backend, PortIo, ProgramKind};

use caps::CapSet;
use crossbeam_channel::unbounded;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use umacvlan_core::{MacAddr, Mode};
use umacvlan_datapath::worker::{OnWorker, SYSTEM_CALLS};
use umacvlan_engine::engine::{
    EngineOptions, Event, LinkAttribute, ParentOptions, ProgramPlace, ProgramPort, SubOptions,
};
use umacvlan_netlink::Link;
use umacvlan_sys::port_socket::SocketOwner;
use umacvlan_sys::tap::Tap;
use umacvlan_testkit::vhost_user::{VERSION_1, VhostUser};
use umacvlan_testkit::{Scratch, root_or_skip};

use common::{Lab, PARENT, PATIENCE, Place, frame, mac, next, reaches, send, until, wire};

/// Takes every capability and most system calls from the calling thread.
fn confine() {
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::clear(None, set).unwrap();
    }
    let allowed = SYSTEM_CALLS.iter().map(|&call| (call, Vec::new())).collect();
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(allowed, refused, SeccompAction::Allow, arch).unwrap();
    apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

/// Every operation of a worker.
fn work(lab: &mut Lab) {
    let (mut one, two) = (Place::new(), Place::new());
    let first = lab.add("s1", 1, Mode::Bridge, &one);
    lab.add("s2", 2, Mode::Bridge, &two);
    let (near, sibling) = (one.socket("s1"), two.socket("s2"));
    let far = lab.far.socket("x0");
    reaches(&far, &near, &frame(mac(1), mac(0xff), 1));
    reaches(&near, &far, &frame(mac(0xff), mac(1), 2));
    reaches(&near, &sibling, &frame(mac(2), mac(1), 3));
    reaches(&far, &sibling, &frame(MacAddr::BROADCAST, mac(0xff), 4));

    let dir = Scratch::new();
    let add = |name: &str, kind, n| {
        let path = dir.path().join(name);
        let owner = SocketOwner::default();
        let options = SubOptions {
            name: name.to_owned(),
            mac: Some(mac(n)),
            program: Some(ProgramPort { kind, place: ProgramPlace::Listen(path.clone()), owner }),
            up: true,
            ..SubOptions::default()
        };
        lab.engine().add_sub(PARENT, options).unwrap();
        path
    };
    let path = add("vm1", ProgramKind::Stream, 3);
    let mut vhost = VhostUser::connect(&add("vm2", ProgramKind::VhostUser, 4), VERSION_1);
    vhost.send(&frame(mac(0xff), mac(4), 9));
    while next(&far, PATIENCE).unwrap() != 9 {}
    let to_vhost = frame(mac(4), mac(0xff), 10);
    send(&far, &to_vhost);
    vhost.wait_for(&to_vhost);
    // Memory that is gone is replaced by the worker.
    vhost.memory.set_len(0).unwrap();
    send(&far, &to_vhost);
    vhost.wait_for_end();

    let mut program = UnixStream::connect(&path).unwrap();
    let prefix = 60_u32.to_be_bytes();
    program.write_all(&[&prefix[..], &frame(mac(0xff), mac(3), 7)].concat()).unwrap();
    while next(&far, PATIENCE).unwrap() != 7 {}
    send(&far, &frame(mac(3), mac(0xff), 8));
    program.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut received = [0; 64];
    program.read_exact(&mut received).unwrap();
    assert_eq!(received[..], [&prefix[..], &frame(mac(3), mac(0xff), 8)].concat());

    let path = add("vm4", ProgramKind::Dgram, 6);
    let program = UnixDatagram::bind(dir.path().join("far")).unwrap();
    program.set_read_timeout(Some(PATIENCE)).unwrap();
    // The first one makes it known, and the worker reads the next before it sends anything.
    for number in [13, 14] {
        program.send_to(&frame(mac(0xff), mac(6), number), &path).unwrap();
        while next(&far, PATIENCE).unwrap() != number {}
    }
    send(&far, &frame(mac(6), mac(0xff), 15));
    assert_eq!(program.recv(&mut received).unwrap(), 60);
    assert_eq!(received[..60], frame(mac(6), mac(0xff), 15));

    let kind = ProgramKind::Tap;
    let place = ProgramPlace::Interface { name: "vm3".to_owned(), former: None };
    let options = SubOptions {
        name: "vm3".to_owned(),
        mac: Some(mac(5)),
        program: Some(ProgramPort { kind, place, owner: SocketOwner::default() }),
        up: true,
        ..SubOptions::default()
    };
    // Without BPF there is none.
    if let Ok(behind) = lab.engine().add_sub(PARENT, options) {
        let tap = lab.host.netns.run(|| Tap::attach("vm3")).unwrap().unwrap();
        tap.set_carrier(true).unwrap();
        let sent = [&[0; 10][..], &frame(mac(0xff), mac(5), 11)].concat();
        until("the frame of a TAP", || {
            tap.send(&sent).unwrap();
            next(&far, Duration::from_millis(50)) == Some(11)
        });
        let to_tap = frame(mac(5), mac(0xff), 12);
        let mut unit = [0; 128];
        until("a frame for a TAP", || {
            send(&far, &to_tap);
            matches!(tap.recv(&mut unit), Ok(Some(len)) if unit[10..len] == to_tap)
        });
        lab.engine().remove_sub(behind.number).unwrap();
    }

    let sets = [
        LinkAttribute::Promisc(true),
        LinkAttribute::Up(false),
        LinkAttribute::Mac(mac(9)),
        LinkAttribute::Up(true),
    ];
    lab.engine().set_link(first.number, sets.into()).unwrap();
    let near = one.socket("s1");
    reaches(&far, &near, &frame(mac(9), mac(0xff), 5));

    let parent = lab.host.index(PARENT);
    lab.host.rtnl.delete(parent).unwrap();
    lab.event("parent gone", |event| matches!(event, Event::ParentGone { .. }));
    wire(&mut lab.host, &lab.far);
    lab.event("parent back", |event| matches!(event, Event::ParentBack { .. }));
    one.until("a carrier again", "s1", Link::is_running);
    let near = one.socket("s1");
    let far = lab.far.socket("x0");
    reaches(&far, &near, &frame(mac(9), mac(0xff), 6));

    lab.engine().remove_sub(first.number).unwrap();
    // A sub-interface whose interface is deleted, and many others, for which memory must grow.
    for n in 10..60 {
        lab.add(&format!("s{n}"), n, Mode::Bridge, &two);
    }
    drop((sibling, two));
    lab.event(
        "namespace ended",
        |event| matches!(event, Event::SubGone { sub, .. } if sub == "s59"),
    );
    assert!(lab.counters().is_balanced());
    lab.engine().remove_parent(PARENT).unwrap();
}

#[test]
fn a_worker_needs_no_capability_and_few_system_calls() {
    if !root_or_skip() {
        return;
    }
    let backends: &[Backend] = match cfg!(feature = "af-xdp") {
        true => &[Backend::AfPacket, Backend::AfXdp],
        false => &[Backend::AfPacket],
    };
    let ways = [PortIo::Uring, PortIo::Plain].map(|io| backends.iter().map(move |&it| (io, it)));
    for (io, backend) in ways.into_iter().flatten() {
        let mut lab = Lab::new(io);
        let (sender, confined) = unbounded();
        let on_worker: OnWorker = Arc::new(move || {
            confine();
            sender.send(thread::current().name().map(str::to_owned)).unwrap();
        });
        let options = ParentOptions { backend, ..ParentOptions::default() };
        lab.start_with(
            EngineOptions { on_worker: Some(on_worker), ..EngineOptions::default() },
            io,
            options,
        );
        assert_eq!(confined.recv().unwrap().as_deref(), Some("um-p0"));
        work(&mut lab);
        assert!(confined.is_empty(), "once for each worker");
    }
}
