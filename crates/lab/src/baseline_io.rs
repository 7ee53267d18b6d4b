//! TAPs, switches and AF_XDP sockets for the baselines, set up as the engine sets up its own.

use std::io;

use umacvlan_core::options::TAP_QUEUE_LEN;
use umacvlan_core::{MacvlanSettings, ParentInfo, Semantics, SubConfig, Switch};
use umacvlan_netlink::{Link, Rtnl};
use umacvlan_sys::tap::Tap;
#[cfg(feature = "af-xdp")]
use umacvlan_sys::xdp::{Binding, RedirectRules, XdpAttachMode, XdpProgram, XskSocket};

use crate::site::{Site, SubSite};

/// A TAP for a sub-interface, configured as the engine configures its TAPs.
pub(crate) fn create_tap(sub: &SubSite<'_>) -> io::Result<Tap> {
    let tap = sub.netns.run(|| Tap::create(&sub.name))??;
    tap.set_mac(sub.mac)?;
    tap.enable_offloads()?;
    let mut rtnl = Rtnl::open_in(sub.netns)?;
    if let Some(link) = rtnl.link(&sub.name)? {
        rtnl.set_txqlen(link.index, TAP_QUEUE_LEN)?;
    }
    Ok(tap)
}

/// The parent's interface.
pub(crate) fn parent(site: &Site<'_>) -> io::Result<Link> {
    let parent = Rtnl::open_in(site.host)?.link(site.parent)?;
    parent.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// A switch without sub-interfaces.
pub(crate) fn switch(parent: &Link) -> Switch {
    let mac = parent.mac.unwrap_or_default();
    Switch::new(ParentInfo { mac, mtu: parent.mtu, promisc: false }, Semantics::Documented)
}

pub(crate) fn sub_configs<'s>(site: &'s Site<'_>) -> impl Iterator<Item = SubConfig> + 's {
    site.subs.iter().map(|sub| {
        let sources = sub.sources.clone();
        SubConfig {
            mac: sub.mac,
            mtu: None,
            settings: MacvlanSettings { sources, ..MacvlanSettings::new(site.mode) },
        }
    })
}

/// Attaches the XDP program that redirects the sub-interfaces' unicast frames to the parent.
#[cfg(feature = "af-xdp")]
pub(crate) fn attach_program(site: &Site<'_>, parent: &Link) -> io::Result<XdpProgram> {
    let mut switch = switch(parent);
    for sub in sub_configs(site) {
        let id = switch.add(&sub).map_err(io::Error::other)?;
        switch.set_up(id, true).map_err(io::Error::other)?;
    }
    let mut program = XdpProgram::load(frame_max(parent))?;
    program.set_rules(RedirectRules::of(&switch))?;
    program.attach(parent.index, XdpAttachMode::Native)?;
    Ok(program)
}

/// Opens an AF_XDP socket on the parent's only queue, as the engine does.
#[cfg(feature = "af-xdp")]
pub(crate) fn open_xsk(parent: &Link) -> io::Result<XskSocket> {
    XskSocket::open(&parent.name, 0, Binding::Copy, frame_max(parent), true)
}

/// Bytes of the longest frame: the MTU, an Ethernet header and two VLAN tags.
#[cfg(feature = "af-xdp")]
pub(crate) fn frame_max(parent: &Link) -> usize {
    parent.mtu as usize + 22
}
