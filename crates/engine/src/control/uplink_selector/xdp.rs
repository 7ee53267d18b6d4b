//! AF_XDP: the best mode that works, and the redirect program.

use std::io;

use umacvlan_core::VlanPath;
use umacvlan_core::options::{Backend, XdpMode};
use umacvlan_netlink::{Link, Rtnl, supports_zero_copy};
use umacvlan_sys::ethtool::{Ethtool, ReceiveOffloads, SwitchedOff};
use umacvlan_sys::packet::PacketSocket;
use umacvlan_sys::xdp::{
    Binding, QUEUES, RedirectRules, XdpAttachMode, XdpProgram, XskSocket, is_multi_buffer,
    longest_frame, umem_bytes,
};

use super::proof::{Found, Proof, frames_of};
use super::reason::{OLD, OTHER_PROGRAM, Refused, reason};
use super::{UplinkSelector, open_sockets, together};
use crate::control::engine::{UplinkKind, UplinkStatus};
use crate::control::workers::Workers;
use umacvlan_datapath::SwitchId;
use umacvlan_datapath::uplink::{PacketUplink, Uplink, XDP_SOCKETS_MAX, XdpUplink};
use umacvlan_datapath::worker::Worker;

/// Bytes of a frame beyond its MTU: the Ethernet header and two tags.
const BEYOND_MTU: usize = 14 + 2 * 4;

/// Drivers of virtual machines. Frames come through memory there, too, with GSO packets whole.
const VIRTUAL: &[&str] = &["ena", "gve", "hv_netvsc", "virtio_net", "vmxnet3", "xen_netfront"];

/// The program that redirects frames to the AF_XDP sockets of a device.
#[derive(Debug)]
pub(super) struct Redirect {
    program: XdpProgram,
    /// The count of changes of sub-interfaces that it has.
    known: Option<u64>,
    /// Until frames have come through; `None` from then on.
    proof: Option<Proof>,
    /// VLANs of the host have come or gone.
    vlans_stale: bool,
    /// The receive offloads that are off. They come after the program, so they are restored when it
    /// is detached.
    offloads: SwitchedOff,
}

impl Redirect {
    /// Detaches the program. Returns the offloads that are off.
    pub(super) fn detach(self) -> SwitchedOff {
        let Self { mut program, offloads, .. } = self;
        program.detach();
        offloads
    }
}

impl UplinkSelector {
    /// Opens AF_XDP sockets and a packet socket beside them for each of `count` workers; `None` if
    /// the interface has to be up first.
    ///
    /// # Errors
    /// Why AF_XDP does not work; empty if it is not wanted.
    pub(super) fn open_xdp(
        &mut self,
        link: &Link,
        count: usize,
    ) -> Result<Option<Vec<Uplink>>, String> {
        let (driver, modes) = self.choose(link)?;
        let Some(sides) = open_sockets(link, count).map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        let bound = bind(link, &modes, count)?;
        let refused: Vec<_> = self.left.iter().chain(&bound.refused).cloned().collect();
        let (mode, why) = (bound.mode, together(&refused));
        let partial = mode == XdpMode::Generic || is_virtual(link, &driver).is_some();
        let uplinks = self.assemble(link, partial, bound, sides);
        let uplinks = uplinks.map_err(|error| format!("AF_XDP: {}", reason(&error)))?;
        self.status = UplinkStatus { kind: UplinkKind::AfXdp(mode), why, unproven: true };
        Ok(Some(uplinks))
    }

    /// The modes to try, and the driver.
    fn choose(&self, link: &Link) -> Result<(String, Vec<XdpMode>), String> {
        let driver = Ethtool::open().and_then(|ethtool| ethtool.driver(&link.name));
        let driver = driver.unwrap_or_default();
        let mut modes = match self.wanted {
            Backend::AfPacket => return Err(String::new()),
            Backend::AfXdp => XdpMode::ALL.to_vec(),
            Backend::AfXdpIn(mode) => vec![mode],
            Backend::Auto => match why_af_packet(link, &driver) {
                Some(why) => return Err(why),
                None => vec![XdpMode::ZeroCopy],
            },
        };
        modes.retain(|mode| self.left.iter().all(|(left, _)| left != mode));
        if modes.is_empty() {
            return Err(String::new());
        }
        if longest(link) > longest_frame() {
            let most = longest_frame() - BEYOND_MTU;
            return Err(format!("AF_XDP carries an MTU of at most {most}, not {}", link.mtu));
        }
        Ok((driver, modes))
    }

