//! `umacvlan`: the kernel's macvlan as a user-space program.
//!
//! One binary with several faces, of which the arguments choose one:
//! * `umacvlan daemon` forwards frames and serves the API; `umacvlan run` forwards without a daemon;
//! * `umacvlan link`, `parent` and `monitor` are clients of the daemon with iproute2's grammar ([`ip`]),
//!   `config` and `log` clients with clap's;
//! * `capture` shows the frames that the daemon forwards, `trace` the steps of their decisions, `top`
//!   the rates of links and workers, `metrics` what Prometheus reads;
//! * `doctor`, `explain` and `replay` inspect the machine, one frame, a capture;
//! * `bench` and `lab` measure and compare;
//! * `umacvlan-ip` is `ip`, with links of type macvlan that are umacvlan's ([`ip::wrapper`]);
//! * `umacvlan-cni` and `umacvlan-netavark` are plugins of container runtimes.
//!
//! The work is done in the crates; this one parses arguments and prints.

mod capture;
mod complete;
mod config;
mod daemon;
mod doctor;
mod ip;
mod keeper;
mod log;
mod metrics;
mod run;
mod top;
mod trace;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand, value_parser};
use umacvlan_api::{LinkView, ParentView, socket_path};
use umacvlan_client::{Absent, Client};
use umacvlan_container::{cni, netavark};
use umacvlan_engine::cpus;
use umacvlan_offline::{explain, replay};
use umacvlan_text::output;

/// Sub-interfaces on one parent NIC, as macvlan makes them, but forwarded by this program.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, propagate_version = true)]
#[command(after_help = ip::OBJECTS)]
struct Cli {
    /// Where the daemon listens [default: /run/umacvlan/umacvlan.sock]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bench(umacvlan_bench::bench::BenchArgs),
    Capture(capture::CaptureArgs),
    Cni(cni::CniArgs),
    Config(config::ConfigArgs),
    Daemon(daemon::DaemonArgs),
    Doctor(doctor::DoctorArgs),
    Explain(explain::ExplainArgs),
    #[command(hide = true)]
    Keeper(keeper::KeeperArgs),
    Lab(umacvlan_bench::lab::LabArgs),
    Log(log::LogArgs),
    Metrics(metrics::MetricsArgs),
    Netavark(netavark::NetavarkArgs),
    Replay(replay::ReplayArgs),
    Run(run::RunArgs),
    Top(top::TopArgs),
    Trace(trace::TraceArgs),
}

fn main() -> ExitCode {
    let program = env::args_os().next();
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    match words.first() {
        _ if cni::invoked_by_name(program.as_deref()) => cni::run(None),
        _ if ip::wrapper::invoked_by_name(program.as_deref()) => ip::wrapper::run(&words),
        _ if netavark::invoked_by_name(program.as_deref()) => netavark::run_plugin(env::args_os()),
        Some(first) if first == complete::COMPLETION_COMMAND => {
            complete::run(&command(), &words[1..])
        }
        _ if ip::is_ip_command(&words, &command_names()) => ip::run(&words),
        _ => match Cli::from_arg_matches(&command().get_matches()) {
            Ok(cli) => run(&cli),
            Err(error) => error.exit(),
        },
    }
}

/// Runs a command of clap's and returns its exit status.
fn run(cli: &Cli) -> ExitCode {
    let socket = socket_path(cli.socket.as_deref());
    let result = match &cli.command {
        Command::Bench(args) => umacvlan_bench::bench::run(args),
        Command::Capture(args) => capture::run(args, &socket),
        Command::Cni(_) => return cni::run(cli.socket.as_deref()),
        Command::Config(args) => config::run(args, &socket),
        Command::Daemon(args) => daemon::run(args, cli.socket.as_deref()),
        Command::Doctor(args) => doctor::run(args, &socket),
        Command::Explain(args) => explain::run(args, &cpus::allowed(), || fetch_views(&socket)),
        Command::Keeper(args) => keeper::run(args),
        Command::Lab(args) => umacvlan_bench::lab::run(args),
        Command::Log(args) => log::run(args, &socket),
        Command::Metrics(args) => metrics::run(args, &socket),
        Command::Netavark(args) => return netavark::run(args, &socket),
        Command::Replay(args) => replay::run(args, &cpus::allowed()),
        Command::Run(args) => run::run(args),
        Command::Top(args) => top::run(args, &socket),
        Command::Trace(args) => trace::run(args, &socket),
    };
    result.unwrap_or_else(|error| {
        output::print_stderr(&output::one_line(&error));
        ExitCode::FAILURE
    })
}

/// The parents and links of the running daemon.
fn fetch_views(socket: &Path) -> anyhow::Result<(Vec<ParentView>, Vec<LinkView>)> {
    let mut client = Client::connect(socket, Absent::Wait)?;
    Ok((client.get("/v1/parents", &[])?, client.get("/v1/links", &[])?))
}

/// The commands of clap. Those that need no daemon accept `--socket`, as all do, and do not show it.
fn command() -> clap::Command {
    let hide = |command: clap::Command| {
        let socket = Arg::new("socket").long("socket").value_name("PATH").global(true).hide(true);
        command.arg(socket.value_parser(value_parser!(PathBuf)))
    };
    let without_daemon = ["bench", "lab", "replay", "run"].into_iter();
    without_daemon.fold(Cli::command(), |all, name| all.mut_subcommand(name, hide))
}

/// The names of clap's commands, which take precedence over abbreviated objects of [`ip`].
fn command_names() -> Vec<String> {
    let command = Cli::command();
    let names = command.get_subcommands().map(|command| command.get_name().to_owned());
    names.chain(["help".to_owned()]).collect()
}
