//! Docker's remote network driver: `docker network create --driver umacvlan`.
//!
//! dockerd calls the driver over a Unix socket (`router`); the [`Driver`] carries the
//! calls out with the daemon's service. Options and messages are those of Docker's built-in macvlan
//! driver. The driver never calls Docker, which waits for its responses while it starts.
//!
//! A network is a parent and settings for its links; it is kept in a file until Docker deletes it,
//! also over a reboot. An endpoint is a link: made in the daemon's namespace, moved and renamed by
//! Docker, followed by the engine, and removed when Docker deletes the endpoint.
//!
//! Architecture invariant: depends on the daemon's service; the daemon does not know this crate.

mod driver;
mod endpoint;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod network;
mod options;
mod protocol;
mod router;

use std::fmt;

pub use self::driver::Driver;
pub use self::router::{App, router, sweep};
use umacvlan_api::Problem;
use umacvlan_daemon::ServiceError;

/// The socket on which Docker looks for a driver of this name first.
pub const DEFAULT_SOCKET: &str = "/run/docker/plugins/umacvlan.sock";

/// The directory of the networks' files, unless another one is configured. It survives a reboot.
pub const DEFAULT_STATE: &str = "/var/lib/umacvlan/docker";

/// A refusal, with the message that Docker shows to the user.
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
