//! The CNI plugin `umacvlan-cni`, which is a name of the `umacvlan` program.
//!
//! The runtime starts it for each container, with the command in environment variables and the
//! network configuration on standard input. The daemon creates the link, and a delegated IPAM plugin
//! chooses addresses, or the daemon gets one by DHCP. Results and errors go to standard output as JSON.

mod addresses;
mod args;
mod attachment;
mod bandwidth;
mod check_gc;
mod config;
mod dhcp;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod ipam;
mod parsed;
mod request;
mod result;
mod version;

use std::env;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use self::config::Config;
use self::error::{CniError, INCOMPATIBLE, IO};
use self::ipam::Ipam;
use self::request::{Request, Verb};
use self::version::{SUPPORTED, Version};
use umacvlan_api::socket_path;
use umacvlan_text::output::Output;

/// The file name by which runtimes start the plugin.
const PLUGIN: &str = "umacvlan-cni";

/// The plugin for the Container Network Interface, as under the name umacvlan-cni
///
/// What is to be done is in the environment and on standard input: see docs/cni.md.
#[derive(Debug, Args)]
pub struct CniArgs {}

/// Whether the program was started as `umacvlan-cni`; `program` is the first argument.
pub fn invoked_by_name(program: Option<&OsStr>) -> bool {
    program.and_then(|program| Path::new(program).file_name()) == Some(OsStr::new(PLUGIN))
}

/// Runs the command in the environment, and prints the result or the error. `socket` is the daemon's,
/// unless the configuration has one. Returns the exit status.
pub fn run(socket: Option<&Path>) -> ExitCode {
    let variable = |name: &str| {
        env::var_os(name).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let result = match Request::read(variable) {
        Ok(None) => {
            print_about();
            return ExitCode::SUCCESS;
        }
        Ok(Some(request)) => execute(&request, socket),
        Err(error) => Err(error),
    };
    match result {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(result)) => print(&result),
        Err(error) => {
            print(&error);
            ExitCode::FAILURE
        }
    }
}

/// Prints the versions, for a person who starts the plugin.
fn print_about() {
    eprintln!("CNI plugin {PLUGIN} v{}", env!("CARGO_PKG_VERSION"));
    eprintln!("CNI protocol versions supported: {}", SUPPORTED.join(", "));
}

/// Prints JSON with the indentation of other plugins.
fn print(answer: &impl Serialize) -> ExitCode {
    let mut output = Output::new();
    output.pretty(answer);
    if output.finish().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn execute(request: &Request, socket: Option<&Path>) -> Result<Option<Value>, CniError> {
    if request.verb == Verb::Version {
        let newest = SUPPORTED[SUPPORTED.len() - 1];
        return Ok(Some(json!({"cniVersion": newest, "supportedVersions": SUPPORTED})));
    }
    let mut text = Vec::new();
    std::io::stdin()
        .read_to_end(&mut text)
        .map_err(|error| CniError::new(IO, format!("error reading from stdin: {error}")))?;
    let config = Config::read(&text)?;
    let socket = socket_path(config.socket.as_deref().or(socket));
    let invocation = Invocation { request, config: &config, text: &text, socket };
    invocation
        .execute()
        .map_err(|error| CniError { version: Some(config.version_name().to_owned()), ..error })
}

/// One invocation of the plugin: environment, configuration and the daemon's socket.
#[derive(Debug)]
struct Invocation<'a> {
    request: &'a Request,
    config: &'a Config,
    /// The configuration as received.
    text: &'a [u8],
    /// The daemon's socket.
    socket: PathBuf,
}

impl Invocation<'_> {
    fn execute(&self) -> Result<Option<Value>, CniError> {
        let version = self.config.version()?;
        let since = |first: Version, verb: &str| {
            let msg = format!("config version does not allow {verb}");
            if version < first { Err(CniError::new(INCOMPATIBLE, msg)) } else { Ok(()) }
        };
        match self.request.verb {
            Verb::Add => {
                let result = attachment::add(self)?;
                return Ok(Some(result.to_json(version, self.config.version_name())));
            }
            Verb::Del => attachment::del(self)?,
            Verb::Check => {
                since(Version::CHECK, "CHECK")?;
                check_gc::check(self)?;
            }
            Verb::Status => {
                since(Version::DETAILS, "STATUS")?;
                check_gc::status(self)?;
            }
            Verb::Gc => {
                since(Version::DETAILS, "GC")?;
                check_gc::gc(self)?;
            }
            // Answered before the configuration is read.
            Verb::Version => {}
        }
        Ok(None)
    }

    /// The IPAM plugin; `None` without one, and if the daemon gets addresses.
    fn ipam(&self) -> Result<Option<Ipam<'_>>, CniError> {
        Ipam::find(self.config, self.request, self.text)
    }

    /// The prefix of the owner tags of all links of this network.
    fn network_prefix(&self) -> String {
        format!("cni/{}/", self.config.name)
    }

    /// The owner tag of the link. None of its parts can have a slash.
    fn owner(&self) -> String {
        self.owner_of(&self.request.container, &self.request.ifname)
    }

    fn owner_of(&self, container: &str, ifname: &str) -> String {
        format!("{}{container}/{ifname}", self.network_prefix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_name_decides_in_any_directory() {
        let invoked = |program: &str| invoked_by_name(Some(OsStr::new(program)));
        assert!(invoked("umacvlan-cni") && invoked("/opt/cni/bin/umacvlan-cni"));
        assert!(
            !invoked("umacvlan")
                && !invoked("/opt/umacvlan-cni/umacvlan")
                && !invoked_by_name(None)
        );
    }
}
