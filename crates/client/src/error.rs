//! [`ConnectError`] and [`RequestError`]: no connection, and a request that failed.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group};

use umacvlan_api::DEFAULT_SOCKET;

use super::LIMIT;
use umacvlan_api::Problem;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No connection to the daemon.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The daemon refused the request.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The connection broke, or the response was invalid; the request may have been carried out.
    #[error("{0}")]
    Transport(String),
}

/// Why there is no connection, and what to do about it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The daemon runs, but this user may not connect.
    #[error("you may not talk to the daemon on {}: be root{}", socket.display(), or_of(group))]
    PermissionDenied {
        /// Path of the socket.
        socket: PathBuf,
        /// Group whose members may connect, if the file of the socket shows it.
        group: Option<String>,
    },
    /// No daemon listens on the socket.
    #[error("no daemon listens on {}: start it with {}", socket.display(), how_to_start(socket))]
    NotRunning {
        /// Path of the socket.
        socket: PathBuf,
    },
    /// The path is not that of a socket.
    #[error(
        "{} is {what}, and not the socket of a daemon, which is {DEFAULT_SOCKET} unless it was started with --socket",
        socket.display()
    )]
    NoSocket {
        /// The path.
        socket: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// Another error.
    #[error("cannot connect to the daemon on {}: {why}", socket.display())]
    Other {
        /// Path of the socket.
        socket: PathBuf,
        /// Message of the system call.
        why: String,
    },
}

impl ConnectError {
    pub(super) fn new(socket: &Path, error: io::Error) -> Self {
        let path = socket.to_owned();
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => match kind_of(socket) {
                Some(what) => Self::NoSocket { socket: path, what },
                None => Self::NotRunning { socket: path },
            },
            ErrorKind::PermissionDenied => {
                Self::PermissionDenied { socket: path, group: group_of(socket) }
            }
            ErrorKind::WouldBlock => Self::Other {
                socket: path,
                why: format!("it accepts no connection within {} seconds", LIMIT.as_secs()),
            },
            _ => Self::Other { socket: path, why: error.to_string() },
        }
    }
}

/// What a path is that is no socket; `None` for a socket, or if there is nothing.
fn kind_of(path: &Path) -> Option<&'static str> {
    let kind = fs::metadata(path).ok()?.file_type();
    match kind {
        _ if kind.is_socket() => None,
        _ if kind.is_dir() => Some("a directory"),
        _ if kind.is_file() => Some("a file"),
        _ => Some("a device or a pipe"),
    }
}

fn group_of(socket: &Path) -> Option<String> {
    let gid = Gid::from_raw(fs::metadata(socket).ok()?.gid());
    let name = Group::from_gid(gid).ok().flatten().map(|group| group.name);
    Some(name.unwrap_or_else(|| gid.to_string()))
}

fn or_of(group: &Option<String>) -> String {
    match group.as_deref() {
        None | Some("root") => String::new(),
        Some(group) => format!(" or a member of the group {group}"),
    }
}

fn how_to_start(socket: &Path) -> String {
    if socket == Path::new(DEFAULT_SOCKET) {
        "\"systemctl start umacvlan\" or \"umacvlan daemon --background\"".to_owned()
    } else {
        format!("\"umacvlan daemon --background --socket {}\"", socket.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_daemon_the_error_says_how_to_start_one() {
        let nobody = ConnectError::new(Path::new(DEFAULT_SOCKET), ErrorKind::NotFound.into());
        assert_eq!(
            nobody.to_string(),
            "no daemon listens on /run/umacvlan/umacvlan.sock: start it with \
             \"systemctl start umacvlan\" or \"umacvlan daemon --background\""
        );
        let error =
            ConnectError::new(Path::new("/nowhere/at.all"), ErrorKind::ConnectionRefused.into())
                .to_string();
        assert!(
            error.ends_with("\"umacvlan daemon --background --socket /nowhere/at.all\""),
            "{error}"
        );
    }

    #[test]
    fn a_path_that_is_no_socket_is_not_a_daemon_that_is_absent() {
        let error = ConnectError::new(Path::new("/proc"), ErrorKind::ConnectionRefused.into());
        assert!(error.to_string().starts_with("/proc is a directory, and not the socket of a"));
        let error = ConnectError::new(Path::new("/dev/null"), ErrorKind::ConnectionRefused.into());
        assert!(matches!(error, ConnectError::NoSocket { what: "a device or a pipe", .. }));
    }

    #[test]
    fn a_user_who_may_not_connect_is_told_the_group_that_may() {
        let denied = |group: Option<&str>| ConnectError::PermissionDenied {
            socket: "/s".into(),
            group: group.map(str::to_owned),
        };
        let text = denied(Some("net")).to_string();
        assert_eq!(
            text,
            "you may not talk to the daemon on /s: be root or a member of the group net"
        );
        assert_eq!(denied(None).to_string(), "you may not talk to the daemon on /s: be root");
    }
}
