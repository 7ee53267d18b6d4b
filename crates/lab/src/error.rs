//! [`LabError`]: why a lab cannot be built or used.

use std::io;

/// A failed step of building or using a lab.
#[derive(Debug, thiserror::Error)]
#[error("{context}: {source}")]
pub struct LabError {
    context: String,
    source: io::Error,
}

impl LabError {
    pub(crate) const fn new(context: String, source: io::Error) -> Self {
        Self { context, source }
    }

    /// The kind of failure; `Unsupported` if the kernel lacks a feature.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// A result with a [`LabError`].
pub type Result<T> = std::result::Result<T, LabError>;

/// Adds the name of the failed step to an error of the kernel.
pub(crate) trait Context<T> {
    /// Prefixes the error with the text that `context` returns.
    fn context<S: Into<String>>(self, context: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Context<T> for umacvlan_netlink::Result<T> {
    fn context<S: Into<String>>(self, context: impl FnOnce() -> S) -> Result<T> {
        self.map_err(io::Error::from).context(context)
    }
}

impl<T> Context<T> for io::Result<T> {
    fn context<S: Into<String>>(self, context: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|source| LabError { context: context().into(), source })
    }
}
