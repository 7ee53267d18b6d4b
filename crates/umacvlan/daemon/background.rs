//! `umacvlan daemon --background`: starts the daemon as another process and waits until it serves.
//!
//! The daemon is not forked off after it is ready, because its threads would not be in the copy. It
//! keeps the working directory, to which paths of its command line may be relative.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, pipe};
use std::os::fd::AsRawFd;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use umacvlan_sys::process::start_session;

/// Starts this command again without `--background`, and returns when the daemon is ready, or with
/// its exit status. Of a failure the daemon has told itself: it has the same standard error.
///
/// # Errors
/// The daemon cannot be started, or has ended without a message.
pub(super) fn start() -> Result<ExitCode> {
    let (ready, end) = pipe()?;
    // The daemon inherits this end.
    fcntl(&end, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let inside = [format!("--ready-fd={}", end.as_raw_fd()), "--detached".to_owned()];
    let words = env::args_os().skip(1).flat_map(|word| match word.to_str() {
        Some("--background") => inside.iter().map(OsString::from).collect(),
        _ => vec![word],
    });
    let program = env::current_exe().context("cannot find the program of this process")?;
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null());
    start_session(&mut command);
    let mut daemon = command.spawn().context("cannot start the daemon")?;
    drop(end);
    let mut told = String::new();
    BufReader::new(ready).read_line(&mut told)?;
    if told == "ready\n" {
        return Ok(ExitCode::SUCCESS);
    }
    let status = daemon.wait()?;
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        None | Some(0) => bail!("the daemon has ended before it was ready: {status}"),
        Some(code) => Ok(ExitCode::from(code)),
    }
}
