//! What programs in the kernel forward by themselves for the sub-interfaces of a parent.
//!
//! The switch has the rules ([`KernelAnswers`]); this keeps the programs equal to them, as the host
//! filter is. Frames without an answer go to the engine. What the kernel has counted is added to the
//! counters of the workers, so that no reader sees a difference.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use umacvlan_core::SubIndex;
use umacvlan_core::stats::{KernelStats, SubStats, WireStats};
#[cfg(doc)]
use umacvlan_core::switch::KernelAnswers;
use umacvlan_sys::bpf::port::{PortPrograms, remove_unused_pins};
use umacvlan_sys::bpf::port_types::{End, KernelPort};

use super::Control;
use super::inventory::ParentId;
use super::parent::{Carried, LAST_TURNS, Parent};
use super::workers::Workers;
use crate::control::engine::UplinkKind;
use umacvlan_datapath::uplink::Uplink;
use umacvlan_datapath::worker::Worker;

/// The programs of one parent.
#[derive(Debug, Default)]
pub(super) struct KernelSide {
    /// `None` until there is a sub-interface that needs them.
    programs: Option<Box<PortPrograms>>,
    known: Option<AnswersBy>,
    /// Why frames from or to the wire go through the engine; empty if they need not.
    pub(super) why: String,
}

/// What the programs answer by.
#[derive(Debug, PartialEq, Eq)]
struct AnswersBy {
    /// The number of changes of sub-interfaces.
    marks: u64,
    /// The parent's interface, and its MTU in bytes.
    index: Option<u32>,
    mtu: u32,
    uplink: UplinkKind,
    /// See [`Control::captured`].
    captured: Vec<Option<SubIndex>>,
}

impl KernelSide {
    /// The programs, which are loaded if they are not; with `pins`, those of an earlier engine.
    ///
    /// # Errors
    /// As [`PortPrograms::load`].
    fn programs(&mut self, pins: Option<&Path>) -> io::Result<&mut PortPrograms> {
        let programs = match self.programs.take() {
            Some(programs) => programs,
            None => Box::new(PortPrograms::load(pins)?),
        };
        Ok(self.programs.insert(programs))
    }

    /// True if there are sub-interfaces for which programs are loaded.
    pub(super) const fn has_programs(&self) -> bool {
        self.programs.is_some()
    }

    /// Removes a sub-interface; returns what was forwarded for it. The programs go with the last one.
    pub(super) fn remove_port(&mut self, slot: u32) -> KernelStats {
        let programs = self.programs.as_mut();
        let stats = programs.map(|programs| programs.remove_port(slot)).unwrap_or_default();
        self.drop_unused();
        stats
    }

    /// Removes the sub-interfaces of an earlier engine that were not adopted.
    fn drop_others(&mut self) {
        if let Some(programs) = &mut self.programs {
            programs.drop_others();
        }
        self.drop_unused();
    }