    /// True until frames have come through an AF_XDP uplink.
    pub(in crate::control) fn is_unproven(&self) -> bool {
        self.xdp.as_ref().is_some_and(|redirect| redirect.proof.is_some())
    }

    /// Looks whether frames come through an uplink that is unproven. `link` was just read. Returns
    /// why the uplink is deaf, if it is, once, and whether another kind may take its place.
    pub(in crate::control) fn prove(&mut self, link: &Link) -> Option<(String, bool)> {
        let redirect = self.xdp.as_mut()?;
        // A map of ours that cannot be read says nothing about the driver.
        let seen = redirect.program.seen().ok()?;
        let counted = match redirect.proof.as_mut()?.look(frames_of(link), seen) {
            Found::Unproven => return None,
            Found::Deaf(counted) => Some(counted),
            Found::Proven => None,
        };
        redirect.proof = None;
        // It counts on for nobody if that fails.
        let _ = redirect.program.count(false);
        self.status.unproven = counted.is_some();
        let UplinkKind::AfXdp(mode) = self.status.kind else {
            return None;
        };
        let why = format!("no frame came through it while the NIC counted {}", counted?);
        let told = format!("{mode}: {why}");
        if self.may_leave() {
            self.left.push((mode, why));
        }
        Some((told, self.may_leave()))
    }

    /// Detaches the program as a driver does that forgets it.
    #[cfg(test)]
    pub(in crate::control) fn deafen(&mut self) {
        self.xdp.iter_mut().for_each(|redirect| redirect.program.detach());
    }

    /// True unless one mode is demanded.
    fn may_leave(&self) -> bool {
        matches!(self.wanted, Backend::Auto | Backend::AfXdp)
    }

    /// The receive offloads that are off on the NIC.
    pub(in crate::control) fn switched_off(&self) -> ReceiveOffloads {
        self.xdp.as_ref().map(|redirect| redirect.offloads.which()).unwrap_or_default()
    }

    /// True when another MTU needs new uplinks.
    pub(in crate::control) fn resizes(&self) -> bool {
        self.xdp.is_some()
    }

    /// Gives the program the rules of the workers' switch, if `marks` is another count of changes
    /// than before. `served` are the tags of the parents.
    ///
    /// # Errors
    /// The program does not take all rules: some frames come by neither way.
    pub(in crate::control) fn settle(
        &mut self,
        workers: &Workers,
        marks: u64,
        served: &[VlanPath],
    ) -> io::Result<()> {
        let Some(Redirect { program, known, .. }) = &mut self.xdp else {
            return Ok(());
        };
        if known.replace(marks) == Some(marks) {
            return Ok(());
        }
        match workers.ask(redirect_rules) {
            Ok(rules) => program.set_rules(rules.with_vlans(served)),
            // A worker that has stopped takes nothing, and has reported it.
            Err(_) => program.set_rules(RedirectRules::default()),
        }
    }

    /// Has the program leave to the host the VLANs that it has devices for, if they may have
    /// changed.
    ///
    /// # Errors
    /// They cannot be read, or the program does not take them.
    pub(in crate::control) fn settle_vlans(
        &mut self,
        vlans: impl FnOnce() -> io::Result<Vec<u16>>,
    ) -> io::Result<()> {
        match &mut self.xdp {
            Some(Redirect { program, vlans_stale: stale @ true, .. }) => {
                *stale = false;
                program.set_vlans(vlans()?)
            }
            _ => Ok(()),
        }
    }

    /// Notes that the interface has another name now.
    pub(in crate::control) fn rename(&mut self, name: &str) {
        if let Some(redirect) = &mut self.xdp {
            redirect.offloads.rename(name);
        }
    }

