//! The plugin for the Container Network Interface: `umacvlan-cni`, a name of this program.
//!
//! The runtime starts it for each container, with a command in the environment and the network's
//! configuration on standard input. The daemon makes the link; another plugin gives addresses.
//! Results and errors go to standard output as JSON.

mod attachment;
mod check_gc;
mod config;
mod error;
mod ipam;
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
use self::request::{Call, Verb};
use self::version::{SUPPORTED, Version};
use umacvlan_api::socket_path;
use umacvlan_text::output::Output;

/// The name under which runtimes know the plugin.
const PLUGIN: &str = "umacvlan-cni";

/// The plugin for the Container Network Interface, as under the name umacvlan-cni
///
/// What is to be done is in the environment and on standard input: see docs/cni.md.
#[derive(Debug, Args)]
pub struct CniArgs {}

/// Whether the program was started as the plugin.
pub fn invoked_by_name(program: Option<&OsStr>) -> bool {
    program.and_then(|program| Path::new(program).file_name()) == Some(OsStr::new(PLUGIN))
}

/// Does what the environment says. `socket` is where the daemon listens, unless the configuration
/// says otherwise.
pub fn run(socket: Option<&Path>) -> ExitCode {
    let variable = |name: &str| {
        env::var_os(name).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let done = match Call::read(variable) {
        Ok(None) => {
            about();
            return ExitCode::SUCCESS;
        }
        Ok(Some(call)) => obey(&call, socket),
        Err(error) => Err(error),
    };
    match done {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(result)) => print(&result),
        Err(error) => {
            print(&error);
            ExitCode::FAILURE
        }
    }
}

/// For whoever calls it by hand.
fn about() {
    eprintln!("CNI plugin {PLUGIN} v{}", env!("CARGO_PKG_VERSION"));
    eprintln!("CNI protocol versions supported: {}", SUPPORTED.join(", "));
}

/// Prints as other plugins do.
fn print(said: &impl Serialize) -> ExitCode {
    let mut output = Output::new();
    output.pretty(said);
    if output.finish().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn obey(call: &Call, socket: Option<&Path>) -> Result<Option<Value>, CniError> {
    if call.verb == Verb::Version {
        let newest = SUPPORTED[SUPPORTED.len() - 1];
        return Ok(Some(json!({"cniVersion": newest, "supportedVersions": SUPPORTED})));
    }
    let mut text = Vec::new();
    std::io::stdin()
        .read_to_end(&mut text)
        .map_err(|error| CniError::new(IO, format!("error reading from stdin: {error}")))?;
    let config = Config::read(&text)?;
    let socket = socket_path(config.socket.as_deref().or(socket));
    let asked = Asked { call, config: &config, text: &text, socket };
    asked
        .answer()
        .map_err(|error| CniError { version: Some(config.version_name().to_owned()), ..error })
}

/// Everything that a call comes with.
#[derive(Debug)]
struct Asked<'a> {
    call: &'a Call,
    config: &'a Config,
    /// The configuration as it came.
    text: &'a [u8],
    /// Where the daemon listens.
    socket: PathBuf,
}

impl Asked<'_> {
    fn answer(&self) -> Result<Option<Value>, CniError> {
        let version = self.config.version()?;
        let since = |first: Version, verb: &str| {
            let msg = format!("config version does not allow {verb}");
            if version < first { Err(CniError::new(INCOMPATIBLE, msg)) } else { Ok(()) }
        };
        match self.call.verb {
            Verb::Add => {
                let attached = attachment::add(self)?;
                return Ok(Some(attached.shown(version, self.config.version_name())));
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
            // Answered before there is a configuration.
            Verb::Version => {}
        }
        Ok(None)
    }

    /// The plugin for addresses.
    fn ipam(&self) -> Result<Option<Ipam<'_>>, CniError> {
        Ipam::find(self.config, self.call, self.text)
    }

    /// What all links of this network have before their container and name.
    fn network(&self) -> String {
        format!("cni/{}/", self.config.name)
    }

    /// Whose the link is. No part can have a slash.
    fn owner(&self) -> String {
        self.owner_of(&self.call.container, &self.call.ifname)
    }

    fn owner_of(&self, container: &str, ifname: &str) -> String {
        format!("{}{container}/{ifname}", self.network())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides_whatever_folder_it_is_in() {
        let meant = |program: &str| invoked_by_name(Some(OsStr::new(program)));
        assert!(meant("umacvlan-cni") && meant("/opt/cni/bin/umacvlan-cni"));
        assert!(!meant("umacvlan") && !meant("/opt/umacvlan-cni/umacvlan") && !invoked_by_name(None));
    }
}
