//! Network sysctls of a namespace.

use std::fs;
use std::io;
use std::path::{Component, Path};

use umacvlan_sys::netns::Netns;

/// Writes `value` to `/proc/sys/net/{name}` of the namespace `netns`. `name` is a path, such as
/// `ipv6/conf/eth0/disable_ipv6`, because the name of an interface may have dots in it.
///
/// # Errors
/// The namespace cannot be entered; there is no such sysctl; the kernel refuses the value.
pub fn set_sysctl(netns: &Netns, name: &str, value: &str) -> io::Result<()> {
    let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if !plain {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("\"{name}\" is not a path below /proc/sys/net"),
        ));
    }
    let path = Path::new("/proc/sys/net").join(name);
    // The files show the namespace of the thread that opens them.
    netns.run(|| fs::write(&path, value))?.map_err(|e| {
        io::Error::new(e.kind(), format!("cannot write \"{value}\" to {}: {e}", path.display()))
    })
}
