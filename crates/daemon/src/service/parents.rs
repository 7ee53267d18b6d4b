//! Parents: attached for the first link or by the configuration, detached after the last link.

use std::collections::BTreeSet;
use std::io;

use umacvlan_core::MacAddr;
use umacvlan_datapath::worker::WorkerConfig;
use umacvlan_engine::engine::{
    AbsentParent, KnownParent, NeighbourStatus, ParentOptions, ParentStatus, SubStatus,
    VlanFilterStatus,
};

use super::Service;
use super::events::LogKind;
use super::problem::{plain, storage_error};
use crate::ServiceError;
use crate::parent_record::ParentRecord;
use crate::record_store::Reservation;
use umacvlan_api::Code;
use umacvlan_config::{Config, ParentSettings};
use umacvlan_engine::cpus;

/// Values of a configured parent that does not exist yet; the real ones are read when it appears.
const UNSEEN: AbsentParent = AbsentParent { mac: MacAddr::new([0; 6]), mtu: 1500 };

/// A parent that is attached.
#[derive(Debug)]
pub(super) struct Attached {
    /// Its record in the state files.
    pub(super) record: ParentRecord,
    /// Its present name.
    pub(super) name: String,
    /// The CPUs of its workers.
    pub(super) cpus: Vec<usize>,
    /// Its name in the configuration, which may be an earlier one; `None` if it ends with its last
    /// link.
    pub(super) configured: Option<String>,
}

/// What a parent had in an earlier daemon.
#[derive(Default)]
struct Former {
    record: Option<ParentRecord>,
    own_mac: Option<MacAddr>,
    known: Option<KnownParent>,
    absent: Option<AbsentParent>,
}

impl Service {
    /// Attaches the parent of a new link, unless it is attached: the interface that has the name
    /// now, or a VLAN of one. For a link of umacvlan in this namespace that is the link's own
    /// parent, and for a macvlan of the kernel the interface below it, as for a macvlan on a macvlan.
    /// Returns its name in requests to the engine.
    ///
    /// `macnat`: its links are to share its MAC address.
    pub(super) fn attach(&mut self, name: &str, macnat: bool) -> Result<String, ServiceError> {
        let handle = self.attach_present(name, macnat)?;
        let shares = self.parents.get(&handle).is_some_and(|parent| parent.record.macnat);
        match macnat && !shares {
            true => Err(plain(
                Code::Refused,
                format!(
                    "{name}: its links have their own addresses: set macnat = true for the parent \
                     in the configuration, or delete its links first"
                ),
            )),
            false => Ok(handle),
        }
    }

    fn attach_present(&mut self, name: &str, macnat: bool) -> Result<String, ServiceError> {
        let name = self.engine.flatten(name)?;
        let name = name.as_str();
        let ours = |seen: &&SubStatus| seen.name == name && seen.netns == self.home;
        if let Some(seen) = self.links.values().map(|link| &link.seen).find(ours) {
            return Ok(seen.parent.clone());
        }
        let settings = self.config.parent(name);
        let settings = ParentSettings { macnat: macnat || settings.macnat, ..settings };
        self.attach_named(name, settings, None)
    }

    /// Attaches the parent of a link of a former daemon, whatever its name is now; it may be
    /// absent. `owned`: the link is a passthru link, so the parent may have the link's address now.
    /// Returns its name in requests to the engine.
    pub(super) fn attach_again(
        &mut self,
        handle: &str,
        record: Option<&ParentRecord>,
        owned: bool,
    ) -> Result<String, ServiceError> {
        if self.parents.contains_key(handle) {
            return Ok(handle.to_owned());
        }
        let own_mac = record.filter(|_| owned).map(|record| record.own_mac);
        let absent =
            record.map(|&ParentRecord { own_mac: mac, mtu, .. }| AbsentParent { mac, mtu });
        let known = record.and_then(|record| record.interface.as_ref()?.known());
        let binding = match &known {
            Some(known) => self.engine.lower_known(known)?,
            None => self.engine.lower(handle)?,
        };
        if let Some(parent) = binding.parent {
            return Ok(parent);
        }
        let settings = match self.config.parents.contains_key(handle) {
            true => self.config.parent(handle),
            // Its first link may have asked for the address.
            false => ParentSettings {
                macnat: record.is_some_and(|record| record.macnat),
                ..self.config.parent(&binding.link)
            },
        };
        let former = Former { record: record.cloned(), own_mac, known, absent };
        self.attach_as(handle, None, &binding.workers, settings, former)
    }

