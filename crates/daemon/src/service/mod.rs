//! [`Service`]: all operations of the daemon, for HTTP and for Docker's driver alike. No HTTP here.
//!
//! * `add`, `change`, `parents`, `owner`: links and parents, by request.
//! * `host_access`, `host_plan`: the host's own links, through which it reaches links.
//! * `dhcp`: which links get their addresses by DHCP, for the thread that does it.
//! * `config`: the configuration, applied and saved. `recover`, `recover_kept`: links of a
//!   former daemon.
//! * `ghosts`: links in namespaces that nothing else holds. `orphans`: interfaces that may be links.
//! * `events`: events of the engine. `last_events`, `change_words`: those of each link that are kept. `netns`: names of namespaces. `views`: links as clients see them. `problem`: errors
//!   for clients.

mod add;
mod capture;
mod change;
mod change_words;
mod config;
mod dhcp;
mod events;
mod ghosts;
mod host_access;
mod host_plan;
mod kept_uplinks;
mod last_events;
mod netns;
mod orphans;
mod owner;
mod parents;
mod problem;
mod recover;
mod recover_kept;
mod recover_program;
mod recover_veth;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::sync::broadcast;
use umacvlan_core::Mode;
use umacvlan_core::options::TAP_QUEUE_LEN;
use umacvlan_engine::Engine;
use umacvlan_engine::engine::{EngineOptions, ParentStatus, SubId, SubStatus};
use umacvlan_netlink::Rtnl;
use umacvlan_sys::netns::{Netns, NetnsId};

use self::add::Ownership;
pub use self::add::sub_options;
pub(crate) use self::capture::CaptureReader;
use self::events::LogKind;
pub use self::events::follow_engine_events;
use self::ghosts::Ghosts;
use self::last_events::LastEvents;
use self::netns::Names;
use self::owner::check_owner;
use self::parents::Attached;
use self::recover::Waiting;
use super::keeper::Keeper;
use super::leases::Leases;
use super::link_record::{LinkRecord, ProgramRecord, VethRecord};
use super::log::Log;
use super::record_store::Reservation;
use super::store::Store;
use super::to_api;
use crate::ServiceError;
use umacvlan_api::{
    Code, Dhcp, EventView, HostAccess, LinkChange, LinkView, NewLink, ParentView, Problem,
};
use umacvlan_config::Config;
use umacvlan_text::log_limit::LogLimit;

/// How many groups of a link are written down: users may join any number.
const GROUPS_MAX: usize = 32;

/// How many events a client may lag behind before it loses the oldest.
const EVENTS: usize = 1024;

/// Selects a link by its name and namespace. A name that a user gave to a link in a namespace of his
/// own selects it there, and nowhere else.
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    /// Name of the interface now, or the name that its owner gave it.
    pub name: String,
    /// The namespace of the link: a name, a path, or a process id.
    pub netns: Option<String>,
    /// Id of the client's process. Without `netns`, a link with that name in its namespace is
    /// preferred, then one in the daemon's, then the one that was given that name.
    pub caller: Option<u32>,
}

/// The service, shared by its users.
pub type Shared = Arc<Mutex<Service>>;

/// Has the engine try the kernel's macvlan and follow its rules, without waiting for it. At first it
/// follows those of the kernel's name: links of an earlier daemon do not wait for this.
pub fn follow_running_kernel(service: &Shared) {
    let engine = Arc::downgrade(&lock_service(service).engine);
    let find = move || match engine.upgrade().map(|engine| engine.try_running_kernel()) {
        Some(Ok(running)) => {
            tracing::debug!("the kernel's macvlan has the rules of Linux {running}")
        }
        Some(Err(error)) => tracing::debug!("the rules are those of the kernel's name: {error}"),
        None => {}
    };
    if let Err(error) = thread::Builder::new().name("probe".to_owned()).spawn(find) {
        tracing::warn!("cannot start the thread that tries the kernel's macvlan: {error}");
    }
}

