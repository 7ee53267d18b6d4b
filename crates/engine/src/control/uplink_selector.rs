//! [`UplinkSelector`]: the choice between AF_PACKET and the modes of AF_XDP.
//!
//! Where there is a choice, the best is tried first, and the reason why it failed is part of the
//! status. The XDP program redirects the frames that the switch takes; all others, and all frames
//! without a program, come by AF_PACKET.

mod kept;
#[cfg(feature = "af-xdp")]
mod proof;
#[cfg(feature = "af-xdp")]
mod reason;
#[cfg(all(test, feature = "af-xdp"))]
mod tests;
#[cfg(feature = "af-xdp")]
mod xdp;

#[cfg(not(feature = "af-xdp"))]
use std::io;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;

#[cfg(not(feature = "af-xdp"))]
use umacvlan_core::VlanPath;
use umacvlan_core::options::{Backend, XdpMode};
use umacvlan_netlink::Link;
use umacvlan_sys::address_filter::AddressFilter;
use umacvlan_sys::close_aside::CloseAside;
#[cfg(not(feature = "af-xdp"))]
use umacvlan_sys::ethtool::ReceiveOffloads;
use umacvlan_sys::ethtool::SwitchedOff;
use umacvlan_sys::packet::PacketSocket;

pub(crate) use kept::KeptSockets;
pub(super) use kept::NumberedSockets;

#[cfg(feature = "af-xdp")]
pub use xdp::{try_af_xdp, why_af_packet, zero_copy_memory};

#[cfg(not(feature = "af-xdp"))]
use super::workers::Workers;
use crate::control::engine::{UplinkKind, UplinkStatus};
use crate::control::error::Error;
use umacvlan_datapath::uplink::{PacketUplink, Uplink};

/// What a device has of its interface.
#[derive(Debug)]
pub(super) struct ParentSockets {
    /// One for each worker.
    pub(super) uplinks: Vec<Uplink>,
    pub(super) filter: AddressFilter,
    /// The filter of the engine from which the sockets were taken over.
    pub(super) former_filter: Option<CloseAside<OwnedFd>>,
    /// Frames that this engine had received and perhaps not forwarded.
    pub(super) unfinished: u64,
}

/// The kind of uplinks on one device, and the state that goes with them.
#[derive(Debug)]
pub(super) struct UplinkSelector {
    wanted: Backend,
    status: UplinkStatus,
    /// The present packet sockets, if there are no others: a worker may not duplicate its own.
    sockets: Option<NumberedSockets>,
    /// Modes of AF_XDP that were in use and through which no frame came, with the reason.
    left: Vec<(XdpMode, String)>,
    #[cfg(feature = "af-xdp")]
    xdp: Option<xdp::Redirect>,
}

impl UplinkSelector {
    /// For the kind that is requested. It has no uplinks yet.
    pub(super) fn new(wanted: Backend) -> Self {
        Self {
            wanted,
            status: UplinkStatus::default(),
            sockets: None,
            left: Vec::new(),
            #[cfg(feature = "af-xdp")]
            xdp: None,
        }
    }

    /// True if a parent that requests this kind may share these uplinks.
    pub(super) fn suits(&self, wanted: Backend) -> bool {
        wanted == Backend::Auto || wanted == self.wanted
    }

    pub(super) fn status(&self) -> UplinkStatus {
        self.status.clone()
    }

    /// The packet sockets; `None` for uplinks of another kind, which cannot outlive their engine.
    pub(super) fn sockets(&self) -> Option<&NumberedSockets> {
        self.sockets.as_ref()
    }

    /// Drops the state of uplinks: the host has every frame from now on. Returns the receive offloads
    /// that are off, to be dropped when the sockets are closed: some drivers refuse them until then.
    #[must_use = "dropping it restores the offloads"]
    pub(super) fn forget(&mut self) -> Option<SwitchedOff> {
        self.status = UplinkStatus::default();
        self.sockets = None;
        #[cfg(feature = "af-xdp")]
        let offloads = self.xdp.take().map(xdp::Redirect::detach);
        #[cfg(not(feature = "af-xdp"))]
        let offloads = None;
        offloads
    }

    /// Forgets what was found out about the driver: its interface is gone.
    pub(super) fn reset(&mut self) {
        drop(self.forget());
        self.left.clear();
    }

