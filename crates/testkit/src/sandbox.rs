//! [`Sandbox`]: a machine for one test, which is a shell in private namespaces, where `ip`, named
//! namespaces and `/run` work as in a tutorial, without effect outside. Every process in it ends with
//! the test, even if the test is killed: the shell is the first process of a process namespace.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use umacvlan_sys::netns::Netns;

/// A shell that waits for lines.
#[derive(Debug)]
pub struct Sandbox {
    unshare: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// The result of a line.
#[derive(Debug)]
pub struct Ran {
    /// The exit status.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Sandbox {
    /// A machine with a loopback interface that is up. The folder of `umacvlan`, the path of the
    /// command under test, is the first of its `PATH`.
    pub fn new(umacvlan: &str) -> Self {
        let mut unshare = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["--propagation", "private", "sh", "-c", PREPARE])
            .env("PATH", path(umacvlan))
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

    /// Runs a line of shell and waits for its end. Background processes go on.
    pub fn run(&mut self, line: &str) -> Ran {
        self.file("run/line", line);
        writeln!(self.stdin, ". /run/line >/run/stdout 2>/run/stderr </dev/null; echo $?").unwrap();
        let status = self.answer().parse().unwrap();
        let read = |name| std::fs::read_to_string(self.path(name)).unwrap_or_default();
        Ran { status, stdout: read("run/stdout"), stderr: read("run/stderr") }
    }

    /// Runs a line that must succeed, and returns what it printed.
    pub fn ok(&mut self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.status, 0, "{line}: {ran:#?}");
        ran.stdout
    }

    /// Runs every line of a script, each of which must succeed.
    pub fn script(&mut self, lines: &str) {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.ok(line);
        }
    }

    /// Starts a daemon with these words and waits until it is ready; its log is `/run/log`.
    pub fn daemon(&mut self, words: &str) {
        let ran = self.run(&format!(
            "mkfifo -m 600 /run/ready 2>/dev/null; umacvlan daemon --ready-fd 3 {words} \
             3>/run/ready >>/run/log 2>&1 & echo $! >/run/pid; read word </run/ready"
        ));
        let log = std::fs::read_to_string(self.path("run/log")).unwrap_or_default();
        assert_eq!(ran.status, 0, "the daemon did not become ready: {log}");
    }

    /// Ends the daemon with a signal and waits until it is gone.
    pub fn end_daemon(&mut self, signal: &str) {
        let wait = "wait $(cat /run/pid) 2>/dev/null; true";
        self.ok(&format!("kill -s {signal} $(cat /run/pid); {wait}"));
    }

    /// A namespace that `ip netns add` has created in here.
    pub fn netns(&self, name: &str) -> Netns {
        Netns::open(self.path("run/netns").join(name).to_str().unwrap()).unwrap()
    }

    /// Writes a file in here; the path is given without its first slash.
    pub fn file(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// The path by which the test finds a file of the sandbox.
    pub fn path(&self, name: &str) -> PathBuf {
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
        // Its child is killed with it, and as the init of the sandbox takes all processes along.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

/// Mounts private, empty folders where a tutorial writes, then starts the shell that runs the lines.
const PREPARE: &str = "mount -t tmpfs -o mode=755 none /run && mount -t sysfs none /sys && ip link set lo up; echo $?; exec sh";

/// The value of `PATH`, with the folder of the command under test first.
fn path(umacvlan: &str) -> String {
    let ours = Path::new(umacvlan).parent().unwrap().display();
    format!("{ours}:{}", std::env::var("PATH").unwrap_or_default())
}