    /// Attaches a parent of the configuration, which stays without links. `patient`: it may be
    /// absent, and it is the interface that had the name when a former daemon attached it.
    pub(super) fn attach_configured(
        &mut self,
        name: &str,
        settings: ParentSettings,
        patient: bool,
    ) -> Result<(), ServiceError> {
        let handle = match patient && self.parents.contains_key(name) {
            true => name.to_owned(),
            false => self.attach_named(name, settings, patient.then_some(UNSEEN))?,
        };
        if let Some(parent) = self.parents.get_mut(&handle) {
            parent.configured = Some(name.to_owned());
        }
        Ok(())
    }

    /// Notes that the configuration does not have a parent of this name any more.
    pub(super) fn unconfigure(&mut self, name: &str) {
        let mut parents = self.parents.iter_mut();
        let named = |parent: &Attached| parent.configured.as_deref() == Some(name);
        if let Some((handle, parent)) = parents.find(|(_, parent)| named(parent)) {
            parent.configured = None;
            let handle = handle.clone();
            self.detach_idle(&handle);
        }
    }

    /// Warns of names in the configuration that are those of other interfaces by now.
    pub(super) fn warn_of_renamed(&self, wanted: &Config) {
        let linked = wanted.links.values().map(|entry| &entry.spec.parent);
        let names: BTreeSet<&String> = wanted.parents.keys().chain(linked).collect();
        for name in names {
            if let Some(parent) = self.parents.get(name).filter(|parent| parent.name != *name) {
                tracing::warn!(
                    "configuration: the interface that was {name} is {now} now, and its links stay \
                     there; write {now} into the configuration",
                    now = parent.name
                );
            }
        }
    }

    /// Attaches the interface or VLAN that has the name now, unless it is attached.
    fn attach_named(
        &mut self,
        name: &str,
        settings: ParentSettings,
        absent: Option<AbsentParent>,
    ) -> Result<String, ServiceError> {
        let binding = self.engine.lower(name)?;
        if let Some(parent) = binding.parent {
            return Ok(parent);
        }
        let handle = self.vacant_handle(name);
        let former = Former { absent, ..Former::default() };
        let attached = self.attach_as(&handle, Some(name), &binding.workers, settings, former)?;
        self.keep_uplinks();
        Ok(attached)
    }

    /// A name in requests that no parent has, nor the record of a link that is not served. A colon
    /// is in no name of an interface.
    fn vacant_handle(&self, name: &str) -> String {
        let taken = |handle: &String| {
            self.parents.contains_key(handle)
                || self.deferred.contains(handle)
                || self.waiting.iter().any(|one| one.record.parent == *handle)
        };
        let numbered = (2_u32..).map(|number| format!("{name}:{number}"));
        let mut handles = std::iter::once(name.to_owned()).chain(numbered);
        // There are more numbers than parents.
        handles.find(|handle| !taken(handle)).unwrap_or_default()
    }

    fn attach_as(
        &mut self,
        handle: &str,
        interface: Option<&str>,
        shared: &[WorkerConfig],
        settings: ParentSettings,
        former: Former,
    ) -> Result<String, ServiceError> {
        let cpus = self.choose_cpus(&settings, shared);
        let ParentSettings { backend, coalesce, io, poll, semantics, macnat, .. } = settings;
        let worker = |&cpu: &Option<usize>| WorkerConfig { coalesce, cpu, io, poll };
        let workers = cpus.iter().map(worker).collect();
        let Former { record: former, own_mac, known, absent } = former;
        let options = ParentOptions {
            name: handle.to_owned(),
            interface: interface.map(str::to_owned),
            known,
            workers,
            backend,
            semantics,
            own_mac,
            absent,
            macnat,
            neighbours: former
                .iter()
                .flat_map(|former| &former.neighbours)
                .map(NeighbourStatus::from)
                .collect(),
            tags: former.as_ref().is_some_and(|former| former.tags),
            ..ParentOptions::default()
        };
        self.engine.add_parent(options)?;
        let attached = self.engine.parent(handle).map_err(ServiceError::from).and_then(|status| {
            let mut record = record(&status);
            // The limit of a former daemon is set with its first link.
            record.bc_cutoff = former.as_ref().map_or(record.bc_cutoff, |former| former.bc_cutoff);
            let written =
                self.store.put_parent(&record).map_err(|error| storage_error(&status.name, &error));
            match (written, former) {
                (Ok(()), _) => Ok((record, status)),
                (Err(problem), None) => Err(problem),
                // Its links are served all the same, and the next change is written again.
                (Err(problem), Some(former)) => {
                    tracing::error!("{problem}");
                    Ok((former, status))
                }
            }
        });
        match attached {
            Ok((record, ParentStatus { name, present, .. })) => {
                let there = if present { "" } else { ", and waits for its interface" };
                tracing::info!("parent {name} attached{there}");
                // Shared CPUs count for the parent that was attached first.
                let cpus = cpus.into_iter().flatten().filter(|_| shared.is_empty()).collect();
                let attached = Attached { record, name, cpus, configured: None };
                self.parents.insert(handle.to_owned(), attached);
                Ok(handle.to_owned())
            }
            Err(problem) => {
                // An error here means that the parent or the engine is gone.
                let _ = self.engine.remove_parent(handle);
                self.store.remove_parent(handle);
                Err(problem)
            }
        }
    }

