//! `umacvlan run`: sub-interfaces that exist while it runs in the foreground.
//!
//! Arguments are read in two steps: [`spec`] parses them, [`plan`] resolves namespaces and CPUs on
//! this machine. Then one engine creates everything. However it ends, dropping the engine removes
//! everything again.

mod command;
mod counters;
mod json;
mod line_limit;
mod plan;
mod reporter;
mod signals;
mod spec;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;
use umacvlan_core::limit::LimitWord;
use umacvlan_core::options::{Backend, PollMode, PortIo, PortKind, WORKERS_MAX};
use umacvlan_core::rules::RuleWord;

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use crossbeam_channel::{Receiver, after, never, select, tick};
use umacvlan_core::{MacvlanFlag, Semantics};
use umacvlan_engine::engine::{Engine, Event, ParentOptions, ParentStatus, SubOptions};
use umacvlan_engine::try_running_kernel;
use umacvlan_sys::process::raise_descriptor_limit;
use umacvlan_text::arguments::one_of;

use command::Running;
use plan::Plan;
use reporter::Reporter;

/// Make sub-interfaces on a parent and forward for them until SIGINT or SIGTERM.
///
/// With a command after --, forwarding ends with it.
/// Then everything that was made is removed, the parent is as it was, and the counters are
/// printed. A second signal ends this at once.
#[derive(Debug, Args)]
#[command(after_help = words_and_examples())]
pub(crate) struct RunArgs {
    /// The Ethernet interface below: hardware, virtio, veth, TAP or bridge
    #[arg(long, value_name = "INTERFACE")]
    parent: String,

    /// A sub-interface; the words are listed below. May be given many times
    #[arg(long = "sub", value_name = "NAME[,WORD...]", required = true)]
    subs: Vec<String>,

    /// How many workers forward: each has the frames of some flows, and more than there are CPUs
    /// share them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(WORKERS_MAX)))]
    workers: u8,

    /// The CPU to forward on, or of each worker, as in 2,3 [default: the last ones that this
    /// command may use]
    #[arg(long, value_name = "N", value_delimiter = ',')]
    cpu: Vec<usize>,

    /// How to wait for frames: adaptive spins briefly and then sleeps, busy never sleeps,
    /// interrupt sleeps at once
    #[arg(long, value_name = "P", default_value_t, value_parser = one_of(PollMode::ALL, PollMode::name))]
    poll: PollMode,

    /// What carries the frames of the parent: auto is af-xdp on a NIC whose driver needs no copy,
    /// else af-packet; af-xdp is the best mode there is, and the last three are one mode each
    #[arg(long, value_name = "B", default_value = "auto", value_parser = one_of(Backend::ALL, Backend::name))]
    backend: Backend,

    /// Whose rules apply where they differ: what the manual promises to private sub-interfaces, or
    /// what the running kernel or a release of it does
    #[arg(long, value_name = "S", default_value_t, value_parser = one_of(Semantics::ALL, Semantics::name))]
    semantics: Semantics,

    /// Have the sub-interfaces send with the parent's MAC address, for a wire that passes no other: Wi-Fi,
    /// hypervisors, clouds (MAC-NAT)
    #[arg(long, value_name = "on|off", default_value = "off", value_parser = on_off(), action = clap::ArgAction::Set)]
    macnat: bool,

    /// How TAPs are read and written: auto is io_uring where it works, plain is one system call a
    /// frame
    #[arg(long, value_name = "IO", default_value = "auto", value_parser = one_of(PortIo::ALL, PortIo::name))]
    io: PortIo,

    /// What the sub-interfaces are: tap, or veth, for which programs in the kernel forward plain
    /// unicast and the engine the rest; auto is veth where the kernel can do that, else tap
    #[arg(long, value_name = "KIND", default_value = "tap", value_parser = one_of(PortKind::ALL, PortKind::name))]
    port: PortKind,

    /// Merge frames of one flow that go to a sub-interface at the same moment, as GRO does; off
    /// writes each as it came
    #[arg(long, value_name = "on|off", default_value = "on", value_parser = on_off(), action = clap::ArgAction::Set)]
    coalesce: bool,

