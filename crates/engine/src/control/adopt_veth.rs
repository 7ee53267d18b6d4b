//! Adopting sub-interfaces of the port kind veth, for which the kernel has forwarded meanwhile.
//!
//! The links of their programs are pinned, and are the proof that an interface is the one that it was:
//! they are of that interface, and end with it. If they are gone, its namespace, index and address are,
//! as for a TAP that nobody has kept.

use super::Control;
use super::adopt::attach;
use super::create::tap_error;
use super::create_veth::{end, no_veth};
use super::inventory::ParentId;
use super::kernel::{Handle, Location, is_veth};
use super::parent::Parent;
use super::sub::VethPair;
use crate::control::engine::{Adopt, KeptTap, KeptVeth, SubId, SubStatus};
use crate::control::error::Error;
use umacvlan_sys::tap::Tap;

impl Control {
    /// Adopts a sub-interface whose interface is one end of a veth pair.
    pub(super) fn adopt_veth(
        &mut self,
        (id, parent): (SubId, ParentId),
        adopt: &Adopt,
        veth: &KeptVeth,
    ) -> Result<SubStatus, Error> {
        let workers = self.inventory[parent].workers.count();
        let queues = match &adopt.tap {
            KeptTap::Place { netns, index } => attach(netns, *index, workers)?.0,
            KeptTap::Queues(queues) => self.take_queues(queues, workers, None)?.0,
        };
        let mut location = self.kernel.locate_peer(veth.host_end).ok_or(Error::TapGone)?;
        let name = location.link.name.clone();
        let tap = queues[0].name().map_err(tap_error(&name))?;
        let tap = self.kernel.rtnl.link(&tap)?.ok_or(Error::TapGone)?;
        let host = self.kernel.rtnl.link_by_index(veth.host_end)?.filter(is_veth);
        let host = host.ok_or(Error::TapGone)?;
        let most = self.inventory[parent].info.mtu;
        if location.link.mtu > most {
            let handle = Handle::VethPeer(veth.host_end);
            self.kernel.visit(&handle, |rtnl, index| rtnl.set_mtu(index, most))?;
            location.link.mtu = most;
        }
        let programs = self.port_programs(parent).map_err(no_veth(&name))?;
        let (slot, proven) = programs.add_port(end(&host), end(&tap)).map_err(no_veth(&name))?;
        let netns_cookie = self.kernel.cookie;
        let pair = VethPair { host_end: host.index, tap: tap.index, slot, netns_cookie };
        let proven = match proven || is_place(adopt, veth, &location) {
            true => self.serve_veth((id, parent), (adopt, pair), location, queues),
            false => Err(Error::VethUnproven(name)),
        };
        if proven.is_err() {
            self.inventory[parent].kernel.remove_port(slot);
        }
        proven?;
        self.sub_status(id).ok_or(Error::Stopped)
    }

    /// Gives the workers the queues of a TAP, beside which the programs have the pair.
    fn serve_veth(
        &mut self,
        (id, parent): (SubId, ParentId),
        (adopt, pair): (&Adopt, VethPair),
        location: Location,
        queues: Vec<Tap>,
    ) -> Result<(), Error> {
        let name = location.link.name.clone();
        // Before the switches know it: the kernel has forwarded what waits in the sockets.
        let resumed = self.inventory[self.inventory[parent].device].former_filter.is_some();
        let Parent { kernel, workers, .. } = &mut self.inventory[parent];
        kernel.filter_if_answering(workers, resumed).map_err(no_veth(&name))?;
        let config = adopt.config(&location.link);
        self.open_ports((id, parent), queues, location, config)?;
        if let Some(sub) = self.inventory.sub_mut(id) {
            sub.veth = Some(pair);
            sub.claims_mac = adopt.claims_mac;
            sub.txqlen_max = adopt.txqlen_max.unwrap_or(sub.txqlen_max);
        }
        if let Err(error) = self.resume(id, &name) {
            self.leave(id);
            return Err(error);
        }
        if adopt.held {
            self.hold_down_again(id);
        }
        Ok(())
    }
}

/// True if an interface is where that of the sub-interface was, and has its address.
fn is_place(adopt: &Adopt, veth: &KeptVeth, location: &Location) -> bool {
    let Location { netns, netns_cookie, link, .. } = location;
    let same = (link.index, link.mac) == (veth.index, Some(veth.mac));
    same && adopt.netns.is_some_and(|was| Some(was) == netns_cookie.map(|is| (*netns, is)))
}
