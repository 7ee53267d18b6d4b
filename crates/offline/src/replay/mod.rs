//! `umacvlan replay`: puts the frames of a capture through the switch and counts the outcomes.

mod capture;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod output_dir;
mod replayer;
mod section;
mod tally;
#[cfg(test)]
mod tests;
mod vlan;

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use umacvlan_core::Frame;

use crate::offline_switch::{Assumptions, OfflineSwitch, Outcome, OutcomeJson, from_config};
use capture::Record;
use output_dir::OutputDir;
use replayer::{Entry, Origin, Replayer};
use tally::Tally;
use umacvlan_config::Config;
use umacvlan_text::output::Output;
use vlan::VlanStripper;

/// Put the frames of a capture through the switch and tell what becomes of each
///
/// The links are those of a configuration file; nothing is sent, and no privilege is needed. Reads
/// pcap and pcapng with Ethernet frames. Of a parent like eth0.10, a VLAN, only frames with its tag
/// count, and are taken without it; --untagged takes those that `umacvlan capture eth0.10` has written.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReplayArgs {
    /// The capture, or - for standard input
    #[arg(value_name = "FILE")]
    capture: String,

    /// The configuration that has the links, as of umacvlan.toml(5)
    #[arg(long, value_name = "FILE")]
    config: String,

    /// The parent, where the configuration has several
    #[arg(long, value_name = "PARENT")]
    parent: Option<String>,

    #[command(flatten)]
    assumptions: Assumptions,

    /// Where frames come from: auto, wire, or the name of a link
    ///
    /// With auto a frame comes from whose address its source is: from a link, from the host (such a
    /// frame goes to the wire, past all links), or else from the wire.
    #[arg(long, value_name = "WHERE", default_value = "auto")]
    from: String,

    /// Take what links send for GSO packets, which are never too long
    #[arg(long)]
    gso: bool,

    /// Write pcapng files into this directory: link-NAME, wire, host, and drops with the reason of
    /// each as its comment
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Print one JSON object a frame, and a summary
    #[arg(short, long)]
    json: bool,

    /// Of a parent that is a VLAN: the capture has its frames without the tag
    #[arg(long)]
    untagged: bool,
}

/// Replays a capture. `cpus` are the CPUs that this process may use.
///
/// # Errors
/// The configuration, the capture or `--from` is invalid, or an output cannot be written.
pub fn run(args: &ReplayArgs, cpus: &[usize]) -> Result<ExitCode> {
    let parsed = Config::load(&args.config, cpus)?;
    let mut offline = from_config(&parsed.config, args.parent.as_deref(), &args.assumptions)?;
    let from = parse_origin(&args.from, &offline)?;
    // Frames that a link sends are not tagged yet.
    let mut vlan = match from {
        Origin::Only(Entry::Sub(_)) => VlanStripper::default(),
        _ if args.untagged => VlanStripper::default(),
        _ => VlanStripper::new(&offline.parent),
    };
    offline.notes.extend(vlan.note(&offline.parent));
    let mut replayer = Replayer::new(&offline, from, args.gso);
    let file = open(&args.capture)?;
    let mut output_dir =
        args.out.as_deref().map(|path| OutputDir::new(path, &offline)).transpose()?;
    let mut tally = Tally::new(&offline);
    let mut output = Output::new();
    let mut lines = String::new();
    let read = capture::frames(file, |record| {
        let Some(record) = vlan.strip(record) else {
            tally.leave_out();
            return Ok(());
        };
        let (entry, outcome) = replayer.replay(&record);
        tally.count(&record, entry, outcome);
        if let Some(output_dir) = &mut output_dir {
            output_dir.write(&offline, tally.frames(), &record, entry, outcome)?;
        }
        if args.json {
            let line = Line::new(&offline, tally.frames(), &record, entry, outcome);
            lines.push_str(&serde_json::to_string(&line)?);
            lines.push('\n');
            if lines.len() > FLUSH_BYTES {
                output.text(&std::mem::take(&mut lines));
            }
        }
        Ok(())
    });
    // Frames before damage in the capture are written and counted too.
    if let Some(output_dir) = output_dir {
        output_dir.finish()?;
    }
    let mut failed = None;
    if tally.frames() == 0 {
        read.with_context(|| args.capture.clone())?;
        if let left_out @ 1.. = tally.left_out() {
            bail!(
                "{}: none of its {left_out} frames has the tag of {}: --untagged takes frames without it, \
                 as `umacvlan capture` writes them",
                args.capture,
                offline.parent
            );
        }
    } else {
        failed = read.err();
    }
    if args.json {
        output.text(&lines);
        output.json(&SummaryLine { summary: tally.summary(&args.capture, &offline) });
    } else {
        output.text(&tally.text(&args.capture, &offline, output.colour));
    }
    output.finish()?;
    failed.map_or(Ok(ExitCode::SUCCESS), |error| {
        Err(error.context(format!("{}, after {} frames", args.capture, tally.frames())))
    })
}

fn open(path: &str) -> Result<Box<dyn Read>> {
    Ok(match path {
        "-" => Box::new(io::stdin()),
        _ => Box::new(File::open(path).with_context(|| format!("cannot open {path}"))?),
    })
}

/// Parses `--from`.
fn parse_origin(word: &str, offline: &OfflineSwitch) -> Result<Origin> {
    Ok(match word {
        "auto" => Origin::Auto,
        "wire" => Origin::Only(Entry::Wire),
        name => Origin::Only(Entry::Sub(offline.find(name).with_context(|| {
            format!(
                "--from: {} has no link {name}: expected auto, wire or one of {}",
                offline.parent,
                offline.name_list()
            )
        })?)),
    })
}

/// One frame in the output of `-j`.
#[serde_with::skip_serializing_none]
#[derive(Debug, Serialize)]
struct Line<'l> {
    frame: u64,
    /// Seconds since 1970.
    time: String,
    /// `wire`, `host` or `link`.
    from: &'static str,
    /// The sending link, if `from` is `link`.
    link: Option<&'l str>,
    src: Option<String>,
    dst: Option<String>,
    length: usize,
    /// Captured bytes, if less than the length.
    captured: Option<usize>,
    #[serde(flatten)]
    outcome: OutcomeJson<'l>,
}

/// The object after the last frame.
#[derive(Debug, Serialize)]
struct SummaryLine<'l> {
    summary: tally::Summary<'l>,
}

impl<'l> Line<'l> {
    fn new(
        offline: &'l OfflineSwitch,
        number: u64,
        record: &Record<'_>,
        entry: Entry,
        outcome: &Outcome,
    ) -> Self {
        let frame = Frame::new(record.bytes);
        let (from, link) = match entry {
            Entry::Host => ("host", None),
            Entry::Sub(id) => ("link", Some(offline.name(id))),
            Entry::Wire => ("wire", None),
        };
        Self {
            frame: number,
            time: format!("{}.{:09}", record.time / 1_000_000_000, record.time % 1_000_000_000),
            from,
            link,
            src: frame.map(|frame| frame.src().to_string()),
            dst: frame.map(|frame| frame.dst().to_string()),
            length: record.length,
            captured: record.is_cut().then_some(record.bytes.len()),
            outcome: outcome.json(offline),
        }
    }
}

/// Output is printed once it has this many bytes.
const FLUSH_BYTES: usize = 64 << 10;

const EXAMPLES: &str = "\
Examples:
  umacvlan replay eth0.pcap --config lab.toml
  umacvlan replay eth0.pcap --config lab.toml --from mac1 -j
  tcpdump -i eth0 -w - | umacvlan replay - --config lab.toml --out frames";
