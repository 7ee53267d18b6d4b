//! `umacvlan explain`: the steps by which the switch decides about one frame.

mod answer;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod question;
mod render;
#[cfg(test)]
mod tests;
mod traced;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use umacvlan_core::{Frame, SubIndex};

use crate::offline_switch::{Assumptions, OfflineSwitch, from_config, from_daemon};
use answer::Answer;
use question::{Direction, FrameSpec, Question};
pub use traced::{Explained, explain_seen};
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
    /// vlan=ID, type=TYPE, len=BYTES, gso. An ADDRESS may be the name of a link, or of the parent
    #[arg(required = true, value_name = "WORDS")]
    question: Vec<String>,

    /// The frame, in place of words about it
    #[arg(long, value_name = "DIGITS")]
    hex: Option<String>,

    /// Take the links of this configuration in place of the daemon's
    #[arg(long, value_name = "FILE")]
    config: Option<String>,

    #[command(flatten)]
    assumptions: Assumptions,

    /// Print one JSON object
    #[arg(short, long)]
    json: bool,
}

/// Explains one frame. `cpus` are the CPUs that this process may use; `fetch_views` is called if no
/// configuration is given and returns the parents and links of the running daemon.
///
/// # Errors
/// The question is malformed, the configuration or the daemon cannot be read, or standard output
/// cannot be written.
pub fn run(
    args: &ExplainArgs,
    cpus: &[usize],
    fetch_views: impl FnOnce() -> Result<(Vec<ParentView>, Vec<LinkView>)>,
) -> Result<ExitCode> {
    let question = Question::read(&args.question, args.hex.as_deref())?;
    let (offline, from) = match &args.config {
        Some(file) => {
            let parsed = Config::load(file, cpus)?;
            switch_from_config(&parsed.config, &question, &args.assumptions)?
        }
        None => {
            let (parents, links) = fetch_views()?;
            switch_from_daemon(&parents, &links, &question)?
        }
    };
    let own = from.and_then(|id| offline.switch.sub(id)).map(|sub| sub.mac());
    let bytes = question.frame.bytes(own, |name| offline.address_of(name))?;
    let frame = Frame::new(&bytes).context("the frame is shorter than an Ethernet header")?;
    let explanation = match from {
        Some(id) => offline.switch.explain_egress(id, frame, question.gso),
        None => offline.switch.explain_ingress(frame),
    };
    let whole = matches!(question.frame, FrameSpec::Bytes(_));
    let answer = Answer::new(&offline, from, frame, whole, explanation);
    let mut output = Output::new();
    if args.json {
        output.json(&answer);
    } else {
        output.text(&answer.text());
    }
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// The switch of the parent from a configuration, and the sending link.
fn switch_from_config(
    config: &Config,
    question: &Question,
    assumptions: &Assumptions,
) -> Result<(OfflineSwitch, Option<SubIndex>)> {
    let place = question.place.as_str();
    match question.direction {
        Direction::Ingress => Ok((from_config(config, Some(place), assumptions)?, None)),
        Direction::Egress => {
            let entry = config.links.get(place).with_context(|| {
                let known: Vec<&str> = config.links.keys().map(String::as_str).collect();
                format!("the configuration has no link {place}: it has {}", known.join(", "))
            })?;
            let offline = from_config(config, Some(&entry.spec.parent), assumptions)?;
            let id = offline.find(place).context("the link is on its parent")?;
            Ok((offline, Some(id)))
        }
    }
}

/// The switch of the parent from the daemon's views, and the sending link.
fn switch_from_daemon(
    parents: &[ParentView],
    links: &[LinkView],
    question: &Question,
) -> Result<(OfflineSwitch, Option<SubIndex>)> {
    let place = question.place.as_str();
    if question.direction == Direction::Ingress {
        let parent = parents.iter().find(|parent| parent.name == place).with_context(|| {
            format!("the daemon has no parent {place}: `umacvlan parent show` lists them")
        })?;
        return Ok((from_daemon(parent, links)?, None));
    }
    let candidates =
        parents.iter().map(|parent| from_daemon(parent, links)).collect::<Result<Vec<_>>>()?;
    let found = candidates.into_iter().filter_map(|offline| {
        let id = offline.find(place)?;
        Some((offline, Some(id)))
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
  umacvlan explain mac1 egress dst=mac2
  umacvlan explain mac1 egress dst=02:00:00:00:00:02 len=1600 --config lab.toml
  umacvlan explain eth0 ingress --hex '02 00 00 00 00 02  02 00 00 00 00 09  08 00'";
