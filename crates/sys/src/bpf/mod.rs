//! BPF programs: compiled from `bpf/` by the build script, loaded and attached with aya.
//!
//! Without the feature `af-xdp` attaching fails with `Unsupported`.

#[cfg(feature = "af-xdp")]
pub mod host;
#[cfg(not(feature = "af-xdp"))]
#[path = "host_stub.rs"]
pub mod host;
#[cfg(feature = "af-xdp")]
mod load;
#[cfg(feature = "af-xdp")]
mod memlock;
#[cfg(feature = "af-xdp")]
mod pins;
#[cfg(feature = "af-xdp")]
pub mod port;
#[cfg(not(feature = "af-xdp"))]
#[path = "port_stub.rs"]
pub mod port;
pub mod port_types;
#[cfg(feature = "af-xdp")]
mod shared_addresses;
#[cfg(not(feature = "af-xdp"))]
#[path = "shared_addresses_stub.rs"]
mod shared_addresses;

use std::{fmt, io};

use umacvlan_core::switch::HostFilterRules;

pub use shared_addresses::SharedAddresses;

/// How the host filter is attached to a parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// A filter of a `clsact` queueing discipline, before Linux 6.6. It is known by its name, and
    /// passes every frame after the process that attached it has ended.
    Clsact,
    /// A TCX link, which the kernel detaches when its descriptor is closed.
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

/// The key of an address in a map: its bytes in order, then two zero bytes.
#[cfg(feature = "af-xdp")]
fn mac_key(mac: umacvlan_core::MacAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.octets();
    u64::from_ne_bytes([a, b, c, d, e, f, 0, 0])
}

/// Attaches a host filter without rules to the loopback interface of the calling thread's namespace,
/// detaches it, and returns the kind of attachment.
///
/// # Errors
/// Those of [`HostFilter::attach`](host::HostFilter::attach).
pub fn probe_host_filter() -> io::Result<Attachment> {
    Ok(host::HostFilter::attach("lo", &HostFilterRules::default())?.attachment())
}

/// Loads the programs of the port kind veth, attaches the one for a parent to the loopback interface of
/// the calling thread's namespace, and drops all of them.
///
/// # Errors
/// Those of [`PortPrograms::load`](port::PortPrograms::load) and
/// [`attach_wire`](port::PortPrograms::attach_wire).
pub fn probe_port_programs() -> io::Result<()> {
    // The first interface of every namespace.
    let loopback = port_types::End { name: "lo", index: 1 };
    port::PortPrograms::load(None)?.attach_wire(loopback)?;
    Ok(())
}
