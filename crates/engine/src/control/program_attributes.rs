//! The attributes of a sub-interface with a program, which has no interface to have them.

use umacvlan_core::MacAddr;
use umacvlan_core::options::PROGRAM_QUEUE_LEN;
use umacvlan_netlink::{Link, LinkFlags, OperState};

use super::Control;
use super::create::check_unicast;
use super::sub::Sub;
use crate::control::engine::{LinkAttribute, SubId, SubOptions};
use crate::control::error::Error;

/// The largest MTU: that of a macvtap.
pub(super) const MTU_MAX: u32 = 65_535;

impl Control {
    /// Sets one attribute of a sub-interface with a program. The rules of the switch are checked.
    pub(super) fn set_program_attribute(
        &mut self,
        id: SubId,
        attribute: LinkAttribute,
    ) -> Result<(), Error> {
        let (sub, _) = self.inventory.sub_and_parent(id)?;
        let (name, mut link) = (sub.name.clone(), sub.link.clone());
        match attribute {
            LinkAttribute::Alias(text) => link.alias = text,
            LinkAttribute::Allmulti(on) => {
                link.flags.set(LinkFlags::Allmulti, on);
                link.allmulti = Some(on.into());
            }
            LinkAttribute::Mac(mac) => {
                check_unicast(&name, mac)?;
                link.mac = Some(mac);
            }
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Name(_) => return Err(no_interface(&name, "get another name")),
            LinkAttribute::Netns(_) => return Err(no_interface(&name, "move to a namespace")),
            LinkAttribute::Promisc(on) => {
                link.flags.set(LinkFlags::Promisc, on);
                link.promiscuity = on.into();
            }
            LinkAttribute::TxQueueLen(frames) => link.txqlen = frames,
            LinkAttribute::Up(on) => {
                link.flags.set(LinkFlags::Up, on);
                if on {
                    link.qdisc = Some("noqueue".to_owned());
                }
            }
        }
        let refusal = self.follow(id, &link);
        self.show_program_carrier(id);
        if let Some(refusal) = refusal {
            return Err(Error::refused(&name)(refusal));
        }
        self.fit_program_tap(id)
    }
}

impl Sub {
    /// Shows the state that the rules accepted, where there is no interface that has it.
    pub(super) fn show_accepted(&mut self) {
        self.link.mac = Some(self.seen.mac);
        self.link.mtu = self.seen.mtu;
        self.link.flags.set(LinkFlags::Up, self.seen.up);
    }
}

/// Sets the carrier of a link that is shown; true if it has changed.
pub(super) fn set_running(link: &mut Link, carrier: bool) -> bool {
    let running = LinkFlags::Running | LinkFlags::LowerUp;
    let (before, now) = (link.flags.contains(running), carrier && link.is_up());
    link.flags.set(running, now);
    link.carrier = link.is_up().then_some(carrier);
    before != now
}

/// The attributes of a new link, down: those of a macvtap, where they apply.
pub(super) fn link(options: &SubOptions, mac: MacAddr, mtu: u32) -> Link {
    let mut flags = LinkFlags::Broadcast | LinkFlags::Multicast;
    flags.set(LinkFlags::Allmulti, options.allmulti);
    flags.set(LinkFlags::Promisc, options.promisc);
    Link {
        name: options.name.clone(),
        mac: Some(mac),
        broadcast: Some(MacAddr::BROADCAST),
        mtu,
        min_mtu: umacvlan_core::switch::MIN_MTU,
        max_mtu: MTU_MAX,
        flags,
        operstate: OperState::Up,
        link_type: libc::ARPHRD_ETHER,
        qdisc: Some("noop".to_owned()),
        txqlen: options.txqlen.unwrap_or(PROGRAM_QUEUE_LEN),
        promiscuity: options.promisc.into(),
        allmulti: Some(options.allmulti.into()),
        alias: options.alias.clone().unwrap_or_default(),
        num_tx_queues: Some(1),
        num_rx_queues: Some(1),
        carrier_changes: Some(0),
        ..Link::default()
    }
}

pub(super) fn no_interface(name: &str, what: &'static str) -> Error {
    Error::NoInterface { name: name.to_owned(), what }
}