    /// Notes that a VLAN device has come, or that an interface has gone, which may have been one.
    pub(in crate::control) fn mark_vlans(&mut self, come: bool) {
        if let Some(Redirect { program, vlans_stale, .. }) = &mut self.xdp {
            *vlans_stale |= come || program.has_vlans();
        }
    }

    /// Gives each of N workers its packet socket and every Nth queue. One without a queue has the
    /// packet socket alone. `partial`: frames may come with a partial checksum.
    fn assemble(
        &mut self,
        link: &Link,
        partial: bool,
        bound: Bound,
        sides: Vec<PacketSocket>,
    ) -> io::Result<Vec<Uplink>> {
        let Bound { mut program, sockets, offloads, .. } = bound;
        program.count(true)?;
        sides.iter().try_for_each(|side| program.filter_socket(side))?;
        let mut shares: Vec<Vec<XskSocket>> = sides.iter().map(|_| Vec::new()).collect();
        for (queue, socket) in sockets.into_iter().enumerate() {
            program.redirect_queue(u32::try_from(queue).unwrap_or(u32::MAX), &socket)?;
            shares[queue % sides.len()].push(socket);
        }
        let (known, vlans_stale) = (None, true);
        let proof = Some(Proof::new(link.mtu));
        self.xdp = Some(Redirect { program, known, proof, vlans_stale, offloads });
        let uplink = |(sockets, side): (Vec<XskSocket>, PacketSocket)| {
            let side = PacketUplink::new(side);
            Ok(match sockets.is_empty() {
                true => Uplink::Packet(Box::new(side)),
                false => Uplink::Xdp(Box::new(XdpUplink::new(sockets, side, link.mtu, partial)?)),
            })
        };
        shares.into_iter().zip(sides).map(uplink).collect()
    }
}

/// Why [`Backend::Auto`] is AF_PACKET for an interface of this driver; `None` if AF_XDP is tried
/// first.
///
/// Drivers rebuild their queues for a program, and the link of many is down meanwhile. So the
/// driver is asked, and nothing is tried that would fail.
pub fn why_af_packet(link: &Link, driver: &str) -> Option<String> {
    if let Some(kind) = is_virtual(link, driver) {
        return Some(format!("with {kind}, AF_PACKET keeps GSO packets whole and AF_XDP does not"));
    }
    let why = match supports_zero_copy(link.index) {
        Ok(true) => return None,
        Ok(false) => "its driver has no zero-copy mode",
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
            "Linux before 6.3 does not report whether its driver has a zero-copy mode"
        }
        Err(_) => "its driver does not report whether it has a zero-copy mode",
    };
    Some(why.to_owned())
}

/// Bytes of locked memory that zero-copy takes on an interface with one worker.
///
/// # Errors
/// The MTU is too large for AF_XDP.
pub fn zero_copy_memory(link: &Link) -> io::Result<usize> {
    let queues = Ethtool::open().and_then(|ethtool| ethtool.receive_queues(&link.name));
    let queues = queues.unwrap_or(1).clamp(1, XDP_SOCKETS_MAX.min(QUEUES)) as usize;
    let of = |sends| umem_bytes(longest(link), Binding::ZeroCopy, sends);
    Ok(of(true)? + (queues - 1) * of(false)?)
}

/// The kind of an interface that passes on frames from memory: GSO packets, and frames with a partial
/// checksum. `None` for a NIC.
fn is_virtual<'a>(link: &'a Link, driver: &str) -> Option<&'a str> {
    link.kind.as_deref().or_else(|| VIRTUAL.iter().copied().find(|&it| it == driver))
}

/// Tries AF_XDP on an interface that is not a parent, and leaves nothing there. Returns the mode.
///
/// # Errors
/// Why it does not work.
pub fn try_af_xdp(link: &Link) -> Result<XdpMode, String> {
    bind(link, &XdpMode::ALL, 1).map(|bound| bound.mode)
}

