//! `umacvlan lab`: reachability and cost in every mode, in a network that the command creates.
//!
//! Everything runs in this process: the namespaces have no names, and the engine runs on threads
//! beside the probes. So nothing needs cleaning up, even after `SIGKILL`.

mod contenders;
mod cost;
mod json;
mod reach;
mod text;
mod vlan;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use umacvlan_core::options::{Backend, PortKind, WORKERS_MAX};
use umacvlan_core::{Mode, Semantics};
use umacvlan_lab::network::Network;
use umacvlan_text::arguments::one_of;
use umacvlan_text::output::Output;

use contenders::Contenders;
use cost::CostRow;
use reach::SetupReach;
use text::Text;

use crate::shared::namespaces::ensure_allowed;

/// Find out who reaches whom in every mode, and what it costs, beside the kernel's macvlan
#[derive(Args, Clone, Debug)]
pub struct LabArgs {
    /// Only this mode: bridge, passthru, private, source or vepa
    #[arg(long, value_name = "MODE")]
    mode: Option<Mode>,

    /// Only with a switch that returns frames on the parent's port, or only with one that does not
    #[arg(long, value_name = "on|off")]
    hairpin: Option<Hairpin>,

    /// Rules of our sub-interfaces: what the manual promises to private ones, or what the running
    /// kernel or a release of it does
    #[arg(long, value_name = "WHOSE", default_value_t, value_parser = one_of(Semantics::ALL, Semantics::name))]
    semantics: Semantics,

    /// Number of workers of our parents
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(WORKERS_MAX)))]
    workers: u8,

    /// Backend of our parents, as for run
    #[arg(long, value_name = "B", default_value = "auto", value_parser = one_of(Backend::ALL, Backend::name))]
    backend: Backend,

    /// What our sub-interfaces are, as for run
    #[arg(long, value_name = "KIND", default_value = "tap", value_parser = one_of(PortKind::ALL, PortKind::name))]
    port: PortKind,

    /// Leave the kernel's macvlan out
    #[arg(long)]
    no_kernel: bool,

    /// Do not measure what it costs
    #[arg(long)]
    no_cost: bool,

    /// Measure only the cost of VLAN tags: TCP through a parent like eth0.10, beside one without
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

/// The results of a run.
struct Findings {
    contenders: Contenders,
    reached: Vec<SetupReach>,
    costs: Vec<CostRow>,
    took: Duration,
}

/// Runs the lab and prints the results. Fails with status 1 if a cell is not as docs/semantics.md
/// promises. A measurement of cost that fails, as on a machine with too much other work, is told in its
/// place and changes nothing else.
///
/// # Errors
/// The network cannot be built or used: no privilege, no veth, no bridge.
pub fn run(args: &LabArgs) -> Result<ExitCode> {
    let begun = Instant::now();
    let mut output = Output::new();
    ensure_allowed("the laboratory")?;
    if args.vlan {
        let rows = vlan::run(args)?;
        let text = if args.json { json::vlan(&rows)? } else { vlan::text(&rows, output.colour) };
        output.text(&text);
        output.finish()?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut network = Network::build().context("cannot build the laboratory's network")?;
    let contenders = Contenders::new(&mut network, args)?;
    let plan = cost::plan(args, &contenders);
    let progress = progress(reach::steps(args, &contenders) + cost::steps(&plan));

    let text = Text::new(&contenders, output.colour);
    let mut say = |words: String| {
        if !args.json {
            progress.suspend(|| output.text(&words));
        }
    };
    say(text.head());
    let mut reached = Vec::new();
    for mode in args.modes() {
        for setup in reach::run(&mut network, &contenders, mode, args, &progress)? {
            say(text.reached(&setup));
            reached.push(setup);
        }
    }
    network.detach()?;
    let costs = cost::run(plan, &contenders, &progress);
    progress.finish_and_clear();

    let findings = Findings { contenders, reached, costs, took: begun.elapsed() };
    let differing: Vec<_> = findings.reached.iter().flat_map(SetupReach::differing).collect();
    if args.json {
        output.text(&json::report(&findings, &differing)?);
    } else {
        output.text(&text.costs(&findings.costs));
        output.text(&text.verdict(&findings, &differing));
    }
    output.finish()?;
    Ok(match differing.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn progress(steps: usize) -> ProgressBar {
    let bar = ProgressBar::new(steps as u64);
    // Without a terminal on standard error, the bar prints nothing.
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar
}
