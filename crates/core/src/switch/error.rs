//! [`SwitchError`]: why an update of the switch failed.

use crate::MacAddr;

use super::config::MIN_MTU;

/// An update that the rules of macvlan forbid. The switch is unchanged.
///
/// Causes that share an error number in the kernel are separate variants, so that each message can
/// say what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// The address is the parent's.
    #[error(
        "address already in use: {0} is the address of the parent: give the sub-interface another one, or use mode passthru"
    )]
    AddressOfParent(MacAddr),
    /// The address is that of a sub-interface that is up.
    #[error(
        "address already in use: {0} is the address of another sub-interface that is up: choose another address, or set that one down first"
    )]
    AddressOfSub(MacAddr),
    /// A limit on bursts above a rate that has no limit.
    #[error("{burst} is what may pass above {rate}, and there is no {rate}: add one")]
    BurstWithoutRate {
        /// The word of the burst.
        burst: &'static str,
        /// The word of the rate that is missing.
        rate: &'static str,
    },
    /// The mode was to change to or from passthru.
    #[error(
        "a link becomes passthru, or leaves it, only when it is made: delete it and add it again in the new mode"
    )]
    FixedPassthru,
    /// The MTU is larger than the parent's.
    #[error(
        "MTU {mtu} is larger than the parent's {parent}: raise the parent's first, or choose a smaller one"
    )]
    MtuAboveParent {
        /// The requested MTU, in bytes.
        mtu: u32,
        /// The parent's MTU, in bytes.
        parent: u32,
    },
    /// The MTU is smaller than Ethernet allows.
    #[error("MTU {0} is below the minimum of Ethernet: choose {MIN_MTU} or more")]
    MtuTooSmall(u32),
    /// There is no such sub-interface.
    #[error("no such sub-interface: it was removed, or belongs to another parent")]
    NoSuchSub,
    /// The address is zero or a group's, so no interface can have it.
    #[error("{0} is not a unicast address: use one that is not zero and whose first byte is even")]
    NotUnicast(MacAddr),
    /// The parent has a passthru sub-interface, which excludes others.
    #[error(
        "this parent has a passthru sub-interface, which excludes others: delete that one first"
    )]
    ParentOwned,
    /// Mode passthru on a parent that has other sub-interfaces.
    #[error(
        "mode passthru needs a parent without other sub-interfaces: delete those first, or use another parent"
    )]
    ParentShared,
    /// A rule about what it receives for a source sub-interface, which has its list for that.
    #[error(
        "mode source receives by its list of addresses (macaddr), so isolation, allow_mac and allow_ethertype cannot apply: remove them, or choose another mode"
    )]
    RulesInSourceMode,
    /// A source list for a sub-interface that is not in source mode.
    #[error("only a source sub-interface has a source list: set mode source first")]
    SourcesOutsideSourceMode,
    /// Every index is taken.
    #[error(
        "a parent carries 65536 sub-interfaces at most: delete one first, or use another parent"
    )]
    TooMany,
}

impl SwitchError {
    /// The kernel's error number for this, as on Linux (`errno-base.h`, `errno.h`).
    pub const fn errno(self) -> i32 {
        const ENODEV: i32 = 19;
        const EINVAL: i32 = 22;
        const ENOSPC: i32 = 28;
        const EADDRINUSE: i32 = 98;
        const EADDRNOTAVAIL: i32 = 99;
        match self {
            Self::AddressOfParent(_) | Self::AddressOfSub(_) => EADDRINUSE,
            Self::NotUnicast(_) => EADDRNOTAVAIL,
            Self::NoSuchSub => ENODEV,
            Self::TooMany => ENOSPC,
            Self::BurstWithoutRate { .. }
            | Self::FixedPassthru
            | Self::MtuAboveParent { .. }
            | Self::MtuTooSmall(_)
            | Self::ParentOwned
            | Self::ParentShared
            | Self::RulesInSourceMode
            | Self::SourcesOutsideSourceMode => EINVAL,
        }
    }
}
