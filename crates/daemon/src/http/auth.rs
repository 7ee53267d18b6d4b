//! Who a client is, and what it may do.
//!
//! The socket's file mode says who may connect, and whoever may connect may read. Changing is for
//! root and for the members of one group. Both are decided by what the kernel knows of the peer's
//! process: `SO_PEERCRED` and `SO_PEERGROUPS`, as of the moment it connected. The second is
//! preferred to asking the user database for the groups of the peer's user: it is what the kernel
//! goes by for the socket's file itself, it knows of groups that were taken from a process or
//! given to it (containers, `setpriv`, `sg`), and it asks no server that may be slow.

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
use crate::error::ServiceError;
use umacvlan_api::Code;

/// The process at the other end of a connection, as it was when it connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// Absent where it is in a process namespace that the daemon does not see.
    pub(super) pid: Option<u32>,
    pub(super) uid: u32,
    /// All of them, the primary one included.
    groups: Vec<u32>,
}

impl Peer {
    /// The peer of `stream`.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let mut groups = supplementary_groups(stream.as_fd())?;
        groups.push(credentials.gid());
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
        Ok(Self { pid: pid.filter(|&pid| pid != 0), uid: credentials.uid(), groups })
    }

    /// True if it may change things when the members of `admins` may.
    pub(super) fn may_change(&self, admins: Option<u32>) -> bool {
        self.uid == 0 || admins.is_some_and(|admins| self.groups.contains(&admins))
    }

    /// The peer of the connection that a request came by. Every connection of the daemon has one.
    pub(super) fn of_request(extensions: &Extensions) -> Result<Self, ServiceError> {
        let unknown = || problem(Code::Forbidden, "it is not known who asks");
        extensions.get().cloned().ok_or_else(unknown)
    }
}

impl FromRequestParts<App> for Peer {
    type Rejection = ServiceError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ServiceError> {
        Self::of_request(&parts.extensions)
    }
}

/// Lets through what the client may ask for. What only reads has a method that says so, hence no
/// handler can forget to ask.
pub(super) async fn authorize(State(app): State<App>, request: Request, next: Next) -> Response {
    match allowed(&app, &request) {
        // What is logged on the way says who asked.
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
            "user {} may look but not change anything: that is for root{}",
            peer.uid,
            members.unwrap_or_default()
        ),
    ))
}

/// True for methods that change nothing, whatever they are asked of.
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
