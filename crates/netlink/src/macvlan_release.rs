//! Which release's rules the running kernel's macvlan follows, found out by trying.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use umacvlan_core::{KernelRelease, MacAddr};
use umacvlan_sys::netns::Netns;
use umacvlan_sys::poll::{self, Interest};
use umacvlan_sys::raw_socket;

use crate::{Error, Macvlan, Result, Rtnl};

/// `MACVLAN_MODE_BRIDGE` of `linux/if_link.h`.
const BRIDGE: u32 = 4;

/// An EtherType for local experiments (IEEE 802), which no stack handles.
const ETHERTYPE: u16 = 0x88b5;

/// The address of a host on the wire.
const OTHER: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 2]);

/// Limit for the delivery of a broadcast frame, which the kernel does from a work queue.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends two broadcast frames to a macvlan in a namespace of its own, which ends with the call: one
/// from the address of the macvlan, which only the rules since Linux 7.3 deliver to it, and one from
/// another host. The kernel keeps their order, so the first that arrives is the answer.
///
/// # Errors
/// The kernel has no macvlan, the caller may not make namespaces and interfaces, or no frame arrives.
pub fn macvlan_release() -> Result<KernelRelease> {
    let netns = Netns::create().map_err(|error| Error::new("make a namespace", error))?;
    let mut rtnl = Rtnl::open_in(&netns)?;
    rtnl.add_veth("parent", "wire", None)?;
    let parent = index(&mut rtnl, "parent")?;
    rtnl.add_macvlan("macvlan", parent, &Macvlan { mode: BRIDGE, ..Macvlan::default() }, None)?;
    for name in ["parent", "wire", "macvlan"] {
        let index = index(&mut rtnl, name)?;
        rtnl.set_up(index, true)?;
    }
    let own = rtnl.link("macvlan")?.and_then(|link| link.mac).unwrap_or(MacAddr::ZERO);
    let (macvlan, wire) = (index(&mut rtnl, "macvlan")?, index(&mut rtnl, "wire")?);
    let sockets = netns.run(|| -> io::Result<_> {
        Ok((raw_socket::open(macvlan, ETHERTYPE)?, raw_socket::open(wire, 0)?))
    });
    let (receiver, sender) = sockets
        .and_then(|opened| opened)
        .map_err(|error| Error::new("open a packet socket", error))?;
    first_source(&receiver, &sender, own)
        .map(|source| if source == own { KernelRelease::V7_3 } else { KernelRelease::V6_18 })
        .map_err(|error| Error::new("receive a broadcast frame on a macvlan", error))
}

fn index(rtnl: &mut Rtnl, name: &str) -> Result<u32> {
    let link = rtnl.link(name)?;
    let missing = || Error::new(format!("find {name}"), io::ErrorKind::NotFound.into());
    link.map(|link| link.index).ok_or_else(missing)
}

/// The source address of the first frame that arrives, of one from `own` and one from [`OTHER`].
fn first_source(receiver: &OwnedFd, sender: &OwnedFd, own: MacAddr) -> io::Result<MacAddr> {
    for source in [own, OTHER] {
        let mut frame = [0; 60];
        frame[..6].copy_from_slice(&MacAddr::BROADCAST.octets());
        frame[6..12].copy_from_slice(&source.octets());
        frame[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
        raw_socket::send(sender.as_fd(), &frame, 1)?;
    }
    let end = Instant::now() + PATIENCE;
    let mut frame = [0; 128];
    loop {
        match raw_socket::receive(receiver.as_fd(), &mut frame)? {
            Some(len) if len >= 12 => {
                let octets: [u8; 6] = frame[6..12].try_into().unwrap_or_default();
                return Ok(MacAddr::new(octets));
            }
            Some(_) => {}
            None => {
                let rest = end.saturating_duration_since(Instant::now());
                if rest.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                poll::wait(&mut [Interest::readable(receiver.as_fd())], rest)?;
            }
        }
    }
}
