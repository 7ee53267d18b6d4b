//! `umacvlan trace`: the next frames of a parent or a link, each with the steps of its decision.
//!
//! A capture tells which frames came and what has become of them; the steps are those of `umacvlan
//! explain`, by the rules that the daemon has at that moment.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use anyhow::{Result, bail};
use clap::Args;

use super::capture::{hex_bytes, outcome};
use super::fetch_views;
use umacvlan_api::{CapturePoint, CaptureSpec, CaptureView, CapturedFrame, LinkView, ParentView};
use umacvlan_client::{Absent, Client};
use umacvlan_offline::explain::{Explained, explain_seen};
use umacvlan_text::output::{Output, print_stderr};

/// Explain the next frames of a parent or a link, step by step
///
/// Of a parent these are the frames from the wire and from its links, of a link those that it sends. The
/// lines are those of `umacvlan explain`, and the last one says what has really become of the frame.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TraceArgs {
    /// A parent, or a link
    #[arg(value_name = "PARENT|LINK")]
    dev: String,

    /// Only the frames that this filter selects, as of `umacvlan capture`
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,

    /// How many frames
    #[arg(short, long, value_name = "COUNT", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,

    /// Only frames that are dropped when they come, by the switch or by a limit
    #[arg(long)]
    dropped: bool,

    /// Print one JSON object a line
    #[arg(short, long)]
    json: bool,

    /// The network namespace of the link
    #[arg(short, long, value_name = "NETNS")]
    netns: Option<String>,

    /// Only frames that are dropped for this reason, by its name in the counters
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
}

/// Explains frames until the count is reached, or the daemon, the parent or the link ends.
pub(crate) fn run(args: &TraceArgs, socket: &Path) -> Result<ExitCode> {
    let mut client = Client::connect(socket, Absent::Wait)?;
    let spec = CaptureSpec {
        dev: args.dev.clone(),
        netns: args.netns.clone(),
        at: Some(vec![CapturePoint::FromWire, CapturePoint::FromLink]),
        dropped: args.dropped,
        reason: args.reason.clone(),
        filter: Some(args.filter.join(" ")).filter(|filter| !filter.is_empty()),
        ..CaptureSpec::default()
    };
    let mut trace = Trace { args, parent: String::new(), seen: 0 };
    let mut failed = Ok(());
    client.post_stream("/v1/capture", &spec, |lines| {
        trace.lines(lines, socket).unwrap_or_else(|error| {
            failed = Err(error);
            ControlFlow::Break(())
        })
    })?;
    failed.map(|()| ExitCode::SUCCESS)
}

struct Trace<'a> {
    args: &'a TraceArgs,
    parent: String,
    seen: u64,
}

impl Trace<'_> {
    fn lines(&mut self, lines: &str, socket: &Path) -> Result<ControlFlow<()>> {
        let mut views = None;
        for line in lines.lines().filter(|line| !line.is_empty()) {
            let frame = match serde_json::from_str(line)? {
                CaptureView::Started { parent, in_kernel, .. } => {
                    self.parent = parent;
                    if !in_kernel.is_empty() {
                        print_stderr(&format!(
                            "the daemon forwards for {} meanwhile (port veth)",
                            in_kernel.join(", ")
                        ));
                    }
                    continue;
                }
                CaptureView::Frame(frame) if is_decision(&frame) => frame,
                CaptureView::Frame(_) | CaptureView::LeftOut { .. } => continue,
                CaptureView::Ended { why } => bail!("the trace has ended: {why}"),
            };
            // The rules as they are when these frames are read.
            let (parents, links) = match views.take() {
                Some(known) => known,
                None => views_aside(socket)?,
            };
            let from = frame.link.as_deref().and_then(|name| id_of(&links, name));
            let bytes = hex_bytes(&frame.frame).unwrap_or_default();
            let explained = explain_seen((&parents, &links), &self.parent, from, &bytes);
            self.print(&frame, explained)?;
            views = Some((parents, links));
            self.seen += 1;
            if self.seen == self.args.count {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn print(&self, frame: &CapturedFrame, explained: Result<Explained>) -> Result<()> {
        let mut output = Output::new();
        match (self.args.json, explained) {
            (true, explained) => {
                let explained = explained.map(|it| it.json).ok();
                output.json(&serde_json::json!({"frame": frame, "explained": explained}));
            }
            (false, explained) => {
                if self.seen > 0 {
                    output.text("\n");
                }
                match explained {
                    Ok(it) => output.text(&it.text),
                    Err(error) => output.text(&format!("not explained: {error:#}\n")),
                }
                output.text(&format!("seen: {}\n", outcome(frame)));
            }
        }
        output.finish()
    }
}

/// The parents and links of the daemon. The runtime of this thread follows the capture meanwhile, and
/// runs no second request.
fn views_aside(socket: &Path) -> Result<(Vec<ParentView>, Vec<LinkView>)> {
    let fetched = thread::scope(|scope| scope.spawn(|| fetch_views(socket)).join());
    fetched.unwrap_or_else(|_| bail!("the links of the daemon cannot be read"))
}

/// True for a frame about which the switch decides, not a copy that was lost later.
fn is_decision(frame: &CapturedFrame) -> bool {
    matches!(frame.at, CapturePoint::FromLink | CapturePoint::FromWire)
}

/// The number of a link by the name that captures have for it.
fn id_of(links: &[LinkView], name: &str) -> Option<u64> {
    let is_it = |link: &&LinkView| match &link.umacvlan.netns {
        Some(netns) => name == format!("{netns}/{}", link.ifname),
        None => link.ifname == name,
    };
    links.iter().find(is_it).map(|link| link.umacvlan.id)
}

const EXAMPLES: &str = "\
Examples:
  umacvlan trace eth0 --count 3
  umacvlan trace -n web eth0 arp
  umacvlan trace eth0 --dropped
  umacvlan trace eth0 --reason spoofed";
