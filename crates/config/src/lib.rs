//! The configuration file: parsed, checked, written, and compared with what runs.
//!
//! [`Config::load`] and [`Config::parse`] read TOML and return a [`Config`] or all [`Diagnostics`],
//! each with line and column. [`Config::to_toml`] writes it. [`running_config`] makes a
//! configuration of the daemon's links and parents. [`plan`](fn@plan) compares two configurations
//! with what runs and returns a [`Plan`] of steps, and [`execute`] carries steps out through a
//! closure, or undoes them.
//!
//! A link is known by its entry key, the NAME of `[link.NAME]`, which stays when its interface is
//! renamed or moved.
//!
//! Architecture invariant: text in, plain values out; neither the engine nor the network is
//! touched.

mod diagnostic;
pub mod file;
mod log_filter;
mod needs;
mod parse;
mod plan;
mod running;
mod serialize;
mod table;
mod validate;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use umacvlan_core::options::{Backend, PollMode, PortIo, PortKind};

use umacvlan_core::{Semantics, VlanName};

pub use diagnostic::{DiagnosticView, Diagnostics, LoadError};
pub use file::replace;
pub use log_filter::check_log_filter;
pub use needs::Need;
pub use plan::{Plan, Step, execute, plan};
pub use running::{Running, RunningLink, SavedConfig, running_config};

use umacvlan_api::LinkSpec;

/// The configuration file, unless another one is named.
pub const DEFAULT_FILE: &str = "/etc/umacvlan/umacvlan.toml";

/// The content of a configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `[daemon]`
    pub daemon: DaemonConfig,
    /// `[docker]`: if it is present, even empty, the daemon is Docker's network driver.
    pub docker: Option<DockerConfig>,
    /// `[engine]`: defaults of all parents.
    pub engine: Settings,
    /// `[parent.NAME]`, by name.
    pub parents: BTreeMap<String, Settings>,
    /// `[link.NAME]`, by entry key.
    pub links: BTreeMap<String, LinkEntry>,
}

/// `[daemon]`. The daemon has a default for each absent value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonConfig {
    /// The socket that clients connect to: an absolute path.
    pub socket: Option<String>,
    /// The directory of the state files: an absolute path.
    pub state: Option<String>,
    /// The group, by name or number, whose members may read.
    pub group: Option<String>,
    /// The group, by name or number, whose members may change.
    pub admin_group: Option<String>,
    /// The log filter: a level, or targets with levels, as `tracing` has them.
    pub log: Option<String>,
    /// What happens to the links when the daemon ends.
    pub on_exit: OnExit,
}

/// `[docker]`. The driver has a default for each absent value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DockerConfig {
    /// The socket that dockerd connects to: an absolute path.
    pub socket: Option<String>,
    /// The directory of the networks' files: an absolute path.
    pub state: Option<String>,
}

/// What happens to the links when the daemon ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExit {
    /// They stay, without carrier, and the next daemon re-adopts them.
    #[default]
    Keep,
    /// They are removed.
    Remove,
}

impl OnExit {
    /// The word for it in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Remove => "remove",
        }
    }
}

/// Settings of a parent in one table, `[engine]` or `[parent.NAME]`. Absent values are inherited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The uplink backend.
    pub backend: Option<Backend>,
    /// The number of workers.
    pub workers: Option<usize>,
    /// The CPUs that workers may be pinned to.
    pub cpus: Option<Vec<usize>>,
    /// How workers wait for frames.
    pub poll: Option<PollMode>,
    /// The semantics of private links.
    pub semantics: Option<Semantics>,
    /// How TAPs are read and written.
    pub io: Option<PortIo>,
    /// What the interfaces of new links are.
    pub port: Option<PortKind>,
    /// Whether GRO merges frames of a flow that are written together.
    pub coalesce: Option<bool>,
    /// Whether links send with the parent's MAC address (MAC-NAT).
    pub macnat: Option<bool>,
}

/// Complete settings of a parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentSettings {
    /// The uplink backend.
    pub backend: Backend,
    /// The number of workers, at least one.
    pub workers: usize,
    /// The CPUs that workers may be pinned to; all, if empty.
    pub cpus: Vec<usize>,
    /// How workers wait for frames.
    pub poll: PollMode,
    /// The semantics of private links.
    pub semantics: Semantics,
    /// How TAPs are read and written.
    pub io: PortIo,
    /// What the interfaces of new links are that do not say it.
    pub port: PortKind,
    /// Whether GRO merges frames of a flow that are written together.
    pub coalesce: bool,
    /// Whether links send with the parent's MAC address (MAC-NAT).
    pub macnat: bool,
}

