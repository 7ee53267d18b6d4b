//! Making sub-interfaces of the port kind veth.
//!
//! Such a sub-interface is one end of a veth pair, made where it is to be. The other end, the host end,
//! stays here, and beside it is a TAP for the frames that go through the engine: one for each
//! sub-interface, so that each keeps its own queue and its share of every turn. Both are named after the
//! sub-interface, have no addresses, and hand nothing to the host.

use umacvlan_core::ifname;
use umacvlan_core::options::TAP_QUEUE_LEN;
use umacvlan_netlink::{Link, Rtnl};
use umacvlan_sys::bpf::port_types::End;
use umacvlan_sys::tap::Tap;

use super::Control;
use super::create::{Made, own_attributes, tap_error};
use super::inventory::ParentId;
use super::sub::VethPair;
use crate::control::engine::SubOptions;
use crate::control::error::Error;

/// The largest MTU of a veth interface: the host end is to take whatever its peer sends.
const HOST_END_MTU: u32 = 65_535;

impl Control {
    /// Makes a veth pair and its TAP, with everything but the last state.
    ///
    /// # Errors
    /// [`Error::NoVeth`] where the programs cannot be had.
    pub(super) fn make_veth(
        &mut self,
        parent: ParentId,
        options: &SubOptions,
    ) -> Result<Made, Error> {
        let name = &options.name;
        if self.inventory[parent].translation.is_some() {
            let why =
                "programs in the kernel do not translate the addresses of a parent with macnat";
            return Err(Error::NoVeth { name: name.clone(), why: why.to_owned() });
        }
        self.port_programs(parent).map_err(no_veth(name))?;
        let (mac, info) = self.new_address(parent, options)?;
        let mtu = options.mtu.unwrap_or(info.mtu);
        self.check_new_mtu(parent, name, mtu)?;
        let netns = options.netns.as_ref().filter(|_| self.moves(options));
        let made = self.kernel.rtnl.add_veth(&ifname::beside(name, 'h'), name, netns);
        made.map_err(|source| match (source.errno(), netns) {
            (Some(libc::EEXIST), Some(_)) => {
                Error::NameInUse { name: name.clone(), place: " in its namespace" }
            }
            (Some(libc::EEXIST), None) => Error::NameInUse { name: name.clone(), place: "" },
            _ => source.into(),
        })?;
        let mut rtnl = match netns {
            Some(netns) => Rtnl::open_in(netns)?,
            None => Rtnl::open()?,
        };
        let missing = || Error::NoSuchSub(name.clone());
        let link = rtnl.link(name)?.ok_or_else(missing)?;
        let host_end = link.lower.ok_or_else(missing)?;
        let link = Link { mac: Some(mac), mtu, ..link };
        let made = prepare(&mut rtnl, &link, options).map_err(Error::from).and_then(|()| {
            let location = match netns {
                None => self.kernel.at_home(link),
                Some(netns) => self.kernel.location_in(netns, link)?,
            };
            let (queues, veth) = self.complete(parent, options, host_end)?;
            Ok(Made { queues, location, veth: Some(veth) })
        });
        if made.is_err() {
            // The other end goes with it.
            let _ = self.kernel.rtnl.delete(host_end);
        }
        made
    }

    /// Makes the TAP, prepares it and the host end, and gives the programs of the parent both.
    fn complete(
        &mut self,
        parent: ParentId,
        options: &SubOptions,
        host_end: u32,
    ) -> Result<(Vec<Tap>, VethPair), Error> {
        let name = &options.name;
        let workers = self.inventory[parent].workers.count();
        let queues =
            Tap::create_queues(&ifname::beside(name, 's'), workers).map_err(tap_error(name))?;
        let tap_name = queues[0].name().map_err(tap_error(name))?;
        let rtnl = &mut self.kernel.rtnl;
        let tap = rtnl.link(&tap_name)?.ok_or_else(|| Error::NoSuchSub(tap_name.clone()))?;
        let host = rtnl.link_by_index(host_end)?.ok_or_else(|| Error::NoSuchSub(name.clone()))?;
        for (end, mtu, what) in
            [(&host, HOST_END_MTU, "host end"), (&tap, tap.max_mtu, "slow path")]
        {
            rtnl.set_mtu(end.index, mtu)?;
            rtnl.set_arp(end.index, false)?;
            // A kernel without IPv6 gives no such address.
            let _ = rtnl.set_no_ipv6_addresses(end.index);
            rtnl.set_alias(end.index, &format!("umacvlan: {what} of {name}"))?;
        }
        rtnl.set_txqlen(tap.index, options.txqlen.unwrap_or(TAP_QUEUE_LEN))?;
        if workers > 1 {
            // As for a TAP that is the sub-interface itself.
            let _ = rtnl.set_noqueue(tap.index);
        }
        let programs = self.port_programs(parent);
        let added = programs.and_then(|it| it.add_port(end(&host), end(&tap)));
        let (slot, _) = added.map_err(no_veth(name))?;
        let veth = VethPair { host_end, tap: tap.index, slot, netns_cookie: self.kernel.cookie };
        let up = self
            .kernel
            .rtnl
            .set_up(tap.index, true)
            .and_then(|()| self.kernel.rtnl.set_up(host_end, self.inventory[parent].carrier));
        if let Err(error) = up {
            self.inventory[parent].kernel.remove_port(slot);
            return Err(error.into());
        }
        Ok((queues, veth))
    }
}

pub(super) fn end(link: &Link) -> End<'_> {
    End { name: &link.name, index: link.index }
}

/// Sets the attributes of the interface, with a socket in its namespace.
fn prepare(rtnl: &mut Rtnl, link: &Link, options: &SubOptions) -> umacvlan_netlink::Result<()> {
    rtnl.set_mac(link.index, link.mac.unwrap_or_default())?;
    rtnl.set_mtu(link.index, link.mtu)?;
    // It has no queue, and shows what the TAP beside it has.
    rtnl.set_txqlen(link.index, options.txqlen.unwrap_or(TAP_QUEUE_LEN))?;
    own_attributes(rtnl, link.index, options)
}

pub(super) fn no_veth(name: &str) -> impl FnOnce(std::io::Error) -> Error {
    let name = name.to_owned();
    move |error| {
        let why = match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                format!("CAP_BPF and CAP_NET_ADMIN are needed ({error})")
            }
            _ => error.to_string(),
        };
        Error::NoVeth { name, why }
    }
}
