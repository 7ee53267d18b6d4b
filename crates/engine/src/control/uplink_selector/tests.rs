//! An uplink whose program is gone is as deaf as that of a driver which forgets it.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use umacvlan_core::options::{Backend, XdpMode};
use umacvlan_core::{MacAddr, MacvlanSettings, Mode};
use umacvlan_netlink::Rtnl;
use umacvlan_sys::eventfd::EventFd;
use umacvlan_sys::netns::Netns;
use umacvlan_sys::raw_socket;
use umacvlan_testkit::root_or_skip;

use crate::control::Control;
use crate::control::engine::{EngineOptions, Event, ParentOptions, SubOptions, UplinkKind};

/// Looks in which a deaf uplink is found with certainty.
const LOOKS: usize = 10;

const FRAMES: usize = 10;

/// A control thread's state on the calling thread, with the parent p0 and a link.
fn control(backend: Backend) -> (Control, Receiver<Event>) {
    let mut rtnl = Rtnl::open().unwrap();
    rtnl.add_veth("p0", "x0", None).unwrap();
    for name in ["p0", "x0"] {
        let index = rtnl.link(name).unwrap().unwrap().index;
        rtnl.set_up(index, true).unwrap();
    }
    let ((_sender, inbox), (outbox, events)) = (unbounded(), unbounded());
    let bell = Arc::new(EventFd::new().unwrap());
    let mut control = Control::new(inbox, bell, outbox, EngineOptions::default()).unwrap();
    let options = ParentOptions { name: "p0".to_owned(), backend, ..ParentOptions::default() };
    control.add_parent(options).unwrap();
    let sub = SubOptions {
        name: "s1".to_owned(),
        settings: MacvlanSettings::new(Mode::Bridge),
        mac: Some(MacAddr::new([2, 0, 0, 0, 0, 1])),
        up: true,
        ..SubOptions::default()
    };
    control.add_sub("p0", sub).unwrap();
    (control, events)
}

/// Sends broadcasts of `len` bytes from the wire.
fn send(len: usize) {
    let index = raw_socket::index_of("x0").unwrap();
    let socket = raw_socket::open(index, 0).unwrap();
    let mut frame = [[0xff; 6], [2, 0, 0, 0, 0, 9]].concat();
    frame.extend([0x88, 0xb5]);
    frame.resize(len, 0);
    assert_eq!(raw_socket::send(socket.as_fd(), &frame, FRAMES).unwrap(), FRAMES);
}

/// Sends frames and looks, as every second does, until the uplink is of another kind.
fn looks_until_left(control: &mut Control) -> UplinkKind {
    let id = control.inventory.device_ids()[0];
    let kind = |control: &Control| control.inventory[id].uplink.status().kind;
    let before = kind(control);
    for _ in 0..LOOKS {
        send(60);
        control.prove_uplinks();
        if kind(control) != before {
            break;
        }
    }
    kind(control)
}

/// Waits until `done`, for at most a time that no machine needs.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "not in time: {what}");
        sleep(Duration::from_millis(5));
    }
}

fn flooded(control: &mut Control) -> u64 {
    control.settle();
    control.status()[0].counters.wire.flooded
}

#[test]
fn a_deaf_uplink_is_left_for_the_next_kind_and_frames_come() {
    if !root_or_skip() {
        return;
    }
    let test = || {
        let (mut control, events) = control(Backend::AfXdp);
        let id = control.inventory.device_ids()[0];
        let status = control.inventory[id].uplink.status();
        assert_eq!((status.kind, status.unproven), (UplinkKind::AfXdp(XdpMode::Native), true));
        for next in [UplinkKind::AfXdp(XdpMode::Generic), UplinkKind::AfPacket] {
            control.inventory[id].uplink.deafen();
            assert_eq!(looks_until_left(&mut control), next);
            let before = flooded(&mut control);
            send(60);
            wait_until("frames by the next uplink", || flooded(&mut control) > before);
        }
        let status = control.inventory[id].uplink.status();
        assert!(!status.unproven && status.why.starts_with("native"), "{}", status.why);
        assert!(status.why.contains("generic: no frame came through it"), "{}", status.why);
        let deaf = |event| matches!(event, Event::Trouble { what, .. } if what.contains("is deaf"));
        assert_eq!(events.try_iter().filter(|event| deaf(event.clone())).count(), 2);
        control.stop();
    };
    Netns::create().unwrap().run(test).unwrap();
}

#[test]
fn a_demanded_mode_stays_and_frames_of_full_size_prove_another() {
    if !root_or_skip() {
        return;
    }
    let test = || {
        let native = UplinkKind::AfXdp(XdpMode::Native);
        let (mut control, events) = control(Backend::AfXdpIn(XdpMode::Native));
        let id = control.inventory.device_ids()[0];
        assert_eq!(looks_until_left(&mut control), native, "frames come through it");
        assert!(control.inventory[id].uplink.status().unproven, "and all are short");
        wait_until("a frame of full size in the program", || {
            send(1514);
            control.prove_uplinks();
            !control.inventory[id].uplink.status().unproven
        });
        assert_eq!(events.try_iter().filter(|it| matches!(it, Event::Trouble { .. })).count(), 0);
        control.stop();
    };
    Netns::create().unwrap().run(test).unwrap();
}
