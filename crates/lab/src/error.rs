//! What can go wrong while the laboratory is built or used.

use std::io;

/// A step of the laboratory that failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {source}")]
pub struct LabError {
    doing: String,
    source: io::Error,
}

impl LabError {
    pub(crate) const fn new(doing: String, source: io::Error) -> Self {
        Self { doing, source }
    }

    /// What kind of failure it was; `Unsupported` if the kernel lacks what was asked of it.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// A result of the laboratory.
pub type Result<T> = std::result::Result<T, LabError>;

/// Names the step, for an error that only says what the kernel answered.
pub(crate) trait Doing<T> {
    /// The same result, with the words of `doing` before the error.
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Doing<T> for umacvlan_netlink::Result<T> {
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(io::Error::from).doing(doing)
    }
}

impl<T> Doing<T> for io::Result<T> {
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|source| LabError { doing: doing().into(), source })
    }
}
