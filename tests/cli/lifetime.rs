//! The life of `umacvlan run`: when the command ends, the machine is as it was before.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Instant;

use umacvlan_core::MacAddr;
use umacvlan_netlink::Rtnl;
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::{LIMIT, netns_path, root_or_skip, signal};

use crate::world::{World, run};

#[test]
fn sigterm_removes_everything_and_the_counters_come_last() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new();
    let before = world.interfaces();
    let running = world.start(&["--sub", "m1,mode=bridge", "--sub", "m2,down"]);
    let ready = running.ready();
    assert_eq!(ready.len(), 4, "{ready:#?}");
    assert!(world.link("m1").is_up() && !world.link("m2").is_up());
    let (status, table, errors) = running.terminate();
    assert_eq!(world.interfaces(), before);
    assert_eq!((status.code(), errors), (Some(0), vec![]));
    assert!(table.iter().any(|line| line.starts_with("m2 ")), "{table:#?}");
}

#[test]
fn sigint_ends_it_as_well_and_its_echo_does_no_harm() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new();
    let before = world.interfaces();
    let mut running = world.start(&["--sub", "m1", "-j"]);
    running.ready();
    let process = running.id();
    signal(process, "INT");
    // As timeout(1) does; the process may have ended already, but has not been waited for.
    signal(process, "INT");
    let (status, lines, _) = running.ended();
    assert_eq!(status.code(), Some(0));
    assert!(lines.last().unwrap().contains("\"stopped\""), "{lines:#?}");
    assert_eq!(world.interfaces(), before);
}

#[test]
fn a_parent_is_promiscuous_for_passthru_and_as_it_was_afterwards() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new();
    let before = world.interfaces();
    let parent = world.link("p0");
    let running = world.start(&["--sub", "m1,mode=passthru"]);
    running.ready();
    world.wait_until("all frames of the parent", |world| {
        world.link("p0").promiscuity > parent.promiscuity
    });
    assert_eq!(world.link("m1").mac, parent.mac);
    let (status, ..) = running.terminate();
    assert!(status.success());
    assert_eq!(world.interfaces(), before);
}

#[test]
fn a_parent_that_followed_its_passthru_has_its_own_address_back() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new();
    let before = world.interfaces();
    let running = world.start(&["--sub", "m1,mode=passthru"]);
    running.ready();
    let mac = MacAddr::new([2, 0, 0, 0, 0, 0x55]);
    let index = world.link("m1").index;
    world.rtnl.set_mac(index, mac).unwrap();
    world.wait_until("the parent's new address", |world| world.link("p0").mac == Some(mac));
    let (status, ..) = running.terminate();
    assert!(status.success());
    assert_eq!(world.interfaces(), before);
}

#[test]
fn user_changes_are_reported() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new();
    let told = world.start(&["-j", "--sub", "m1"]);
    told.ready();
    let index = world.link("m1").index;
    let mac = MacAddr::new([2, 0, 0, 0, 0, 0x66]);
    world.rtnl.set_mac(index, mac).unwrap();
    let lines = told.until("02:00:00:00:00:66");
    assert!(lines.last().unwrap().contains("\"sub_changed\""), "{lines:#?}");
    world.rtnl.delete(index).unwrap();
    told.until("{\"event\":\"sub_gone\",\"sub\":\"m1\"}");
    let parent = world.link("p0").index;
    world.rtnl.delete(parent).unwrap();
    told.until("{\"event\":\"parent_gone\",\"parent\":\"p0\"}");
    told.kill();

    world.rtnl.add_veth("p0", "q0", None).unwrap();
    world.set_up("p0");
    let told = world.start(&["--sub", "m1"]);
    told.ready();
    let index = world.link("m1").index;
    world.rtnl.set_mtu(index, 1400).unwrap();
    let errors = told.until_error("umacvlan: m1 is now up, mode vepa");
    assert!(errors.last().unwrap().contains("MTU 1400"), "{errors:#?}");
    world.rtnl.delete(index).unwrap();
    told.until_error("umacvlan: m1 is gone");
    let (status, table, _) = told.terminate();
    assert!(status.success());
    assert!(table.iter().all(|line| !line.starts_with("m1")), "{table:#?}");
}

