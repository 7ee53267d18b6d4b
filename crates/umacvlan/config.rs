//! `umacvlan config`: check the configuration file; compare, save and apply it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Error, Result};
use clap::{Args, Subcommand};
use nix::unistd::Group;
use serde::Serialize;

use umacvlan_api::{Changes, Saved};
use umacvlan_client::{Absent, Client};
use umacvlan_config::{Config, DEFAULT_FILE, DiagnosticView, Diagnostics, LoadError, Need, file};
use umacvlan_engine::cpus;
use umacvlan_text::output::{Output, one_line, print_stderr};

/// Check the configuration file; compare, save and apply it
///
/// The file is described in umacvlan.toml(5).
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a file; no daemon is needed
    ///
    /// Each error is shown with its line and column. The exit status is 0 if there is none, and 1
    /// otherwise. A CPU, a group or a namespace that this machine does not have is a warning, not an
    /// error.
    Check {
        /// The file, or - for standard input
        #[arg(default_value = DEFAULT_FILE)]
        file: String,

        /// Print one JSON object
        #[arg(short, long)]
        json: bool,
    },
    /// Print what runs, as a configuration file
    Show {
        /// Print one JSON object
        #[arg(short, long)]
        json: bool,
    },
    /// Print the changes that a reload would make, one line each
    ///
    /// The exit status is 0 without changes, 1 with changes, and 2 on an error.
    Diff {
        /// A file to compare in place of the daemon's own, or - for standard input
        file: Option<String>,

        /// Print one JSON object
        #[arg(short, long)]
        json: bool,
    },
    /// Save what runs to a file: the daemon's own, unless another one is named
    ///
    /// The file is written anew: comments are lost. The old one stays beside it, with ~ behind its
    /// name. The daemon writes its own file, unless that was changed and not applied; this command
    /// writes one that is named.
    Save {
        /// Overwrite changes of the daemon's own file that were not applied
        #[arg(long, conflicts_with = "file")]
        force: bool,

        /// The file to write
        file: Option<String>,
    },
    /// Have the daemon reload its file and make all changes in it, or none
    Reload {
        /// Print one JSON object
        #[arg(short, long)]
        json: bool,
    },
}

