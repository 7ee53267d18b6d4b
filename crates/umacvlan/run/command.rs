//! The command of `run -- COMMAND`: it uses the sub-interfaces, and forwarding ends with it.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode};
use std::thread;

use anyhow::{Context, Result};
use crossbeam_channel::{Receiver, bounded, never};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

/// A shell reports this plus the number of the signal that has ended a command.
const SIGNALLED: i32 = 128;

/// The command, if one was given.
#[derive(Debug)]
pub(super) struct Running {
    child: Option<Child>,
    /// Gets a message when the command has ended; never one without a command.
    ended: Receiver<()>,
}

impl Running {
    /// Starts the command of these words; with none, nothing is started and nothing ends.
    ///
    /// # Errors
    /// There is no such program, or it cannot be started.
    pub(super) fn start(words: &[OsString]) -> Result<Self> {
        let Some((program, arguments)) = words.split_first() else {
            return Ok(Self { child: None, ended: never() });
        };
        let failed = || format!("cannot start {}", program.display());
        let child = Command::new(program).args(arguments).spawn().with_context(failed)?;
        let pid = pid(&child)?;
        let (sender, ended) = bounded(1);
        let wait = move || {
            // WNOWAIT: the number stays the command's until `end` has used it.
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            while waitid(Id::Pid(pid), flags) == Err(Errno::EINTR) {}
            // Nobody receives it if this process is about to end.
            let _ = sender.send(());
        };
        thread::Builder::new().name("command".to_owned()).spawn(wait).with_context(failed)?;
        Ok(Self { child: Some(child), ended })
    }

    /// The channel that gets a message when the command has ended.
    pub(super) fn ended(&self) -> &Receiver<()> {
        &self.ended
    }

    /// The exit status of the command, which gets SIGTERM if it still runs.
    ///
    /// # Errors
    /// The command cannot be signalled or waited for.
    pub(super) fn end(self) -> Result<ExitCode> {
        let Some(mut child) = self.child else {
            return Ok(ExitCode::SUCCESS);
        };
        if self.ended.is_empty() {
            kill(pid(&child)?, Signal::SIGTERM).context("cannot end the command")?;
        }
        let status = child.wait().context("cannot wait for the command")?;
        let code = status.code().or_else(|| Some(SIGNALLED + status.signal()?));
        let code = code.and_then(|code| u8::try_from(code).ok());
        Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
    }
}

fn pid(child: &Child) -> Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(child.id()).context("the number of the command is too large")?))
}
