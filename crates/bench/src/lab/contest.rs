//! Who is compared with whom.

use std::any::Any;
use std::fmt;
use std::io;
use umacvlan_core::options::{Backend, PollMode};

use anyhow::{Context, Result};
use umacvlan_core::{MacvlanSettings, Mode};
use umacvlan_engine::engine::{Engine, ParentOptions, SubOptions};
use umacvlan_engine::worker::WorkerConfig;
use umacvlan_lab::network::{Maker, Network, Site};
use umacvlan_sys::bpf;
use umacvlan_sys::netns::Netns;

use super::LabArgs;
use super::cores::Cores;
use umacvlan_engine::cpus;

/// One who implements sub-interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contestant {
    /// The engine, waiting for frames in this way.
    Ours(PollMode),
    /// The kernel's macvlan.
    Kernel,
}

/// Who takes part.
pub(super) struct Contest {
    /// What carries the frames of ours.
    pub(super) backend: Backend,
    /// Ours first.
    pub(super) contestants: Vec<Contestant>,
    /// Why the kernel's macvlan does not.
    pub(super) without_kernel: Option<String>,
    /// How many workers our parents have.
    pub(super) workers: usize,
    /// Why our host hears more than with the kernel's macvlan, if it does.
    pub(super) overheard: Option<String>,
}

impl Contest {
    /// Everyone who can take part on this machine, if the arguments let them.
    pub(super) fn new(network: &mut Network, args: &LabArgs) -> Result<Self> {
        let without_kernel = match args.no_kernel {
            true => Some("left out, as --no-kernel says".to_owned()),
            false => missing_kernel(network)?,
        };
        let workers = usize::from(args.workers);
        let mut contestants = vec![Contestant::Ours(PollMode::Adaptive)];
        // Several that never sleep would leave the programs no core.
        if workers == 1 || workers < cpus::allowed().len() {
            contestants.push(Contestant::Ours(PollMode::Busy));
        }
        if without_kernel.is_none() {
            contestants.push(Contestant::Kernel);
        }
        let backend = args.backend;
        let overheard = missing_filter();
        Ok(Self { backend, contestants, without_kernel, workers, overheard })
    }

    /// True if this one takes part.
    pub(super) fn has(&self, contestant: Contestant) -> bool {
        self.contestants.contains(&contestant)
    }

    /// Makes somebody's sub-interfaces of this mode in the network, instead of those that are
    /// there; ours have so many workers.
    pub(super) fn attach(
        &self,
        who: Contestant,
        network: &mut Network,
        mode: Mode,
        workers: usize,
    ) -> Result<()> {
        let attached = match who {
            Contestant::Kernel => network.attach(Maker::Kernel, mode),
            Contestant::Ours(poll) => {
                let ours = |site: &Site<'_>| {
                    make(site, poll, workers, self.backend)
                        .map(|made| Box::new(made) as Box<dyn Any>)
                };
                network.attach(Maker::Userspace(&ours), mode)
            }
        };
        attached.with_context(|| format!("{who} in mode {mode}"))
    }
}

impl Contestant {
    /// True if it takes a core from the others while it is there, even with nothing to do.
    pub(super) fn is_loud(self) -> bool {
        self == Self::Ours(PollMode::Busy)
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kernel => "kernel",
            Self::Ours(PollMode::Busy) => "ours, busy",
            Self::Ours(_) => "ours",
        })
    }
}

/// Why there is no kernel macvlan here, if there is none: found out by trying.
fn missing_kernel(network: &mut Network) -> Result<Option<String>> {
    match network.attach(Maker::Kernel, Mode::Bridge) {
        Ok(()) => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::Unsupported => {
            Ok(Some("this kernel has no macvlan driver".to_owned()))
        }
        Err(e) => Err(e).context("cannot try the kernel's macvlan"),
    }
}

/// Why nothing hides from our host what is not its own, if nothing does: found out by trying.
fn missing_filter() -> Option<String> {
    let tried = Netns::create().and_then(|netns| netns.run(bpf::try_host)).flatten();
    tried.err().map(|why| why.to_string())
}

/// Our sub-interfaces, on a parent with so many workers. They end with the engine that is returned.
pub fn make(
    site: &Site<'_>,
    poll: PollMode,
    workers: usize,
    backend: Backend,
) -> io::Result<Engine> {
    let engine = site.host.run(Engine::start)?.map_err(io::Error::other)?;
    let worker = |cpu| WorkerConfig { poll, cpu, ..WorkerConfig::default() };
    let parent = ParentOptions {
        name: site.parent.to_owned(),
        workers: Cores::find().workers(workers).map(worker).collect(),
        backend,
        ..ParentOptions::default()
    };
    engine.add_parent(parent).map_err(io::Error::other)?;
    for sub in &site.subs {
        let options = SubOptions {
            name: sub.name.clone(),
            mac: Some(sub.mac),
            settings: MacvlanSettings {
                sources: sub.sources.clone(),
                ..MacvlanSettings::new(site.mode)
            },
            netns: Some(sub.netns.try_clone()?),
            // Here, and not by its user later: so the engine knows before the first frame.
            up: true,
            ..SubOptions::default()
        };
        let made = engine.add_sub(site.parent, options).map_err(io::Error::other)?;
        if sub.idle {
            // The kernel takes a namespace down with all that is in it at once, and TAPs whose
            // descriptors are closed one by one, in 20 ms each.
            engine.keep_sub(made.number).map_err(io::Error::other)?;
        }
    }
    Ok(engine)
}
