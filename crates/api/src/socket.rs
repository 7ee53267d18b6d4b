//! The path of the daemon's socket.

use std::path::{Path, PathBuf};

/// Socket of the daemon unless another one is configured.
pub const DEFAULT_SOCKET: &str = "/run/umacvlan/umacvlan.sock";

/// The socket to use: `given`, else the environment variable `UMACVLAN_SOCKET`, else the default.
pub fn socket_path(given: Option<&Path>) -> PathBuf {
    let environment = || std::env::var_os("UMACVLAN_SOCKET").filter(|path| !path.is_empty());
    given
        .map(Path::to_owned)
        .or_else(|| environment().map(PathBuf::from))
        .unwrap_or_else(|| DEFAULT_SOCKET.into())
}
