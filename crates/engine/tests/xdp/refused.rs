//! Cases in which AF_XDP is unavailable: the error says why, nothing is left behind, and AF_PACKET
//! is used instead unless AF_XDP was demanded.

use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use umacvlan_core::options::{Backend, PortIo, XdpMode};

use caps::{CapSet, Capability};
use umacvlan_core::Mode;
use umacvlan_engine::engine::{AbsentParent, Engine, Event, ParentOptions, UplinkKind};
use umacvlan_engine::{Error, try_af_xdp};
use umacvlan_netlink::{Event as LinkEvent, Monitor};
use umacvlan_sys::ethtool::{Ethtool, ReceiveOffloads};
use umacvlan_sys::xdp::{Binding, XdpAttachMode, XdpProgram, XskSocket};
use umacvlan_testkit::root_or_skip;

use crate::common::{Lab, PARENT, Place, frame, mac, reaches};

/// A parent, and an engine from which it is detached.
fn lab() -> Lab {
    let lab = Lab::new(PortIo::Auto);
    lab.engine().remove_parent(PARENT).unwrap();
    lab
}

fn by(backend: Backend) -> ParentOptions {
    ParentOptions { name: PARENT.to_owned(), backend, ..ParentOptions::default() }
}

/// The error when AF_XDP is demanded.
fn why(engine: &Engine, backend: Backend) -> String {
    let error = engine.add_parent(by(backend)).unwrap_err();
    assert!(matches!(&error, Error::NoAfXdp { .. }), "{error}");
    let text = error.to_string();
    assert!(!text.contains('\n'), "one line: {text}");
    text
}

/// Puts a foreign XDP program on the parent.
fn program(lab: &mut Lab, how: XdpAttachMode) -> io::Result<XdpProgram> {
    let index = lab.host.index(PARENT);
    let attach = || {
        let mut program = XdpProgram::load(1522)?;
        program.attach(index, how).map(|()| program)
    };
    lab.host.netns.run(attach).unwrap()
}

/// Attaches the parent with any backend, sends frames, and detaches it.
fn passes(lab: &Lab, backend: Backend, kind: UplinkKind) {
    lab.engine().add_parent(by(backend)).unwrap();
    assert_eq!(lab.parent().uplink.kind, kind);
    let inside = Place::new();
    lab.add("s1", 1, Mode::Bridge, &inside);
    let (sub, wire) = (inside.socket("s1"), lab.far.socket("x0"));
    reaches(&wire, &sub, &frame(mac(1), mac(0xff), 1));
    reaches(&sub, &wire, &frame(mac(0xff), mac(1), 2));
    lab.engine().remove_parent(PARENT).unwrap();
}

#[test]
fn a_veth_is_reached_by_af_packet_and_natively_if_af_xdp_is_demanded() {
    if !root_or_skip() {
        return;
    }
    let mut lab = Lab::new(PortIo::Auto);
    let uplink = lab.parent().uplink;
    assert_eq!(uplink.kind, UplinkKind::AfPacket);
    assert!(uplink.why.starts_with("with veth, "), "{}", uplink.why);
    lab.engine().remove_parent(PARENT).unwrap();
    lab.engine().add_parent(by(Backend::AfXdp)).unwrap();
    let uplink = lab.parent().uplink;
    assert_eq!(uplink.kind, UplinkKind::AfXdp(XdpMode::Native));
    assert_eq!(uplink.why, "zero-copy: the driver does not support it");
    lab.engine().remove_parent(PARENT).unwrap();
    // Nothing is left behind: another program can be attached.
    program(&mut lab, XdpAttachMode::Native).unwrap();
    assert!(
        why(lab.engine(), Backend::AfXdpIn(XdpMode::ZeroCopy))
            .contains("zero-copy: the driver does not support it")
    );
    program(&mut lab, XdpAttachMode::Native).unwrap();
}

#[test]
fn a_foreign_program_stays_and_af_xdp_is_refused() {
    if !root_or_skip() {
        return;
    }
    let mut lab = lab();
    for how in [XdpAttachMode::Native, XdpAttachMode::Generic] {
        let other = program(&mut lab, how).unwrap();
        let demands = [Backend::AfXdp].into_iter().chain(XdpMode::ALL.map(Backend::AfXdpIn));
        for backend in demands {
            let why = why(lab.engine(), backend);
            assert!(why.contains(": another XDP program is on the interface"), "{how:?}: {why}");
        }
        passes(&lab, Backend::Auto, UplinkKind::AfPacket);
        assert!(program(&mut lab, how).is_err(), "{how:?}: it is not there any more");
        drop(other);
    }
    passes(&lab, Backend::AfXdp, UplinkKind::AfXdp(XdpMode::Native));
}

