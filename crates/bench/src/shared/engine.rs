//! The engine as a provider of sub-interfaces.

use std::io;

use umacvlan_core::options::{Backend, PollMode, PortKind};
use umacvlan_core::{MacvlanSettings, Semantics};
use umacvlan_datapath::worker::WorkerConfig;
use umacvlan_engine::engine::{Engine, ParentOptions, SubOptions};
use umacvlan_lab::site::Site;

use super::cores::Cores;

/// How an engine is to serve a site.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EngineSetup {
    pub(crate) poll: PollMode,
    /// The number of workers of the parent.
    pub(crate) workers: usize,
    pub(crate) backend: Backend,
    /// What the sub-interfaces are.
    pub(crate) port: PortKind,
    pub(crate) semantics: Semantics,
}

/// Starts an engine with the sub-interfaces of this site. They end with the engine.
///
/// # Errors
/// The engine does not start, or a sub-interface cannot be created.
pub(crate) fn start_engine(site: &Site<'_>, setup: EngineSetup) -> io::Result<Engine> {
    let EngineSetup { poll, workers, backend, port, semantics } = setup;
    let engine = site.host.run(Engine::start)?.map_err(io::Error::other)?;
    let worker = |cpu| WorkerConfig { poll, cpu, ..WorkerConfig::default() };
    let parent = ParentOptions {
        name: site.parent.to_owned(),
        workers: Cores::find().workers(workers).map(worker).collect(),
        backend,
        semantics,
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
            port,
            // Set up here and not later, so that the engine knows before the first frame.
            up: true,
            ..SubOptions::default()
        };
        let made = engine.add_sub(site.parent, options).map_err(io::Error::other)?;
        if sub.idle && made.port.kind == PortKind::Tap {
            // The kernel removes a namespace with all of its interfaces at once. Closing a TAP's
            // descriptor takes 20 ms for each.
            engine.keep_sub(made.number).map_err(io::Error::other)?;
        }
    }
    Ok(engine)
}
