//! `umacvlan lab`: who reaches whom, and at what cost, in a network of the command's own.
//!
//! Everything is in this one process: the namespaces have no name, the engine runs on threads
//! beside the probes. So there is nothing to clean up, and nothing left after `SIGKILL`.

pub mod contenders;
pub mod cores;
mod cost;
mod json;
mod reach;
mod text;
mod vlan;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use umacvlan_core::options::{Backend, WORKERS_MAX};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use umacvlan_core::{Mode, Semantics};
use umacvlan_lab::network::Network;
use umacvlan_sys::netns::{Netns, enter_user_namespace};
use umacvlan_text::arguments::one_of;

use contenders::Contenders;
use cost::CostRow;
use reach::SetupReach;
use text::Text;

/// Find out who reaches whom in every mode, and what it costs, beside the kernel's macvlan
#[derive(Args, Clone, Debug)]
pub struct LabArgs {
    /// Only this mode: bridge, passthru, private, source or vepa
    #[arg(long, value_name = "MODE")]
    mode: Option<Mode>,

    /// Only with a switch that returns frames on the parent's port, or only with one that does not
    #[arg(long, value_name = "on|off")]
    hairpin: Option<Hairpin>,

    /// Whose rules our private sub-interfaces follow: documented or kernel
    #[arg(long, value_name = "WHOSE", default_value_t)]
    semantics: Semantics,

    /// How many workers our parents have
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(WORKERS_MAX)))]
    workers: u8,

    /// What carries the frames of our parent, as for run
    #[arg(long, value_name = "B", default_value = "auto", value_parser = one_of(Backend::ALL, Backend::name))]
    backend: Backend,

    /// Leave the kernel's macvlan out
    #[arg(long)]
    no_kernel: bool,

    /// Do not measure what it costs
    #[arg(long)]
    no_cost: bool,

    /// Find out nothing but what VLAN tags cost: TCP through a parent like eth0.10, beside one without
    #[arg(long, conflicts_with_all = ["mode", "hairpin", "semantics", "no_kernel", "no_cost"])]
    vlan: bool,

    /// Take less than 20 seconds: measure in bridge mode only, and for a shorter time
    #[arg(long)]
    quick: bool,

    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Hairpin {
    On,
    Off,
}

impl LabArgs {
    fn modes(&self) -> Vec<Mode> {
        self.mode.map_or_else(|| Mode::ALL.to_vec(), |mode| vec![mode])
    }

    fn hairpins(&self) -> Vec<bool> {
        match self.hairpin {
            None => vec![false, true],
            Some(hairpin) => vec![hairpin == Hairpin::On],
        }
    }
}

/// What a run found.
struct Findings {
    contenders: Contenders,
    reached: Vec<SetupReach>,
    costs: Vec<CostRow>,
    took: Duration,
}

/// Runs the laboratory and prints what it found; fails with status 1 if a cell is not what
/// docs/semantics.md promises.
///
/// # Errors
/// If the network cannot be built or used: no privilege, no veth, no bridge.
pub fn run(args: &LabArgs) -> Result<ExitCode> {
    let begun = Instant::now();
    become_able()?;
    if args.vlan {
        let rows = vlan::run(args)?;
        let colour = io::stdout().is_terminal();
        write(&if args.json { json::vlan(&rows)? } else { vlan::text(&rows, colour) })?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut network = Network::build().context("cannot build the laboratory's network")?;
    let contenders = Contenders::new(&mut network, args)?;
    let plan = cost::plan(args, &contenders);
    let progress = progress(reach::steps(args, &contenders) + cost::steps(&plan));

    let text = Text::new(&contenders, io::stdout().is_terminal());
    let say = |words: String| progress.suspend(|| if args.json { Ok(()) } else { write(&words) });
    say(text.head())?;
    let mut reached = Vec::new();
    for mode in args.modes() {
        for setup in reach::run(&mut network, &contenders, mode, args, &progress)? {
            say(text.reached(&setup))?;
            reached.push(setup);
        }
    }
    network.detach()?;
    let costs = cost::run(plan, &contenders, &progress)?;
    progress.finish_and_clear();

    let findings = Findings { contenders, reached, costs, took: begun.elapsed() };
    let differing: Vec<_> = findings.reached.iter().flat_map(SetupReach::differing).collect();
    if args.json {
        write(&json::report(&findings, &differing)?)?;
    } else {
        write(&text.costs(&findings.costs))?;
        write(&text.verdict(&findings, &differing))?;
    }
    Ok(match differing.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Makes sure that this process may make namespaces: as root, or as root of a user namespace.
fn become_able() -> Result<()> {
    let Err(refused) = Netns::create() else {
        return Ok(());
    };
    enter_user_namespace()
        .with_context(|| format!("the laboratory needs namespaces of its own: {refused}"))
}

fn progress(steps: usize) -> ProgressBar {
    let bar = ProgressBar::new(steps as u64);
    // Says nothing where standard error is not a terminal.
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar
}

/// Writes to standard output; a reader who has seen enough is no error.
fn write(words: &str) -> Result<()> {
    match io::stdout().lock().write_all(words.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(e).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}
