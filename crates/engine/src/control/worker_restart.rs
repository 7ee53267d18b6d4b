//! Workers that fail: watched, ended, and replaced by new ones with the same table.
//!
//! A worker that has panicked leaves its counters. One that hangs cannot be ended from outside: its
//! thread is left alone with what it owns, and ends by itself after the turn in which it hangs, if
//! that ends; its counters are those of its last answer, about a second before. The TAPs are shared with the new worker, which has sockets of its own on the parent.
//! Other devices have other workers and do not notice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use umacvlan_core::{MacAddr, MacvlanSettings, ParentInfo, Semantics, SubConfig};

use super::Control;
use super::attempts::Attempts;
use super::inventory::{DeviceId, ParentId};
use super::parent::{Parent, has_carrier};
use super::parent_device::ParentDevice;
use super::workers::Workers;
use crate::control::engine::SubId;
use crate::control::error::Error;
use umacvlan_datapath::worker::{LeftThread, Notifier, Worker};

/// The least time between two starts of the workers of a device.
const RESTART_TIME: Duration = Duration::from_secs(1);

/// How many threads that hang a device may leave behind, of which those that end do not count.
const LEFT_MAX: usize = 8;

/// The state of the watch over the workers of one device.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The number on the notices of the present workers.
    pub(super) notifier: u64,
    /// When they were last replaced.
    replaced: Option<Instant>,
    /// Those that failed since then.
    attempts: Attempts,
    /// Why they have failed, until they are replaced.
    failed: Option<String>,
    /// Threads that hung and were left behind.
    left: Vec<LeftThread>,
}

impl Watch {
    /// The number of threads that were left behind and still hang.
    fn hanging(&mut self) -> usize {
        self.left.retain(|thread| !thread.has_ended());
        self.left.len()
    }

    /// Why no worker runs; `None` if they run.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// For new workers whose notices have this number.
    pub(super) fn new(notifier: u64) -> Self {
        Self { notifier, ..Self::default() }
    }
}

impl Control {
    pub(crate) fn run_on_worker(
        &mut self,
        parent: &str,
        number: usize,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), Error> {
        let id = self.inventory.parent_named(parent)?;
        Ok(self.inventory[id].workers.post(number, run)?)
    }

    /// Looks for workers that hang, and starts those again that wait for it.
    pub(super) fn watch_workers(&mut self) {
        for id in self.inventory.device_ids() {
            let device = &mut self.inventory[id];
            if device.watch.failed.is_some() {
                if !device.watch.attempts.is_paused(Instant::now()) {
                    self.restart_workers(id);
                }
            } else if device.workers.look_for_hanging() {
                self.worker_failed(id, "it does not respond");
            }
        }
    }

    /// Notes that a worker has failed, and replaces all workers of its device, because each of them
    /// has a part of the flows only.
    pub(super) fn worker_failed(&mut self, id: DeviceId, why: &str) {
        let Some(device) = self.inventory.device_mut(id) else {
            return;
        };
        let name = device.name.clone();
        let then = match device.watch.hanging() > LEFT_MAX {
            true => "too many hang already: start this program again",
            false => "it is started again",
        };
        let what = format!("the worker of {name} has failed: {why}; {then}");
        device.watch.failed = Some(what.clone());
        self.events.trouble(what);
        self.restart_workers(id);
    }

    /// Replaces the workers of a device, unless that was just done: then a sweep does it.
    fn restart_workers(&mut self, id: DeviceId) {
        let device = &mut self.inventory[id];
        let recent = |replaced: Instant| replaced.elapsed() < RESTART_TIME;
        if device.watch.replaced.is_some_and(recent) || device.watch.hanging() > LEFT_MAX {
            return self.drop_carriers(id);
        }
        device.watch.replaced = Some(Instant::now());
        match self.replace_workers(id) {
            Ok(()) => {
                let watch = &mut self.inventory[id].watch;
                (watch.failed, watch.attempts) = (None, Attempts::default());
            }
            Err(error) => {
                // With a part of the sub-interfaces they are of no use.
                self.inventory[id].workers.halt();
                self.drop_carriers(id);
                let device = &mut self.inventory[id];
                let what = format!("the worker of {} cannot be started: {error}", device.name);
                device.watch.failed = Some(what.clone());
                device.watch.attempts.fail(Instant::now());
                if device.watch.attempts.is_news(&what) {
                    self.events.trouble(what);
                }
            }
        }
    }

    fn drop_carriers(&mut self, id: DeviceId) {
        for parent in self.inventory.parents_on(id) {
            self.set_carrier(parent, false);
        }
    }

