//! The `umacvlan` command: what was asked for, done by the module of that name.

mod complete;
mod config;
mod daemon;
mod doctor;
mod ip;
mod log;
mod run;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use umacvlan_api::{LinkView, ParentView, socket_path};
use umacvlan_client::Client;
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
    Cni(cni::CniArgs),
    Config(config::ConfigArgs),
    Daemon(daemon::DaemonArgs),
    Doctor(doctor::DoctorArgs),
    Explain(explain::ExplainArgs),
    Lab(umacvlan_bench::lab::LabArgs),
    Log(log::LogArgs),
    Netavark(netavark::NetavarkArgs),
    Replay(replay::ReplayArgs),
    Run(run::RunArgs),
}

fn main() -> ExitCode {
    if cni::is_meant(env::args_os().next().as_deref()) {
        return cni::run(None);
    }
    if netavark::is_meant(env::args_os().next().as_deref()) {
        return netavark::run_plugin(env::args_os());
    }
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    if let Some((first, rest)) = words.split_first()
        && first == complete::COMPLETE
    {
        return complete::run(&Cli::command(), rest);
    }
    if ip::is_meant(&words, &commands()) {
        return ip::run(&words);
    }
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Bench(args) => umacvlan_bench::bench::run(args),
        Command::Cni(_) => return cni::run(cli.socket.as_deref()),
        Command::Config(args) => config::run(args, &socket_path(cli.socket.as_deref())),
        Command::Daemon(args) => daemon::run(args, cli.socket.as_deref()),
        Command::Doctor(args) => doctor::run(args, &socket_path(cli.socket.as_deref())),
        Command::Explain(args) => {
            explain::run(args, &cpus::allowed(), || ask_daemon(&socket_path(cli.socket.as_deref())))
        }
        Command::Lab(args) => umacvlan_bench::lab::run(args),
        Command::Log(args) => log::run(args, &socket_path(cli.socket.as_deref())),
        Command::Netavark(args) => {
            return netavark::run(args, &socket_path(cli.socket.as_deref()));
        }
        Command::Replay(args) => replay::run(args, &cpus::allowed()),
        Command::Run(args) => run::run(args),
    };
    done.unwrap_or_else(|error| {
        output::complain(&output::one_line(&error));
        ExitCode::FAILURE
    })
}

/// Every parent and link of the running daemon.
fn ask_daemon(socket: &Path) -> anyhow::Result<(Vec<ParentView>, Vec<LinkView>)> {
    let mut client = Client::connect(socket)?;
    Ok((client.get("/v1/parents", &[])?, client.get("/v1/links", &[])?))
}

/// The words that are commands of their own, which no abbreviation of an object can be.
fn commands() -> Vec<String> {
    let command = Cli::command();
    let own = command.get_subcommands().map(|command| command.get_name().to_owned());
    own.chain(["help".to_owned()]).collect()
}
