//! The name and the offloads of a driver.
//!
//! This uses the ethtool ioctl, because ethtool's netlink family came with Linux 5.6 and has no
//! driver name. Facts from `linux/ethtool.h`.

mod receive;
mod switched_off;

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket, Type};

use super::tap::named;
pub use receive::ReceiveOffloads;
pub use switched_off::SwitchedOff;

/// `SIOCETHTOOL` of `linux/sockios.h`.
const SIOCETHTOOL: libc::c_ulong = 0x8946;

/// `ETHTOOL_GDRVINFO`, `ETHTOOL_GFLAGS`, `ETHTOOL_GTSO`, `ETHTOOL_GGSO`, `ETHTOOL_GGRO`,
/// `ETHTOOL_GTXCSUM`, `ETHTOOL_STXCSUM`, `ETHTOOL_GRXCSUM`.
const GET_DRIVER: u32 = 0x03;
const GET_FLAGS: u32 = 0x25;
const GET_TSO: u32 = 0x1e;
const GET_GSO: u32 = 0x23;
const GET_GRO: u32 = 0x2b;
const GET_TX_CHECKSUM: u32 = 0x16;
const SET_TX_CHECKSUM: u32 = 0x17;
const GET_RX_CHECKSUM: u32 = 0x14;

/// `ETHTOOL_GCHANNELS`.
#[cfg(feature = "af-xdp")]
const GET_CHANNELS: u32 = 0x3c;

/// `ETH_FLAG_LRO`.
const FLAG_LRO: u32 = 1 << 15;

/// Bytes of `struct ethtool_drvinfo`, the longest structure used here, and two of its texts.
const ANSWER: usize = 196;
const DRIVER: std::ops::Range<usize> = 4..36;
const BUS_INFO: std::ops::Range<usize> = 100..132;

/// Segmentation offloads of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segmentation {
    /// The kernel merges received frames of a flow.
    pub gro: bool,
    /// GSO packets are segmented as late as possible when they are sent.
    pub gso: bool,
    /// The NIC merges received frames of a flow, so that they cannot be segmented exactly again.
    pub lro: bool,
}

/// Offloads of an interface, as `ethtool -k` names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `tcp-segmentation-offload`.
    pub tso: bool,
    /// `generic-segmentation-offload`.
    pub gso: bool,
    /// `generic-receive-offload`.
    pub gro: bool,
    /// `tx-checksumming`: frames may be sent with a partial checksum.
    pub tx_checksum: bool,
    /// `rx-checksumming`.
    pub rx_checksum: bool,
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tso, gso, gro, tx_checksum, rx_checksum } = *self;
        let is = |on| if on { "on" } else { "off" };
        write!(f, "tso {}, gso {}, gro {}, ", is(tso), is(gso), is(gro))?;
        write!(f, "tx-checksum {}, rx-checksum {}", is(tx_checksum), is(rx_checksum))
    }
}

/// A socket for ethtool requests in the namespace in which it was opened.
#[derive(Debug)]
pub struct Ethtool {
    socket: Socket,
}

