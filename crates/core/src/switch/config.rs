//! What a parent and its sub-interfaces are asked to be: plain data, no behaviour.

use std::fmt;
use std::str::FromStr;

use super::settings::MacvlanSettings;
use crate::MacAddr;

/// The smallest MTU of an Ethernet interface, in bytes (`ETH_MIN_MTU` of `if_ether.h`).
pub const MIN_MTU: u32 = 68;

/// How a sub-interface deals with its siblings and with the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mode {
    /// Reaches other bridge sub-interfaces without the wire.
    Bridge,
    /// Owns the parent: its address, and all its unicast.
    Passthru,
    /// Hears the wire, never a sibling.
    Private,
    /// Hears only the stations on its list, whatever they send.
    Source,
    /// Sends everything to the wire and hears siblings that a hairpin reflects.
    #[default]
    Vepa,
}

impl Mode {
    /// Every mode, in alphabetical order.
    pub const ALL: [Self; 5] =
        [Self::Bridge, Self::Passthru, Self::Private, Self::Source, Self::Vepa];

    /// The word that the kernel's tools use for the mode.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Passthru => "passthru",
            Self::Private => "private",
            Self::Source => "source",
            Self::Vepa => "vepa",
        }
    }

    /// The mode as a set of one, to be joined with `|`.
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

/// Text that names no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a mode: one of bridge, passthru, private, source, vepa")]
pub struct ParseModeError(String);

impl FromStr for Mode {
    type Err = ParseModeError;

    /// Reads the kernel's word, exactly.
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

/// Whose promise about private sub-interfaces is kept.
///
/// ip-link(8) says that private sub-interfaces never talk to a sibling, even through a hairpin.
/// `drivers/net/macvlan.c` looks at the source of group frames only, and so lets reflected
/// unicast through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Semantics {
    /// What the manual says: unicast between a private sub-interface and a sibling is dropped.
    #[default]
    Documented,
    /// What the kernel does: such unicast is delivered.
    Kernel,
}

impl Semantics {
    /// The word used in configuration.
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

/// Text that names no semantics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a choice of semantics: one of documented, kernel")]
pub struct ParseSemanticsError(String);

impl FromStr for Semantics {
    type Err = ParseSemanticsError;

    /// Reads `documented` or `kernel`.
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

/// What the switch has to know of the parent NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentInfo {
    /// Its address.
    pub mac: MacAddr,
    /// Its MTU in bytes, without the Ethernet header.
    pub mtu: u32,
    /// It receives every group, joined or not, so every group frame counts as widely used and
    /// takes the broadcast queue. True of a parent without a unicast filter: veth, TAP, bridge.
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

/// Which group frames a sub-interface listens to. Broadcast always passes.
///
/// Groups are matched exactly. The kernel hashes them into 256 bits and leaves the occasional
/// false hit to the stack above, which a reader of a TAP does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MulticastFilter {
    /// The groups it joined.
    pub groups: Vec<MacAddr>,
    /// It listens to every group.
    pub allmulti: bool,
    /// It listens to every group; siblings' unicast it does not get.
    pub promisc: bool,
}

impl MulticastFilter {
    /// True when every group passes.
    pub const fn accepts_all(&self) -> bool {
        self.allmulti || self.promisc
    }
}
