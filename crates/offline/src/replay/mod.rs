//! `umacvlan replay`: the frames of a capture through the switch, without network or privilege.

mod capture;
mod output_dir;
mod pcapng;
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

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use umacvlan_core::Frame;

use crate::offline_switch::{Assumed, Fate, Paper, Said, described};
use capture::Record;
use output_dir::Folder;
use replayer::{Entry, Judge, Origin};
use tally::Tally;
use umacvlan_config::Config;
use umacvlan_text::output::Output;
use vlan::Untagged;

/// Put the frames of a capture through the switch and tell what becomes of each
///
/// The links are those of a configuration file; nothing is sent, and no privilege is needed. Reads
/// pcap and pcapng with Ethernet frames. Of a parent like eth0.10, a VLAN, only frames with its tag
/// count, and are taken without it.
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
    assumed: Assumed,

    /// Where frames come from: auto, wire, or the name of a link
    ///
    /// With auto a frame comes from whose address its source is: from a link, from the host (such a
    /// frame goes to the wire, past all links), or else from the wire.
    #[arg(long, value_name = "WHERE", default_value = "auto")]
    from: String,

    /// Take what links send for super-frames (GSO), which are never too long
    #[arg(long)]
    gso: bool,

    /// Write pcapng files into this directory: link-NAME, wire, host, and drops with the reason of
    /// each as its comment
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Print one JSON object a frame, and a summary
    #[arg(short, long)]
    json: bool,
}

/// Replays a capture.
pub fn run(args: &ReplayArgs, cpus: &[usize]) -> Result<ExitCode> {
    let parsed = Config::load(&args.config, cpus)?;
    let mut paper = described(&parsed.config, args.parent.as_deref(), &args.assumed)?;
    let from = place(&args.from, &paper)?;
    // What a link sends has no tags of its VLAN yet.
    let mut untagged = match from {
        Origin::Only(Entry::Sub(_)) => Untagged::default(),
        _ => Untagged::new(&paper.parent),
    };
    paper.notes.extend(untagged.note(&paper.parent));
    let mut judge = Judge::new(&paper, from, args.gso);
    let file = open(&args.capture)?;
    let mut folder = args.out.as_deref().map(|path| Folder::new(path, &paper)).transpose()?;
    let mut tally = Tally::new(&paper);
    let mut output = Output::new();
    let mut lines = String::new();
    let read = capture::frames(file, |record| {
        let Some(record) = untagged.take(record) else {
            return Ok(());
        };
        let (entry, fate) = judge.judge(&record);
        tally.count(&record, entry, fate);
        if let Some(folder) = &mut folder {
            folder.write(&paper, tally.frames(), &record, entry, fate)?;
        }
        if args.json {
            let line = Line::new(&paper, tally.frames(), &record, entry, fate);
            lines.push_str(&serde_json::to_string(&line)?);
            lines.push('\n');
            if lines.len() > KEPT {
                output.text(&std::mem::take(&mut lines));
            }
        }
        Ok(())
    });
    // What was read before a mistake in the file is told as well.
    if let Some(folder) = folder {
        folder.finish()?;
    }
    if args.json {
        output.text(&lines);
        output.json(&Last { summary: tally.summary(&args.capture, &paper) });
    } else {
        output.text(&tally.text(&args.capture, &paper, output.colour));
    }
    output.finish()?;
    read.with_context(|| format!("{}, after {} frames", args.capture, tally.frames()))?;
    Ok(ExitCode::SUCCESS)
}

fn open(path: &str) -> Result<Box<dyn Read>> {
    Ok(match path {
        "-" => Box::new(io::stdin()),
        _ => Box::new(File::open(path).with_context(|| format!("cannot open {path}"))?),
    })
}

/// Where `--from` says that frames come from.
fn place(word: &str, paper: &Paper) -> Result<Origin> {
    Ok(match word {
        "auto" => Origin::Auto,
        "wire" => Origin::Only(Entry::Wire),
        name => Origin::Only(Entry::Sub(paper.named(name).with_context(|| {
            format!(
                "--from: {} has no link {name}: expected auto, wire or one of {}",
                paper.parent,
                paper.known()
            )
        })?)),
    })
}

/// What `-j` prints of a frame.
#[serde_with::skip_serializing_none]
#[derive(Debug, Serialize)]
struct Line<'l> {
    frame: u64,
    /// Seconds since 1970.
    time: String,
    /// `wire`, `host` or `link`.
    from: &'static str,
    /// The link that it is from.
    link: Option<&'l str>,
    src: Option<String>,
    dst: Option<String>,
    length: usize,
    /// Where it is less than the length.
    captured: Option<usize>,
    verdict: &'static str,
    reason: Option<&'static str>,
    /// The links that get it by the verdict, and those that list its source.
    to: Vec<&'l str>,
    copies: Vec<&'l str>,
    too_long: Vec<&'l str>,
    host: bool,
    wire: bool,
    /// It takes the broadcast queue.
    queued: bool,
}

/// The object after the last frame.
#[derive(Debug, Serialize)]
struct Last<'l> {
    summary: tally::Summary<'l>,
}

impl<'l> Line<'l> {
    fn new(paper: &'l Paper, number: u64, record: &Record<'_>, entry: Entry, fate: &Fate) -> Self {
        let frame = Frame::new(record.bytes);
        let (from, link) = match entry {
            Entry::Host => ("host", None),
            Entry::Sub(id) => ("link", Some(paper.name(id))),
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
            verdict: fate.said.name(),
            reason: match fate.said {
                Said::Drop(reason) => Some(reason.name()),
                _ => None,
            },
            to: paper.names(&fate.to),
            copies: paper.names(&fate.copies),
            too_long: paper.names(&fate.too_long),
            host: fate.host,
            wire: fate.wire,
            queued: fate.queued,
        }
    }
}

/// Bytes that are kept back before they are printed.
const KEPT: usize = 64 << 10;

const EXAMPLES: &str = "\
Examples:
  umacvlan replay eth0.pcap --config lab.toml
  umacvlan replay eth0.pcap --config lab.toml --from mac1 -j
  tcpdump -i eth0 -w - | umacvlan replay - --config lab.toml --out frames";