#[test]
fn a_queue_in_use_is_not_taken() {
    if !root_or_skip() {
        return;
    }
    let lab = lab();
    let open = || XskSocket::open(PARENT, 0, Binding::Copy, 1522, true);
    let other = lab.host.netns.run(open).unwrap().unwrap();
    for mode in [XdpMode::Native, XdpMode::Generic] {
        let why = why(lab.engine(), Backend::AfXdpIn(mode));
        assert!(why.contains("another AF_XDP socket has the queue"), "{why}");
    }
    passes(&lab, Backend::Auto, UplinkKind::AfPacket);
    drop(other);
    passes(&lab, Backend::AfXdp, UplinkKind::AfXdp(XdpMode::Native));
}

/// An attempt changes the interface, which is an event about it; and no event says when the queue is free.
#[test]
fn a_kind_that_is_refused_for_a_while_is_tried_again_after_pauses() {
    if !root_or_skip() {
        return;
    }
    let lab = lab();
    let open = || XskSocket::open(PARENT, 0, Binding::Copy, 1522, true);
    let other = lab.host.netns.run(open).unwrap().unwrap();
    let mut monitor = lab.host.netns.run(Monitor::open).unwrap().unwrap();
    let absent = Some(AbsentParent { mac: mac(0xfe), mtu: 1500 });
    lab.engine().add_parent(ParentOptions { absent, ..by(Backend::AfXdp) }).unwrap();
    let (begun, mut changes) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(1) {
        // Requests are answered meanwhile.
        assert_eq!(lab.engine().status().unwrap().len(), 1);
        changes += programs_in_events(&mut monitor).len();
        let _ = monitor.wait(Duration::from_millis(50)).unwrap();
    }
    assert!(changes < 100, "{changes} events about the parent");
    drop(other);
    lab.event("parent back", |event| matches!(event, Event::ParentBack { .. }));
    assert_eq!(lab.parent().uplink.kind, UplinkKind::AfXdp(XdpMode::Native));
}

#[test]
fn an_mtu_that_the_driver_does_not_carry_is_for_the_generic_mode_and_a_larger_one_for_none() {
    if !root_or_skip() {
        return;
    }
    let mut lab = lab();
    for (place, name) in [(&mut lab.host, PARENT), (&mut lab.far, "x0")] {
        let index = place.index(name);
        place.rtnl.set_mtu(index, 3700).unwrap();
    }
    lab.engine().add_parent(by(Backend::AfXdp)).unwrap();
    let uplink = lab.parent().uplink;
    assert_eq!(uplink.kind, UplinkKind::AfXdp(XdpMode::Generic));
    assert_eq!(
        uplink.why,
        "zero-copy: the driver does not support it; native: its XDP does not carry this MTU"
    );
    lab.engine().remove_parent(PARENT).unwrap();
    passes(&lab, Backend::AfXdp, UplinkKind::AfXdp(XdpMode::Generic));
}

/// Starts an engine that lacks these capabilities, in the namespace of the parent.
fn lacking(lab: &Lab, capabilities: &[Capability]) -> Engine {
    let start = || {
        for &capability in capabilities {
            caps::drop(None, CapSet::Effective, capability).unwrap();
        }
        Engine::start().unwrap()
    };
    lab.host.netns.run(start).unwrap()
}

#[test]
fn without_its_capabilities_af_packet_works_and_af_xdp_names_them() {
    if !root_or_skip() {
        return;
    }
    let mut lab = lab();
    let lacks = [Capability::CAP_BPF, Capability::CAP_SYS_ADMIN];
    lab.engine = Some(lacking(&lab, &lacks));
    for backend in [Backend::AfXdp, Backend::AfXdpIn(XdpMode::Generic)] {
        let why = why(lab.engine(), backend);
        assert!(why.contains("needs the capabilities BPF, NET_ADMIN and NET_RAW"), "{why}");
    }
    lab.engine().add_parent(by(Backend::Auto)).unwrap();
    assert_eq!(lab.parent().uplink.kind, UplinkKind::AfPacket);
}

