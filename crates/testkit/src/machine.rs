//! [`Machine`]: a network namespace in which daemons start and end, and the [`Daemon`] in it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::{Value, json};
use umacvlan_netlink::{Link, Rtnl};
use umacvlan_sys::netns::Netns;

use crate::http::{Answer, ask};
use crate::{LIMIT, LinkMonitor, Scratch, add_parent, signal};

/// A network namespace, and a directory for the files of its daemons.
#[derive(Debug)]
pub struct Machine {
    /// The namespace.
    pub netns: Netns,
    /// Requests in that namespace.
    pub rtnl: Rtnl,
    umacvlan: &'static str,
    scratch: Scratch,
}

impl Machine {
    /// A machine with the parent `p0` of [`add_parent`]. `umacvlan` is the path of the command under
    /// test.
    pub fn new(umacvlan: &'static str) -> Self {
        let mut machine = Self::without_parent(umacvlan);
        add_parent(&mut machine.rtnl);
        machine
    }

    /// A machine with nothing but a loopback interface, and an empty configuration file.
    pub fn without_parent(umacvlan: &'static str) -> Self {
        let netns = Netns::create().unwrap();
        let rtnl = Rtnl::open_in(&netns).unwrap();
        let machine = Self { netns, rtnl, umacvlan, scratch: Scratch::new() };
        machine.configure("");
        machine
    }

    /// Writes the configuration file.
    pub fn configure(&self, text: &str) {
        fs::write(self.file("umacvlan.toml"), text).unwrap();
    }

    /// The path of a file in the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The path of the socket of a daemon.
    pub fn socket(&self) -> PathBuf {
        self.file("socket")
    }

    /// The interface of that name, or `None`.
    pub fn interface(&mut self, name: &str) -> Option<Link> {
        self.rtnl.link(name).unwrap()
    }

    /// Returns when `done` is true. It is checked again after each change of an interface here.
    pub fn wait_until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        LinkMonitor::open(&self.netns).wait_until(what, || done(self));
    }

    /// The command of a daemon with the options `words` and those for its files. A shell runs
    /// `before` first. The daemon reports on descriptor 3, its standard output, that it is ready.
    pub fn command(&self, before: &str, words: &[&str]) -> Command {
        let mut command = Command::new("sh");
        let script = format!("{before}\nexec \"$0\" daemon --ready-fd 3 \"$@\" 3>&1");
        command.args(["-c", &script, self.umacvlan]).args(words);
        for (option, file) in
            [("--socket", "socket"), ("--state", "state"), ("--config", "umacvlan.toml")]
        {
            command.arg(option).arg(self.file(file));
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts a daemon with the options `words`, and returns when it is ready.
    pub fn start(&self, words: &[&str]) -> Daemon {
        self.start_command(self.command("", words))
    }

    /// Starts a daemon by `command`, and returns when it is ready.
    pub fn start_command(&self, command: Command) -> Daemon {
        let mut daemon = self.spawn(command);
        let ready = daemon.ready();
        assert_eq!(ready, "ready\n", "{}", daemon.log());
        daemon
    }

    /// Starts a daemon by `command`, and does not wait.
    pub fn spawn(&self, mut command: Command) -> Daemon {
        let child = self.netns.run(|| command.spawn()).unwrap().unwrap();
        Daemon { child, socket: self.socket() }
    }

    /// Starts a daemon that must fail, and returns its log.
    pub fn refused(&self, command: Command) -> String {
        let mut daemon = self.spawn(command);
        let log = daemon.log();
        assert!(!daemon.child.wait().unwrap().success(), "{log}");
        log
    }

    /// A socket that stands for systemd's: daemons send their notifications to it.
    pub fn systemd(&self) -> UnixDatagram {
        let socket = UnixDatagram::bind(self.file("notify")).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket
    }
}

/// A daemon. It is killed when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The line by which it reports that it is ready.
    pub fn ready(&mut self) -> String {
        let mut ready = String::new();
        let mut pipe = BufReader::new(self.child.stdout.take().unwrap());
        pipe.read_line(&mut ready).unwrap();
        ready
    }

    /// Waits for its end and returns its log, which is empty if its standard error is no pipe.
    pub fn log(&mut self) -> String {
        let mut log = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut log).unwrap();
        }
        log
    }

    /// Sends it the signal of that name.
    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Ends it with a signal, and returns its status and its log.
    pub fn end(&mut self, signal: &str) -> (ExitStatus, String) {
        self.signal(signal);
        let log = self.log();
        (self.child.wait().unwrap(), log)
    }

    /// Ends it with SIGTERM, which must succeed, and returns its log.
    pub fn terminate(&mut self) -> String {
        let (status, log) = self.end("TERM");
        assert!(status.success(), "{log}");
        log
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.end("KILL");
    }

    /// Sends it a request. The body is empty if `body` is null.
    pub fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        ask(&self.socket, method, path, &body)
    }

    /// Creates a bridge link on `p0` that is up, with the further fields of `more`.
    pub fn add(&self, name: &str, more: Value) -> Answer {
        let mut body = json!({"name": name, "parent": "p0", "mode": "bridge", "up": true});
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        self.ask("POST", "/v1/links", body)
    }

    /// All its links.
    pub fn links(&self) -> Vec<Value> {
        let links = self.ask("GET", "/v1/links", Value::Null).ok();
        links.as_array().unwrap().clone()
    }

    /// The link with the number `id`.
    pub fn link(&self, id: u64) -> Value {
        let found = self.links().into_iter().find(|link| link["umacvlan"]["id"] == id);
        found.unwrap_or_else(|| panic!("no link number {id}: {:#?}", self.links()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number of `link`, as the daemon's API shows it.
///
/// # Panics
/// If it has none.
pub fn link_id(link: &Value) -> u64 {
    link["umacvlan"]["id"].as_u64().unwrap()
}
