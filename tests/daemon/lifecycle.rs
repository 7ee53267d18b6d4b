//! The start of a daemon, the privileges that it drops, and its end.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::Stdio;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Pid, getsid};
use serde_json::{Value, json};
use umacvlan_testkit::{Machine, events, root_or_skip, signal};

use crate::keeper::until;

#[test]
fn a_wrong_start_is_refused_in_one_line_that_says_what_to_do() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    machine.configure("[engine]\npoll = \"lazy\"\n");
    let refused = machine.refused(machine.command("", &[]));
    assert!(refused.contains("umacvlan.toml:2:8: "), "{refused}");
    assert_eq!(refused.lines().count(), 1, "{refused}");
    machine.configure("");
    for (words, said) in [
        (["--log", "umacvlan=loud"], "log filter: \"umacvlan=loud\" is no level"),
        (["--log", "inof"], "did you mean \"info\"?"),
        (["--group", "umv-no-such"], "groupadd"),
        (["--ready-fd", "77"], "--ready-fd"),
    ] {
        let mut command = machine.command("", &[]);
        // The last value counts, except for an option that may be given only once.
        if words[0] == "--ready-fd" {
            command = machine.command("set -- \"$@\"; exec \"$0\" daemon --ready-fd 77", &[]);
        } else {
            command.args(words);
        }
        let refused = machine.refused(command);
        assert!(refused.contains(said), "{refused}");
        assert_eq!(refused.lines().count(), 1, "{refused}");
    }
    fs::remove_file(machine.file("umacvlan.toml")).unwrap();
    let refused = machine.refused(machine.command("", &[]));
    assert!(refused.contains("cannot read the configuration"), "{refused}");
    assert!(!machine.file("socket").exists());
}

#[test]
fn a_second_daemon_is_refused_and_the_first_serves_on() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let first = machine.start(&[]);
    let refused = machine.refused(machine.command("", &[]));
    let process = format!("another daemon (process {}) ", first.id());
    assert!(refused.contains(&format!("{process}works with the state")), "{refused}");
    let other = machine.file("other");
    let script = format!("exec \"$0\" daemon --socket \"$2\" --state {}", other.display());
    let refused = machine.refused(machine.command(&script, &[]));
    assert!(refused.contains(&format!("{process}listens")), "{refused}");
    first.add("mac1", Value::Null).ok();
}

#[test]
fn links_stay_when_it_ends_unless_they_are_to_be_removed() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start(&[]);
    daemon.add("mac1", Value::Null).ok();
    let before = machine.interface("mac1").unwrap();
    daemon.terminate();
    assert!(!machine.file("socket").exists());
    let after = machine.interface("mac1").unwrap();
    assert_eq!((after.index, after.mac, after.is_up()), (before.index, before.mac, true));
    // Another daemon may start, and what is sent meanwhile waits.
    until("mac1 loses its carrier, and the parent its filter", || {
        machine.interface("mac1").unwrap().carrier == Some(false)
            && !machine.interface("p0").unwrap().is_promiscuous()
    });

    let mut daemon = machine.start(&["--on-exit", "remove"]);
    daemon.terminate();
    assert!(machine.interface("mac1").is_none());
}

#[test]
fn in_the_background_the_command_returns_when_it_serves_or_has_failed() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let script = "exec \"$0\" daemon --background \"$@\"";
    let run = |words| {
        let mut command = machine.command(script, words);
        // The output ends only when no process has the pipes any more.
        machine.netns.run(|| command.output()).unwrap().unwrap()
    };
    let refused = run(&["--group", "umv-no-such"]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("groupadd") && told.lines().count() == 1, "{told}");

    let started = run(&["--log", "info"]);
    let told = String::from_utf8(started.stderr).unwrap();
    assert!(started.status.success(), "{told}");
    assert!(told.contains("ready on"), "the log of the start-up: {told}");
    let client = UnixStream::connect(machine.socket()).unwrap();
    let daemon = getsockopt(&client, PeerCredentials).unwrap().pid();
    assert_eq!(getsid(Some(Pid::from_raw(daemon))), Ok(Pid::from_raw(daemon)));
    let second = run(&[]);
    assert!(!second.status.success());
    // Its events end with it.
    let heard = events(&machine.socket());
    signal(daemon.unsigned_abs(), "TERM");
    heard.for_each(drop);
}

