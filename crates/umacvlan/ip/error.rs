//! [`CommandError`]: an error with the message and exit status that `ip` has for the same mistake,
//! which scripts rely on.

use std::fmt;
use std::io;

use nix::libc;

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommandError {
    /// The message of `ip`; empty if `ip` has none.
    pub(super) text: String,
    /// Our own message: the reason, and what to do. Printed after the name of the program.
    pub(super) hint: Option<String>,
    /// The exit status.
    pub(super) status: u8,
    /// A device does not exist.
    pub(super) no_device: bool,
    /// Devices that `ip` looks up before it reports this error. If one is missing, that is reported
    /// instead.
    pub(super) after: Vec<Device>,
}

/// A device that `ip` looks up while it parses a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Device {
    /// A link of the daemon.
    Link(String),
    /// Any interface that can be a parent.
    Parent(String),
}

/// The exit status after a syntax error.
pub(super) const USAGE: u8 = 255;
/// The exit status after another error that is found before any request.
pub(super) const FAILED: u8 = 1;
/// The exit status after a refusal of the kernel, or of the daemon in its place.
pub(super) const REFUSED: u8 = 2;

impl CommandError {
    pub(super) fn new(status: u8, text: impl Into<String>) -> Self {
        Self { text: text.into(), hint: None, status, no_device: false, after: Vec::new() }
    }

    /// An error that `ip` does not have.
    pub(super) fn own(status: u8, hint: impl Into<String>) -> Self {
        Self::new(status, "").hint(hint)
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With a hint, if there is one.
    pub(super) fn hint_of(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }

    pub(super) fn after(mut self, devices: &[Device]) -> Self {
        self.after = devices.to_vec();
        self
    }

    /// The value after the last word is missing.
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

    /// A value that is not among the choices of its keyword.
    pub(super) fn must_be(key: &str, choice: &str, value: &str) -> Self {
        let text = format!("Error: argument of \"{key}\" must be {choice}, not \"{value}\"");
        Self::new(FAILED, text)
    }

    /// The answer of the kernel with this errno.
    pub(super) fn kernel(errno: i32) -> Self {
        Self::new(REFUSED, format!("RTNETLINK answers: {}", strerror(errno)))
    }

    /// A word of `ip link` that is not supported here.
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

/// The message of strerror(3), without the number that std appends.
pub(super) fn strerror(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_ip_comes_first_and_ours_follows() {
        let error = CommandError::kernel(17).hint("m1 is a link already");
        let lines = "RTNETLINK answers: File exists\numacvlan: m1 is a link already\n";
        assert_eq!(error.to_string(), lines);
        assert_eq!(CommandError::own(1, "no daemon").to_string(), "umacvlan: no daemon\n");
    }

    #[test]
    fn errno_values_have_the_text_that_ip_prints() {
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
