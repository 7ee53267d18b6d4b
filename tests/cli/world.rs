//! A namespace with a parent, in which the command runs.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;

use umacvlan_netlink::{Link, Rtnl};
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::{LIMIT, LinkMonitor, add_parent, signal};

/// The command under test.
pub(crate) const UMACVLAN: &str = env!("CARGO_BIN_EXE_umacvlan");

/// A namespace in which `p0`, a veth whose other end is `q0`, may be a parent.
pub(crate) struct World {
    pub(crate) netns: Netns,
    pub(crate) rtnl: Rtnl,
}

impl World {
    pub(crate) fn new() -> Self {
        let netns = Netns::create().unwrap();
        let mut rtnl = Rtnl::open_in(&netns).unwrap();
        add_parent(&mut rtnl);
        Self { netns, rtnl }
    }

    pub(crate) fn set_up(&mut self, name: &str) {
        let index = self.link(name).index;
        self.rtnl.set_up(index, true).unwrap();
    }

    pub(crate) fn link(&mut self, name: &str) -> Link {
        self.rtnl.link(name).unwrap().expect(name)
    }

    /// Every interface, with all attributes that the command might change.
    pub(crate) fn interfaces(&mut self) -> Vec<String> {
        let seen = |link: Link| {
            format!(
                "{} {} {:?} up={} mtu={} promiscuity={} allmulti={:?} master={:?}",
                link.index,
                link.name,
                link.mac,
                link.is_up(),
                link.mtu,
                link.promiscuity,
                link.allmulti,
                link.master
            )
        };
        self.rtnl.links().unwrap().into_iter().map(seen).collect()
    }

    /// Returns when `done` is true of this world. It is checked again after each change of an
    /// interface.
    pub(crate) fn wait_until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        LinkMonitor::open(&self.netns).wait_until(what, || done(self));
    }

    /// Runs a command here to its end.
    pub(crate) fn output(&self, command: &mut Command) -> Output {
        self.netns.run(|| command.output()).unwrap().unwrap()
    }

    /// Starts `umacvlan run` here with the parent `p0`.
    pub(crate) fn start(&self, words: &[&str]) -> Running {
        self.start_on("p0", words)
    }

    pub(crate) fn start_on(&self, parent: &str, words: &[&str]) -> Running {
        self.spawn(&mut run_on(parent, words))
    }

    /// Starts a command here.
    pub(crate) fn spawn(&self, command: &mut Command) -> Running {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.netns.run(|| command.spawn()).unwrap().unwrap();
        Running::new(child)
    }
}

/// `umacvlan run` with the parent `p0` and these words.
pub(crate) fn run(words: &[&str]) -> Command {
    run_on("p0", words)
}

fn run_on(parent: &str, words: &[&str]) -> Command {
    let mut command = Command::new(UMACVLAN);
    command.args(["run", "--parent", parent]).args(words);
    command
}

/// A command in the foreground, killed if the test ends first.
pub(crate) struct Running {
    child: Child,
    lines: Lines,
    errors: Lines,
}

impl Running {
    fn new(mut child: Child) -> Self {
        let lines = Lines::of(child.stdout.take().unwrap());
        let errors = Lines::of(child.stderr.take().unwrap());
        Self { child, lines, errors }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the lines of standard output up to the first one that contains the given words.
    pub(crate) fn until(&self, words: &str) -> Vec<String> {
        self.lines.until(words)
    }

    /// The same for standard error.
    pub(crate) fn until_error(&self, words: &str) -> Vec<String> {
        self.errors.until(words)
    }

    /// Waits until all sub-interfaces exist and forward.
    pub(crate) fn ready(&self) -> Vec<String> {
        self.until("ready")
    }

    /// Ends the command with SIGTERM, and returns its status and its output since the last read:
    /// standard output, then standard error.
    pub(crate) fn terminate(mut self) -> (ExitStatus, Vec<String>, Vec<String>) {
        signal(self.child.id(), "TERM");
        self.ended()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn ended(&mut self) -> (ExitStatus, Vec<String>, Vec<String>) {
        let (lines, errors) = (self.lines.rest(), self.errors.rest());
        (self.child.wait().unwrap(), lines, errors)
    }
}

/// The output of a command, read line by line as it arrives.
struct Lines(Receiver<String>);

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                // The receiver is gone when the test has ended.
                let _ = sender.send(line);
            }
        });
        Self(lines)
    }

    fn until(&self, words: &str) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some(line) = self.next() {
            let found = line.contains(words);
            seen.push(line);
            if found {
                return seen;
            }
        }
        panic!("ended without {words:?} after {seen:#?}")
    }

    fn rest(&self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// The next line, or `None` after the last.
    fn next(&self) -> Option<String> {
        match self.0.recv_timeout(LIMIT) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("not a line in time"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
