//! What a driver says of itself: its name and its offloads.
//!
//! By the old ioctl and not by ethtool's netlink family: only Linux 5.6 has that, and one of the
//! answers here is a string. Facts from `linux/ethtool.h`.

use std::io;
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket, Type};

use super::tap::named;

/// `SIOCETHTOOL` of `linux/sockios.h`.
const SIOCETHTOOL: libc::c_ulong = 0x8946;

/// `ETHTOOL_GDRVINFO`, `ETHTOOL_GFLAGS`, `ETHTOOL_GGSO`, `ETHTOOL_GGRO`.
const GET_DRIVER: u32 = 0x03;
const GET_FLAGS: u32 = 0x25;
const GET_GSO: u32 = 0x23;
const GET_GRO: u32 = 0x2b;

/// `ETH_FLAG_LRO`.
const FLAG_LRO: u32 = 1 << 15;

/// Bytes of `struct ethtool_drvinfo`, the longest answer that is asked for here; the name of the
/// driver follows the command in it.
const ANSWER: usize = 196;
const DRIVER: std::ops::Range<usize> = 4..36;

/// Segmentation that an interface does, or has done for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segmentation {
    /// Received frames of a flow are joined by the kernel.
    pub gro: bool,
    /// Super-frames are cut as late as possible when they are sent.
    pub gso: bool,
    /// Received frames of a flow are joined by the NIC, and cannot be taken apart again.
    pub lro: bool,
}

/// Asks drivers of the namespace in which it was opened.
#[derive(Debug)]
pub struct Ethtool {
    socket: Socket,
}

impl Ethtool {
    /// For the namespace of the calling thread.
    ///
    /// # Errors
    /// There is no descriptor to be had.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::new(Domain::UNIX, Type::DGRAM, None)? })
    }

    /// The name of the driver.
    ///
    /// # Errors
    /// The driver does not tell, or there is no such interface.
    pub fn driver(&self, interface: &str) -> io::Result<String> {
        let answer = self.ask(interface, GET_DRIVER)?;
        let name = answer[DRIVER].split(|&byte| byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(name).into_owned())
    }

    /// Which segmentation is on.
    ///
    /// # Errors
    /// The driver does not tell, or there is no such interface.
    pub fn segmentation(&self, interface: &str) -> io::Result<Segmentation> {
        Ok(Segmentation {
            gro: self.value(interface, GET_GRO)? != 0,
            gso: self.value(interface, GET_GSO)? != 0,
            lro: self.value(interface, GET_FLAGS)? & FLAG_LRO != 0,
        })
    }

    /// The value of a `struct ethtool_value`.
    fn value(&self, interface: &str, command: u32) -> io::Result<u32> {
        let [_, _, _, _, a, b, c, d, ..] = self.ask(interface, command)?;
        Ok(u32::from_ne_bytes([a, b, c, d]))
    }

    fn ask(&self, interface: &str, command: u32) -> io::Result<[u8; ANSWER]> {
        let mut answer = Answer([0; ANSWER]);
        answer.0[..4].copy_from_slice(&command.to_ne_bytes());
        let mut request = named(interface)?;
        request.ifr_ifru.ifru_data = (&raw mut answer).cast();
        // SAFETY: each command here writes at most ANSWER bytes, and the answer outlives the call.
        let asked = unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        super::checked(asked)?;
        Ok(answer.0)
    }
}

/// Aligned as the structures of `linux/ethtool.h` that it stands for.
#[repr(C, align(8))]
struct Answer([u8; ANSWER]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_segments_and_is_named_by_nobody_or_by_its_driver() {
        let ethtool = Ethtool::open().unwrap();
        let segmentation = ethtool.segmentation("lo").unwrap();
        assert!(segmentation.gso && !segmentation.lro, "{segmentation:?}");
        assert!(ethtool.driver("no-such").is_err());
        assert!(ethtool.driver("a-name-far-too-long").is_err());
    }

    #[test]
    fn a_veth_names_its_driver() {
        use crate::netlink::Rtnl;
        use crate::privilege::root_or_skip;
        use crate::sys::netns::Netns;
        if !root_or_skip("a_veth_names_its_driver") {
            return;
        }
        let netns = Netns::create().unwrap();
        Rtnl::open_in(&netns).unwrap().add_veth("p0", "q0", None).unwrap();
        let ethtool = netns.run(Ethtool::open).unwrap().unwrap();
        assert_eq!(ethtool.driver("p0").unwrap(), "veth");
    }
}
