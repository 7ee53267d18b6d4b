//! `umacvlan doctor`: what this machine has, what it lacks, and the command that mends it.
//!
//! What can be tried is tried, and not asked for by version: in a network namespace without a
//! name, which ends with the command. Nothing on the machine is changed, and no daemon is needed.

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

/// Looks at everything and prints it; the status is 1 if something fails.
pub(crate) fn run(args: &DoctorArgs, socket: &Path) -> Result<ExitCode> {
    let daemon = service::inspect(socket);
    let mut machine = vec![machine::kernel(), machine::capabilities(daemon.listens)];
    machine.extend(machine::places());
    let interfaces = nic::inspect(&args.parents)?;
    machine.extend(nic::cloud(&interfaces));
    // The last, because nobody comes back from a user namespace.
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

/// Tries what the engine will do, as root of a user namespace if this user may not.
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
