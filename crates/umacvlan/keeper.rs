//! `umacvlan keeper`: the process that the daemon starts to hold its descriptors. Hidden, because nobody
//! else has a use for it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use umacvlan_daemon::keeper::process;

/// Hold the descriptors of the daemon's TAPs while it restarts
#[derive(Debug, Args)]
#[command(hide = true)]
pub(crate) struct KeeperArgs {
    /// The listening socket, as the number of an open descriptor
    listener: i32,

    /// The file of the socket
    path: PathBuf,
}

/// Serves until there is nothing to hold.
pub(crate) fn run(args: &KeeperArgs) -> Result<ExitCode> {
    process::run(args.listener, &args.path)?;
    Ok(ExitCode::SUCCESS)
}
