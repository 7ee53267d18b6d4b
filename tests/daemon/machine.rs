//! A machine on which daemons start and end, one after the other.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use umacvlan_netlink::{Link, Monitor, Rtnl};
use umacvlan_sys::netns::Netns;

use crate::client::{Answer, ask};
use crate::world::LIMIT;

/// A namespace in which `p0`, a veth whose other end is `q0`, may be a parent, and a directory for
/// what a daemon keeps.
pub(crate) struct Machine {
    pub(crate) directory: PathBuf,
    pub(crate) netns: Netns,
    pub(crate) rtnl: Rtnl,
}

impl Machine {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("umacvlan-machine-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        let netns = Netns::create().unwrap();
        let rtnl = Rtnl::open_in(&netns).unwrap();
        let mut machine = Self { directory, netns, rtnl };
        machine.configure("");
        machine.add_parent();
        machine
    }

    pub(crate) fn add_parent(&mut self) {
        self.rtnl.add_veth("p0", "q0", None).unwrap();
        for name in ["p0", "q0"] {
            let index = self.interface(name).unwrap().index;
            self.rtnl.set_up(index, true).unwrap();
        }
    }

    /// Writes the configuration file.
    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.file("umacvlan.toml"), text).unwrap();
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) fn interface(&mut self, name: &str) -> Option<Link> {
        self.rtnl.link(name).unwrap()
    }

    /// Returns when `done` is true, looking again whenever an interface changes here.
    pub(crate) fn wait_until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let mut monitor = self.netns.run(Monitor::open).unwrap().unwrap();
        while !done(self) {
            assert!(monitor.wait(LIMIT).unwrap(), "not in time: {what}");
            monitor.read(|_| ()).unwrap();
        }
    }

    /// A daemon with these words beside those for its files, started by a shell that does
    /// `before`. Descriptor 3 is where it says that it is ready.
    pub(crate) fn command(&self, before: &str, words: &[&str]) -> Command {
        let mut command = Command::new("sh");
        let script = format!("{before}\nexec \"$0\" daemon --ready-fd 3 \"$@\" 3>&1");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_umacvlan")]).args(words);
        for (option, file) in
            [("--socket", "socket"), ("--state", "state"), ("--config", "umacvlan.toml")]
        {
            command.arg(option).arg(self.file(file));
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts a daemon, and returns when it is ready.
    pub(crate) fn start(&self, words: &[&str]) -> Daemon {
        self.start_command(self.command("", words))
    }

    pub(crate) fn start_command(&self, command: Command) -> Daemon {
        let mut daemon = self.spawn(command);
        let ready = daemon.ready();
        assert_eq!(ready, "ready\n", "{}", daemon.log());
        daemon
    }

    pub(crate) fn spawn(&self, mut command: Command) -> Daemon {
        let child = self.netns.run(|| command.spawn()).unwrap().unwrap();
        Daemon { child, socket: self.file("socket") }
    }

    /// Starts a daemon that has to refuse, and returns what it says.
    pub(crate) fn refused(&self, command: Command) -> String {
        let mut daemon = self.spawn(command);
        let log = daemon.log();
        assert!(!daemon.child.wait().unwrap().success(), "{log}");
        log
    }

    /// A socket to which daemons tell what they tell systemd.
    pub(crate) fn systemd(&self) -> UnixDatagram {
        let socket = UnixDatagram::bind(self.file("notify")).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // What cannot be removed is in the way of nobody.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A daemon, which is killed with this.
pub(crate) struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it says about being ready.
    pub(crate) fn ready(&mut self) -> String {
        let mut ready = String::new();
        let mut pipe = BufReader::new(self.child.stdout.take().unwrap());
        pipe.read_line(&mut ready).unwrap();
        ready
    }

    /// What it has logged, until it ends.
    pub(crate) fn log(&mut self) -> String {
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }

    pub(crate) fn signal(&self, name: &str) {
        let script = format!("kill -s {name} {}", self.id());
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    }

    /// Ends it with a signal; its status, and what it has logged.
    pub(crate) fn end(&mut self, signal: &str) -> (ExitStatus, String) {
        self.signal(signal);
        let log = self.log();
        (self.child.wait().unwrap(), log)
    }

    pub(crate) fn terminate(&mut self) -> String {
        let (status, log) = self.end("TERM");
        assert!(status.success(), "{log}");
        log
    }

    pub(crate) fn kill(&mut self) {
        self.end("KILL");
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        ask(&self.socket, method, path, &body)
    }

    /// Makes a bridge link on `p0`, up, with what is in `more` besides.
    pub(crate) fn add(&self, name: &str, more: Value) -> Answer {
        let mut body = json!({"name": name, "parent": "p0", "mode": "bridge", "up": true});
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        self.ask("POST", "/v1/links", body)
    }

    pub(crate) fn links(&self) -> Vec<Value> {
        let links = self.ask("GET", "/v1/links", Value::Null).ok();
        links.as_array().unwrap().clone()
    }

    /// The link with that number.
    pub(crate) fn link(&self, id: u64) -> Value {
        let found = self.links().into_iter().find(|link| link["umacvlan"]["id"] == id);
        found.unwrap_or_else(|| panic!("no link number {id}: {:#?}", self.links()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A namespace as another process can name it for as long as `netns` lives.
pub(crate) fn path(netns: &Netns) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), netns.as_fd().as_raw_fd())
}

/// The number of a new link.
pub(crate) fn id(link: &Value) -> u64 {
    link["umacvlan"]["id"].as_u64().unwrap()
}
