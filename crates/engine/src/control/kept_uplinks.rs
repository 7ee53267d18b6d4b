//! Packet sockets on parents that outlive this engine: its owner has another process keep them, and gives
//! them to the next engine.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};

use super::Control;
use super::inventory::DeviceId;
use super::uplink_selector::KeptSockets;
use crate::control::engine::UplinkSockets;
use crate::control::error::Error;
use umacvlan_datapath::uplink::Uplink;
use umacvlan_datapath::worker::Worker;

impl Control {
    /// Notes the sockets of an earlier engine, by the index of their interface: the first parent there goes
    /// on with them.
    pub(crate) fn offer_uplinks(&mut self, kept: BTreeMap<u32, Vec<OwnedFd>>) {
        let kept = kept.into_iter().map(|(index, sockets)| (index, KeptSockets::new(sockets)));
        self.offered_uplinks = kept.collect();
    }

    /// The packet sockets on every interface, with descriptors of those whose number is another one than
    /// in `known`. Those that were offered and not used are closed.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn uplink_sockets(
        &mut self,
        known: &BTreeMap<u32, NonZeroU64>,
    ) -> Result<Vec<UplinkSockets>, Error> {
        self.offered_uplinks.clear();
        self.uplinks_kept = true;
        let mut all = Vec::new();
        for id in self.inventory.device_ids() {
            let device = &self.inventory[id];
            let (Some(index), Some(filter), Some(numbered)) =
                (device.index, &device.filter, device.uplink.sockets())
            else {
                continue;
            };
            let mut sockets = Vec::new();
            if known.get(&index) != Some(&numbered.number) {
                let duplicates = numbered.duplicate().and_then(|mut duplicates| {
                    duplicates.push(filter.as_fd().try_clone_to_owned()?);
                    Ok(duplicates)
                });
                let what = format!("duplicate the sockets on {}", device.name);
                sockets = duplicates.map_err(Error::system(what))?;
            }
            all.push(UplinkSockets { index, number: numbered.number, sockets });
        }
        Ok(all)
    }

    /// Has sockets that were taken over leave nothing out, unless programs answer what they leave out: those
    /// of the earlier engine may be gone.
    pub(super) fn reset_resumed_filters(&mut self) {
        for id in self.inventory.device_ids() {
            let on_device = self.inventory.parents_on(id);
            let answered = on_device.iter().any(|&it| self.inventory[it].kernel.has_programs());
            let device = &self.inventory[id];
            if answered || device.former_filter.is_none() {
                continue;
            }
            let reset = |worker: &mut Worker| match worker.uplink().and_then(Uplink::packet) {
                Some(packet) => packet.socket.reset_filter(),
                None => Ok(()),
            };
            // A worker that has stopped has no socket.
            let reset: io::Result<()> =
                device.workers.each(reset).unwrap_or_default().into_iter().collect();
            if let Err(error) = reset {
                let name = &device.name;
                self.events.trouble(format!("some frames of {name} may be left out: {error}"));
            }
        }
    }

    /// Drops the memberships of earlier engines: the present ones are joined.
    pub(super) fn drop_former_filters(&mut self) {
        for id in self.inventory.device_ids() {
            self.inventory[id].former_filter = None;
        }
    }

    /// Has the memberships of a device stay when this engine ends, if its sockets are kept.
    pub(super) fn leave_memberships_joined(&mut self, id: DeviceId) {
        if self.uplinks_kept {
            self.inventory[id].filter = None;
        }
    }
}
