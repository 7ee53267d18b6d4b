//! The daemon of a network namespace: found, or started for as long as it has links.

use std::fs;
use std::iter;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use umacvlan_api::socket_path;
use umacvlan_sys::netns::Netns;

use super::super::error::{CommandError, FAILED, USAGE};

/// The directory of the daemons that are started on demand, with a directory for each namespace.
const FOLDER: &str = "/run/umacvlan/netns";

/// How many times a daemon is started: one that ends just now has its state directory still locked.
const ATTEMPTS: u32 = 5;

/// The namespace of `-n`, or that of this process.
pub(super) fn namespace(name: Option<&str>) -> Result<Netns, CommandError> {
    let opened = name.map_or_else(Netns::current, Netns::open);
    opened.map_err(|error| {
        let name = name.unwrap_or("/proc/self/ns/net");
        CommandError::new(USAGE, format!("Cannot open network namespace \"{name}\": {error}"))
    })
}

/// The sockets of all daemons that run: the usual one, and those that were started on demand.
pub(super) fn running(given: Option<&Path>) -> impl Iterator<Item = PathBuf> {
    let folders = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let started = folders.map(|folder| folder.path().join("socket"));
    let all = iter::once(socket_path(given)).chain(started);
    all.filter(|socket| UnixStream::connect(socket).is_ok())
}

/// The socket of the daemon whose parents are in this namespace: the usual one, or that of a daemon that
/// was started on demand. One is started if there is none.
///
/// # Errors
/// It cannot be started.
pub(super) fn socket(netns: &Netns, given: Option<&Path>) -> Result<PathBuf, CommandError> {
    let folder = folder(netns);
    let places = [socket_path(given), folder.join("socket")];
    let found = || places.iter().find(|place| serves(place, netns)).cloned();
    if let Some(place) = found() {
        return Ok(place);
    }
    for _ in 0..ATTEMPTS {
        let started = start_in(netns, &folder);
        // Another command may have started it at the same time.
        if let Some(place) = found() {
            return Ok(place);
        }
        started?;
    }
    Err(CommandError::own(FAILED, "the daemon of this namespace does not start".to_owned()))
}

/// The socket of the daemon that was started on demand in this namespace, if it runs.
pub(super) fn on_demand(netns: &Netns) -> Option<PathBuf> {
    let socket = folder(netns).join("socket");
    UnixStream::connect(&socket).is_ok().then_some(socket)
}

/// The directory of the daemon that is started on demand in this namespace.
fn folder(netns: &Netns) -> PathBuf {
    PathBuf::from(FOLDER).join(netns.id().ino.to_string())
}

/// Whether a daemon of this namespace listens here.
fn serves(socket: &Path, netns: &Netns) -> bool {
    let Ok(connection) = UnixStream::connect(socket) else { return false };
    let Ok(peer) = getsockopt(&connection, PeerCredentials) else { return false };
    fs::metadata(format!("/proc/{}/ns/net", peer.pid()))
        .is_ok_and(|file| file.ino() == netns.id().ino && file.dev() == netns.id().dev)
}

/// Starts a daemon in a namespace and waits until it serves.
fn start_in(netns: &Netns, folder: &Path) -> Result<(), CommandError> {
    let failed = |what: &str, why: &dyn std::fmt::Display| {
        CommandError::own(FAILED, format!("cannot {what}: {why}"))
    };
    fs::create_dir_all(folder)
        .map_err(|error| failed(&format!("make {}", folder.display()), &error))?;
    let mut command = Command::new("/proc/self/exe");
    command.args(["daemon", "--background", "--on-demand", "--log", "warn"]);
    command.arg("--socket").arg(folder.join("socket")).arg("--state").arg(folder.join("state"));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let status = netns.run(|| command.status()).and_then(|status| status);
    match status.map_err(|error| failed("start umacvlan daemon", &error))? {
        status if status.success() => Ok(()),
        status => Err(failed("start umacvlan daemon", &status)),
    }
}