    /// Has the packet sockets leave out what programs of an earlier engine answer. `resumed`: they are the
    /// sockets of that engine, and have always done so.
    pub(super) fn filter_if_answering(
        &mut self,
        workers: &Workers,
        resumed: bool,
    ) -> io::Result<()> {
        match self.programs.as_mut().filter(|programs| programs.answers_wire()) {
            Some(programs) => {
                filter_uplink(programs, workers)?;
                if resumed {
                    return Ok(());
                }
                // The kernel has forwarded what waits in the sockets, and no switch may do it again. A
                // worker that has stopped has nothing.
                let _ = workers.each(|worker: &mut Worker| worker.read_held_uplink(LAST_TURNS));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Drops the programs if there is no sub-interface for them.
    pub(super) fn drop_unused(&mut self) {
        // The filter of the uplink stays, and is not to leave anything out.
        let unused = |it: &mut Box<PortPrograms>| it.is_empty() && it.withdraw().is_ok();
        if self.programs.as_mut().is_some_and(unused) {
            *self = Self::default();
        }
    }

    /// What was forwarded for the sub-interface in a slot.
    pub(super) fn stats(&self, slot: u32) -> KernelStats {
        let programs = self.programs.as_ref();
        programs.map(|programs| programs.stats(slot)).unwrap_or_default()
    }
}

impl Carried {
    /// Keeps what the kernel has forwarded for a sub-interface that is removed.
    pub(super) fn keep(&mut self, stats: &KernelStats) {
        let (mut sub, mut wire) = (SubStats::default(), WireStats::default());
        stats.add_to(&mut sub, &mut wire);
        self.removed += sub;
        if self.workers.is_empty() {
            self.workers.push(Default::default());
        }
        self.workers[0].0 += wire;
    }
}

impl Control {
    /// The programs of a parent, which are loaded if they are not.
    ///
    /// # Errors
    /// As [`PortPrograms::load`].
    pub(super) fn port_programs(&mut self, id: ParentId) -> io::Result<&mut PortPrograms> {
        let pins = self.pins_of(id);
        self.inventory[id].kernel.programs(pins.as_deref())
    }

    /// The directory where the programs of a parent are pinned; `None` if they end with the engine.
    fn pins_of(&self, id: ParentId) -> Option<PathBuf> {
        // A dot is not allowed there, and two colons are in no name of a parent.
        Some(self.pins.as_ref()?.join(self.inventory[id].handle.replace('.', "::")))
    }

    /// Has the kernel answer for those sub-interfaces of an earlier engine that were adopted, and no
    /// others, and by the rules of now.
    pub(crate) fn end_takeover(&mut self) {
        self.taking_over = false;
        let Some(dir) = self.pins.clone() else {
            return;
        };
        let mut used = Vec::new();
        for id in self.inventory.parent_ids() {
            self.inventory[id].kernel.drop_others();
            if self.inventory[id].kernel.programs.is_some() {
                used.extend(self.pins_of(id));
            }
        }
        remove_unused_pins(&dir, &used);
    }

    /// Has the kernel answer what the switches allow now. What an earlier engine has allowed holds until
    /// its sub-interfaces are adopted.
    pub(super) fn settle_kernel_answers(&mut self) {
        if self.taking_over {
            return;
        }
        for id in self.inventory.parent_ids() {
            if self.inventory[id].kernel.programs.is_none() {
                continue;
            }
            let uplink = self.inventory[self.inventory[id].device].uplink.status().kind;
            let captured = self.captured(id);
            let Parent { kernel, memberships, index, info, .. } = &mut self.inventory[id];
            let (marks, index, mtu) = (memberships.marks(), *index, info.mtu);
            let now = Some(AnswersBy { marks, index, mtu, uplink, captured: captured.clone() });
            if kernel.known == now {
                continue;
            }
            kernel.known = now;
            if let Err(error) = self.write_kernel_answers(id, uplink, &captured) {
                let Parent { kernel, name, .. } = &mut self.inventory[id];
                let what = format!("all frames of {name} go through the engine: {error}");
                kernel.why = error.to_string();
                self.events.trouble(what);
            }
        }
    }

    fn write_kernel_answers(
        &mut self,
        id: ParentId,
        uplink: UplinkKind,
        captured: &[Option<SubIndex>],
    ) -> io::Result<()> {
        let port = |sub: &super::sub::Sub| {
            let (slot, at_home) = (sub.veth?.slot, sub.interface.nsid.is_none());
            Some(KernelPort { sub: sub.index, slot, at_home, mac: sub.seen.mac })
        };
        let ports: Vec<KernelPort> = self.inventory.subs_of(id).filter_map(port).collect();
        let parent = &mut self.inventory[id];
        let switch = parent.switch;
        let asked =
            parent.workers.ask(move |it: &mut Worker| it.switch_at(switch).kernel_answers());
        // A worker that has stopped has reported it, and its successor has the same switch.
        let Ok(mut answers) = asked else {
            return Ok(());
        };
        for &captured in captured {
            match captured {
                Some(sub) => answers.withdraw(sub),
                None => answers.withdraw_all(),
            }
        }
        if parent.translation.is_some() {
            // One that an earlier engine had without translation: every frame goes through the engine.
            answers.withdraw_all();
        }
        let wire = parent.addressed();
        let (ingress, why) = match (wire, uplink) {
            (None, _) if !parent.path.is_untagged() => (false, "the parent is a VLAN"),
            (Some(_), _) if parent.host.gets_all() => (false, "the host is to get every frame"),
            (Some(_), UplinkKind::AfXdp(_)) => (false, "AF_XDP takes the frames from the wire"),
            _ if captured.contains(&None) => (false, "a capture of the parent sees every frame"),
            (wire, _) => (wire.is_some(), ""),
        };
        why.clone_into(&mut parent.kernel.why);
        let Some(programs) = parent.kernel.programs.as_mut() else {
            return Ok(());
        };
        // One that is gone has an event of its own.
        let link = match wire.filter(|_| ingress) {
            Some(index) => self.kernel.rtnl.link_by_index(index).map_err(io::Error::other)?,
            None => None,
        };
        let Some(link) = link else {
            programs.detach_wire();
            return programs.set_answers(&answers, &ports, wire.unwrap_or(0), false);
        };
        // The sockets leave out what the program answers, so the filter comes first, and no address
        // before both.
        filter_uplink(programs, &parent.workers)?;
        if programs.attach_wire(End { name: &link.name, index: link.index })? {
            parent.host.move_last(&link.name)?;
        }
        programs.set_answers(&answers, &ports, link.index, true)
    }
}

/// Has the packet sockets of an uplink leave out what the programs answer.
fn filter_uplink(programs: &mut PortPrograms, workers: &Workers) -> io::Result<()> {
    let filter = Arc::new(programs.uplink_filter()?);
    let set = move |worker: &mut Worker| match worker.uplink().and_then(Uplink::packet) {
        Some(packet) => packet.socket.set_filter(filter.as_fd()),
        None => Ok(()),
    };
    // A worker that has stopped has no socket.
    workers.each(set).unwrap_or_default().into_iter().collect()
}
