//! [`Ovs`]: Open vSwitch's userspace datapath between veth pairs, for the time of a measurement.
//!
//! The bench starts it in the parent's namespace, independent of an Open vSwitch that the machine
//! runs. Database, sockets and logs are in a tmpfs that only the starting thread and the programs
//! see. The programs are killed when that thread ends. So nothing is left, however the bench ends.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use crossbeam_channel::{Receiver, Sender, bounded};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use umacvlan_lab::site::Site;
use umacvlan_sys::process::kill_with_thread;

use crate::shared::cores::Cores;

/// A running Open vSwitch. It stops when this value is dropped.
pub(super) struct Ovs {
    /// Dropping it makes the keeper thread end.
    end: Option<Sender<()>>,
    /// The thread that started the programs. They are killed when it ends.
    keeper: Option<JoinHandle<()>>,
}

/// The installed version, for instance `Open vSwitch 3.1.0`.
///
/// # Errors
/// It is not installed. The message says what to install.
pub(super) fn version() -> Result<String> {
    read_version(run(program(SWITCH).arg("--version")))
}

/// Parses the output of `--version`.
fn read_version(printed: Result<String>) -> Result<String> {
    match printed {
        Ok(text) => {
            let line = text.lines().next().unwrap_or_default();
            Ok(line.trim_start_matches(SWITCH).replace(['(', ')'], "").trim().to_owned())
        }
        Err(error) if is_missing(&error) => bail!(
            "Open vSwitch is not installed (on Debian and Ubuntu: apt install openvswitch-switch)"
        ),
        Err(error) => Err(error),
    }
}

impl Ovs {
    /// Starts Open vSwitch with the parent and a veth pair for each sub-interface as ports.
    ///
    /// # Errors
    /// A program does not start, or the kernel refuses to mount a file system for it.
    pub(super) fn start(site: &Site<'_>) -> io::Result<Self> {
        let mut ports = site.add_veth_pairs()?;
        ports.push(site.parent.to_owned());
        let netns = site.host.try_clone()?;
        let (ready, started) = bounded(1);
        let (end, ended) = bounded(0);
        let keeper = thread::Builder::new().name("ovs".to_owned()).spawn(move || {
            let entered = netns.run(|| keep(&ports, &ready, &ended));
            if let Err(error) = entered {
                // The receiver is gone only if the bench has ended.
                let _ = ready.send(Err(error.into()));
            }
        })?;
        let ovs = Self { end: Some(end), keeper: Some(keeper) };
        let started = started.recv().map_err(io::Error::other)?;
        started.map(|()| ovs).map_err(|error| io::Error::other(format!("{error:#}")))
    }
}

impl Drop for Ovs {
    fn drop(&mut self) {
        self.end = None;
        if let Some(keeper) = self.keeper.take() {
            // A keeper that panicked has ended its programs as well.
            let _ = keeper.join();
        }
    }
}

/// Starts the programs, reports the outcome, and waits until they must end.
fn keep(ports: &[String], ready: &Sender<Result<()>>, end: &Receiver<()>) {
    // The core that our worker has in its trials.
    if let Some(core) = Cores::find().worker {
        core_affinity::set_for_current(core);
    }
    match start(ports) {
        Ok(_daemons) => {
            let _ = ready.send(Ok(()));
            // Returns with an error when the sender is dropped, which is the signal to end.
            let _ = end.recv();
        }
        Err(error) => {
            let _ = ready.send(Err(error));
        }
    }
}

/// Starts the database and the switch, and creates a bridge with these ports.
fn start(ports: &[String]) -> Result<[Daemon; 2]> {
    mount_private_folder().context("cannot mount a file system for Open vSwitch alone")?;
    run(program("ovsdb-tool").arg("create"))?;
    let socket = format!("{FOLDER}/db.sock");
    let mut database = Daemon::start("ovsdb-server", &[&format!("--remote=punix:{socket}")])?;
    database.await_socket(Path::new(&socket))?;
    let mut switch = Daemon::start(SWITCH, &[])?;
    let made = run(program("ovs-vsctl")
        .args(QUIET)
        .args(BRIDGE)
        .args(ports.iter().flat_map(|port| ["--", "add-port", "switch", port])));
    switch.check()?;
    made.with_context(|| format!("{SWITCH}: {}", first_line(&switch.log_text())))?;
    Ok([switch, database])
}

