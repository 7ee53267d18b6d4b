//! The `umacvlan` command.

mod lab;

use std::process::ExitCode;

use clap::Parser;

/// A userspace macvlan data plane
#[derive(Debug, Parser)]
enum Command {
    Lab(lab::LabArgs),
}

fn main() -> anyhow::Result<ExitCode> {
    match Command::parse() {
        Command::Lab(args) => lab::run(&args),
    }
}