impl Ethtool {
    /// Opens a socket in the namespace of the calling thread.
    ///
    /// # Errors
    /// The process has too many open files.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::new(Domain::UNIX, Type::DGRAM, None)? })
    }

    /// The name of the driver.
    ///
    /// # Errors
    /// The driver does not support the request, or there is no such interface.
    pub fn driver(&self, interface: &str) -> io::Result<String> {
        Ok(text(&self.request(interface, GET_DRIVER, 0)?[DRIVER]))
    }

    /// The place of the NIC on its bus (`0000:00:03.0`, `virtio0`); empty or any text for an
    /// interface that is no NIC.
    ///
    /// # Errors
    /// As [`Ethtool::driver`].
    pub fn bus(&self, interface: &str) -> io::Result<String> {
        Ok(text(&self.request(interface, GET_DRIVER, 0)?[BUS_INFO]))
    }

    /// The segmentation offloads that are on.
    ///
    /// # Errors
    /// The driver does not support the request, or there is no such interface.
    pub fn segmentation(&self, interface: &str) -> io::Result<Segmentation> {
        Ok(Segmentation {
            gro: self.value(interface, GET_GRO)? != 0,
            gso: self.value(interface, GET_GSO)? != 0,
            lro: self.value(interface, GET_FLAGS)? & FLAG_LRO != 0,
        })
    }

    /// The offloads that are on.
    ///
    /// # Errors
    /// The driver does not support the request, or there is no such interface.
    pub fn features(&self, interface: &str) -> io::Result<Features> {
        let is_on = |command| Ok::<_, io::Error>(self.value(interface, command)? != 0);
        Ok(Features {
            tso: is_on(GET_TSO)?,
            gso: is_on(GET_GSO)?,
            gro: is_on(GET_GRO)?,
            tx_checksum: is_on(GET_TX_CHECKSUM)?,
            rx_checksum: is_on(GET_RX_CHECKSUM)?,
        })
    }

    /// Switches the checksum offload for sent frames. Without it TCP segmentation offload is off too.
    ///
    /// # Errors
    /// The driver cannot change it, or there is no such interface; `EPERM` without `CAP_NET_ADMIN`.
    pub fn set_tx_checksum(&self, interface: &str, on: bool) -> io::Result<()> {
        self.request(interface, SET_TX_CHECKSUM, on.into()).map(|_| ())
    }

    /// Reads a `struct ethtool_value`.
    fn value(&self, interface: &str, command: u32) -> io::Result<u32> {
        let [_, _, _, _, a, b, c, d, ..] = self.request(interface, command, 0)?;
        Ok(u32::from_ne_bytes([a, b, c, d]))
    }

    /// Sends a command with a value, and returns the structure that the kernel filled.
    fn request(&self, interface: &str, command: u32, value: u32) -> io::Result<[u8; ANSWER]> {
        let mut answer = [0_u32; ANSWER / size_of::<u32>()];
        answer[..2].copy_from_slice(&[command, value]);
        // SAFETY: each command that this file passes writes at most ANSWER bytes.
        unsafe { self.exchange(interface, &mut answer)? };
        let mut bytes = [0; ANSWER];
        for (to, word) in bytes.as_chunks_mut().0.iter_mut().zip(answer) {
            *to = word.to_ne_bytes();
        }
        Ok(bytes)
    }

    /// Sends a structure that begins with its command, and has the kernel fill it.
    ///
    /// # Safety
    /// The message is as long as what the kernel writes for its command and, where the structure has
    /// one, its own count.
    unsafe fn exchange(&self, interface: &str, message: &mut [u32]) -> io::Result<()> {
        let mut ifreq = named(interface)?;
        ifreq.ifr_ifru.ifru_data = message.as_mut_ptr().cast();
        // SAFETY: the caller's message has room for the answer, and it outlives the call.
        let done = unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL, &raw mut ifreq) };
        super::checked(done).map(drop)
    }
}

/// Requests of AF_XDP uplinks only.
#[cfg(feature = "af-xdp")]
impl Ethtool {
    /// The number of receive queues.
    ///
    /// # Errors
    /// The driver does not support the request, or there is no such interface.
    pub fn receive_queues(&self, interface: &str) -> io::Result<u32> {
        let answer = self.request(interface, GET_CHANNELS, 0)?;
        let (numbers, _) = answer.as_chunks::<4>();
        // `struct ethtool_channels`: the command, four limits, then the rx, tx, other and combined counts.
        let number = |at: usize| u32::from_ne_bytes(numbers[at]);
        Ok(number(5) + number(8))
    }
}

/// The text before the first zero byte.
fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_gso_and_an_unknown_interface_is_an_error() {
        let ethtool = Ethtool::open().unwrap();
        let segmentation = ethtool.segmentation("lo").unwrap();
        assert!(segmentation.gso && !segmentation.lro, "{segmentation:?}");
        assert!(ethtool.driver("no-such").is_err());
        assert!(ethtool.driver("a-name-far-too-long").is_err());
    }
}
