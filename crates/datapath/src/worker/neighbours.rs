//! What a request can do with the translation of a switch.

use std::net::IpAddr;

use umacvlan_core::{MacAddr, SubIndex};
use umacvlan_macnat::Neighbour;
use umacvlan_sys::bpf::SharedAddresses;

use super::Worker;
use crate::switches::SwitchId;
use crate::translation::Translation;

impl Worker {
    /// Has the sub-interfaces of a switch, of which there is none yet, send with the parent's address.
    pub fn translate(&mut self, id: SwitchId) {
        self.forwarder.switches.set_nat(id, Some(Box::default()));
    }

    /// The parent's address if the sub-interfaces of a switch send with it.
    ///
    /// # Panics
    /// If the worker never had this switch.
    pub fn shared_address(&self, id: SwitchId) -> Option<MacAddr> {
        let it = self.forwarder.switches.get(id);
        it.nat.as_ref().map(|_| it.switch.parent().mac)
    }

    /// Sets the IP addresses of the host of a switch with a translation.
    ///
    /// # Panics
    /// If the worker never had this switch.
    pub fn set_host_addresses(&mut self, id: SwitchId, addresses: &[IpAddr]) {
        if let Some(nat) = self.translation(id) {
            nat.set_host(addresses);
        }
    }

    /// Has a filter of the host hide the addresses of the sub-interfaces of a switch.
    ///
    /// # Panics
    /// If the worker never had this switch.
    pub fn hide_neighbours(&mut self, id: SwitchId, hidden: Option<SharedAddresses>) {
        if let Some(nat) = self.translation(id) {
            nat.hide(hidden);
        }
    }

    /// The IP addresses of the sub-interfaces of a switch, in no order.
    ///
    /// # Panics
    /// If the worker never had this switch.
    pub fn neighbours(&self, id: SwitchId) -> Vec<Neighbour> {
        let nat = self.forwarder.switches.get(id).nat.as_ref();
        nat.map(|it| it.nat().neighbours().collect()).unwrap_or_default()
    }

    /// Puts neighbours in that an earlier worker had.
    ///
    /// # Panics
    /// If the worker never had this switch.
    pub fn restore_neighbours(&mut self, id: SwitchId, neighbours: Vec<Neighbour>) {
        if let Some(nat) = self.translation(id) {
            nat.restore(neighbours);
        }
    }

    /// Frees the IP addresses of a sub-interface that is down.
    pub(super) fn release_neighbours(&mut self, sub: SubIndex) {
        let id = self.forwarder.switches.switch_of(sub);
        if let Some(nat) = self.translation(id) {
            nat.release_link(sub);
        }
    }

    fn translation(&mut self, id: SwitchId) -> Option<&mut Translation> {
        self.forwarder.switches.get_mut(id).nat.as_deref_mut()
    }
}
