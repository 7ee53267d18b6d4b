//! The `umacvlan` command: what was asked for, done by the module of that name.

mod api;
#[allow(dead_code, reason = "its users come with the next commits")]
mod client;
mod config;
mod cpus;
mod daemon;
#[allow(dead_code, unused_imports, reason = "their users come with the next commit")]
mod ip;
mod lab;
mod number;
mod output;
mod run;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Sub-interfaces on one parent NIC, as macvlan makes them, but forwarded by this program.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, propagate_version = true)]
struct Cli {
    /// Where the daemon listens [default: /run/umacvlan/umacvlan.sock]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Config(config::ConfigArgs),
    Daemon(daemon::DaemonArgs),
    Lab(lab::LabArgs),
    Run(run::RunArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Config(args) => config::run(args, &client::socket_path(cli.socket.as_deref())),
        Command::Daemon(args) => daemon::run(args, cli.socket.as_deref()),
        Command::Lab(args) => lab::run(args),
        Command::Run(args) => run::run(args),
    };
    done.unwrap_or_else(|error| {
        output::complain(&output::one_line(&error));
        ExitCode::FAILURE
    })
}