/// Waits for the service and locks it. A panic of another user leaves it usable: every call reads
/// the present state from the engine.
pub fn lock_service(shared: &Shared) -> MutexGuard<'_, Service> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Options of a service.
#[derive(Debug)]
pub struct ServiceOptions {
    /// The state files.
    pub store: Store,
    /// The process that holds the links' TAPs while the daemon restarts.
    pub keeper: Keeper,
    /// Options of the engine.
    pub engine: EngineOptions,
    /// The directory of the sockets of links whose far end is a program.
    pub ports_dir: PathBuf,
    /// Path of the configuration file, for reloading and saving.
    pub config_file: PathBuf,
    /// The configuration to apply.
    pub config: Config,
    /// The log, and its filter if the configuration has none; `None` if the configuration cannot
    /// change the filter.
    pub log: Option<(Log, String)>,
    /// Links are removed when their parent is, as those of the kernel; else they wait for it.
    pub links_end_with_parent: bool,
}

/// The engine, the desired state, and the state files. Calls may take milliseconds: async tasks use
/// `spawn_blocking`.
#[derive(Debug)]
pub struct Service {
    /// The addresses of links by DHCP. It is dropped before the engine, which it uses.
    leases: Leases,
    engine: Arc<Engine>,
    /// Netlink socket in the daemon's own namespace, where the parents are.
    rtnl: Rtnl,
    /// The daemon's own namespace.
    home: NetnsId,
    store: Store,
    keeper: Keeper,
    /// The number of the packet sockets that the keeper has for each interface, by its index.
    kept_uplinks: BTreeMap<u32, NonZeroU64>,
    /// All links by number.
    links: BTreeMap<u64, Entry>,
    /// Links of a former daemon whose interfaces were not found, and that may exist.
    waiting: Vec<Waiting>,
    /// When these are searched again.
    next_search: Option<Instant>,
    /// Links whose state could not be written when their users changed it.
    unsaved: BTreeSet<u64>,
    ghosts: Ghosts,
    /// When the links of the host are compared again with what they are to be.
    next_host_check: Option<Instant>,
    /// All attached parents by their names in requests to the engine, which stay when an interface
    /// is renamed. A name is first that of the interface.
    parents: BTreeMap<String, Attached>,
    /// Those names of parents of links that could not be served and keep their records.
    deferred: BTreeSet<String>,
    /// Entries of the configuration that have no link because its namespace is not there.
    without_namespace: BTreeSet<String>,
    /// When these namespaces are looked for again.
    next_namespaces: Option<Instant>,
    /// The configuration that was applied last.
    config: Config,
    config_file: PathBuf,
    ports_dir: PathBuf,
    /// See [`ServiceOptions::log`].
    log: Option<(Log, String)>,
    /// See [`ServiceOptions::links_end_with_parent`].
    links_end_with_parent: bool,
    events: broadcast::Sender<EventView>,
    log_limit: LogLimit<LogKind>,
}

/// Room for the state of a link and of its parent, taken before they change.
#[derive(Debug)]
struct Room {
    link: Reservation,
    parent: Option<Reservation>,
}

/// A link of the service.
#[derive(Debug)]
struct Entry {
    /// Key of its entry in the configuration.
    config: Option<String>,
    /// Opaque owner tag set by the creator.
    owner: Option<String>,
    /// The name that it was made with, or given by request or in the daemon's namespace. Its user may
    /// have called it anything since.
    given_name: String,
    /// Who it is to DHCP servers, if it gets its address from one.
    dhcp: Option<Dhcp>,
    /// How the host reaches it.
    host: HostAccess,
    /// Its state when it was last read.
    seen: SubStatus,
    /// What has happened to it.
    last_events: LastEvents,
}

