//! [`CommandError`]: what is wrong with what was typed or asked for, in the words that `ip` has for
//! the same mistake, so that scripts and people find what they know.

use std::fmt;
use std::io;

use nix::libc;

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommandError {
    /// What `ip` says, or nothing where it is silent.
    pub(super) text: String,
    /// What else is known: why, and what to do. Printed after the name of the program.
    pub(super) hint: Option<String>,
    /// The exit status.
    pub(super) status: u8,
    /// It is that a device is not there.
    pub(super) no_device: bool,
    /// A mistake that `ip` comes to only after it has found these: where one is missing, that is
    /// the complaint.
    pub(super) after: Vec<Device>,
}

/// Something that `ip` looks up while it reads a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Device {
    /// One of our links.
    Link(String),
    /// Any interface that could be a parent.
    Parent(String),
}

/// The status of a command line that cannot be read.
pub(super) const USAGE: u8 = 255;
/// The status of something refused before anybody was asked to do it.
pub(super) const FAILED: u8 = 1;
/// The status of something that the kernel refuses, or the daemon in its place.
pub(super) const REFUSED: u8 = 2;

impl CommandError {
    pub(super) fn new(status: u8, text: impl Into<String>) -> Self {
        Self { text: text.into(), hint: None, status, no_device: false, after: Vec::new() }
    }

    /// Something that only this program says.
    pub(super) fn own(status: u8, hint: impl Into<String>) -> Self {
        Self::new(status, "").hint(hint)
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn after(mut self, devices: &[Device]) -> Self {
        self.after = devices.to_vec();
        self
    }

    /// A word that needs another after it.
    pub(super) fn incomplete() -> Self {
        Self::new(USAGE, "Command line is not complete. Try option \"help\"")
    }

    pub(super) fn no_device(name: &str) -> Self {
        let text = format!("Cannot find device \"{name}\"");
        Self { no_device: true, ..Self::new(FAILED, text) }
    }

    pub(super) fn garbage(word: &str) -> Self {
        let text = format!("Error: either \"dev\" is duplicate, or \"{word}\" is a garbage.");
        Self::new(USAGE, text)
    }

    pub(super) fn duplicate(key: &str, value: &str) -> Self {
        let text = format!("Error: duplicate \"{key}\": \"{value}\" is the second value.");
        Self::new(USAGE, text)
    }

    pub(super) fn wrong(value: &str, why: &str) -> Self {
        Self::new(USAGE, format!("Error: argument \"{value}\" is wrong: {why}"))
    }

    pub(super) fn invalid(key: &str, value: &str) -> Self {
        Self::wrong(value, &format!("Invalid \"{key}\" value"))
    }

    /// A value that is none of those that its word can have.
    pub(super) fn must_be(key: &str, choice: &str, value: &str) -> Self {
        let text = format!("Error: argument of \"{key}\" must be {choice}, not \"{value}\"");
        Self::new(FAILED, text)
    }

    /// What the kernel would answer.
    pub(super) fn kernel(errno: i32) -> Self {
        Self::new(REFUSED, format!("RTNETLINK answers: {}", strerror(errno)))
    }

    /// A word of `ip link` that is not served here.
    pub(super) fn unsupported(word: &str) -> Self {
        Self::kernel(libc::EOPNOTSUPP)
            .hint(format!("\"{word}\" is not supported; what is: umacvlan link help"))
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.text.is_empty() {
            writeln!(f, "{}", self.text)?;
        }
        self.hint.as_ref().map_or(Ok(()), |hint| writeln!(f, "umacvlan: {hint}"))
    }
}

/// The text of an error number, without the number behind it.
pub(super) fn strerror(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_words_come_first_and_ours_after_them() {
        let error = CommandError::kernel(17).hint("m1 is a link already");
        let lines = "RTNETLINK answers: File exists\numacvlan: m1 is a link already\n";
        assert_eq!(error.to_string(), lines);
        assert_eq!(CommandError::own(1, "no daemon").to_string(), "umacvlan: no daemon\n");
    }

    #[test]
    fn numbers_of_errors_have_the_text_that_ip_prints() {
        for (errno, text) in [
            (libc::EEXIST, "File exists"),
            (libc::EINVAL, "Invalid argument"),
            (libc::EADDRINUSE, "Address already in use"),
            (libc::EADDRNOTAVAIL, "Cannot assign requested address"),
            (libc::EOPNOTSUPP, "Operation not supported"),
            (libc::EBUSY, "Device or resource busy"),
        ] {
            assert_eq!(strerror(errno), text);
        }
    }
}
