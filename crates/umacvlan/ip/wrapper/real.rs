//! [`RealIp`]: the program `ip` of iproute2.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::super::error::{CommandError, FAILED};
use super::super::options;

/// Where distributions have it, beside the directories of PATH.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// The real `ip`.
#[derive(Debug)]
pub(super) struct RealIp {
    path: PathBuf,
}

impl RealIp {
    /// The first program `ip` in PATH that is not this one.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn find() -> Result<Self, CommandError> {
        let own = env::current_exe().and_then(|path| path.canonicalize()).ok();
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = env::split_paths(&path).chain(FOLDERS.map(PathBuf::from));
        let other = |path: &PathBuf| is_program(path) && path.canonicalize().ok() != own;
        let found = folders.map(|folder| folder.join("ip")).find(other);
        let none = || {
            let why =
                "umacvlan-ip needs the program ip of iproute2, and there is no other ip in PATH";
            CommandError::own(FAILED, why.to_owned())
        };
        found.map(Self::at).ok_or_else(none)
    }

    pub(super) const fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Replaces this process by it; returns the error if that fails.
    pub(super) fn become_it(&self, arguments: &[OsString]) -> CommandError {
        let error = self.command().args(arguments).exec();
        self.cannot_start(&error)
    }

    /// Runs it with these options and words, and returns its exit status.
    pub(super) fn run(&self, options: &[OsString], words: &[String]) -> Result<u8, CommandError> {
        let status = self.command().args(options).args(words).status();
        let status = status.map_err(|error| self.cannot_start(&error))?;
        Ok(code(status.code()))
    }

    /// Runs it and returns what it prints to standard output, and its exit status.
    pub(super) fn output(
        &self,
        options: &[OsString],
        words: &[String],
    ) -> Result<(Vec<u8>, u8), CommandError> {
        let mut command = self.command();
        command.args(options).args(words).stderr(Stdio::inherit());
        let output = command.output().map_err(|error| self.cannot_start(&error))?;
        let Output { status, stdout, .. } = output;
        Ok((stdout, code(status.code())))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.arg0("ip");
        command
    }

    fn cannot_start(&self, error: &std::io::Error) -> CommandError {
        CommandError::own(FAILED, format!("cannot start {}: {error}", self.path.display()))
    }
}

/// The options among these arguments without `-batch FILE` and `-force`, which are for the whole batch.
pub(super) fn without_batch(arguments: &[OsString]) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let word = argument.to_string_lossy();
        let option = word.trim_start_matches('-');
        match option {
            _ if options::is_batch(option) => drop(arguments.next()),
            _ if options::is_force(option) => {}
            _ => kept.push(argument.clone()),
        }
    }
    kept
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// An exit status; one that a signal ended has none.
fn code(code: Option<i32>) -> u8 {
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_keeps_the_other_options() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(without_batch(&words("-d -batch file -force -n red")), words("-d -n red"));
        assert_eq!(without_batch(&words("-b - -j")), words("-j"));
    }
}