/// Mounts a private tmpfs for this thread and the programs it starts.
fn mount_private_folder() -> nix::Result<()> {
    let nowhere = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS)?;
    // Unmounts propagate from the machine to here, and mounts do not propagate back.
    mount(nowhere, "/", nowhere, MsFlags::MS_REC | MsFlags::MS_SLAVE, nowhere)?;
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOSUID;
    mount(Some("umacvlan"), FOLDER, Some("tmpfs"), flags, Some("mode=0700"))
}

/// A program that runs until this is dropped.
struct Daemon {
    name: &'static str,
    child: Child,
}

impl Daemon {
    fn start(name: &'static str, words: &[&str]) -> Result<Self> {
        let mut command = program(name);
        let log =
            File::create(log(name)).with_context(|| format!("cannot make a log of {name}"))?;
        command.args(["--no-chdir", "-vconsole:warn", "-vsyslog:off", "-vfile:off"]).args(words);
        command.stdout(Stdio::null()).stderr(log);
        kill_with_thread(&mut command);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child })
    }

    /// Waits until it accepts connections.
    fn await_socket(&mut self, path: &Path) -> Result<()> {
        let end = Instant::now() + LISTEN_TIMEOUT;
        while UnixStream::connect(path).is_err() {
            self.check()?;
            ensure!(Instant::now() < end, "{} does not listen", self.name);
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Fails with the last line of its log if it has ended.
    fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended ({status}): {}", self.name, last_line(&self.log_text()));
        }
        Ok(())
    }

    /// Its log so far.
    fn log_text(&self) -> String {
        fs::read_to_string(log(self.name)).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command for one of Open vSwitch's programs, with all of its files in [`FOLDER`].
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    for variable in ["OVS_DBDIR", "OVS_LOGDIR", "OVS_RUNDIR", "OVS_SYSCONFDIR"] {
        command.env(variable, FOLDER);
    }
    // The PATH of other users than root may lack the folders of daemons.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"));
    command.stdin(Stdio::null());
    command
}

/// Runs a program to its end. Returns its standard output.
fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {name}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    // ovs-vsctl exits with success even if the switch could not apply the database.
    let refused = complaint.lines().find(|line| line.contains("Error detected"));
    let failed = refused.is_some() || !output.status.success();
    ensure!(!failed, "{name}: {}", refused.unwrap_or_else(|| last_line(&complaint)));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::NotFound)
}

fn last_line(text: &str) -> &str {
    text.trim().lines().last().unwrap_or(SILENCE)
}

/// The first line: the first error causes the others.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or(SILENCE)
}

fn log(name: &str) -> String {
    format!("{FOLDER}/{name}.log")
}

/// Where the private tmpfs is mounted: a folder that every system has and that holds no programs.
const FOLDER: &str = "/tmp";

const SILENCE: &str = "it said nothing";

const SWITCH: &str = "ovs-vswitchd";

/// Makes ovs-vsctl quiet and limits its waiting time.
const QUIET: [&str; 2] = ["--timeout=10", "-vconsole:warn"];

/// Creates a learning switch that writes no statistics to its database during a measurement.
const BRIDGE: [&str; 12] = [
    "set",
    "Open_vSwitch",
    ".",
    "other_config:stats-update-interval=86400000",
    "--",
    "add-br",
    "switch",
    "--",
    "set",
    "Bridge",
    "switch",
    "datapath_type=netdev",
];

/// The time limit for a program to accept connections.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_parsed_without_the_programs_name() {
        let printed = "ovs-vswitchd (Open vSwitch) 3.1.0\nDPDK 22.11.3\n".to_owned();
        assert_eq!(read_version(Ok(printed)).unwrap(), "Open vSwitch 3.1.0");
    }

    #[test]
    fn if_it_is_missing_the_error_says_what_to_install() {
        let complaint = read_version(run(&mut program("no-such-program"))).unwrap_err();
        assert!(complaint.to_string().contains("apt install openvswitch-switch"), "{complaint}");
        let other = read_version(run(program("false").arg("--version"))).unwrap_err();
        assert_eq!(other.to_string(), "false: it said nothing");
    }
}
