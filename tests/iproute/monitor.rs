//! Monitors report changes as they happen.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::lines::LINKS;
use crate::world::{UMACVLAN, World, worlds};

const LIMIT: Duration = Duration::from_secs(30);

/// A running monitor.
struct Monitor {
    child: Child,
    lines: Receiver<String>,
}

impl Monitor {
    /// Starts a monitor, and returns when it has reported its first event.
    fn start(world: &World, options: &str) -> Self {
        let mut child = world.spawn(&format!("exec {UMACVLAN} {options} monitor"), Stdio::null());
        let (sender, lines) = channel();
        let stdout = child.stdout.take().unwrap();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // The receiver is gone when the test has ended.
                let _ = sender.send(line);
            }
        });
        let monitor = Self { child, lines };
        // Nothing shows that a monitor has subscribed, so the test causes events until it reports
        // one.
        for turn in 0..300 {
            assert!(world.run(&format!("link set m3 alias 'turn {turn}'")).ok());
            if monitor.lines.recv_timeout(Duration::from_millis(100)).is_ok() {
                return monitor;
            }
        }
        panic!("not an event in time");
    }

    /// Returns the first line that contains the given words.
    fn until(&self, words: &str) -> String {
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(LIMIT) {
            if line.contains(words) {
                return line;
            }
            seen.push(line);
        }
        panic!("no {words:?} in {seen:#?}");
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn events_have_the_format_of_ip() {
    let Some((_, ours)) = worlds() else { return };
    ours.reset(&LINKS);
    let monitor = Monitor::start(&ours, "");
    assert!(ours.run("link add link p0 x address 02:00:00:00:00:0a type macvlan").ok());
    let line = monitor.until("x@p0");
    assert!(line.contains(": x@p0: <BROADCAST,MULTICAST> mtu 1500 "), "{line}");
    assert!(line.contains(" state DOWN group default "), "{line}");
    assert!(monitor.until("link/ether 02:00:00:00:00:0a").ends_with(" brd ff:ff:ff:ff:ff:ff"));
    assert!(ours.run("link set x netns {red}").ok());
    assert!(monitor.until("Moved from ").contains("x@p0: "));
    assert!(ours.run("-n {red} link del x").ok());
    assert!(monitor.until("Deleted ").starts_with("Deleted x@p0 id "));
}

#[test]
fn events_are_json_objects_a_line_each() {
    let Some((_, ours)) = worlds() else { return };
    ours.reset(&LINKS);
    let monitor = Monitor::start(&ours, "-j");
    assert!(ours.run("link del m1").ok());
    let event: serde_json::Value = serde_json::from_str(&monitor.until("link_deleted")).unwrap();
    assert_eq!((&event["ifname"], &event["parent"]), (&"m1".into(), &"p0".into()));
    assert!(event["time"].is_f64(), "{event}");
}

#[test]
fn times_stand_before_the_events_if_wanted() {
    let Some((_, ours)) = worlds() else { return };
    ours.reset(&LINKS);
    let short = Monitor::start(&ours, "-ts");
    let long = Monitor::start(&ours, "-t");
    assert!(ours.run("link del m1").ok());
    let line = short.until("Deleted m1@p0");
    assert!(line.starts_with("[2") && line.contains("] Deleted "), "{line}");
    assert!(long.until("Timestamp: ").ends_with(" usec"));
    assert!(long.until("Deleted m1@p0").starts_with("Deleted "));
}

#[test]
fn a_monitor_ends_with_its_user_or_with_the_daemon() {
    let Some((_, mut ours)) = worlds() else {
        return;
    };
    ours.reset(&LINKS);
    let mut interrupted = Monitor::start(&ours, "");
    let script = format!("kill -s INT {}", interrupted.child.id());
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    assert!(interrupted.child.wait().unwrap().success());

    let mut left = Monitor::start(&ours, "");
    ours.daemon.as_mut().unwrap().kill();
    assert_eq!(left.child.wait().unwrap().code(), Some(1));
    let errors = std::io::read_to_string(left.child.stderr.take().unwrap()).unwrap();
    assert!(errors.starts_with("umacvlan: the daemon on "), "{errors}");
}
