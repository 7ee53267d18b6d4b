//! Authorization of clients.
//!
//! The mode of the socket's file decides who may connect, and every client may read. Changes are
//! for root and the members of one group. The kernel identifies the peer's process: `SO_PEERCRED`
//! and `SO_PEERGROUPS`, as of the time of the connection. Supplementary groups are not read from
//! the user database, because the kernel itself goes by the process's groups for the socket's file,
//! because containers, `setpriv` and `sg` change them, and because a database server may be slow.

use std::io;
use std::os::fd::AsFd;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::net::UnixStream;
use tracing::{Instrument, info_span};
use umacvlan_sys::peer_groups::supplementary_groups;

use super::App;
use super::problem::problem;
use crate::ServiceError;
use umacvlan_api::Code;

/// The process at the other end of a connection, as of the time of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// Absent if the process is in a pid namespace that the daemon cannot see.
    pub(super) pid: Option<u32>,
    pub(super) uid: u32,
    /// All groups, including the primary one.
    groups: Vec<u32>,
}

impl Peer {
    /// The peer of `stream`.
    ///
    /// # Errors A system call fails.
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let mut groups = supplementary_groups(stream.as_fd())?;
        groups.push(credentials.gid());
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
        Ok(Self { pid: pid.filter(|&pid| pid != 0), uid: credentials.uid(), groups })
    }

    /// True if the peer may change things, given the group whose members may.
    pub(super) fn may_change(&self, admins: Option<u32>) -> bool {
        self.uid == 0 || admins.is_some_and(|admins| self.groups.contains(&admins))
    }

    /// The peer of a request's connection. Every connection of the daemon has one.
    pub(super) fn of_request(extensions: &Extensions) -> Result<Self, ServiceError> {
        let unknown = || problem(Code::Forbidden, "the client is unknown");
        extensions.get().cloned().ok_or_else(unknown)
    }
}

impl FromRequestParts<App> for Peer {
    type Rejection = ServiceError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ServiceError> {
        Self::of_request(&parts.extensions)
    }
}

/// Middleware that refuses requests of clients without the right to change things. Reading is
/// decided by the HTTP method, so no handler can forget the check.
pub(super) async fn authorize(State(app): State<App>, request: Request, next: Next) -> Response {
    match allowed(&app, &request) {
        // Log lines of the request have the uid.
        Ok(peer) => next.run(request).instrument(info_span!("asked", uid = peer.uid)).await,
        Err(problem) => problem.into_response(),
    }
}

fn allowed(app: &App, request: &Request) -> Result<Peer, ServiceError> {
    let peer = Peer::of_request(request.extensions())?;
    let admins = app.backend.admins;
    if peer.may_change(admins) || reads(request.method()) {
        return Ok(peer);
    }
    let members = admins.map(|group| format!(" and the members of group {group}"));
    Err(problem(
        Code::Forbidden,
        format!(
            "user {} may read but not change anything: that is for root{}",
            peer.uid,
            members.unwrap_or_default()
        ),
    ))
}

/// True for methods that change nothing.
fn reads(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, groups: &[u32]) -> Peer {
        Peer { pid: Some(1), uid, groups: groups.to_vec() }
    }

    #[test]
    fn root_and_members_of_the_group_may_change() {
        for (peer, admins, may) in [
            (peer(0, &[]), None, true),
            (peer(0, &[]), Some(7), true),
            (peer(1000, &[1000, 7]), Some(7), true),
            (peer(1000, &[1000, 0]), Some(7), false),
            (peer(1000, &[1000, 7]), None, false),
            (peer(u32::MAX, &[]), Some(u32::MAX), false),
        ] {
            assert_eq!(peer.may_change(admins), may, "{peer:?} {admins:?}");
        }
    }

    #[tokio::test]
    async fn a_peer_is_who_the_kernel_says() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = Peer::of(&one).unwrap();
        assert_eq!(peer.pid, Some(std::process::id()));
        assert_eq!(peer.uid, nix::unistd::geteuid().as_raw());
        assert!(peer.groups.contains(&nix::unistd::getegid().as_raw()));
    }
}
