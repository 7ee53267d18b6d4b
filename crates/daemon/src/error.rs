//! [`ServiceError`]: a failed call of the service.

use std::fmt;

use umacvlan_api::Problem;
use umacvlan_config::LoadError;

/// Why the service refused something: the [`Problem`] that the client receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceError(pub Problem);

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ServiceError {}

impl From<Problem> for ServiceError {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<LoadError> for ServiceError {
    fn from(error: LoadError) -> Self {
        Self(error.into())
    }
}
