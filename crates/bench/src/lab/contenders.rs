//! [`Contenders`]: the implementations that the lab compares.

use std::any::Any;
use std::fmt;
use std::io;

use anyhow::{Context, Result};
use umacvlan_core::options::{Backend, PollMode, PortKind};
use umacvlan_core::{Mode, Semantics};
use umacvlan_engine::{cpus, try_running_kernel};
use umacvlan_lab::network::Network;
use umacvlan_lab::site::{Provider, Site};
use umacvlan_sys::bpf;
use umacvlan_sys::netns::Netns;

use super::LabArgs;
use crate::shared::engine::{EngineSetup, start_engine};

/// An implementation of sub-interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contender {
    /// The engine with this poll mode.
    Ours(PollMode),
    /// The kernel's macvlan driver.
    Kernel,
}

/// The implementations to compare, and the settings of ours.
pub(super) struct Contenders {
    /// The backend of our uplink.
    pub(super) backend: Backend,
    /// What our sub-interfaces are.
    pub(super) port: PortKind,
    /// The rules of ours.
    pub(super) semantics: Semantics,
    /// Ours comes first.
    pub(super) all: Vec<Contender>,
    /// Why the kernel's macvlan is left out, if it is.
    pub(super) without_kernel: Option<String>,
    /// The number of workers of our parent.
    pub(super) workers: usize,
    /// Why our host receives more frames than with the kernel's macvlan, if it does.
    pub(super) overheard: Option<String>,
}

impl Contenders {
    /// The implementations that this machine has and the arguments allow.
    pub(super) fn new(network: &mut Network, args: &LabArgs) -> Result<Self> {
        let without_kernel = match args.no_kernel {
            true => Some("left out, as --no-kernel says".to_owned()),
            false => missing_kernel(network)?,
        };
        // Where the kernel has no macvlan, the rules are those of its name.
        let _ = try_running_kernel();
        let workers = usize::from(args.workers);
        let mut all = vec![Contender::Ours(PollMode::Adaptive)];
        // Busy-polling workers on all cores would leave none for the programs.
        if workers == 1 || workers < cpus::allowed().len() {
            all.push(Contender::Ours(PollMode::Busy));
        }
        if without_kernel.is_none() {
            all.push(Contender::Kernel);
        }
        let LabArgs { backend, port, semantics, .. } = *args;
        let overheard = missing_filter();
        Ok(Self { backend, port, semantics, all, without_kernel, workers, overheard })
    }

    /// True if this implementation is compared.
    pub(super) fn has(&self, contender: Contender) -> bool {
        self.all.contains(&contender)
    }

    /// Replaces the network's sub-interfaces by this contender's, of this mode. Our parent has this
    /// many workers.
    pub(super) fn attach(
        &self,
        who: Contender,
        network: &mut Network,
        mode: Mode,
        workers: usize,
    ) -> Result<()> {
        let attached = match who {
            Contender::Kernel => network.attach(Provider::Kernel, mode),
            Contender::Ours(poll) => {
                let ours = |site: &Site<'_>| {
                    let Self { backend, port, semantics, .. } = *self;
                    let setup = EngineSetup { poll, workers, backend, port, semantics };
                    start_engine(site, setup).map(|made| Box::new(made) as Box<dyn Any>)
                };
                network.attach(Provider::Userspace(&ours), mode)
            }
        };
        attached.with_context(|| format!("{who} in mode {mode}"))
    }
}

impl Contender {
    /// True if it uses a core even while idle.
    pub(super) fn is_busy_polling(self) -> bool {
        self == Self::Ours(PollMode::Busy)
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kernel => "kernel",
            Self::Ours(PollMode::Busy) => "ours, busy",
            Self::Ours(_) => "ours",
        })
    }
}

/// Tries the kernel's macvlan. Returns why it is missing, if it is.
fn missing_kernel(network: &mut Network) -> Result<Option<String>> {
    match network.attach(Provider::Kernel, Mode::Bridge) {
        Ok(()) => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::Unsupported => {
            Ok(Some("this kernel has no macvlan driver".to_owned()))
        }
        Err(e) => Err(e).context("cannot try the kernel's macvlan"),
    }
}

/// Tries the filter that hides the sub-interfaces' frames from the host. Returns why it is missing,
/// if it is.
fn missing_filter() -> Option<String> {
    let tried = Netns::create().and_then(|netns| netns.run(bpf::probe_host_filter)).flatten();
    tried.err().map(|why| why.to_string())
}