    /// The CPUs for the workers of a parent: those of other parents on the same interface, if the
    /// settings allow them.
    fn choose_cpus(
        &self,
        settings: &ParentSettings,
        shared: &[WorkerConfig],
    ) -> Vec<Option<usize>> {
        let may = |cpu: usize| settings.cpus.is_empty() || settings.cpus.contains(&cpu);
        let suits = |worker: &WorkerConfig| worker.cpu.is_none_or(may);
        if shared.len() == settings.workers && shared.iter().all(suits) {
            return shared.iter().map(|worker| worker.cpu).collect();
        }
        let taken = self.parents.values().flat_map(|parent| parent.cpus.clone()).collect();
        settings.choose_cpus(&cpus::allowed(), taken)
    }

    /// Detaches a parent that has no links, none that waits to be found, and is not in the
    /// configuration.
    pub(super) fn detach_idle(&mut self, handle: &str) {
        let idle = self.parents.get(handle).is_some_and(|parent| parent.configured.is_none())
            && !self.links.values().any(|link| link.seen.parent == handle)
            && !self.waiting.iter().any(|one| one.record.parent == handle);
        if idle {
            let name = self.parent_name(handle);
            self.detach(handle);
            tracing::info!("parent {name} detached");
        }
    }

    /// Detaches a parent and removes its record, unless that of a link needs it.
    fn detach(&mut self, handle: &str) {
        if let Err(error) = self.engine.remove_parent(handle) {
            tracing::error!("{error}");
        }
        self.keep_uplinks();
        self.parents.remove(handle);
        if !self.deferred.contains(handle) {
            self.store.remove_parent(handle);
        }
    }

    /// The present name of a parent.
    pub(super) fn parent_name(&self, handle: &str) -> String {
        self.parents.get(handle).map_or(handle, |parent| &parent.name).to_owned()
    }

    /// Saves the records of all parents that have changed.
    pub(super) fn write_parents(&mut self) {
        for handle in self.parents.keys().cloned().collect::<Vec<_>>() {
            self.write_parent_or_log(&handle);
        }
    }

    /// Saves the record of a parent if it has changed.
    pub(super) fn write_parent_or_log(&mut self, handle: &str) {
        if let Err(error) = self.write_parent(handle, None) {
            let what = storage_error(&self.parent_name(handle), &error).to_string();
            self.trouble(LogKind::Text(what.clone()), what);
        }
    }

    /// Takes the room for the record of a parent, if it is attached.
    pub(super) fn reserve_parent(&self, handle: &str) -> io::Result<Option<Reservation>> {
        self.parents.get(handle).map(|parent| self.store.reserve_parent(&parent.record)).transpose()
    }

    /// Saves the record of a parent if it has changed, in `room` if that was reserved.
    pub(super) fn write_parent(
        &mut self,
        handle: &str,
        room: Option<Reservation>,
    ) -> io::Result<()> {
        let (Ok(status), Some(parent)) = (self.engine.parent(handle), self.parents.get_mut(handle))
        else {
            return Ok(());
        };
        parent.name.clone_from(&status.name);
        let record = record(&status);
        if record == parent.record {
            return Ok(());
        }
        match room {
            Some(room) => room.write(&record)?,
            None => self.store.put_parent(&record)?,
        }
        parent.record = record;
        Ok(())
    }
}

fn record(status: &ParentStatus) -> ParentRecord {
    ParentRecord {
        name: status.handle.clone(),
        own_mac: status.own_mac,
        mtu: status.mtu,
        bc_cutoff: status.bc_cutoff,
        switched_off: status.switched_off.into(),
        tags: status.vlan_filter != VlanFilterStatus::Untouched,
        macnat: status.neighbours.is_some(),
        neighbours: status.neighbours.iter().flatten().map(Into::into).collect(),
        interface: status.known.clone().map(Into::into),
    }
}
