//! Docker's remote network driver: `docker network create --driver umacvlan`.
//!
//! dockerd asks over a socket of its own ([`router`](mod@router)) and the [`Driver`] does it with the daemon's
//! service. Options and messages are those of Docker's built-in macvlan, so that what was learnt
//! there holds here. Docker itself is never asked anything: while it starts it waits for our
//! answers.
//!
//! A network is a few rules for the links on its parent, and is known until Docker deletes it,
//! through boots. An endpoint is a link: made in the daemon's namespace, moved and renamed by Docker,
//! followed by the engine, and removed when Docker says so.
#![allow(missing_docs, reason = "TEMPORARY")]

mod driver;
mod endpoint;
mod network;
mod options;
mod prefix;
mod protocol;
mod router;

use std::fmt;

pub use self::driver::Driver;
pub use self::router::{App, router, sweep};
use umacvlan_api::Problem;
use umacvlan_daemon::error::ServiceError;

/// Where Docker looks for a driver of this name before anywhere else.
pub const DEFAULT_SOCKET: &str = "/run/docker/plugins/umacvlan.sock";

/// Where networks are written down unless it is told otherwise: they outlive a boot.
pub const DEFAULT_STATE: &str = "/var/lib/umacvlan/docker";

/// What Docker is told instead of an answer, and shows to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverError(String);

impl DriverError {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Problem> for DriverError {
    fn from(problem: Problem) -> Self {
        Self(problem.message)
    }
}

impl From<ServiceError> for DriverError {
    fn from(ServiceError(problem): ServiceError) -> Self {
        problem.into()
    }
}
