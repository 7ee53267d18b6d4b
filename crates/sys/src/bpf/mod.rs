//! Programs in the kernel: compiled from `bpf/` by the build, loaded and attached with aya.
//!
//! Without the feature `af-xdp` nothing can be attached, and says so.

#[cfg(feature = "af-xdp")]
pub mod host;
#[cfg(not(feature = "af-xdp"))]
#[path = "host_stub.rs"]
pub mod host;
#[cfg(feature = "af-xdp")]
mod load;
#[cfg(feature = "af-xdp")]
mod memlock;

use std::{fmt, io};

use umacvlan_core::switch::HostFilterRules;

/// How the filter for the host is attached to a parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// A filter of a `clsact` queueing discipline, before Linux 6.6. It is told from others' by its
    /// name, and lets everything pass when the process that made it is gone.
    Clsact,
    /// A link, which ends with its descriptor.
    Tcx,
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Clsact => "clsact",
            Self::Tcx => "tcx",
        })
    }
}

/// Tries the filter for the host on the loopback interface of the calling thread's namespace, where
/// it hides nothing, and takes it away again.
///
/// # Errors
/// Those of [`HostFilter::attach`](host::HostFilter::attach).
pub fn probe_host_filter() -> io::Result<Attachment> {
    Ok(host::HostFilter::attach("lo", &HostFilterRules::default())?.attachment())
}
