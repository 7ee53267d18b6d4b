//! Two networks that differ only in the program that makes the links.

use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::{Daemon, Machine, netns_path, root_or_skip, skip};

/// The command under test.
pub(crate) const UMACVLAN: &str = env!("CARGO_BIN_EXE_umacvlan");

/// Returns both worlds, or `None` where there is no `ip` or no kernel macvlan to compare with;
/// standard error says so.
pub(crate) fn worlds() -> Option<(World, World)> {
    if !root_or_skip() {
        return None;
    }
    let version = Command::new("ip").arg("-V").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    if !version.as_ref().is_ok_and(|version| version.contains("iproute2-6.1.")) {
        skip(&format!("it needs ip of iproute2 6.1, with which it compares: {version:?}"));
        return None;
    }
    let kernel = World::new(false);
    if !kernel.run("link add link p0 probe type macvlan").ok() {
        skip("the kernel has no macvlan");
        return None;
    }
    assert!(kernel.run("link del probe").ok());
    Some((kernel, World::new(true)))
}

/// A namespace with the parent `p0`, a veth whose other end is `q0`, and another one that is empty.
pub(crate) struct World {
    /// Dropped before the machine it is on.
    pub(crate) daemon: Option<Daemon>,
    machine: Machine,
    red: Netns,
}

/// The output and the exit status of a command.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) status: Option<i32>,
}

impl Said {
    pub(crate) fn ok(&self) -> bool {
        self.status == Some(0)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl World {
    /// A world of the kernel's macvlan, or one with a daemon.
    fn new(with_daemon: bool) -> Self {
        let (mut machine, red) = (Machine::without_parent(UMACVLAN), Netns::create().unwrap());
        for netns in [&machine.netns, &red] {
            // Without IPv6 the kernel sends no frames by itself, which counters would show.
            let quiet = || {
                for which in ["all", "default"] {
                    let file = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
                    fs::write(file, "1").unwrap();
                }
            };
            netns.run(quiet).unwrap();
        }
        machine.rtnl.add_veth("p0", "q0", None).unwrap();
        let mut world = Self { daemon: None, machine, red };
        for line in
            ["p0 address 02:aa:00:00:00:01", "q0 address 02:aa:00:00:00:02", "p0 up", "q0 up"]
        {
            assert!(world.shell(&format!("ip link set {line}")).ok());
        }
        if with_daemon {
            let mut command = world.machine.command("", &[]);
            // Nothing reads the log.
            command.stderr(Stdio::null());
            world.daemon = Some(world.machine.start_command(command));
        }
        world
    }

    /// The program of this world.
    fn program(&self) -> &str {
        if self.daemon.is_some() { UMACVLAN } else { "ip" }
    }

    /// Runs a line of words, quoted as for a shell.
    pub(crate) fn run(&self, line: &str) -> Said {
        self.batch(line, "")
    }

    /// The same with lines to read.
    pub(crate) fn batch(&self, line: &str, lines: &str) -> Said {
        // `ip -n` accepts only namespaces with a name, and these have none.
        let (netns, line) = match line.split_once("-n {red} ") {
            Some(("", line)) if self.daemon.is_none() => (&self.red, line),
            _ => (&self.machine.netns, line),
        };
        let line =
            if self.daemon.is_none() { line.replace("-n {home} ", "") } else { line.to_owned() };
        let script = format!("{} {}", self.program(), self.placed(&line));
        self.input(self.spawn_in(netns, &script, Stdio::piped()), lines)
    }

    pub(crate) fn shell(&self, script: &str) -> Said {
        self.input(self.spawn(script, Stdio::piped()), "")
    }

    fn input(&self, mut child: Child, input: &str) -> Said {
        let mut stdin = child.stdin.take().unwrap();
        // The command may end before it has read all of its input.
        let _ = stdin.write_all(self.placed(input).as_bytes());
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| self.unplaced(&String::from_utf8(bytes).unwrap());
        Said { out: text(output.stdout), err: text(output.stderr), status: output.status.code() }
    }

    pub(crate) fn spawn(&self, script: &str, stdin: Stdio) -> Child {
        self.spawn_in(&self.machine.netns, script, stdin)
    }

    fn spawn_in(&self, netns: &Netns, script: &str, stdin: Stdio) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        if self.daemon.is_some() {
            command.env("UMACVLAN_SOCKET", self.machine.socket());
        }
        command.env_remove("NO_COLOR");
        netns.run(|| command.spawn()).unwrap().unwrap()
    }

    /// `{home}` and `{red}` as other processes can name them.
    fn placed(&self, text: &str) -> String {
        text.replace("{home}", &netns_path(&self.machine.netns))
            .replace("{red}", &netns_path(&self.red))
    }

    fn unplaced(&self, text: &str) -> String {
        let text = text.replace(UMACVLAN, "umacvlan");
        text.replace(&netns_path(&self.machine.netns), "{home}")
            .replace(&netns_path(&self.red), "{red}")
    }

    /// Sends this many frames to the broadcast address, from an interface that gets an address of
    /// `net`.
    pub(crate) fn broadcast(&self, name: &str, net: &str, count: usize) {
        let address = format!("ip address add {net}.1/24 broadcast {net}.255 dev {name}");
        assert!(self.shell(&address).ok());
        let send = || {
            let socket = UdpSocket::bind((format!("{net}.1"), 0)).unwrap();
            socket.set_broadcast(true).unwrap();
            for _ in 0..count {
                socket.send_to(&[0; 100], (format!("{net}.255"), 9)).unwrap();
            }
        };
        self.machine.netns.run(send).unwrap();
    }

    /// Removes all links and makes these, words of `link add link p0`.
    pub(crate) fn reset(&self, links: &[&str]) {
        let mut lines = String::new();
        for (place, link) in self.everything() {
            let name = link["ifname"].as_str().unwrap();
            let deleted = self.run(&format!("-n {place} link del dev {name}"));
            assert!(deleted.ok(), "{deleted:?}");
        }
        links.iter().for_each(|link| lines.push_str(&format!("link add link p0 {link}\n")));
        let made = self.batch("-batch -", &lines);
        assert!(made.ok(), "{made:?}");
    }

    /// All links in both namespaces, each with its namespace.
    pub(crate) fn everything(&self) -> Vec<(&'static str, Value)> {
        let mut all = Vec::new();
        for place in ["{home}", "{red}"] {
            let shown = self.run(&format!("-n {place} -d -j link show type macvlan"));
            assert!(shown.ok(), "{shown:?}");
            let Value::Array(links) = shown.json() else { panic!("{shown:?}") };
            // Older versions of ip have an empty object for each interface of another kind.
            let links = links.into_iter().filter(|link| link["ifname"].is_string());
            all.extend(links.map(|link| (place, link)));
        }
        all
    }
}
