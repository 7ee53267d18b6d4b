//! `umacvlan explain`: what the switch does with a frame, step by step.

mod answer;
mod question;
mod render;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use umacvlan_core::{Frame, SubIndex};

use crate::offline_switch::{Assumed, Paper, described, live};
use answer::Answer;
use question::{Described, Direction, Question};
use umacvlan_api::{LinkView, ParentView};
use umacvlan_config::Config;
use umacvlan_text::output::Output;

/// Tell what becomes of a frame, and by which rule
///
/// The links are those of the running daemon, or of a configuration file. Each line begins with the
/// section of docs/semantics.md that it follows; the marked one decides.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    /// PARENT ingress dst=ADDRESS src=ADDRESS, or LINK egress dst=ADDRESS [src=ADDRESS]; then
    /// vlan=ID, type=TYPE, len=BYTES, gso
    #[arg(required = true, value_name = "WORDS")]
    question: Vec<String>,

    /// The frame, in place of words about it
    #[arg(long, value_name = "DIGITS")]
    hex: Option<String>,

    /// Take the links of this configuration in place of the daemon's
    #[arg(long, value_name = "FILE")]
    config: Option<String>,

    #[command(flatten)]
    assumed: Assumed,

    /// Print one JSON object
    #[arg(short, long)]
    json: bool,
}

/// Explains the frame. `cpus` are those that this process may use; `ask_daemon` reads the parents and
/// links of the running daemon, if no configuration is given.
pub fn run(
    args: &ExplainArgs,
    cpus: &[usize],
    ask_daemon: impl FnOnce() -> Result<(Vec<ParentView>, Vec<LinkView>)>,
) -> Result<ExitCode> {
    let question = Question::read(&args.question, args.hex.as_deref())?;
    let (paper, from) = match &args.config {
        Some(file) => {
            let parsed = Config::load(file, cpus)?;
            on_file(&parsed.config, &question, &args.assumed)?
        }
        None => {
            let (parents, links) = ask_daemon()?;
            on_daemon(&parents, &links, &question)?
        }
    };
    let own = from.and_then(|id| paper.switch.sub(id)).map(|sub| sub.mac());
    let bytes = question.frame.bytes(own)?;
    let frame = Frame::new(&bytes).context("the frame is shorter than an Ethernet header")?;
    let explanation = match from {
        Some(id) => paper.switch.explain_egress(id, frame, question.gso),
        None => paper.switch.explain_ingress(frame),
    };
    let whole = matches!(question.frame, Described::Bytes(_));
    let answer = Answer::new(&paper, from, frame, whole, explanation);
    let mut output = Output::new();
    if args.json {
        output.json(&answer);
    } else {
        output.text(&answer.text());
    }
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// The parent in question as a configuration has it, and the link that sends.
fn on_file(
    config: &Config,
    question: &Question,
    assumed: &Assumed,
) -> Result<(Paper, Option<SubIndex>)> {
    let place = question.place.as_str();
    match question.direction {
        Direction::Ingress => Ok((described(config, Some(place), assumed)?, None)),
        Direction::Egress => {
            let entry = config.links.get(place).with_context(|| {
                let known: Vec<&str> = config.links.keys().map(String::as_str).collect();
                format!("the configuration has no link {place}: it has {}", known.join(", "))
            })?;
            let paper = described(config, Some(&entry.spec.parent), assumed)?;
            let id = paper.named(place).context("the link is on its parent")?;
            Ok((paper, Some(id)))
        }
    }
}

/// The parent in question as the daemon has it, and the link that sends.
fn on_daemon(
    parents: &[ParentView],
    links: &[LinkView],
    question: &Question,
) -> Result<(Paper, Option<SubIndex>)> {
    let place = question.place.as_str();
    if question.direction == Direction::Ingress {
        let parent = parents.iter().find(|parent| parent.name == place).with_context(|| {
            format!("the daemon has no parent {place}: `umacvlan parent show` lists them")
        })?;
        return Ok((live(parent, links)?, None));
    }
    let papers = parents.iter().map(|parent| live(parent, links)).collect::<Result<Vec<_>>>()?;
    let found = papers.into_iter().filter_map(|paper| {
        let id = paper.named(place)?;
        Some((paper, Some(id)))
    });
    let mut found: Vec<_> = found.collect();
    match (found.pop(), found.len()) {
        (Some(only), 0) => Ok(only),
        (Some(_), _) => bail!("several parents have a link {place}: rename one of them"),
        (None, _) => bail!(
            "the daemon has no link {place}: `umacvlan link show` lists them; where two have the \
             same name, write NAMESPACE/NAME"
        ),
    }
}

const EXAMPLES: &str = "\
Examples:
  umacvlan explain eth0 ingress dst=ff:ff:ff:ff:ff:ff src=02:00:00:00:00:01 type=arp
  umacvlan explain mac1 egress dst=02:00:00:00:00:02 len=1600 --config lab.toml
  umacvlan explain eth0 ingress --hex '02 00 00 00 00 02  02 00 00 00 00 09  08 00'";
