//! `umacvlan capture`: frames of a parent or a link as the daemon forwards them, with what becomes of
//! each, as text, JSON or pcapng.

mod output;
mod summary;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use output::{CaptureOutput, Form};
pub(crate) use output::{hex_bytes, outcome};
use umacvlan_api::{CapturePoint, CaptureSpec};
use umacvlan_client::{Absent, Client};

/// Show the frames that a parent or a link sends and receives, and what becomes of each
///
/// Frames that are dropped, and those between links of one parent, which no capture on a NIC shows,
/// are among them. FILTER is a part of pcap's filter language; an unknown word lists what is known.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CaptureArgs {
    /// A parent, or a link
    #[arg(value_name = "PARENT|LINK")]
    dev: String,

    /// Only the frames that this filter selects
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,

    /// Where frames are captured [default: from-wire and from-link for a parent, from-link and to-link
    /// for a link]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "POINT")]
    at: Vec<At>,

    /// Stop after this many frames
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Only frames that are dropped, wherever that is
    #[arg(long)]
    dropped: bool,

    /// Print one JSON object a line
    #[arg(short, long, conflicts_with = "write")]
    json: bool,

    /// The network namespace of the link
    #[arg(short, long, value_name = "NETNS")]
    netns: Option<String>,

    /// Only frames that are dropped for this reason, by its name in the counters
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,

    /// The most bytes of a frame that are kept [default: all]
    #[arg(short, long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(14..))]
    snaplen: Option<u32>,

    /// Write pcapng into a file, or to standard output for `-`
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// Where a frame is captured.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum At {
    /// A link has sent it
    FromLink,
    /// It has come from the wire
    FromWire,
    /// It is queued for a link
    ToLink,
    /// It is queued for the wire
    ToWire,
}

/// Captures until the count is reached, a signal comes, or the daemon, the parent or the link ends.
pub(crate) fn run(args: &CaptureArgs, socket: &Path) -> Result<ExitCode> {
    let mut client = Client::connect(socket, Absent::Wait)?;
    let form = match (&args.write, args.json) {
        (Some(path), _) => Form::pcapng(path)?,
        (None, true) => Form::Json,
        (None, false) => Form::Text,
    };
    let output = Arc::new(Mutex::new(CaptureOutput::new(form, args.count)));
    end_on_signal(&output)?;
    let mut failed = None;
    let followed = client.post_stream("/v1/capture", &spec(args), |lines| {
        lock(&output).lines(lines).unwrap_or_else(|error| {
            failed = Some(error);
            ControlFlow::Break(())
        })
    });
    let mut output = lock(&output);
    let ended = output.end();
    if let Some(error) = failed {
        return Err(error);
    }
    followed?;
    ended?;
    match output.failure() {
        Some(why) => bail!("the capture has ended: {why}"),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn spec(args: &CaptureArgs) -> CaptureSpec {
    let at = args.at.iter().map(|at| match at {
        At::FromLink => CapturePoint::FromLink,
        At::FromWire => CapturePoint::FromWire,
        At::ToLink => CapturePoint::ToLink,
        At::ToWire => CapturePoint::ToWire,
    });
    CaptureSpec {
        dev: args.dev.clone(),
        netns: args.netns.clone(),
        at: Some(at.collect()).filter(|points: &Vec<_>| !points.is_empty()),
        dropped: args.dropped,
        reason: args.reason.clone(),
        filter: Some(args.filter.join(" ")).filter(|filter| !filter.is_empty()),
        snaplen: args.snaplen,
    }
}

fn lock(output: &Mutex<CaptureOutput>) -> MutexGuard<'_, CaptureOutput> {
    output.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Completes the output and exits at the first signal. Output is written under its lock, so nothing is
/// cut.
fn end_on_signal(output: &Arc<Mutex<CaptureOutput>>) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot wait for signals")?;
    let output = Arc::clone(output);
    let wait = move || {
        if signals.forever().next().is_some() {
            let mut output = lock(&output);
            process::exit(i32::from(output.end().is_err()));
        }
    };
    let thread = thread::Builder::new().name("signals".to_owned()).spawn(wait);
    thread.map(drop).context("cannot wait for signals")
}

const EXAMPLES: &str = "\
Examples:
  umacvlan capture eth0 arp
  umacvlan capture eth0 --dropped
  umacvlan capture -n web eth0 -c 10 udp port 53
  umacvlan capture eth0 -w - | wireshark -k -i -";
