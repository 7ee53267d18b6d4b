//! Network sysctls of a namespace.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use umacvlan_sys::netns::Netns;

/// Reads `/proc/sys/net/{name}` of the namespace `netns`, without the line's end. `name` is as for
/// [`set_sysctl`].
///
/// # Errors
/// The namespace cannot be entered, or there is no such sysctl.
pub fn sysctl(netns: &Netns, name: &str) -> io::Result<String> {
    let path = path_of(name)?;
    // The files show the namespace of the thread that opens them.
    let text = netns
        .run(|| fs::read_to_string(&path))?
        .map_err(|e| io::Error::new(e.kind(), format!("cannot read {}: {e}", path.display())))?;
    Ok(text.trim_end().to_owned())
}

/// Writes `value` to `/proc/sys/net/{name}` of the namespace `netns`. `name` is a path, such as
/// `ipv6/conf/eth0/disable_ipv6`, because the name of an interface may have dots in it.
///
/// # Errors
/// The namespace cannot be entered; there is no such sysctl; the kernel refuses the value.
pub fn set_sysctl(netns: &Netns, name: &str, value: &str) -> io::Result<()> {
    let path = path_of(name)?;
    // The files show the namespace of the thread that opens them.
    netns.run(|| fs::write(&path, value))?.map_err(|e| {
        io::Error::new(e.kind(), format!("cannot write \"{value}\" to {}: {e}", path.display()))
    })
}

fn path_of(name: &str) -> io::Result<PathBuf> {
    let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    match plain {
        true => Ok(Path::new("/proc/sys/net").join(name)),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("\"{name}\" is not a path below /proc/sys/net"),
        )),
    }
}