    /// Print rates every so many seconds
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u32).range(1..))]
    stats: Option<u32>,

    /// Print one JSON object a line: ready, events, stats and, at the end, all counters
    #[arg(short, long)]
    json: bool,

    /// A command that is started when the sub-interfaces are ready. Forwarding ends with it, and its
    /// exit status is that of this command
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Forwards until a signal or the end of the command.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode> {
    let plan = Plan::new(args)?;
    let signals = signals::catch()?;
    // This fails only where the limit cannot be read; then it stays as it is.
    let _ = raise_descriptor_limit();
    let mut reporter = Reporter::new(args.json, &plan.parent.workers);

    // Where the kernel has no macvlan, the rules are those of its name.
    let _ = try_running_kernel();
    let engine = Engine::start()?;
    let mut code = ExitCode::SUCCESS;
    if create(&engine, plan.parent, plan.subs, &signals)? {
        // The first status contains the changes so far.
        let mut early: Vec<Event> = engine.events().try_iter().collect();
        early.retain(|event| !matches!(event, Event::SubChanged(_)));
        reporter.ready(&status(&engine)?, &plan.places);
        early.iter().for_each(|event| reporter.event(event));
        let command = Running::start(&args.command)?;
        report_until_end(&engine, &signals, &command, args.stats, &mut reporter)?;
        code = command.end()?;
    }
    let (last, events) = (status(&engine), engine.events().clone());
    drop(engine);
    // Reports everything that could not be restored.
    let trouble = |event: &Event| matches!(event, Event::Trouble { .. });
    events.try_iter().filter(trouble).for_each(|event| reporter.event(&event));
    reporter.all_left_out();
    reporter.stopped(&last?);
    reporter.finish()?;
    Ok(code)
}

/// Creates the parent and its sub-interfaces; false if a signal interrupts it.
fn create(
    engine: &Engine,
    parent: ParentOptions,
    subs: Vec<SubOptions>,
    signals: &Receiver<()>,
) -> Result<bool> {
    let name = parent.name.clone();
    engine.add_parent(parent)?;
    for sub in subs {
        if !signals.is_empty() {
            return Ok(false);
        }
        engine.add_sub(&name, sub)?;
    }
    Ok(true)
}

/// Reports events and rates until a signal or the end of the command.
fn report_until_end(
    engine: &Engine,
    signals: &Receiver<()>,
    command: &Running,
    stats: Option<u32>,
    reporter: &mut Reporter,
) -> Result<()> {
    let ticks = stats.map_or_else(never, |seconds| tick(Duration::from_secs(u64::from(seconds))));
    loop {
        let left_out = reporter.left_out().map_or_else(never, after);
        select! {
            recv(left_out) -> _ => {}
            recv(signals) -> _ => return Ok(()),
            recv(command.ended()) -> _ => return Ok(()),
            recv(engine.events()) -> event => reporter.event(&event.context("the engine has stopped")?),
            recv(ticks) -> _ => reporter.rates(&status(engine)?),
        }
    }
}

fn status(engine: &Engine) -> Result<ParentStatus> {
    let parents = engine.status()?;
    parents.into_iter().next().context("the engine has lost its parent")
}

fn on_off() -> impl TypedValueParser<Value = bool> {
    PossibleValuesParser::new(["on", "off"]).map(|word| word == "on")
}

fn words_and_examples() -> String {
    let flags = MacvlanFlag::ALL.map(|flag| format!("  {:26} {}", flag.name(), flag.summary()));
    let limits = LimitWord::ALL.map(|word| {
        let words = format!("{}={}", word.name, word.value);
        format!("  {words:26} {}", word.summary)
    });
    let rules = RuleWord::ALL.map(|word| {
        let words = format!("{}={}", word.name(), word.value());
        format!("  {words:26} {}", word.summary())
    });
    let words = [&flags[..], &limits[..], &rules[..]].concat();
    format!("{WORDS}\n{}\n{EXAMPLES}", words.join("\n"))
}

const WORDS: &str = "\
Words of a sub-interface, after its name and with commas between them:
  mode=MODE                  bridge, passthru, private, source or vepa (the default)
  address=MAC                its address (a random one; passthru takes the parent's)
  netns=NAMESPACE            where it is made: a name, a path or the id of a process (here)
  mtu=BYTES                  its MTU (the parent's)
  macaddr=MAC                source mode: a station it hears; may be given many times";

const EXAMPLES: &str =
    "  bcqueuelen=FRAMES          length asked for the queue of group frames (1000)
  down                       do not set it up

Examples:
  umacvlan run --parent eth0 --sub mac1,mode=bridge,netns=ns1 --sub mac2,mode=bridge,netns=ns2
  umacvlan run --parent eth0 --sub mac1,netns=ns1 -- ip netns exec ns1 dhclient -d mac1
  umacvlan run --parent eth0 --sub mac1,mode=passthru --poll busy --cpu 3 --stats 5
  umacvlan run --parent br0 --sub mac1,mode=source,macaddr=02:00:5e:10:00:01 -j";
