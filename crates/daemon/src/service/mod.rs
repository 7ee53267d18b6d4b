//! [`Service`]: everything that the daemon can be asked, whoever asks. No HTTP here.

mod add;
mod change;
mod config;
mod happen;
mod owned;
mod parents;
mod places;
mod problem;
mod recover;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tokio::sync::broadcast;
use umacvlan_core::Mode;
use umacvlan_engine::Engine;
use umacvlan_engine::engine::{EngineOptions, ParentStatus, SubId, SubStatus};
use umacvlan_netlink::Rtnl;
use umacvlan_sys::netns::{Netns, NetnsId};

use self::add::Whose;
pub use self::add::sub_options;
pub use self::happen::follow;
use self::parents::Attached;
use self::places::Names;
use super::log::Log;
use super::store::{LinkRecord, Store};
use super::view::{self, Around};
use crate::error::ServiceError;
use umacvlan_api::{Code, EventView, LinkChange, LinkView, NewLink, ParentView, Problem};
use umacvlan_config::Config;

/// Events that a client may lag behind before it loses the oldest.
const EVENTS: usize = 1024;

/// Which link is meant: its name, and where.
#[derive(Clone, Debug)]
pub struct Selector {
    /// The name of its interface now.
    pub name: String,
    /// The namespace it must be in: a name, a path, the id of a process.
    pub netns: Option<String>,
    /// The id of the client's process: without `netns`, a link in its namespace comes first, then
    /// one in the daemon's, then the only one of that name anywhere.
    pub caller: Option<u32>,
}

/// The service as all who serve share it.
pub type Shared = Arc<Mutex<Service>>;

/// The service, once nobody else uses it. One that panicked has left nothing half done that the
/// next answer could not show.
pub fn lock(shared: &Shared) -> MutexGuard<'_, Service> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a service begins with.
#[derive(Debug)]
pub struct Options {
    pub store: Store,
    pub engine: EngineOptions,
    pub config_file: PathBuf,
    pub config: Config,
    /// The log, and what it is to have where the configuration does not say; `None` if the
    /// configuration has nothing to say about it.
    pub log: Option<(Log, String)>,
}

/// The engine, what it was asked for, and where that is written down. Calls may take
/// milliseconds: never from an async task without `spawn_blocking`.
#[derive(Debug)]
pub struct Service {
    engine: Arc<Engine>,
    /// Asks in the daemon's own namespace, where the parents are.
    rtnl: Rtnl,
    /// The daemon's own namespace.
    home: NetnsId,
    store: Store,
    /// Every link by its number.
    links: BTreeMap<u64, Entry>,
    /// Every parent that is attached, by its name.
    parents: BTreeMap<String, Attached>,
    /// The configuration as it was last applied.
    config: Config,
    config_file: PathBuf,
    /// See [`Options::log`].
    log: Option<(Log, String)>,
    events: broadcast::Sender<EventView>,
}

/// A link as the service knows it.
#[derive(Debug)]
struct Entry {
    /// The name under which the configuration has it.
    config: Option<String>,
    /// What whoever asked for it finds it by.
    owner: Option<String>,
    /// What it was when it was last looked at.
    seen: SubStatus,
}

impl Entry {
    fn record(&self) -> LinkRecord {
        let Self { config, owner, seen } = self;
        LinkRecord {
            id: seen.number.0,
            config: config.clone(),
            owner: owner.clone(),
            parent: seen.parent.clone(),
            name: seen.name.clone(),
            netns: (seen.netns.dev, seen.netns.ino),
            index: seen.index,
            mac: seen.mac,
            mode: seen.settings.mode,
            flags: seen.settings.flags,
            bc_queue_len: seen.settings.bc_queue_len(),
            sources: seen.settings.sources.clone(),
        }
    }
}

impl Service {
    /// Starts an engine without parents and links, for the namespace of the calling thread.
    pub fn start(options: Options) -> Result<Self> {
        let Options { store, engine, config_file, config, log } = options;
        Ok(Self {
            engine: Arc::new(Engine::start_with(engine)?),
            rtnl: Rtnl::open()?,
            home: Netns::current().context("cannot open this network namespace")?.id(),
            store,
            links: BTreeMap::new(),
            parents: BTreeMap::new(),
            config,
            config_file,
            log,
            events: broadcast::Sender::new(EVENTS),
        })
    }

    /// Makes a link. `caller` is the id of the client's process, for `@caller`.
    pub fn add_link(
        &mut self,
        new: &NewLink,
        caller: Option<u32>,
    ) -> Result<LinkView, ServiceError> {
        let whose = Whose { config: None, owner: new.owner.clone() };
        self.add(&new.name, &new.spec, caller, whose)
    }

    /// Changes a link.
    pub fn change_link(
        &mut self,
        which: &Selector,
        change: &LinkChange,
    ) -> Result<LinkView, ServiceError> {
        let id = self.find(which)?;
        self.change(id, change, which.caller)?;
        // Plain data can always be written.
        let change = serde_json::to_string(change).unwrap_or_default();
        tracing::info!("link {} changed, number {id}: {change}", which.name);
        self.show(id)
    }

