//! [`Error`]: why a request failed.

use std::fmt;
use std::io;

/// Why a request failed: the action, the kernel's text if it has one, and advice if there is some. The
/// errno is the source of the error.
#[derive(Debug)]
pub struct Error {
    /// The action, which continues "cannot ...".
    action: String,
    /// The kernel's text (`NLMSGERR_ATTR_MSG`).
    explanation: Option<String>,
    /// What to do, where the errno means something else than usual.
    advice: Option<&'static str>,
    source: io::Error,
}

impl Error {
    pub(super) fn new(action: impl Into<String>, source: io::Error) -> Self {
        Self { action: action.into(), explanation: None, advice: None, source }
    }

    pub(super) fn explained(mut self, words: Option<String>) -> Self {
        self.explanation = words;
        self
    }

    pub(super) fn advised(mut self, words: &'static str) -> Self {
        self.advice = Some(words);
        self
    }

    /// The errno of the kernel; `None` if the request did not fail in the kernel.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// The kernel's text beside the errno.
    pub fn explanation(&self) -> Option<&str> {
        self.explanation.as_deref()
    }

    fn advice(&self) -> Option<&'static str> {
        if self.advice.is_some() {
            return self.advice;
        }
        match self.errno()? {
            libc::EPERM | libc::EACCES => Some("needs CAP_NET_ADMIN there: run as root"),
            libc::EOPNOTSUPP => Some("this kernel may lack the driver or the option"),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.action)?;
        if let Some(words) = &self.explanation {
            write!(f, " (the kernel says: {words})")?;
        }
        if let Some(advice) = self.advice() {
            write!(f, " ({advice})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<Error> for io::Error {
    /// For callers that return an [`io::Result`]. The text includes the source.
    fn from(error: Error) -> Self {
        Self::new(error.source.kind(), format!("{error}: {}", error.source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_action_the_cause_and_the_advice() {
        let error = Error::new("delete interface 7", io::Error::from_raw_os_error(libc::EPERM))
            .explained(Some("no".to_owned()));
        assert_eq!(error.errno(), Some(libc::EPERM));
        assert_eq!(
            error.to_string(),
            "cannot delete interface 7 (the kernel says: no) (needs CAP_NET_ADMIN there: run as \
             root)"
        );
        assert!(io::Error::from(error).to_string().ends_with("(os error 1)"));
    }
}