#[test]
fn sigkill_leaves_nothing() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new();
    let other = Netns::create().unwrap();
    let before = world.interfaces();
    let away = format!("m2,netns={}", netns_path(&other));
    let running = world.start(&["--sub", "m1", "--sub", &away]);
    running.ready();
    running.kill();
    // The kernel may take back an io_uring after the process is gone.
    world.wait_until("all as it was", |world| world.interfaces() == before);
    let mut world = World { rtnl: Rtnl::open_in(&other).unwrap(), netns: other };
    world.wait_until("m2 gone", |world| world.interfaces().len() == 1);
}

#[test]
fn it_goes_on_when_its_output_is_closed() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new();
    let before = world.interfaces();
    let mut command = run(&["--sub", "m1"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = world.netns.run(|| command.spawn()).unwrap().unwrap();
    // The same as with `| head -1`.
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("SUB-INTERFACE"), "{line}");
    assert!(child.try_wait().unwrap().is_none());
    assert!(world.rtnl.link("m1").unwrap().is_some());
    signal(child.id(), "TERM");
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    assert_eq!(world.interfaces(), before);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new();
    let before = world.interfaces();
    // The pipe is full to the last byte, so the command blocks when it reports that it is ready.
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[b'\n'; PIPE_CAPACITY]).unwrap();
    let mut command = run(&["--sub", "m1"]);
    command.stdout(writer);
    let mut child = world.netns.run(|| command.spawn()).unwrap().unwrap();
    world.wait_until("m1", |world| world.rtnl.link("m1").unwrap().is_some());
    let begun = Instant::now();
    let status = loop {
        assert!(begun.elapsed() < LIMIT, "patient for ever");
        signal(child.id(), "TERM");
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
    };
    drop(reader);
    assert_eq!(status.signal(), Some(signal_hook::consts::SIGTERM));
    world.wait_until("all as it was", |world| world.interfaces() == before);
}

/// Bytes that a pipe holds: pipe(7).
const PIPE_CAPACITY: usize = 65536;

#[test]
fn run_ends_with_its_command_and_with_its_status() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new();
    let before = world.interfaces();
    let script = "ip link show m1 >/dev/null && echo it is there && exit 7";
    let mut running = world.start(&["--sub", "m1,mode=bridge", "--", "sh", "-c", script]);
    let (status, lines, errors) = running.ended();
    assert_eq!((status.code(), errors), (Some(7), vec![]));
    assert!(lines.iter().any(|line| line == "it is there"), "{lines:#?}");
    assert!(lines.last().unwrap().starts_with("worker"), "{lines:#?}");
    assert_eq!(world.interfaces(), before);
}

#[test]
fn a_signal_to_run_ends_its_command() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new();
    let before = world.interfaces();
    let script = "trap 'echo told; exit 3' TERM; echo waiting; while :; do sleep 0.1; done";
    let running = world.start(&["--sub", "m1", "--", "sh", "-c", script]);
    running.until("waiting");
    let (status, lines, _) = running.terminate();
    assert_eq!(status.code(), Some(3), "{lines:#?}");
    assert!(lines.iter().any(|line| line == "told"), "{lines:#?}");
    assert_eq!(world.interfaces(), before);
}

#[test]
fn a_command_that_cannot_be_started_leaves_nothing() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new();
    let before = world.interfaces();
    let mut running = world.start(&["--sub", "m1", "--", "/no/such/program"]);
    let (status, _, errors) = running.ended();
    assert_eq!(status.code(), Some(1));
    assert!(errors.last().unwrap().contains("cannot start /no/such/program"), "{errors:#?}");
    assert_eq!(world.interfaces(), before);
}
