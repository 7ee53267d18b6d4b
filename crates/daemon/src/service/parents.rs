//! Parents: attached for the first link or by the configuration, detached after the last link.

use std::io;

use umacvlan_core::MacAddr;
use umacvlan_engine::engine::{AbsentParent, ParentOptions, ParentStatus, SubStatus};
use umacvlan_engine::worker::WorkerConfig;

use super::Service;
use super::problem::storage_error;
use crate::ServiceError;
use crate::record_store::Reservation;
use crate::store::ParentRecord;
use umacvlan_config::ParentSettings;
use umacvlan_engine::cpus;

/// Values of a configured parent that does not exist yet; the real ones are read when it appears.
const UNSEEN: AbsentParent = AbsentParent { mac: MacAddr::new([0; 6]), mtu: 1500 };

/// A parent that is attached.
#[derive(Debug)]
pub(super) struct Attached {
    /// Its record in the state files.
    pub(super) record: ParentRecord,
    /// The CPUs of its workers.
    pub(super) cpus: Vec<usize>,
    /// True if the configuration has it: it stays without links.
    pub(super) configured: bool,
}

impl Service {
    /// The parent below an interface. For a link of umacvlan in this namespace that is the link's
    /// own parent, as for a macvlan on a macvlan; for a renamed parent, the name with which it was
    /// attached; else the interface itself.
    pub(super) fn resolve_parent(&mut self, name: &str) -> String {
        let ours = |seen: &&SubStatus| seen.name == name && seen.netns == self.home;
        if let Some(seen) = self.links.values().map(|link| &link.seen).find(ours) {
            return seen.parent.clone();
        }
        if self.parents.contains_key(name) {
            return name.to_owned();
        }
        // If this fails, attaching fails with the reason.
        let index = self.rtnl.link(name).ok().flatten().map(|link| link.index);
        let parents = self.engine.status().unwrap_or_default();
        // A VLAN parent has no interface of its own.
        let itself = |it: &ParentStatus| index.is_some() && it.index == index;
        let renamed = parents.into_iter().find(|it| it.vlan.is_untagged() && itself(it));
        renamed.map_or_else(|| name.to_owned(), |parent| parent.name)
    }

    /// Attaches the parent of a new link, unless it is attached.
    pub(super) fn attach(&mut self, name: &str) -> Result<(), ServiceError> {
        self.attach_as(name, self.config.parent(name), None, None)
    }

    /// Attaches the parent of a link of a former daemon; it may be absent. `owned`: the link is a
    /// passthru link, so the parent may have the link's address now.
    pub(super) fn attach_again(
        &mut self,
        name: &str,
        record: Option<&ParentRecord>,
        owned: bool,
    ) -> Result<(), ServiceError> {
        let own_mac = record.filter(|_| owned).map(|record| record.own_mac);
        let absent =
            record.map(|&ParentRecord { own_mac: mac, mtu, .. }| AbsentParent { mac, mtu });
        self.attach_as(name, self.config.parent(name), own_mac, absent)
    }

    /// Attaches a parent of the configuration, which stays without links. `patient`: it may be
    /// absent.
    pub(super) fn attach_configured(
        &mut self,
        name: &str,
        settings: ParentSettings,
        patient: bool,
    ) -> Result<(), ServiceError> {
        self.attach_as(name, settings, None, patient.then_some(UNSEEN))?;
        self.configure(name, true);
        Ok(())
    }

    /// Sets whether the configuration has a parent.
    pub(super) fn configure(&mut self, name: &str, configured: bool) {
        if let Some(parent) = self.parents.get_mut(name) {
            parent.configured = configured;
        }
    }

    fn attach_as(
        &mut self,
        name: &str,
        settings: ParentSettings,
        own_mac: Option<MacAddr>,
        absent: Option<AbsentParent>,
    ) -> Result<(), ServiceError> {
        if self.parents.contains_key(name) {
            return Ok(());
        }
        let shared = self.engine.lower(name)?.workers;
        let cpus = self.choose_cpus(&settings, &shared);
        let ParentSettings { backend, coalesce, io, poll, semantics, .. } = settings;
        let worker = |&cpu: &Option<usize>| WorkerConfig { coalesce, cpu, io, poll };
        let workers = cpus.iter().map(worker).collect();
        let name = name.to_owned();
        let options = ParentOptions {
            name: name.clone(),
            workers,
            backend,
            semantics,
            own_mac,
            absent,
            ..ParentOptions::default()
        };
        self.engine.add_parent(options)?;
        let attached = self.engine.parent(&name).map_err(ServiceError::from).and_then(|status| {
            let record = record(&status);
            let written =
                self.store.put_parent(&record).map_err(|error| storage_error(&name, &error));
            written.map(|()| (record, status.present))
        });
        match attached {
            Ok((record, present)) => {
                let there = if present { "" } else { ", and waits for its interface" };
                tracing::info!("parent {name} attached{there}");
                // Shared CPUs count for the parent that was attached first.
                let cpus = cpus.into_iter().flatten().filter(|_| shared.is_empty()).collect();
                self.parents.insert(name, Attached { record, cpus, configured: false });
                Ok(())
            }
            Err(problem) => {
                // An error here means that the parent or the engine is gone.
                let _ = self.engine.remove_parent(&name);
                self.store.remove_parent(&name);
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
    pub(super) fn detach_idle(&mut self, name: &str) {
        let idle = self.parents.get(name).is_some_and(|parent| !parent.configured)
            && !self.links.values().any(|link| link.seen.parent == name)
            && !self.waiting.iter().any(|one| one.record.parent == name);
        if idle {
            self.detach(name);
            tracing::info!("parent {name} detached");
        }
    }

    /// Detaches a parent and removes its record.
    fn detach(&mut self, name: &str) {
        if let Err(error) = self.engine.remove_parent(name) {
            tracing::error!("{error}");
        }
        self.parents.remove(name);
        self.store.remove_parent(name);
    }

    /// Takes the room for the record of a parent, if it is attached.
    pub(super) fn reserve_parent(&self, name: &str) -> io::Result<Option<Reservation>> {
        self.parents.get(name).map(|parent| self.store.reserve_parent(&parent.record)).transpose()
    }

    /// Saves the record of a parent if it has changed, in `room` if that was reserved.
    pub(super) fn write_parent(&mut self, name: &str, room: Option<Reservation>) -> io::Result<()> {
        let (Ok(status), Some(parent)) = (self.engine.parent(name), self.parents.get_mut(name))
        else {
            return Ok(());
        };
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
        name: status.name.clone(),
        own_mac: status.own_mac,
        mtu: status.mtu,
        bc_cutoff: status.bc_cutoff,
        switched_off: status.switched_off.into(),
    }
}