impl Entry {
    fn record(&self) -> LinkRecord {
        let Self { config, owner, given_name, dhcp, host, seen, last_events: _ } = self;
        let few_groups = !seen.all_groups && seen.groups.len() <= GROUPS_MAX;
        LinkRecord {
            id: seen.number.0,
            config: config.clone(),
            owner: owner.clone(),
            parent: seen.parent.clone(),
            name: seen.name.clone(),
            given_name: (*given_name != seen.name).then(|| given_name.clone()),
            netns: (seen.netns.dev, seen.netns.ino),
            netns_cookie: seen.netns_cookie,
            txqueuelen: (seen.txqlen_max != TAP_QUEUE_LEN).then_some(seen.txqlen_max),
            index: seen.index,
            mac: seen.mac,
            mode: seen.settings.mode,
            flags: seen.settings.flags,
            limits: seen.settings.limits,
            rules: seen.settings.rules.clone(),
            bc_queue_len: seen.settings.bc_queue_len(),
            sources: seen.settings.sources.clone(),
            groups: few_groups.then(|| seen.groups.clone()),
            held: seen.held,
            program: seen.program.as_ref().map(|it| ProgramRecord::new(&it.port, seen)),
            dhcp: dhcp.clone(),
            host: host.clone(),
            veth: seen.port.beside.map(VethRecord::from),
        }
    }
}

impl Service {
    /// Starts an engine without parents and links, for the namespace of the calling thread.
    ///
    /// # Errors The engine's thread or a netlink socket cannot be made.
    pub fn start(options: ServiceOptions) -> Result<Self> {
        let ServiceOptions { store, keeper, engine, ports_dir, config_file, config, .. } = options;
        let ServiceOptions { log, links_end_with_parent, .. } = options;
        let engine = Arc::new(Engine::start_with(engine)?);
        let events = broadcast::Sender::new(EVENTS);
        let leases = Leases::start(&engine, store.open_leases()?, events.clone())?;
        Ok(Self {
            leases,
            engine,
            rtnl: Rtnl::open()?,
            home: Netns::current().context("cannot open this network namespace")?.id(),
            store,
            keeper,
            kept_uplinks: BTreeMap::new(),
            links: BTreeMap::new(),
            waiting: Vec::new(),
            next_search: None,
            unsaved: BTreeSet::new(),
            ghosts: Ghosts::default(),
            next_host_check: None,
            parents: BTreeMap::new(),
            deferred: BTreeSet::new(),
            without_namespace: BTreeSet::new(),
            next_namespaces: None,
            config,
            config_file,
            ports_dir,
            log,
            links_end_with_parent,
            events,
            log_limit: LogLimit::default(),
        })
    }

    /// Makes a link. `caller` is the id of the client's process, for `@caller`.
    ///
    /// # Errors The owner tag is none, or the engine or the kernel refuses the link; nothing is left
    /// behind.
    pub fn add_link(
        &mut self,
        new: &NewLink,
        caller: Option<u32>,
    ) -> Result<LinkView, ServiceError> {
        new.owner.as_deref().map(check_owner).transpose()?;
        let whose = Ownership { config: None, owner: new.owner.clone() };
        self.add(&new.name, &new.spec, caller, whose)
    }

    /// Changes a link.
    pub(crate) fn change_link(
        &mut self,
        which: &Selector,
        change: &LinkChange,
    ) -> Result<LinkView, ServiceError> {
        let id = self.find(which)?;
        self.change(id, change, which.caller)?;
        // Plain data can always be serialized.
        let change = serde_json::to_string(change).unwrap_or_default();
        tracing::info!("link {} changed, number {id}: {change}", which.name);
        self.show(id)
    }

    /// Removes a link.
    pub(crate) fn remove_link(&mut self, which: &Selector) -> Result<(), ServiceError> {
        let id = self.find(which)?;
        self.check_unneeded(id)?;
        self.remove(id)
    }

