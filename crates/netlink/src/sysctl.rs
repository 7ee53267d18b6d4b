//! Settings of a namespace's network stack.

use std::fs;
use std::io;
use std::path::{Component, Path};

use umacvlan_sys::netns::Netns;

/// Writes `value` to `/proc/sys/net/{name}` as it is inside `netns`; `name` is a path, as
/// `ipv6/conf/eth0/disable_ipv6`, because an interface's name may have dots in it.
///
/// # Errors
/// If the namespace cannot be entered, or the kernel has no such setting or refuses the value; the
/// text says which.
pub fn set_sysctl(netns: &Netns, name: &str, value: &str) -> io::Result<()> {
    let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if !plain {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("\"{name}\" is no path below /proc/sys/net"),
        ));
    }
    let path = Path::new("/proc/sys/net").join(name);
    // The files show the namespace of the thread that opens them.
    netns.run(|| fs::write(&path, value))?.map_err(|e| {
        io::Error::new(e.kind(), format!("cannot write \"{value}\" to {}: {e}", path.display()))
    })
}
