//! Modes, semantics and configuration: plain data without behaviour.

use std::fmt;
use std::str::FromStr;

use super::settings::MacvlanSettings;
use crate::MacAddr;

/// The smallest MTU of an Ethernet interface, in bytes (`ETH_MIN_MTU` of `if_ether.h`).
pub const MIN_MTU: u32 = 68;

/// How a sub-interface exchanges frames with its siblings and with the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mode {
    /// Exchanges frames with other bridge sub-interfaces locally.
    Bridge,
    /// Is the only one on its parent: it has the parent's address and all its unicast.
    Passthru,
    /// Receives from the wire, never from a sibling.
    Private,
    /// Receives every frame whose source address is on its list, and no other.
    Source,
    /// Sends everything to the wire, and receives from siblings what a hairpin switch reflects.
    #[default]
    Vepa,
}

impl Mode {
    /// Every mode, in alphabetical order.
    pub const ALL: [Self; 5] =
        [Self::Bridge, Self::Passthru, Self::Private, Self::Source, Self::Vepa];

    /// The name of the mode in ip-link(8).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Passthru => "passthru",
            Self::Private => "private",
            Self::Source => "source",
            Self::Vepa => "vepa",
        }
    }

    /// The mode as a bit of a set of modes.
    pub(super) const fn bit(self) -> u8 {
        match self {
            Self::Bridge => 1,
            Self::Passthru => 2,
            Self::Private => 4,
            Self::Source => 8,
            Self::Vepa => 16,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Text that is not the name of a mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a mode: one of bridge, passthru, private, source, vepa")]
pub struct ParseModeError(String);

impl FromStr for Mode {
    type Err = ParseModeError;

    /// Parses the [`name`](Self::name) of a mode, exactly.
    ///
    /// # Errors
    /// Any other text.
    fn from_str(text: &str) -> Result<Self, ParseModeError> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.name() == text)
            .ok_or_else(|| ParseModeError(text.to_owned()))
    }
}

/// Which rules a switch follows where ip-link(8) and releases of the kernel differ.
///
/// ip-link(8) says that private sub-interfaces never exchange frames with a sibling, even through a
/// hairpin switch. `drivers/net/macvlan.c` checks the source of group frames only, and so delivers
/// reflected unicast. In everything else [`Documented`](Self::Documented) follows the kernel too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Semantics {
    /// As the manual says: unicast between a private sub-interface and a sibling is dropped.
    #[default]
    Documented,
    /// As the running kernel does: such unicast is delivered.
    Kernel,
    /// As Linux 6.18 does, whatever runs.
    Kernel6_18,
    /// As Linux 7.3 does, whatever runs.
    Kernel7_3,
}

impl Semantics {
    /// All choices.
    pub const ALL: [Self; 4] = [Self::Documented, Self::Kernel, Self::Kernel6_18, Self::Kernel7_3];

    /// The name in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Kernel => "kernel",
            Self::Kernel6_18 => "kernel-6.18",
            Self::Kernel7_3 => "kernel-7.3",
        }
    }

    /// The release whose rules this means on a kernel that has those of `running`.
    pub const fn release(self, running: KernelRelease) -> KernelRelease {
        match self {
            Self::Documented | Self::Kernel => running,
            Self::Kernel6_18 => KernelRelease::V6_18,
            Self::Kernel7_3 => KernelRelease::V7_3,
        }
    }
}

impl fmt::Display for Semantics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A release of Linux since which macvlan has other rules of forwarding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KernelRelease {
    /// Up to this release a reflected group frame of a bridge sub-interface goes to vepa sub-interfaces.
    #[default]
    V6_18,
    /// Since this release it goes to all bridge sub-interfaces too, the sender included: with a VRRP
    /// address, which several hosts share, it may be from another host.
    V7_3,
}

impl KernelRelease {
    /// The rules of a kernel, by the text of its release, as `uname -r` prints it: those of the nearest
    /// release below. Distributions may have taken over the change of a later one.
    pub fn of(uname: &str) -> Self {
        let mut numbers = uname.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (7, 3) => Self::V7_3,
            _ => Self::V6_18,
        }
    }

    /// The release with this number, as [`name`](Self::name) gives it.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::V6_18, Self::V7_3].into_iter().find(|release| release.name() == name)
    }

    /// The number of the release.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V6_18 => "6.18",
            Self::V7_3 => "7.3",
        }
    }
}

impl fmt::Display for KernelRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Text that is not the name of a semantics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a choice of semantics: one of documented, kernel, kernel-6.18, kernel-7.3")]
pub struct ParseSemanticsError(String);

impl FromStr for Semantics {
    type Err = ParseSemanticsError;

    /// Parses the name of a semantics.
    ///
    /// # Errors
    /// Any other text.
    fn from_str(text: &str) -> Result<Self, ParseSemanticsError> {
        Self::ALL
            .into_iter()
            .find(|semantics| semantics.name() == text)
            .ok_or_else(|| ParseSemanticsError(text.to_owned()))
    }
}

/// The properties of a parent NIC that forwarding depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentInfo {
    /// Its address.
    pub mac: MacAddr,
    /// Its MTU in bytes, without the Ethernet header.
    pub mtu: u32,
    /// True when it receives every group, joined or not; then every group frame takes the broadcast
    /// queue. That is so for a parent without a unicast filter: veth, TAP, bridge.
    pub promisc: bool,
}

/// A sub-interface to be added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubConfig {
    /// Its address. Passthru ignores it and takes the parent's.
    pub mac: MacAddr,
    /// Its MTU in bytes, or `None` for the parent's.
    pub mtu: Option<u32>,
    /// Its macvlan settings.
    pub settings: MacvlanSettings,
}

impl SubConfig {
    /// A sub-interface with this address and mode, the parent's MTU, and the kernel's defaults.
    pub fn new(mac: MacAddr, mode: Mode) -> Self {
        Self { mac, mtu: None, settings: MacvlanSettings::new(mode) }
    }
}

/// The multicast filter of a sub-interface. Broadcast always passes.
///
/// Groups are matched exactly. The kernel hashes them into 256 bits and leaves the occasional
/// false hit to the stack above, which the reader of a TAP may not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MulticastFilter {
    /// The groups that the sub-interface joined.
    pub groups: Vec<MacAddr>,
    /// Every group passes.
    pub allmulti: bool,
    /// Every group passes. Unicast to siblings does not.
    pub promisc: bool,
}

impl MulticastFilter {
    /// True when every group passes.
    pub const fn accepts_all(&self) -> bool {
        self.allmulti || self.promisc
    }
}