#[test]
fn the_daemon_keeps_needed_capabilities_and_workers_keep_none() {
    if !root_or_skip() {
        return;
    }
    // CHOWN, NET_BROADCAST, NET_ADMIN, NET_RAW, SYS_PTRACE and SYS_ADMIN of linux/capability.h.
    let needed = 1 | (1 << 11) | (1 << 12) | (1 << 13) | (1 << 19) | (1 << 21);
    // NET_ADMIN, NET_RAW and SYS_ADMIN.
    let dhcp = (1 << 12) | (1 << 13) | (1 << 21);
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let daemon = machine.start(&[]);
    daemon.add("mac1", Value::Null).ok();
    let mut workers = 0;
    for task in fs::read_dir(format!("/proc/{}/task", daemon.id())).unwrap() {
        let status = task.unwrap().path().join("status");
        // Threads that enter a namespace come and go.
        let Ok(text) = fs::read_to_string(&status) else {
            continue;
        };
        let status = status.display();
        let line = |words| {
            let found = text.lines().find_map(|line| line.strip_prefix(words));
            found.unwrap_or_else(|| panic!("{words} of {text}")).trim()
        };
        let worker = line("Name:").starts_with("um-");
        let left = match line("Name:") {
            "dhcp" => dhcp,
            _ if worker => 0,
            _ => needed,
        };
        for set in ["CapPrm:", "CapEff:"] {
            assert_eq!(u64::from_str_radix(line(set), 16), Ok(left), "{status} {set}");
        }
        for set in ["CapInh:", "CapAmb:"] {
            assert_eq!(u64::from_str_radix(line(set), 16), Ok(0), "{status} {set}");
        }
        assert_eq!(u64::from_str_radix(line("CapBnd:"), 16), Ok(needed), "{status}");
        assert_eq!(line("NoNewPrivs:"), "1");
        assert_eq!(line("Seccomp:"), "2", "{status}");
        // Two of all threads, and one more of workers and of those that serve clients.
        let is_control = line("Name:") == "umacvlan" && line("Pid:") != line("Tgid:");
        let filters = if is_control { "2" } else { "3" };
        assert_eq!(line("Seccomp_filters:"), filters, "{status}");
        workers += u32::from(worker);
    }
    assert_eq!(workers, 1);
    // All operations still work.
    daemon.ask("DELETE", "/v1/links/mac1", Value::Null);
    assert!(daemon.links().is_empty());
}

#[test]
fn a_hangup_reads_the_configuration_again() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    machine.configure("[link.one]\nparent = \"p0\"\n");
    let daemon = machine.start(&[]);
    let one = machine.interface("one").unwrap();
    assert!(one.is_up());
    let mut heard = events(&machine.file("socket"));
    machine.configure("[link.one]\nparent = \"p0\"\n[link.two]\nparent = \"p0\"\nmtu = 1400\n");
    daemon.signal("HUP");
    let reloaded = heard.find(|event| event["event"] == "reloaded").unwrap();
    assert_eq!(reloaded["changes"], 1);
    assert_eq!(machine.interface("two").unwrap().mtu, 1400);
    assert_eq!(machine.interface("one").unwrap().index, one.index);

    // A failed request changes nothing, and the daemon goes on.
    machine.configure("[link.three]\nparent = \"p0\"\n[link.four]\nparent = \"nowhere\"\n");
    let refused = daemon.ask("POST", "/v1/config/reload", Value::Null);
    assert_eq!(refused.code(), "no_device");
    for (name, there) in [("one", true), ("two", true), ("three", false)] {
        assert_eq!(machine.interface(name).is_some(), there, "{name}");
    }
}

fn told(systemd: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let len = systemd.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..len]).into_owned()
}

fn told_until(systemd: &UnixDatagram, words: &str) -> String {
    loop {
        let told = told(systemd);
        if told.contains(words) {
            return told;
        }
    }
}

#[test]
fn systemd_is_notified() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let systemd = machine.systemd();
    let mut command = machine.command("", &[]);
    command.env("NOTIFY_SOCKET", machine.file("notify")).env("WATCHDOG_USEC", "20000");
    let mut daemon = machine.start_command(command);
    let ready = told_until(&systemd, "READY=1");
    assert!(ready.contains("STATUS=0 parents, 0 links"), "{ready}");
    daemon.add("mac1", Value::Null).ok();
    told_until(&systemd, "STATUS=1 parent, 1 link");
    told_until(&systemd, "WATCHDOG=1");
    daemon.signal("HUP");
    let reloading = told_until(&systemd, "RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    told_until(&systemd, "READY=1");
    daemon.signal("TERM");
    told_until(&systemd, "STOPPING=1");
    daemon.log();
}

#[test]
fn a_socket_from_systemd_is_served_and_left_in_place() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let listener = UnixListener::bind(machine.file("socket")).unwrap();
    // Sockets come from descriptor 3 on: this one by way of standard input.
    let script = "exec 4>&1 3<&0\nexport LISTEN_FDS=1 LISTEN_PID=$$\n\
                  exec \"$0\" daemon --ready-fd 4 \"$@\"";
    let mut command = machine.command(script, &[]);
    command.stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())));
    let mut daemon = machine.start_command(command);
    daemon.add("mac1", json!({"mode": "vepa"})).ok();
    daemon.terminate();
    assert!(machine.file("socket").exists());
}
