//! `umacvlan doctor`: shows what is missing on this machine and how to fix it.
//!
//! It probes features instead of comparing versions, in an unnamed network namespace that ends with
//! the command. It changes nothing on the machine and needs no daemon.

mod check;
mod containers;
mod machine;
mod nic;
mod plugins;
mod probes;
mod report;
mod service;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use umacvlan_sys::netns::enter_user_namespace;

use check::Check;
use probes::ProbeResult;
use report::Report;
use umacvlan_text::output::Output;

/// Look what this machine has of what umacvlan needs, and say what to do about the rest.
///
/// The exit status is 0 if umacvlan can be used and 1 if something fails. Without root less can be
/// tried, and that is said.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Look at these interfaces only; one that cannot be a parent fails then
    #[arg(value_name = "PARENT")]
    parents: Vec<String>,

    /// Print one JSON object; umacvlan(8) tells what is in it
    #[arg(short, long)]
    json: bool,
}

/// Runs all checks and prints them; the exit status is 1 if one fails.
pub(crate) fn run(args: &DoctorArgs, socket: &Path) -> Result<ExitCode> {
    let daemon = service::inspect(socket);
    let mut machine = vec![machine::kernel(), machine::capabilities(daemon.listens)];
    machine.extend(machine::resources());
    let interfaces = nic::inspect(&args.parents)?;
    machine.extend(nic::cloud(&interfaces));
    // Last, because a process cannot leave a user namespace.
    machine.extend(run_probes());

    let mut containers = plugins::inspect(Path::new("/"));
    containers.push(containers::docker(Path::new("/")));
    let report = Report::new(machine, daemon.checks, containers, interfaces);
    let mut output = Output::new();
    if args.json {
        output.json(&report);
    } else {
        output.text(&report.text(output.colour));
    }
    output.finish()?;
    Ok(if report.usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Probes the features that the engine needs, as root of a user namespace if necessary.
fn run_probes() -> Vec<Check> {
    let first = probes::run("");
    let entered = enter_user_namespace();
    let mut checks = match (first, &entered) {
        (ProbeResult::Done(checks), _) => checks,
        (ProbeResult::Denied(_), Ok(())) => match probes::run(", in a user namespace") {
            ProbeResult::Done(checks) | ProbeResult::Denied(checks) => checks,
        },
        (ProbeResult::Denied(checks), Err(_)) => checks,
    };
    checks.push(match entered {
        Ok(()) => Check::ok("user-namespaces", "allowed, as `umacvlan lab` needs it of users"),
        Err(error) => Check::info("user-namespaces", error.to_string()),
    });
    checks
}