/// A program and its sockets, before there are uplinks.
struct Bound {
    sockets: Vec<XskSocket>,
    program: XdpProgram,
    /// Restored after the program is detached.
    offloads: SwitchedOff,
    mode: XdpMode,
    /// The modes before this one, and why they do not work.
    refused: Vec<(XdpMode, String)>,
}

/// Binds sockets to all queues and attaches the program, in the first of the modes that works.
///
/// Before that it switches off the offloads that change received frames. The kernel does so itself
/// for the generic mode (`dev_disable_lro`, `dev_disable_gro_hw`) and restores none of them, and some
/// drivers have no native mode as long as they are on.
fn bind(link: &Link, modes: &[XdpMode], workers: usize) -> Result<Bound, String> {
    let longest = longest(link);
    let unloaded = |error: &io::Error| match error.raw_os_error() {
        Some(libc::EINVAL) if is_multi_buffer(longest) => OLD.to_owned(),
        _ => reason(error),
    };
    let driver = Ethtool::open().and_then(|ethtool| ethtool.driver(&link.name));
    let driver = driver.unwrap_or_default();
    let mut program = XdpProgram::load(longest)
        .map_err(|error| format!("the program of AF_XDP cannot be loaded: {}", unloaded(&error)))?;
    let offloads = SwitchedOff::switch_off(&link.name, ReceiveOffloads::CHANGE_FRAMES);
    let mut refused = Vec::new();
    for &mode in modes {
        match bind_as((link, &driver), &mut program, mode, workers) {
            Ok(sockets) => {
                return Ok(Bound { sockets, program, offloads, mode, refused });
            }
            Err(why) => refused.push((mode, why)),
        }
    }
    // In this order.
    drop(program);
    drop(offloads);
    Err(together(&refused))
}

/// Binds the sockets, which fills their fill rings, and attaches the program after that: a driver
/// that goes without copies sets up its queues when it has both, and some (igb of Linux 6.17) receive
/// nothing ever if the fill ring is empty then.
fn bind_as(
    (link, driver): (&Link, &str),
    program: &mut XdpProgram,
    mode: XdpMode,
    workers: usize,
) -> Result<Vec<XskSocket>, String> {
    let (how, binding) = match mode {
        XdpMode::ZeroCopy => (XdpAttachMode::Native, Binding::ZeroCopy),
        XdpMode::Native => (XdpAttachMode::Native, Binding::Copy),
        XdpMode::Generic => (XdpAttachMode::Generic, Binding::Copy),
    };
    // Binding without copies would rebuild the queues under the other program.
    if mode == XdpMode::ZeroCopy && has_program(link.index) {
        return Err(OTHER_PROGRAM.to_owned());
    }
    let queues = Ethtool::open().and_then(|ethtool| ethtool.receive_queues(&link.name));
    let longest = longest(link);
    let most = XDP_SOCKETS_MAX.saturating_mul(u32::try_from(workers).unwrap_or(1)).min(QUEUES);
    let queues = queues.unwrap_or(1).clamp(1, most);
    // The first socket of every worker sends.
    let sends = |queue| (queue as usize) < workers;
    let open = |queue| XskSocket::open(&link.name, queue, binding, longest, sends(queue));
    let opened: io::Result<Vec<_>> = (0..queues).map(open).collect();
    let refused = Refused { link, driver, mode, longest };
    let opened = opened.map_err(|error| refused.to_bind(&error))?;
    program.attach(link.index, how).map_err(|error| refused.to_attach(&error))?;
    Ok(opened)
}

/// True if an XDP program is on an interface.
fn has_program(index: u32) -> bool {
    let link = Rtnl::open().and_then(|mut rtnl| rtnl.link_by_index(index));
    link.is_ok_and(|link| link.is_some_and(|link| link.xdp))
}

/// Bytes of the longest frame of an interface.
fn longest(link: &Link) -> usize {
    link.mtu as usize + BEYOND_MTU
}

/// What the untagged parent of a worker takes now.
fn redirect_rules(worker: &mut Worker) -> RedirectRules {
    let shared = worker.shared_address(SwitchId::UNTAGGED);
    RedirectRules::of(worker.switch()).with_shared(shared)
}
