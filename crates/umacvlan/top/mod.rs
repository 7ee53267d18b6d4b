//! `umacvlan top`: rates of links and workers, as they are now and again every interval.
//!
//! It reads what `link show` and `parent show` have twice and divides the differences by the time
//! between; the daemon does not know of it.

mod rates;
mod view;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use rates::{Rates, Sample};
use umacvlan_client::{Absent, Client};
use umacvlan_text::output::{Output, colour_on};

/// The size of output that is no terminal.
const WIDTH: usize = 100;

/// Show the rates of links and workers, again and again until Ctrl-C
///
/// rx is what a link receives, tx what it sends, and drops are those of both directions. On a terminal as
/// many links are shown as there is room for, the busiest first.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TopArgs {
    /// Only links and parents with this text in their name, namespace or parent
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,

    /// Seconds between two looks
    #[arg(short = 'n', long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    interval: f64,

    /// Print one JSON object a line
    #[arg(short, long)]
    json: bool,

    /// End after the first look
    #[arg(long)]
    once: bool,

    /// The order of the links
    #[arg(long, value_enum, default_value_t = Order::Frames, value_name = "ORDER")]
    sort: Order,
}

/// The order of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    /// The most bytes a second first
    Bytes,
    /// The most drops a second first, then the most drops
    Drops,
    /// The most frames a second first
    Frames,
    /// By name
    Name,
}

/// Shows rates until a signal, a closed pipe or the end of the daemon.
pub(crate) fn run(args: &TopArgs, socket: &Path) -> Result<ExitCode> {
    let mut client = Client::connect(socket, Absent::Wait)?;
    let live = io::stdout().is_terminal() && !args.once && !args.json;
    let mut before = read(&mut client)?;
    loop {
        thread::sleep(Duration::from_secs_f64(args.interval));
        let now = read(&mut client)?;
        let mut rates = Rates::between(&before, &now);
        rates.keep(args.filter.as_deref().unwrap_or_default());
        rates.sort(args.sort);
        let written = match (args.json, live) {
            (true, _) => {
                let mut output = Output::new();
                output.json(&rates);
                output.finish()?;
                io::stdout().flush()
            }
            (false, true) => {
                let (width, height) = terminal_size::terminal_size()
                    .map_or((WIDTH, usize::MAX), |(width, height)| {
                        (usize::from(width.0), usize::from(height.0))
                    });
                let text = view::text(&rates, width, height, colour_on(&io::stdout()));
                write(&view::in_place(&text))
            }
            (false, false) => {
                let width = terminal_size::terminal_size().map_or(WIDTH, |(it, _)| it.0.into());
                let end = if args.once { "" } else { "\n" };
                let colour = colour_on(&io::stdout());
                write(&format!("{}{end}", view::text(&rates, width, usize::MAX, colour)))
            }
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            written => written.context("cannot write to standard output")?,
        }
        if args.once {
            break;
        }
        before = now;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(client: &mut Client) -> Result<Sample> {
    let (parents, links) = (client.get("/v1/parents", &[])?, client.get("/v1/links", &[])?);
    Ok(Sample { time: Instant::now(), parents, links })
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    match (0.1..=3600.0).contains(&seconds) {
        true => Ok(seconds),
        false => Err("it is not between 0.1 and 3600".to_owned()),
    }
}

const EXAMPLES: &str = "\
Examples:
  umacvlan top
  umacvlan top --sort drops --filter web
  umacvlan top --once
  umacvlan top -j -n 10";
