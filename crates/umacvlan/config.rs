//! `umacvlan config`: check the configuration file; compare, save and apply it.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Error, Result};
use clap::{Args, Subcommand};
use serde::Serialize;

use umacvlan_api::{Changes, Saved};
use umacvlan_client::{Absent, Client};
use umacvlan_config::{Config, DEFAULT_FILE, DiagnosticView, Diagnostics, LoadError, file};
use umacvlan_engine::cpus;
use umacvlan_text::output::{Output, one_line, print_stderr};

/// Check the configuration file; compare, save and apply it
///
/// The file is described in umacvlan.toml(5).
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Say what is wrong with a file: no daemon is needed
    ///
    /// Every mistake is told with its line and column. The exit status is 0 if there is none, and
    /// 1 otherwise; a CPU that this machine has not got is doubtful, and no mistake.
    Check {
        /// The file, or - for standard input
        #[arg(default_value = DEFAULT_FILE)]
        file: String,

        /// Print one JSON object
        #[arg(short, long)]
        json: bool,
    },
    /// Print what runs, as a file that would make it again
    Show {
        /// Print one JSON object
        #[arg(short, long)]
        json: bool,
    },
    /// Print what a reload would do, one line each
    ///
    /// The exit status is 0 if that is nothing, 1 if it is something, and 2 if it cannot be told.
    Diff {
        /// A file to be used in place of the daemon's own, or - for standard input
        file: Option<String>,

        /// Print one JSON object
        #[arg(short, long)]
        json: bool,
    },
    /// Write what runs into a file: the daemon's own, unless another one is named
    ///
    /// Comments that were in the file are lost. It is written by the daemon, or, if it is named
    /// here, by this command, and replaced as a whole or not at all.
    Save {
        /// The file to be written by this command
        file: Option<String>,
    },
    /// Have the daemon read its file again and do what has changed in it, all of it or nothing
    Reload {
        /// Print one JSON object
        #[arg(short, long)]
        json: bool,
    },
}

/// Does what was asked; `socket` is the daemon's.
pub(crate) fn run(args: &ConfigArgs, socket: &Path) -> Result<ExitCode> {
    match &args.what {
        What::Check { file, json } => check(file, *json),
        What::Show { json } => show(socket, *json),
        What::Diff { file, json } => Ok(diff(socket, file.as_deref(), *json).unwrap_or_else(|e| {
            print_stderr(&one_line(&e));
            ExitCode::from(2)
        })),
        What::Save { file } => save(socket, file.as_deref()),
        What::Reload { json } => {
            let changes: Changes =
                Client::connect(socket, Absent::Wait)?.post_toml("/v1/config/reload", "")?;
            told(&changes, *json)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What `check` has found.
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
    let (mistakes, warnings) = match &parsed {
        Ok(parsed) => (&nothing, &parsed.warnings),
        Err(mistakes) => (mistakes, &nothing),
    };
    let mut output = Output::new();
    if json {
        let (mistakes, warnings) = (mistakes.located().collect(), warnings.located().collect());
        output.json(&Checked { file: &name, mistakes, warnings });
    } else {
        show_mistakes(mistakes);
        show_mistakes(warnings);
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

fn show(socket: &Path, json: bool) -> Result<ExitCode> {
    let text = Client::connect(socket, Absent::Wait)?.text("/v1/config")?;
    let mut output = Output::new();
    if json {
        let value: serde_json::Value =
            toml::from_str(&text).context("the daemon's answer is no TOML")?;
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
                show_mistakes(&mistakes);
                return Ok(ExitCode::from(2));
            }
            // An empty body stands for the daemon's own file, and a line break for an empty one.
            String::from_utf8(bytes)? + "\n"
        }
        None => String::new(),
    };
    let changes: Changes =
        Client::connect(socket, Absent::Wait)?.post_toml("/v1/config/diff", &text)?;
    told(&changes, json)?;
    Ok(if changes.changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn save(socket: &Path, file: Option<&str>) -> Result<ExitCode> {
    let mut client = Client::connect(socket, Absent::Wait)?;
    let path = match file {
        Some(path) => {
            let text = client.text("/v1/config")?;
            let written = file::replace(Path::new(path), &text);
            written.with_context(|| format!("cannot write {path}"))?;
            // The only comments that a daemon writes: what the file cannot say.
            text.lines().filter_map(|line| line.strip_prefix("# ")).for_each(print_stderr);
            path.to_owned()
        }
        None => client.post_toml::<Saved>("/v1/config/save", "")?.path,
    };
    let mut output = Output::new();
    output.text(&format!("saved to {path}\n"));
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}

fn told(changes: &Changes, json: bool) -> Result<()> {
    let mut output = Output::new();
    if json {
        output.json(changes);
    } else {
        changes.changes.iter().for_each(|line| output.text(&format!("{line}\n")));
    }
    output.finish()
}

fn show_mistakes(mistakes: &Diagnostics) {
    // On lines of their own: the name of the file comes first, as tools that jump there expect.
    // Where this fails there is nobody left to tell.
    let _ = write!(io::stderr(), "{mistakes}");
}

/// What is in a file, and what the file is called.
fn read(path: &str) -> Result<(String, Vec<u8>), Error> {
    let (name, bytes) = match path {
        "-" => ("standard input", file::read(io::stdin().lock())),
        path => (path, fs::File::open(path).and_then(file::read)),
    };
    let failed = |source| LoadError::Read { file: name.to_owned(), source };
    Ok((name.to_owned(), bytes.map_err(failed)?))
}
