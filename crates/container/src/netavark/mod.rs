//! `umacvlan netavark`: the plugin by which Podman's netavark has links for containers.
//!
//! It is started anew for each request, with JSON on standard input and output, and asks the
//! daemon: netavark's plugin-API.md. Called as `umacvlan-netavark` it is that plugin and nothing
//! else, because netavark takes the file's name for the name of the driver.

mod container;
mod create;
mod network;
mod options;
mod routes;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use serde::de::DeserializeOwned;

use umacvlan_text::output::{Output, one_line};

/// The name by which the plugin is called.
const PLUGIN: &str = "umacvlan-netavark";

/// The version of netavark's interface that this speaks.
const API_VERSION: &str = "1.0.0";

/// Be the plugin by which Podman's netavark has links for containers.
///
/// It is called as umacvlan-netavark, reads JSON from standard input and writes JSON to standard
/// output, errors as well.
#[derive(Debug, Args)]
pub struct NetavarkArgs {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Look at a network before Podman writes it down, and fill in what was left out
    Create,
    /// Give a container its link
    Setup {
        /// The container's network namespace, a path
        netns: PathBuf,
    },
    /// Take the link away, if it is there
    Teardown {
        /// The container's network namespace, a path; it may be gone
        netns: PathBuf,
    },
    /// Print the versions of the plugin and of what it speaks
    Info,
}

#[derive(Debug, Parser)]
#[command(name = PLUGIN, disable_help_subcommand = true)]
struct Plugin {
    #[command(flatten)]
    args: NetavarkArgs,
}

#[derive(Serialize)]
struct Info {
    version: &'static str,
    api_version: &'static str,
}

#[derive(Serialize)]
struct Complaint {
    error: String,
}

/// True if the program was called by the plugin's name.
pub fn invoked_by_name(program: Option<&OsStr>) -> bool {
    program.and_then(|program| Path::new(program).file_name()) == Some(OsStr::new(PLUGIN))
}

/// Does what the words after the plugin's name say, the first of them that name.
pub fn run_plugin(words: impl Iterator<Item = OsString>) -> ExitCode {
    match Plugin::try_parse_from(words) {
        Ok(plugin) => run(&plugin.args, &umacvlan_api::socket_path(None)),
        Err(error) if !error.use_stderr() => {
            Output::new().text(&error.to_string());
            ExitCode::SUCCESS
        }
        // The first line says what is wrong; the rest is how it is called, for people.
        Err(error) => refuse(error.to_string().lines().next().unwrap_or_default()),
    }
}

/// Answers one request; the daemon listens at `socket`.
pub fn run(args: &NetavarkArgs, socket: &Path) -> ExitCode {
    let answered = match &args.verb {
        Some(Verb::Create) => read().and_then(create::create).and_then(|network| print(&network)),
        Some(Verb::Setup { netns }) => read()
            .and_then(|request| container::setup(socket, netns, &request))
            .and_then(|status| print(&status)),
        Some(Verb::Teardown { netns }) => {
            read().and_then(|request| container::teardown(socket, netns, &request))
        }
        Some(Verb::Info) | None => {
            print(&Info { version: env!("CARGO_PKG_VERSION"), api_version: API_VERSION })
        }
    };
    match answered {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&one_line(&error)),
    }
}

/// The request.
fn read<T: DeserializeOwned>() -> Result<T> {
    serde_json::from_reader(io::stdin().lock()).context("standard input is no request of netavark")
}

fn print(answer: &impl Serialize) -> Result<()> {
    let mut output = Output::new();
    output.json(answer);
    output.finish()
}

fn refuse(error: &str) -> ExitCode {
    // Where this fails there is nobody left to tell.
    let _ = print(&Complaint { error: error.to_owned() });
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_file_decides() {
        for (program, meant) in [
            ("umacvlan-netavark", true),
            ("/usr/lib/podman/umacvlan-netavark", true),
            ("/usr/bin/umacvlan", false),
            ("umacvlan-netavark/umacvlan", false),
            ("", false),
        ] {
            assert_eq!(invoked_by_name(Some(program.as_ref())), meant, "{program}");
        }
    }
}