impl ParentSettings {
    /// The CPU of each worker, chosen one after the other by [`choose_cpu`](Self::choose_cpu).
    pub fn choose_cpus(&self, allowed: &[usize], mut taken: Vec<usize>) -> Vec<Option<usize>> {
        let choose = |_| {
            let cpu = self.choose_cpu(allowed, &taken);
            taken.extend(cpu);
            cpu
        };
        (0..self.workers).map(choose).collect()
    }

    /// The CPU of another worker: among the CPUs of `self.cpus`, the one with the fewest workers in
    /// `taken`, so that parents share the CPUs evenly.
    ///
    /// `allowed` are the CPUs that this process may run on. If `self.cpus` has none of them, the
    /// choice is among `allowed` from the last to the first, because interrupts and other programs
    /// are usually on the first ones. `None` if `allowed` is empty.
    pub fn choose_cpu(&self, allowed: &[usize], taken: &[usize]) -> Option<usize> {
        let named = self.cpus.iter().filter(|cpu| allowed.contains(cpu));
        let load = |cpu: &&usize| taken.iter().filter(|other| other == cpu).count();
        named.min_by_key(load).or_else(|| allowed.iter().rev().min_by_key(load)).copied()
    }
}

impl fmt::Display for ParentSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend, workers, cpus, poll, semantics, io, port, coalesce, macnat } = self;
        let (backend, io) = (backend.name(), PortIo::name(*io));
        write!(f, "backend {backend}, poll {poll}, semantics {semantics}, io {io}")?;
        if *port != PortKind::default() {
            write!(f, ", port {port}")?;
        }
        if !coalesce {
            write!(f, ", coalesce off")?;
        }
        if *macnat {
            write!(f, ", macnat")?;
        }
        if *workers > 1 {
            write!(f, ", workers {workers}")?;
        }
        if !cpus.is_empty() {
            write!(f, ", cpus {}", umacvlan_text::format::ranges(cpus))?;
        }
        Ok(())
    }
}

/// `[link.NAME]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkEntry {
    /// The name of the interface, if it differs from the entry key: two namespaces may each have an
    /// `eth0`.
    pub name: Option<String>,
    /// The settings. [`LinkSpec::up`] is always present, and the source list is sorted.
    pub spec: LinkSpec,
}

impl LinkEntry {
    /// The name of the interface, for the entry of this key.
    pub fn interface_name<'e>(&'e self, key: &'e str) -> &'e str {
        self.name.as_deref().unwrap_or(key)
    }
}

impl Config {
    /// The settings of the parent of this name: from its own table, else, for a VLAN, from the
    /// table of its interface, else from `[engine]`, else the defaults.
    pub fn parent(&self, name: &str) -> ParentSettings {
        let link = VlanName::parse(name).ok().map(|name| name.link);
        let tables = [Some(name), link.as_deref()].into_iter().flatten();
        let tables = tables.filter_map(|name| self.parents.get(name)).chain([&self.engine]);
        let tables: Vec<&Settings> = tables.collect();
        ParentSettings {
            backend: first(&tables, |table| table.backend).unwrap_or_default(),
            workers: first(&tables, |table| table.workers).unwrap_or(1),
            cpus: first(&tables, |table| table.cpus.clone()).unwrap_or_default(),
            poll: first(&tables, |table| table.poll).unwrap_or_default(),
            semantics: first(&tables, |table| table.semantics).unwrap_or_default(),
            io: first(&tables, |table| table.io).unwrap_or_default(),
            port: first(&tables, |table| table.port).unwrap_or_default(),
            coalesce: first(&tables, |table| table.coalesce).unwrap_or(true),
            macnat: first(&tables, |table| table.macnat).unwrap_or_default(),
        }
    }
}

/// The first value that a table has.
fn first<T>(tables: &[&Settings], says: impl Fn(&Settings) -> Option<T>) -> Option<T> {
    tables.iter().find_map(|table| says(table))
}

#[cfg(test)]
mod tests;
