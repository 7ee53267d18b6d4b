//! Flags of a link in JSON, each a key.

use serde::{Deserialize, Serialize};
use umacvlan_core::{MacvlanFlag, MacvlanFlags};
use utoipa::ToSchema;

/// Flags of a link.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Flags {
    /// Source mode: frames from addresses of the source list go to no other link.
    #[serde(default)]
    pub nodst: bool,
    /// Passthru: do not set the parent promiscuous.
    #[serde(default)]
    pub nopromisc: bool,
    /// Drop frames that the link sends from another address than its own.
    #[serde(default, skip_serializing_if = "is_off")]
    pub spoofchk: bool,
}

/// Keys that older versions do not know are left out, so that these read the rest.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(crate) const fn is_off(flag: &bool) -> bool {
    !*flag
}

impl From<Flags> for MacvlanFlags {
    fn from(Flags { nodst, nopromisc, spoofchk }: Flags) -> Self {
        Self::default()
            .with(MacvlanFlag::Nodst, nodst)
            .with(MacvlanFlag::Nopromisc, nopromisc)
            .with(MacvlanFlag::Spoofchk, spoofchk)
    }
}

impl From<MacvlanFlags> for Flags {
    fn from(flags: MacvlanFlags) -> Self {
        Self {
            nodst: flags.contains(MacvlanFlag::Nodst),
            nopromisc: flags.contains(MacvlanFlag::Nopromisc),
            spoofchk: flags.contains(MacvlanFlag::Spoofchk),
        }
    }
}

/// Flags of the kernel's macvlan, which `ip` changes all at once.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KernelFlags {
    /// As of [`Flags`].
    #[serde(default)]
    pub nodst: bool,
    /// As of [`Flags`].
    #[serde(default)]
    pub nopromisc: bool,
}

impl From<KernelFlags> for MacvlanFlags {
    fn from(KernelFlags { nodst, nopromisc }: KernelFlags) -> Self {
        Flags { nodst, nopromisc, spoofchk: false }.into()
    }
}

impl From<MacvlanFlags> for KernelFlags {
    fn from(flags: MacvlanFlags) -> Self {
        let Flags { nodst, nopromisc, spoofchk: _ } = flags.into();
        Self { nodst, nopromisc }
    }
}