    /// Removes all links of an owner; one that waits to be found is removed then.
    ///
    /// # Errors A link cannot be removed.
    pub fn remove_owned(&mut self, owner: &str) -> Result<(), ServiceError> {
        self.check_removable(owner)?;
        let waiting = self.waiting.iter_mut();
        let theirs = waiting.filter(|one| one.record.owner.as_deref() == Some(owner));
        theirs.for_each(|one| one.removed = true);
        let owned = |entry: &Entry| entry.owner.as_deref() == Some(owner);
        let ids = self.links.iter().filter(|(_, entry)| owned(entry)).map(|(&id, _)| id);
        for id in ids.collect::<Vec<_>>() {
            match self.remove(id) {
                // A link that was removed with its namespace meanwhile is gone as well.
                Err(ServiceError(Problem { code: Code::NoDevice, .. })) => {}
                done => done?,
            }
        }
        Ok(())
    }

    /// One link, with its last events.
    pub(crate) fn link(&mut self, which: &Selector) -> Result<LinkView, ServiceError> {
        let id = self.find(which)?;
        // What has happened to it is told, though the thread that follows the engine pauses.
        self.follow_changes(BTreeSet::from([SubId(id)]));
        let mut view = self.show(id)?;
        view.umacvlan.last_events =
            self.links.get(&id).map(|link| link.last_events.views()).unwrap_or_default();
        Ok(view)
    }

    /// All links, by ascending number; with `netns` only those in that namespace.
    pub(crate) fn links(
        &mut self,
        netns: Option<&str>,
        caller: Option<u32>,
    ) -> Result<Vec<LinkView>, ServiceError> {
        let netns = match netns {
            Some(place) => Some(netns::open(place, caller)?.id()),
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

    /// All parents, sorted by name.
    pub(crate) fn parents(&mut self) -> Result<Vec<ParentView>, ServiceError> {
        let mut status = self.engine.status()?;
        status.sort_by(|one, other| one.name.cmp(&other.name));
        let configured = |parent: &ParentStatus| {
            let attached = self.parents.get(&parent.handle);
            attached.is_some_and(|attached| attached.configured.is_some())
        };
        Ok(status.iter().map(|parent| to_api::parent(parent, configured(parent))).collect())
    }

    /// Events from now on. A receiver that lags loses the oldest events and receives their number.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<EventView> {
        self.events.subscribe()
    }

    /// The number of parents and of links.
    pub fn count(&self) -> (usize, usize) {
        (self.parents.len(), self.links.len())
    }

    /// The engine, for checks that its control thread responds.
    pub fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine)
    }

    /// Reads the state of a link again; changes are saved and published.
    fn refresh(&mut self, id: u64) -> io::Result<()> {
        self.refresh_in(id, None)
    }

    /// As [`Self::refresh`], with room for the state that was reserved.
    fn refresh_in(&mut self, id: u64, room: Option<Room>) -> io::Result<()> {
        // A link that is gone has an event of its own.
        let (Ok(now), Some(entry)) = (self.engine.sub(SubId(id)), self.links.get_mut(&id)) else {
            return Ok(());
        };
        let before = entry.record();
        let was = std::mem::replace(&mut entry.seen, now);
        if entry.seen.netns == self.home {
            // Nobody but the owner of the parent changes names here.
            entry.given_name.clone_from(&entry.seen.name);
        }
        let record = entry.record();
        // The parent's record changes with a passthru link's address, and before an MTU changes.
        let parent_changed = was.settings.mode == Mode::Passthru || was.mtu != entry.seen.mtu;
        let parent = record.parent.clone();
        self.follow_lease(id);
        let (link_room, parent_room) = room.map(|Room { link, parent }| (link, parent)).unzip();
        let written = match link_room {
            _ if record == before && !self.unsaved.contains(&id) => Ok(()),
            Some(room) => room.write(&record),
            None => self.store.put_link(&record),
        };
        self.publish_change(id, &was);
        let noted = record.differs_in_notes_only(&before);
        let parent_written = match parent_changed && (written.is_ok() || noted) {
            true => self.write_parent(&parent, parent_room.flatten()),
            false => Ok(()),
        };
        match written.is_ok() && parent_written.is_ok() {
            true => self.unsaved.remove(&id),
            false => self.unsaved.insert(id),
        };
        // No request depends on a note, and writing it is tried again.
        if noted { parent_written } else { written.and(parent_written) }
    }
}
