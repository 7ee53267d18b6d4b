//! `umacvlan netavark`: the driver plugin for Podman's netavark.
//!
//! netavark starts it anew for each request, with JSON on standard input and output, as its
//! plugin-API.md specifies. Started as `umacvlan-netavark`, or from a directory `netavark`, the program is
//! only this plugin, because netavark takes the file name for the name of the driver.

mod container;
mod create;
mod dhcp;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod network;
mod options;
mod routes;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use serde::de::DeserializeOwned;

use umacvlan_api::from_strict_json;
use umacvlan_text::output::{Output, one_line};

/// The file name by which netavark starts the plugin.
const PLUGIN: &str = "umacvlan-netavark";

/// The supported version of netavark's plugin API.
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
struct ErrorReply {
    error: String,
}

/// The directory in which netavark looks for plugins.
const FOLDER: &str = "netavark";

/// Whether the program was started as `umacvlan-netavark`, or by any name in a directory of netavark's
/// plugins, so that a driver can be named `umacvlan`; `program` is the first argument.
pub fn invoked_by_name(program: Option<&OsStr>) -> bool {
    program.map(Path::new).is_some_and(|path| {
        let folder = path.parent().and_then(Path::file_name);
        path.file_name() == Some(OsStr::new(PLUGIN)) || folder == Some(OsStr::new(FOLDER))
    })
}

/// Parses the arguments, which begin with the name of the program, and runs the plugin. Returns the
/// exit status.
pub fn run_plugin(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match Plugin::try_parse_from(arguments) {
        Ok(plugin) => run(&plugin.args, &umacvlan_api::socket_path(None)),
        Err(error) if !error.use_stderr() => {
            Output::new().text(&error.to_string());
            ExitCode::SUCCESS
        }
        // Only the first line is the error; the rest is the usage.
        Err(error) => fail(error.to_string().lines().next().unwrap_or_default()),
    }
}

/// Answers one request; `socket` is the daemon's. Returns the exit status.
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
        Err(error) => fail(&one_line(&error)),
    }
}

/// Reads the request.
fn read<T: DeserializeOwned>() -> Result<T> {
    let mut text = Vec::new();
    let read = io::stdin().lock().read_to_end(&mut text);
    read.context("standard input cannot be read")?;
    from_strict_json(&text).context("standard input is no request of netavark")
}

fn print(answer: &impl Serialize) -> Result<()> {
    let mut output = Output::new();
    output.json(answer);
    output.finish()
}

fn fail(error: &str) -> ExitCode {
    // A failure cannot be reported anywhere.
    let _ = print(&ErrorReply { error: error.to_owned() });
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_name_decides() {
        for (program, invoked) in [
            ("umacvlan-netavark", true),
            ("/usr/lib/podman/umacvlan-netavark", true),
            ("/usr/bin/umacvlan", false),
            ("/usr/lib/netavark/umacvlan", true),
            ("umacvlan-netavark/umacvlan", false),
            ("netavark", false),
            ("", false),
        ] {
            assert_eq!(invoked_by_name(Some(program.as_ref())), invoked, "{program}");
        }
    }
}
