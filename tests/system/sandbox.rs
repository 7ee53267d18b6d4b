//! A machine of its own for a test: a shell in private namespaces, where `ip`, named namespaces,
//! and `/run` may be used as a tutorial uses them, and nothing of it is seen outside. Everything in
//! it ends with the test, however that ends: the shell is the first process of a process namespace.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use umacvlan_sys::netns::Netns;

/// The command under test.
const UMACVLAN: &str = env!("CARGO_BIN_EXE_umacvlan");

/// A shell that waits for lines.
pub(crate) struct Sandbox {
    unshare: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// What came of a line.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    /// A machine with a loopback interface that is up, and with `umacvlan` in the path.
    pub(crate) fn new() -> Self {
        let mut unshare = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["--propagation", "private", "sh", "-c", PREPARE])
            .env("PATH", path())
            .env("LC_ALL", "C")
            .env_remove("UMACVLAN_SOCKET")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = unshare.stdin.take().unwrap();
        let stdout = BufReader::new(unshare.stdout.take().unwrap());
        let mut sandbox = Self { unshare, stdin, stdout };
        assert_eq!(sandbox.answer(), "0", "the sandbox could not be made");
        sandbox
    }

    /// Runs a line of shell to its end. What it leaves in the background goes on.
    pub(crate) fn run(&mut self, line: &str) -> Ran {
        self.file("run/line", line);
        writeln!(self.stdin, ". /run/line >/run/stdout 2>/run/stderr </dev/null; echo $?").unwrap();
        let status = self.answer().parse().unwrap();
        let read = |name| std::fs::read_to_string(self.path(name)).unwrap_or_default();
        Ran { status, stdout: read("run/stdout"), stderr: read("run/stderr") }
    }

    /// Runs a line that must succeed, and returns what it printed.
    pub(crate) fn ok(&mut self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.status, 0, "{line}: {ran:#?}");
        ran.stdout
    }

    /// Runs every line of a script, each of which must succeed.
    pub(crate) fn script(&mut self, lines: &str) {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.ok(line);
        }
    }

    /// Starts a daemon with these words and waits until it is ready; its log is `/run/log`.
    pub(crate) fn daemon(&mut self, words: &str) {
        let ran = self.run(&format!(
            "mkfifo -m 600 /run/ready 2>/dev/null; umacvlan daemon --ready-fd 3 {words} \
             3>/run/ready >>/run/log 2>&1 & echo $! >/run/pid; read word </run/ready"
        ));
        let log = std::fs::read_to_string(self.path("run/log")).unwrap_or_default();
        assert_eq!(ran.status, 0, "the daemon did not become ready: {log}");
    }

    /// Ends the daemon with a signal and waits until it is gone.
    pub(crate) fn end_daemon(&mut self, signal: &str) {
        let wait = "wait $(cat /run/pid) 2>/dev/null; true";
        self.ok(&format!("kill -s {signal} $(cat /run/pid); {wait}"));
    }

    /// A namespace that `ip netns add` has made in here.
    pub(crate) fn netns(&self, name: &str) -> Netns {
        Netns::open(self.path("run/netns").join(name).to_str().unwrap()).unwrap()
    }

    /// Writes a file in here; the path is given without its first slash.
    pub(crate) fn file(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Where a file of the sandbox is for the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.unshare.id())).join(name)
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Its child is the init of everything in here and is killed with it.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

/// Makes what a tutorial may write to private and empty, then obeys.
const PREPARE: &str = "mount -t tmpfs -o mode=755 none /run && mount -t sysfs none /sys && ip link set lo up; echo $?; exec sh";

/// The path with the directory of the command under test at its head.
fn path() -> String {
    let ours = Path::new(UMACVLAN).parent().unwrap().display();
    format!("{ours}:{}", std::env::var("PATH").unwrap_or_default())
}
