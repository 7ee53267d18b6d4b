//! Why the daemon could not be asked, and why it said no.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group};

use umacvlan_api::DEFAULT_SOCKET;

use super::LIMIT;
use umacvlan_api::Problem;

/// Why something asked for was not answered as hoped.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// There is no daemon any more.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It said no.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// It cannot be told whether it was done: the connection broke, or the answer was no answer.
    #[error("{0}")]
    Transport(String),
}

/// Why there is no connection, and what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Somebody listens, but not to this user.
    #[error("you may not talk to the daemon on {}: be root{}", socket.display(), or_of(group))]
    PermissionDenied {
        socket: PathBuf,
        /// Whose members may, where it can be seen.
        group: Option<String>,
    },
    /// Nobody listens.
    #[error("no daemon listens on {}: start it with {}", socket.display(), how_to_start(socket))]
    NotRunning { socket: PathBuf },
    /// Something else.
    #[error("cannot connect to the daemon on {}: {why}", socket.display())]
    Other { socket: PathBuf, why: String },
}

impl ConnectError {
    pub(super) fn new(socket: &Path, error: io::Error) -> Self {
        let path = socket.to_owned();
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Self::NotRunning { socket: path },
            ErrorKind::PermissionDenied => {
                Self::PermissionDenied { socket: path, group: group_of(socket) }
            }
            ErrorKind::WouldBlock => Self::Other {
                socket: path,
                why: format!("it takes no connection within {} seconds", LIMIT.as_secs()),
            },
            _ => Self::Other { socket: path, why: error.to_string() },
        }
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
        "\"systemctl start umacvlan\" or \"umacvlan daemon\"".to_owned()
    } else {
        format!("\"umacvlan daemon --socket {}\"", socket.display())
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
             \"systemctl start umacvlan\" or \"umacvlan daemon\""
        );
        let error =
            ConnectError::new(Path::new("/nowhere/at.all"), ErrorKind::ConnectionRefused.into())
                .to_string();
        assert!(error.ends_with("\"umacvlan daemon --socket /nowhere/at.all\""), "{error}");
    }

    #[test]
    fn who_may_not_connect_learns_whose_members_may() {
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