/// Runs a subcommand; `socket` is the daemon's.
pub(crate) fn run(args: &ConfigArgs, socket: &Path) -> Result<ExitCode> {
    match &args.command {
        ConfigCommand::Check { file, json } => check(file, *json),
        ConfigCommand::Show { json } => show(socket, *json),
        ConfigCommand::Diff { file, json } => Ok(diff(socket, file.as_deref(), *json)
            .unwrap_or_else(|e| {
                print_stderr(&one_line(&e));
                ExitCode::from(2)
            })),
        ConfigCommand::Save { force, file } => save(socket, file.as_deref(), *force),
        ConfigCommand::Reload { json } => {
            let changes: Changes =
                Client::connect(socket, Absent::Wait)?.post_toml("/v1/config/reload", "")?;
            print_changes(&changes, *json)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The result of `check`, as JSON.
#[derive(Debug, Serialize)]
struct Checked<'c> {
    file: &'c str,
    mistakes: Vec<DiagnosticView<'c>>,
    warnings: Vec<DiagnosticView<'c>>,
}

fn check(file: &str, json: bool) -> Result<ExitCode> {
    let (name, bytes) = read(file)?;
    let parsed = Config::from_bytes(&name, &bytes, &cpus::allowed());
    let nothing = Diagnostics::empty(&name);
    let missing = match &parsed {
        Ok(parsed) => parsed.missing(&name, &String::from_utf8_lossy(&bytes), lacks),
        Err(_) => Diagnostics::empty(&name),
    };
    let (mistakes, warnings) = match &parsed {
        Ok(parsed) => (&nothing, &parsed.warnings),
        Err(mistakes) => (mistakes, &nothing),
    };
    let mut output = Output::new();
    if json {
        let mistakes = mistakes.located().collect();
        let warnings = warnings.located().chain(missing.located()).collect();
        output.json(&Checked { file: &name, mistakes, warnings });
    } else {
        show_diagnostics(mistakes);
        show_diagnostics(warnings);
        show_diagnostics(&missing);
        if let Ok(parsed) = &parsed {
            let Config { parents, links, .. } = &parsed.config;
            let (parents, links) = (parents.len(), links.len());
            output.text(&format!(
                "{name}: no mistakes; parents configured: {parents}, links: {links}\n"
            ));
        }
    }
    output.finish()?;
    Ok(if parsed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What this machine lacks now, and the daemon will refuse.
fn lacks(need: &Need) -> Option<String> {
    match need {
        Need::Group(name) => {
            let known = name.parse::<u32>().is_ok() || !matches!(Group::from_name(name), Ok(None));
            let how = "the daemon does not start without it";
            (!known).then(|| {
                format!("there is no group {name:?} on this machine, and {how}: groupadd --system {name}")
            })
        }
        Need::Netns(name) => {
            let path = match name.parse::<u32>() {
                Ok(process) => PathBuf::from(format!("/proc/{process}/ns/net")),
                Err(_) => Path::new("/run/netns").join(name),
            };
            (!path.exists()).then(|| {
                format!(
                    "there is no network namespace {name:?} now: the link is made when there is one"
                )
            })
        }
        Need::VlanInterface(name) => {
            let absent = !Path::new("/sys/class/net").join(name).exists();
            absent.then(|| {
                format!("{name} is a VLAN without an interface, so it has no address to reach the link from: \
                         expected host_address, too")
            })
        }
    }
}

fn show(socket: &Path, json: bool) -> Result<ExitCode> {
    let text = Client::connect(socket, Absent::Wait)?.text("/v1/config")?;
    let mut output = Output::new();
    if json {
        let value: serde_json::Value =
            toml::from_str(&text).context("the daemon's answer is not TOML")?;
        output.json(&value);
    } else {
        output.text(&text);
    }
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}

fn diff(socket: &Path, file: Option<&str>, json: bool) -> Result<ExitCode> {
    let text = match file {
        Some(file) => {
            let (name, bytes) = read(file)?;
            if let Err(mistakes) = Config::from_bytes(&name, &bytes, &cpus::allowed()) {
                show_diagnostics(&mistakes);
                return Ok(ExitCode::from(2));
            }
            // An empty body stands for the daemon's own file, and a line break for an empty file.
            String::from_utf8(bytes)? + "\n"
        }
        None => String::new(),
    };
    let changes: Changes =
        Client::connect(socket, Absent::Wait)?.post_toml("/v1/config/diff", &text)?;
    print_changes(&changes, json)?;
    Ok(if changes.changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn save(socket: &Path, file: Option<&str>, force: bool) -> Result<ExitCode> {
    let mut client = Client::connect(socket, Absent::Wait)?;
    let path = match file {
        Some(path) => {
            let text = client.text("/v1/config")?;
            let written = file::replace(Path::new(path), &text);
            written.with_context(|| format!("cannot write {path}"))?;
            // The daemon writes comments only for links that the file cannot describe.
            text.lines().filter_map(|line| line.strip_prefix("# ")).for_each(print_stderr);
            path.to_owned()
        }
        None => {
            let path = if force { "/v1/config/save?force=true" } else { "/v1/config/save" };
            client.post_toml::<Saved>(path, "")?.path
        }
    };
    let mut output = Output::new();
    output.text(&format!("saved to {path}\n"));
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}

fn print_changes(changes: &Changes, json: bool) -> Result<()> {
    let mut output = Output::new();
    if json {
        output.json(changes);
    } else {
        changes.changes.iter().for_each(|line| output.text(&format!("{line}\n")));
    }
    output.finish()
}

fn show_diagnostics(diagnostics: &Diagnostics) {
    // Each on lines of its own that begin with the file's name, so that editors can jump there.
    // An error of standard error cannot be reported.
    let _ = write!(io::stderr(), "{diagnostics}");
}

/// The name and the content of a file.
fn read(path: &str) -> Result<(String, Vec<u8>), Error> {
    let (name, bytes) = match path {
        "-" => ("standard input", file::read(io::stdin().lock())),
        path => (path, fs::File::open(path).and_then(file::read)),
    };
    let failed = |source| LoadError::Read { file: name.to_owned(), source };
    Ok((name.to_owned(), bytes.map_err(failed)?))
}