    /// Removes a link.
    pub fn remove_link(&mut self, which: &Selector) -> Result<(), ServiceError> {
        let id = self.find(which)?;
        self.remove(id)
    }

    /// Removes every link of an owner, if there is any.
    pub fn remove_owned(&mut self, owner: &str) -> Result<(), ServiceError> {
        let owned = |entry: &Entry| entry.owner.as_deref() == Some(owner);
        let ids = self.links.iter().filter(|(_, entry)| owned(entry)).map(|(&id, _)| id);
        for id in ids.collect::<Vec<_>>() {
            match self.remove(id) {
                // One that goes with its namespace meanwhile goes all the same.
                Err(ServiceError(Problem { code: Code::NoDevice, .. })) => {}
                done => done?,
            }
        }
        Ok(())
    }

    /// One link.
    pub fn link(&mut self, which: &Selector) -> Result<LinkView, ServiceError> {
        let id = self.find(which)?;
        self.show(id)
    }

    /// All links, in the order of their numbers; with `netns` only those in that namespace.
    pub fn links(
        &mut self,
        netns: Option<&str>,
        caller: Option<u32>,
    ) -> Result<Vec<LinkView>, ServiceError> {
        let netns = match netns {
            Some(place) => Some(places::open(place, caller)?.id()),
            None => None,
        };
        let names = Names::read(self.home);
        let mut views = Vec::new();
        for parent in self.engine.status()? {
            let up = self.is_up(&parent);
            let wanted = |sub: &SubStatus| netns.is_none_or(|netns| sub.netns == netns);
            views.extend(self.views(&parent, &names, up, wanted));
        }
        views.sort_by_key(|view| view.umacvlan.id);
        Ok(views)
    }

    /// All parents, in the order of their names.
    pub fn parents(&mut self) -> Result<Vec<ParentView>, ServiceError> {
        let mut status = self.engine.status()?;
        status.sort_by(|one, other| one.name.cmp(&other.name));
        let configured = |parent: &ParentStatus| {
            self.parents.get(&parent.name).is_some_and(|attached| attached.configured)
        };
        Ok(status.iter().map(|parent| view::parent(parent, configured(parent))).collect())
    }

    /// What happens from now on. A receiver that lags loses the oldest, and is told how many.
    pub fn subscribe(&self) -> broadcast::Receiver<EventView> {
        self.events.subscribe()
    }

    /// How many parents and links there are.
    pub fn count(&self) -> (usize, usize) {
        (self.parents.len(), self.links.len())
    }

    /// The engine, for whoever wants to know that it answers.
    pub fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine)
    }

    /// Removes every link. Those that cannot be removed stay as they are.
    pub fn remove_all(&mut self) {
        let ids: Vec<u64> = self.links.keys().copied().collect();
        for id in ids {
            if let Err(problem) = self.remove(id) {
                tracing::error!("link number {id} stays: {problem}");
            }
        }
    }

    /// A link as it is at this moment.
    fn show(&mut self, id: u64) -> Result<LinkView, ServiceError> {
        let parent = self.engine.parent_of(SubId(id))?;
        let up = self.is_up(&parent);
        let names = Names::read(self.home);
        let view = self.views(&parent, &names, up, |_| true).next();
        view.ok_or_else(|| {
            problem::no_device("", format!("link number {id} is gone by now: ask again"))
        })
    }

    /// Those links of a parent that are wanted.
    fn views(
        &self,
        parent: &ParentStatus,
        names: &Names,
        parent_up: bool,
        wanted: impl Fn(&SubStatus) -> bool,
    ) -> impl Iterator<Item = LinkView> {
        let counted = parent.subs.iter().zip(&parent.counters.subs);
        counted.filter(move |(sub, _)| wanted(sub)).map(move |(sub, (_, stats))| {
            let around = Around {
                config: self.links.get(&sub.number.0).and_then(|link| link.config.clone()),
                owner: self.links.get(&sub.number.0).and_then(|link| link.owner.clone()),
                netns: names.shown(sub.netns),
                parent_up,
            };
            view::link(sub, parent, stats, around)
        })
    }

    /// Whether the administrator has set a parent up.
    fn is_up(&mut self, parent: &ParentStatus) -> bool {
        let link = parent.index.and_then(|index| self.rtnl.link_by_index(index).ok().flatten());
        link.is_some_and(|link| link.is_up())
    }

    /// Looks at a link again; what has changed is written down and told.
    fn note(&mut self, id: u64) -> io::Result<()> {
        // Of one that is gone an event tells.
        let (Ok(now), Some(entry)) = (self.engine.sub(SubId(id)), self.links.get_mut(&id)) else {
            return Ok(());
        };
        let before = entry.record();
        let was = std::mem::replace(&mut entry.seen, now);
        let record = entry.record();
        // What a parent has written down changes with its owner's address, and before an MTU does.
        let touched = was.settings.mode == Mode::Passthru || was.mtu != entry.seen.mtu;
        let parent = record.parent.clone();
        let written = match record == before {
            true => Ok(()),
            false => self.store.put_link(&record),
        };
        self.tell_change(id, &was);
        written.and_then(|()| if touched { self.write_parent(&parent) } else { Ok(()) })
    }
}
