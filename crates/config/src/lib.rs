//! The configuration: what the file says, what is wrong with it, and what a reload has to do.
//!
//! Nothing here touches the engine or the network: text in, [`Config`] out, and from two of them
//! a [`Plan`] that somebody else carries out.
#![allow(missing_docs, reason = "TEMPORARY")]

mod diagnostic;
pub mod file;
mod ifname;
mod parse;
mod plan;
mod running;
mod serialize;
mod table;
mod validate;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use umacvlan_core::options::{Backend, PollMode, PortIo};

use umacvlan_core::{Semantics, VlanName};

pub use diagnostic::{DiagnosticView, Diagnostics, LoadError};
pub use file::replace;
pub use plan::{Plan, Step, execute, plan};
pub use running::{Running, RunningLink, SavedConfig, running_config};

use umacvlan_api::LinkSpec;

/// Where the daemon's configuration is, unless it is told otherwise.
pub const DEFAULT_FILE: &str = "/etc/umacvlan/umacvlan.toml";

/// Everything that a configuration file can say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `[daemon]`
    pub daemon: DaemonConfig,
    /// `[docker]`: that it is there, even empty, says that Docker is served.
    pub docker: Option<DockerConfig>,
    /// `[engine]`: what parents are unless their own table, or nobody's, says otherwise.
    pub engine: Settings,
    /// `[parent.NAME]`
    pub parents: BTreeMap<String, Settings>,
    /// `[link.NAME]`, by the name that the file knows each one by for ever: its key.
    pub links: BTreeMap<String, LinkEntry>,
}

/// `[daemon]`: what is absent is the daemon's own choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonConfig {
    /// The socket that clients connect to: an absolute path.
    pub socket: Option<String>,
    /// The directory in which links are written down: an absolute path.
    pub state: Option<String>,
    /// The group, by name or number, whose members may read.
    pub group: Option<String>,
    /// The group, by name or number, whose members may change.
    pub admin_group: Option<String>,
    /// What is logged: a level, or levels of modules, as `tracing` writes them.
    pub log: Option<String>,
    /// What becomes of the links when the daemon ends.
    pub on_exit: OnExit,
}

/// `[docker]`: what is absent is the daemon's own choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DockerConfig {
    /// The socket that dockerd connects to: an absolute path.
    pub socket: Option<String>,
    /// The directory in which networks are written down: an absolute path.
    pub state: Option<String>,
}

/// What becomes of the links when the daemon ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExit {
    /// They stay, without carrier, and the next daemon takes them up again.
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

/// How a parent is served, as far as a table says so: `[engine]` or `[parent.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What carries its frames.
    pub backend: Option<Backend>,
    /// How many workers it has.
    pub workers: Option<usize>,
    /// The CPUs that its workers may be given.
    pub cpus: Option<Vec<usize>>,
    /// How they wait.
    pub poll: Option<PollMode>,
    /// Whose promise about private sub-interfaces is kept.
    pub semantics: Option<Semantics>,
    /// How TAPs are read and written.
    pub io: Option<PortIo>,
    /// Whether frames of one flow that are written at once are merged.
    pub coalesce: Option<bool>,
}

/// How a parent is served, all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentSettings {
    /// What carries its frames.
    pub backend: Backend,
    /// How many workers it has, at least one.
    pub workers: usize,
    /// The CPUs that its workers may be given; any, if empty.
    pub cpus: Vec<usize>,
    /// How they wait.
    pub poll: PollMode,
    /// Whose promise about private sub-interfaces is kept.
    pub semantics: Semantics,
    /// How TAPs are read and written.
    pub io: PortIo,
    /// Whether frames of one flow that are written at once are merged.
    pub coalesce: bool,
}

impl ParentSettings {
    /// The CPU of each of its workers, chosen one after the other by
    /// [`choose_cpu`](Self::choose_cpu).
    pub fn choose_cpus(&self, allowed: &[usize], mut taken: Vec<usize>) -> Vec<Option<usize>> {
        let choose = |_| {
            let cpu = self.choose_cpu(allowed, &taken);
            taken.extend(cpu);
            cpu
        };
        (0..self.workers).map(choose).collect()
    }

    /// The CPU for another worker: of those that this parent may have, the one with the fewest
    /// workers in `taken`, so that parents take them in turn.
    ///
    /// `allowed` are those that this process may run on, and count from the last where the file
    /// names none that is among them: interrupts and everything else begin at the first ones.
    pub fn choose_cpu(&self, allowed: &[usize], taken: &[usize]) -> Option<usize> {
        let named = self.cpus.iter().filter(|cpu| allowed.contains(cpu));
        let load = |cpu: &&usize| taken.iter().filter(|other| other == cpu).count();
        named.min_by_key(load).or_else(|| allowed.iter().rev().min_by_key(load)).copied()
    }
}

impl fmt::Display for ParentSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend, workers, cpus, poll, semantics, io, coalesce } = self;
        let (backend, io) = (backend.name(), PortIo::name(*io));
        write!(f, "backend {backend}, poll {poll}, semantics {semantics}, io {io}")?;
        if !coalesce {
            write!(f, ", coalesce off")?;
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
    /// The name its interface is given, where that is not the name of the entry: two namespaces
    /// may each have an `eth0`.
    pub name: Option<String>,
    /// What it is to be. [`LinkSpec::up`] is never absent, and the source list is in order.
    pub spec: LinkSpec,
}

impl LinkEntry {
    /// The name that its interface is given, for the entry of the name `key`.
    pub fn interface<'e>(&'e self, key: &'e str) -> &'e str {
        self.name.as_deref().unwrap_or(key)
    }
}

impl Config {
    /// How the parent of that name is to be served: by its own table, else, for a VLAN, by that of
    /// the interface in its name, else by `[engine]`, else by default.
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
            coalesce: first(&tables, |table| table.coalesce).unwrap_or(true),
        }
    }
}

/// What the first table says that says anything.
fn first<T>(tables: &[&Settings], says: impl Fn(&Settings) -> Option<T>) -> Option<T> {
    tables.iter().find_map(|table| says(table))
}

#[cfg(test)]
mod tests;
