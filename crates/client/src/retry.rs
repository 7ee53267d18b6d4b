//! When a client tries again: [`Absent`] daemons, and daemons with too many clients.

use std::error::Error;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use hyper::header::RETRY_AFTER;
use hyper::{Response, StatusCode};
use socket2::{Domain, SockAddr, Socket, Type};
use umacvlan_api::DEFAULT_SOCKET;

use super::LIMIT;

/// What a client does if no daemon listens on the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// It fails at once.
    Fail,
    /// It waits about three seconds for a daemon that is starting, unless the directory of the
    /// socket is missing, which is a mistyped path. The directory of the default socket is made by
    /// the first daemon.
    Wait,
}

/// Connects to the daemon's socket.
pub(super) fn dial(path: &Path, absent: Absent) -> io::Result<UnixStream> {
    let begin = Instant::now();
    let deadline = begin + START_LIMIT;
    let mut told = false;
    loop {
        match dial_once(path) {
            Err(error)
                if absent == Absent::Wait
                    && may_be_starting(path, &error)
                    && Instant::now() < deadline =>
            {
                if !told && begin.elapsed() >= TELL_AFTER {
                    told = true;
                    tell_waiting(path);
                }
                thread::sleep(START_PAUSE);
            }
            done => return done,
        }
    }
}

/// Tells somebody at a terminal why nothing happens.
fn tell_waiting(path: &Path) {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        // A terminal that cannot be written to is no reason to stop.
        let _ = writeln!(stderr, "umacvlan: waiting for a daemon on {} ...", path.display());
    }
}

/// Connects with a blocking socket, which waits while the daemon's accept queue is full; a
/// non-blocking one would fail at once.
fn dial_once(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(LIMIT))?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn may_be_starting(socket: &Path, error: &io::Error) -> bool {
    match error.kind() {
        ErrorKind::ConnectionRefused => true,
        ErrorKind::NotFound => {
            let parent = socket.parent().unwrap_or_else(|| Path::new(""));
            // The parent of a bare name is empty: the current directory.
            socket == Path::new(DEFAULT_SOCKET) || parent.as_os_str().is_empty() || parent.is_dir()
        }
        _ => false,
    }
}

/// Whether the daemon refused to serve the connection, and has not looked at the request. Of a
/// request that was only too slow it does not say when to try again.
pub(super) fn is_turned_away<B>(response: &Response<B>) -> bool {
    response.status() == StatusCode::SERVICE_UNAVAILABLE
        && response.headers().contains_key(RETRY_AFTER)
}

/// Whether the daemon closed the connection before it had read the whole request. The kernel
/// reports a reset only if something was left unread (`unix_release_sock` in net/unix/af_unix.c),
/// and no request is carried out before its end is read.
pub(super) fn is_unread(error: &hyper::Error) -> bool {
    let sources = std::iter::successors(error.source(), |&error| error.source());
    let mut kinds = sources.filter_map(|error| error.downcast_ref().map(io::Error::kind));
    kinds.any(|kind| matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset))
}

/// The pause before a request is sent again. It is random, because clients that were turned away
/// together would else come back together.
pub(super) fn busy_pause() -> Duration {
    Duration::from_millis(fastrand::u64(20..=200))
}

/// How long a request is sent again while the daemon has too many clients.
pub(super) const BUSY_LIMIT: Duration = Duration::from_secs(30);

/// How long a client waits for a daemon that is starting.
const START_LIMIT: Duration = Duration::from_secs(3);

/// How long a client waits for a daemon before it says so.
const TELL_AFTER: Duration = Duration::from_millis(500);

/// The pause between two attempts to connect. The events of inotify(7) would tell of the file, but
/// not of the moment at which the daemon listens on it.
const START_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_daemon_that_may_be_starting_is_waited_for() {
        let missing = io::Error::from(ErrorKind::NotFound);
        for (socket, expected) in [
            (DEFAULT_SOCKET, true),
            ("here.sock", true),
            ("/tmp/here.sock", true),
            ("/nowhere/at.all", false),
            ("/proc/version/at.all", false),
        ] {
            assert_eq!(may_be_starting(Path::new(socket), &missing), expected, "{socket}");
        }
        let error = |kind| may_be_starting(Path::new("/s"), &io::Error::from(kind));
        assert!(error(ErrorKind::ConnectionRefused));
        assert!(!error(ErrorKind::PermissionDenied) && !error(ErrorKind::WouldBlock));
    }
}