    /// Opens an uplink on an interface for each of `count` workers, or goes on with packet sockets of an
    /// earlier engine. Those before must be closed. Returns `None` if the interface has to be up first.
    ///
    /// # Errors
    /// No packet socket can be opened, or AF_XDP was requested and does not work.
    pub(super) fn open(
        &mut self,
        link: &Link,
        count: usize,
        kept: Option<KeptSockets>,
    ) -> Result<Option<ParentSockets>, Error> {
        drop(self.forget());
        let filter = AddressFilter::open(link.index)
            .map_err(Error::system(format!("open a packet socket on {}", link.name)))?;
        let whole = |uplinks| ParentSockets { uplinks, filter, former_filter: None, unfinished: 0 };
        let why = match self.open_xdp(link, count) {
            Ok(uplinks) => return Ok(uplinks.map(whole)),
            Err(why) => why,
        };
        // One that was left for being deaf is not preferred to links that work.
        if self.wanted.demands_xdp() && self.left.is_empty() {
            return Err(Error::NoAfXdp { parent: link.name.clone(), why });
        }
        let reasons = [together(&self.left), why];
        let reasons: Vec<_> = reasons.into_iter().filter(|why| !why.is_empty()).collect();
        let why = reasons.join("; ");
        let resumed = kept.and_then(|kept| kept.resume(link, count));
        let (sockets, former) = match resumed {
            Some(resumed) => (Some(resumed.sockets), Some((resumed.filter, resumed.unfinished))),
            None => (open_sockets(link, count)?, None),
        };
        self.status = UplinkStatus { kind: UplinkKind::AfPacket, why, unproven: false };
        let Some(sockets) = sockets else {
            return Ok(None);
        };
        // Without a descriptor they do not outlive this engine.
        self.sockets = NumberedSockets::new(&sockets).ok();
        let uplink = |socket| Uplink::Packet(Box::new(PacketUplink::new(socket)));
        let opened = whole(sockets.into_iter().map(uplink).collect());
        Ok(Some(match former {
            Some((filter, unfinished)) => {
                ParentSockets { former_filter: Some(filter), unfinished, ..opened }
            }
            None => opened,
        }))
    }

    #[cfg(not(feature = "af-xdp"))]
    fn open_xdp(&mut self, _: &Link, _: usize) -> Result<Option<Vec<Uplink>>, String> {
        Err(match self.wanted {
            Backend::AfPacket => String::new(),
            Backend::Auto | Backend::AfXdp | Backend::AfXdpIn(_) => WITHOUT.to_owned(),
        })
    }

    #[cfg(not(feature = "af-xdp"))]
    pub(super) fn switched_off(&self) -> ReceiveOffloads {
        ReceiveOffloads::default()
    }

    #[cfg(not(feature = "af-xdp"))]
    pub(super) fn is_unproven(&self) -> bool {
        false
    }

    #[cfg(not(feature = "af-xdp"))]
    pub(super) fn prove(&mut self, _: &Link) -> Option<(String, bool)> {
        None
    }

    #[cfg(not(feature = "af-xdp"))]
    pub(super) fn rename(&mut self, _: &str) {}

    #[cfg(not(feature = "af-xdp"))]
    pub(super) fn resizes(&self) -> bool {
        false
    }

    #[cfg(not(feature = "af-xdp"))]
    pub(super) fn settle(&mut self, _: &Workers, _: u64, _: &[VlanPath]) -> io::Result<()> {
        Ok(())
    }

    #[cfg(not(feature = "af-xdp"))]
    pub(super) fn settle_vlans(
        &mut self,
        _: impl FnOnce() -> io::Result<Vec<u16>>,
    ) -> io::Result<()> {
        Ok(())
    }

    #[cfg(not(feature = "af-xdp"))]
    pub(super) fn mark_vlans(&mut self, _: bool) {}
}

/// Why [`Backend::Auto`] is AF_PACKET for an interface of this driver; `None` if AF_XDP is tried
/// first.
#[cfg(not(feature = "af-xdp"))]
pub fn why_af_packet(_: &Link, _: &str) -> Option<String> {
    Some(WITHOUT.to_owned())
}

/// Tries AF_XDP on an interface that is not a parent, and leaves nothing there. Returns the mode.
///
/// # Errors
/// Why it does not work.
#[cfg(not(feature = "af-xdp"))]
pub fn try_af_xdp(_: &Link) -> Result<XdpMode, String> {
    Err(WITHOUT.to_owned())
}

/// Bytes of locked memory that zero-copy takes on an interface with one worker.
///
/// # Errors
/// This is a build without AF_XDP.
#[cfg(not(feature = "af-xdp"))]
pub fn zero_copy_memory(_: &Link) -> io::Result<usize> {
    Err(io::Error::other(WITHOUT))
}

#[cfg(not(feature = "af-xdp"))]
const WITHOUT: &str = "this umacvlan was built without AF_XDP";

/// The reasons why modes do not work, in one line. Modes with the same reason share it.
fn together(refused: &[(XdpMode, String)]) -> String {
    let alike = refused.chunk_by(|(_, one), (_, other)| one == other);
    let told = alike.filter_map(|alike| {
        let modes: Vec<_> = alike.iter().map(|(mode, _)| mode.to_string()).collect();
        alike.first().map(|(_, why)| format!("{}: {why}", modes.join(", ")))
    });
    told.collect::<Vec<_>>().join("; ")
}

/// Opens `count` packet sockets on an interface; `None` if it has to be up first.
fn open_sockets(link: &Link, count: usize) -> Result<Option<Vec<PacketSocket>>, Error> {
    let opened = match count {
        1 => PacketSocket::open(link.index, link.mtu).map(|socket| vec![socket]),
        _ => PacketSocket::open_group(link.index, link.mtu, count),
    };
    match opened {
        Err(error) if error.kind() == ErrorKind::NetworkDown => Ok(None),
        opened => opened
            .map(Some)
            .map_err(Error::system(format!("open a packet socket on {}", link.name))),
    }
}
