//! [`SwitchError`]: why the table was not changed.

use crate::MacAddr;

use super::config::MIN_MTU;

/// A change that the rules of macvlan do not allow. The table is as it was before.
///
/// Causes that share an error number in the kernel are told apart here, so that each can say
/// what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// The address is the parent's.
    #[error(
        "{0} is the address of the parent: give the sub-interface another one, or use mode passthru"
    )]
    AddressOfParent(MacAddr),
    /// The address is that of a sub-interface that is up.
    #[error(
        "{0} is the address of another sub-interface that is up: choose another one, or set that one down first"
    )]
    AddressOfSub(MacAddr),
    /// The mode was to change to or from passthru.
    #[error("mode passthru is for life: delete the sub-interface and add it again in the new mode")]
    FixedPassthru,
    /// The MTU is larger than the parent's.
    #[error(
        "MTU {mtu} is larger than the parent's {parent}: raise the parent's first, or ask for less"
    )]
    MtuAboveParent {
        /// What was asked for, in bytes.
        mtu: u32,
        /// What the parent has, in bytes.
        parent: u32,
    },
    /// The MTU is smaller than Ethernet allows.
    #[error("MTU {0} is below the least that Ethernet has: ask for {MIN_MTU} or more")]
    MtuTooSmall(u32),
    /// There is no such sub-interface.
    #[error("there is no such sub-interface: it was removed, or belongs to another parent")]
    NoSuchSub,
    /// The address is zero or a group's, and no station can have it.
    #[error(
        "{0} is not the address of a station: use one that is not zero and whose first byte is even"
    )]
    NotUnicast(MacAddr),
    /// A passthru sub-interface has the parent to itself.
    #[error(
        "a passthru sub-interface owns this parent and shares it with nobody: delete that one first"
    )]
    ParentOwned,
    /// Passthru was asked for on a parent that has sub-interfaces.
    #[error(
        "mode passthru needs a parent without other sub-interfaces: delete those first, or use another parent"
    )]
    ParentShared,
    /// A source list was given to a sub-interface that is not in source mode.
    #[error("only a source sub-interface has a source list: set mode source first")]
    SourcesOutsideSourceMode,
    /// Every identifier is taken.
    #[error(
        "a parent carries 65536 sub-interfaces at most: delete one first, or use another parent"
    )]
    TooMany,
}

impl SwitchError {
    /// The error number the kernel answers with, in Linux's numbering (`errno-base.h`, `errno.h`).
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
            Self::FixedPassthru
            | Self::MtuAboveParent { .. }
            | Self::MtuTooSmall(_)
            | Self::ParentOwned
            | Self::ParentShared
            | Self::SourcesOutsideSourceMode => EINVAL,
        }
    }
}