/// The limit applies to a process, so another process has it.
#[test]
fn without_memory_to_lock_af_packet_works_and_af_xdp_says_what_to_raise() {
    const TEST: &str = "without_memory_to_lock_af_packet_works_and_af_xdp_says_what_to_raise";
    const LIMITED: &str = "UMACVLAN_LIMITED";
    if !root_or_skip() {
        return;
    }
    if std::env::var_os(LIMITED).is_none() {
        let script = "ulimit -l 64 && exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", &format!("refused::{TEST}"), "--nocapture"]).env(LIMITED, "1");
        let output = command.stdin(Stdio::null()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && told.contains("1 passed"), "{output:?}");
        return;
    }
    let mut lab = lab();
    // A process with one of these capabilities has no limit, or raises it.
    lab.engine = Some(lacking(&lab, &[Capability::CAP_IPC_LOCK, Capability::CAP_SYS_RESOURCE]));
    let why = why(lab.engine(), Backend::AfXdp);
    let reason = "zero-copy, native, generic: the limit on locked memory is too low: raise it";
    assert!(why.contains(reason), "{why}");
    passes(&lab, Backend::Auto, UplinkKind::AfPacket);
}

#[test]
fn a_probe_reports_the_mode_or_the_reason_and_leaves_nothing() {
    if !root_or_skip() {
        return;
    }
    let mut lab = lab();
    let link = lab.host.link(PARENT);
    assert_eq!(lab.host.netns.run(|| try_af_xdp(&link)).unwrap(), Ok(XdpMode::Native));
    let other = program(&mut lab, XdpAttachMode::Native).unwrap();
    let why = lab.host.netns.run(|| try_af_xdp(&link)).unwrap().unwrap_err();
    assert!(why.contains("another XDP program"), "{why}");
    drop(other);
}

#[test]
fn tags_are_left_in_frames_until_the_parent_is_let_go() {
    if !root_or_skip() {
        return;
    }
    let lab = lab();
    let ethtool = lab.host.netns.run(Ethtool::open).unwrap().unwrap();
    let before = ethtool.receive_offloads(PARENT).unwrap();
    assert!(before.vlan, "a veth takes tags out: {before:?}");
    lab.engine().add_parent(by(Backend::AfXdp)).unwrap();
    assert_eq!(lab.parent().switched_off, before);
    assert_eq!(ethtool.receive_offloads(PARENT).unwrap(), ReceiveOffloads::default());
    lab.engine().remove_parent(PARENT).unwrap();
    assert_eq!(ethtool.receive_offloads(PARENT).unwrap(), before);
}

/// True for each event about the parent since the last call in which it has an XDP program.
fn programs_in_events(monitor: &mut Monitor) -> Vec<bool> {
    let mut seen = Vec::new();
    let note = |event| match event {
        LinkEvent::LinkNew { link, .. } if link.name == PARENT => seen.push(link.xdp),
        _ => {}
    };
    monitor.read(note).unwrap();
    seen
}

/// The kernel switches off LRO and hardware GRO for a generic program, after which nobody knows that
/// they were on; and drivers refuse to switch them on under a program. A veth has neither, but
/// each change of a feature is an event that tells whether there is a program.
#[test]
fn offloads_are_switched_off_before_the_program_comes_and_on_after_it_has_gone() {
    if !root_or_skip() {
        return;
    }
    let lab = lab();
    let mut monitor = lab.host.netns.run(Monitor::open).unwrap().unwrap();
    let generic = Backend::AfXdpIn(XdpMode::Generic);
    lab.engine().add_parent(by(generic)).unwrap();
    let mut seen = programs_in_events(&mut monitor);
    lab.engine().remove_parent(PARENT).unwrap();
    seen.extend(programs_in_events(&mut monitor));
    assert!(seen.len() >= 2 && !seen.contains(&true), "{seen:?}");
    // A mode that fails leaves them on as well.
    let ethtool = lab.host.netns.run(Ethtool::open).unwrap().unwrap();
    let before = ethtool.receive_offloads(PARENT).unwrap();
    why(lab.engine(), Backend::AfXdpIn(XdpMode::ZeroCopy));
    assert_eq!(ethtool.receive_offloads(PARENT).unwrap(), before);
}