    fn replace_workers(&mut self, id: DeviceId) -> Result<(), Error> {
        let number = self.inventory.claim_device().0;
        let notifier = Notifier::new(number, self.notify.clone(), Arc::clone(&self.bell));
        let ParentDevice { name, configs, .. } = &self.inventory[id];
        let nobody = ParentInfo { mac: MacAddr::ZERO, mtu: 0, promisc: false };
        let blank = (nobody, Semantics::default());
        let workers = Workers::spawn(name, blank, configs, &notifier, self.on_worker.as_ref())
            .map_err(Error::system(format!("start the worker of {name}")))?;
        let workers = Arc::new(workers);
        let parents = self.inventory.parents_on(id);
        for &parent in &parents {
            self.inventory[parent].workers = Arc::clone(&workers);
        }
        let device = &mut self.inventory[id];
        device.watch.notifier = number;
        let offloads = device.uplink.forget();
        device.attached = false;
        device.filter = None;
        let former = std::mem::replace(&mut device.workers, workers);
        self.end_workers(id, &parents, former);
        drop(offloads);
        self.inventory.forget_indexes(id);
        for &parent in &parents {
            self.rebuild_parent(parent)?;
        }
        self.renew_captures(id)?;
        self.reattach_device(id)
    }

    /// Ends the former workers and keeps what they have counted.
    fn end_workers(&mut self, id: DeviceId, parents: &[ParentId], former: Arc<Workers>) {
        let Some(former) = Arc::into_inner(former) else {
            return;
        };
        let mut ended = former.finish();
        let left: Vec<_> = ended.iter_mut().filter_map(|ended| ended.left.take()).collect();
        let hang = !left.is_empty();
        let unknown = ended.iter().any(|ended| ended.remains.is_none());
        let remains: Vec<_> = ended.into_iter().map(|ended| ended.remains).collect();
        let device = &mut self.inventory[id];
        device.watch.left.extend(left);
        device.ring_drops += remains.iter().flatten().map(|one| one.ring_drops).sum::<u64>();
        if hang {
            let name = device.name.clone();
            let what = match unknown {
                true => "what it has counted is lost",
                false => {
                    "what it has counted since it was last asked, a second before that, is lost"
                }
            };
            self.events.trouble(format!("a worker of {name} hangs and cannot be ended: {what}"));
        }
        for &parent in parents {
            self.inventory.keep_counters(parent, &remains);
        }
    }

    /// Gives the new workers the switch of a parent, with its sub-interfaces.
    fn rebuild_parent(&mut self, id: ParentId) -> Result<(), Error> {
        let Parent { info, semantics, path, .. } = self.inventory[id];
        let switch = self.new_switch(info, semantics);
        let parent = &mut self.inventory[id];
        let cutoff = parent.bc_cutoff;
        parent.switch = parent
            .workers
            .tell(move |worker| worker.add_switch(path, switch.clone()))?
            .map_err(Error::refused(&parent.name))?;
        let switch = parent.switch;
        if let Some(cutoff) = cutoff {
            parent.workers.tell(move |it| it.switch_at_mut(switch).set_bc_cutoff(cutoff))?;
        }
        parent.memberships.forget();
        parent.host.forget();
        if let Some(translation) = &mut parent.translation {
            translation.rebuild();
        }
        let mut subs = parent.subs.clone().into_iter();
        self.translate(id)?;
        subs.try_for_each(|sub| self.rebuild_sub(sub))?;
        self.restore_neighbours(id);
        Ok(())
    }

    /// Adds a sub-interface as it was. A rule that it breaks by now is reported, and it stays down.
    fn rebuild_sub(&mut self, id: SubId) -> Result<(), Error> {
        let (sub, parent) = self.inventory.sub_and_parent(id)?;
        let (at, switch, seen) = (sub.parent, parent.switch, sub.seen);
        let name = sub.name.clone();
        let queues: Vec<_> = sub.queues().cloned().collect();
        let config = SubConfig {
            mac: seen.mac,
            mtu: Some(seen.mtu),
            settings: MacvlanSettings { bclim: None, ..sub.settings.clone() },
        };
        let kind = sub.program_kind();
        let (index, mac) = match kind {
            Some(kind) => {
                self.end_connection(id, "its worker has failed".to_owned());
                self.add_program_port((at, kind), &name, config)?
            }
            None => self.add_ports(at, &name, &queues, config)?,
        };
        self.inventory.set_index(id, index);
        let resumed = self.inventory[at].workers.tell(move |worker: &mut Worker| {
            let switch = worker.switch_at_mut(switch);
            let address = if mac == seen.mac { Ok(()) } else { switch.set_mac(index, seen.mac) };
            address.and_then(|()| worker.set_up(index, seen.up))
        })?;
        if let (Err(refusal), Some(sub)) = (resumed, self.inventory.sub_mut(id)) {
            sub.seen.up = false;
            self.events.trouble(Error::refused(&name)(refusal).to_string());
        }
        self.set_filters(id);
        Ok(())
    }

    fn reattach_device(&mut self, id: DeviceId) -> Result<(), Error> {
        let Some(index) = self.inventory[id].index else {
            return Ok(());
        };
        // One that is gone has an event of its own.
        let Some(link) = self.kernel.rtnl.link_by_index(index)? else {
            return Ok(());
        };
        self.reattach(id, &link)?;
        for parent in self.inventory.parents_on(id) {
            self.set_carrier(parent, has_carrier(&link));
        }
        Ok(())
    }
}
