//! `umacvlan log`: shows or changes the log filter of the running daemon.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use umacvlan_api::LogFilter;
use umacvlan_client::{Absent, Client};
use umacvlan_text::output::Output;

/// Show what the daemon logs, or change it until the daemon ends
///
/// What it begins with is set in the configuration, or by an option of the daemon.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LogArgs {
    /// A level (error, warn, info, debug, trace, off), or levels of parts with commas between
    filter: Option<String>,

    /// Print one JSON object
    #[arg(short, long)]
    json: bool,
}

/// Shows or changes the filter; `socket` is the daemon's.
pub(crate) fn run(args: &LogArgs, socket: &Path) -> Result<ExitCode> {
    let mut client = Client::connect(socket, Absent::Wait)?;
    let now: LogFilter = match &args.filter {
        Some(filter) => client.put("/v1/log", &LogFilter { filter: filter.clone() })?,
        None => client.get("/v1/log", &[])?,
    };
    let mut output = Output::new();
    if args.json {
        output.json(&now);
    } else if args.filter.is_none() {
        output.text(&format!("{}\n", now.filter));
    }
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}

const EXAMPLES: &str = "\
Examples:
  umacvlan log
  umacvlan log debug
  umacvlan log info,umacvlan=debug";
