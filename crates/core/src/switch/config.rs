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

/// How private sub-interfaces are isolated.
///
/// ip-link(8) says that private sub-interfaces never exchange frames with a sibling, even through a
/// hairpin switch. `drivers/net/macvlan.c` checks the source of group frames only, and so delivers
/// reflected unicast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Semantics {
    /// As the manual says: unicast between a private sub-interface and a sibling is dropped.
    #[default]
    Documented,
    /// As the kernel does: such unicast is delivered.
    Kernel,
}

impl Semantics {
    /// The name in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Kernel => "kernel",
        }
    }
}

impl fmt::Display for Semantics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Text that is not the name of a semantics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a choice of semantics: one of documented, kernel")]
pub struct ParseSemanticsError(String);

impl FromStr for Semantics {
    type Err = ParseSemanticsError;

    /// Parses `documented` or `kernel`.
    ///
    /// # Errors
    /// Any other text.
    fn from_str(text: &str) -> Result<Self, ParseSemanticsError> {
        [Self::Documented, Self::Kernel]
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
