//! The supplementary groups of the process at the other end of a Unix socket.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The supplementary groups of the peer's process when it connected (unix(7),
/// `SO_PEERGROUPS`).
///
/// # Errors
/// The error of `getsockopt`: `ENODATA` if the socket has no peer.
pub fn supplementary_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    // A process has at most NGROUPS_MAX groups, so one call suffices.
    let mut groups = vec![0_u32; 65_536];
    let mut bytes: libc::socklen_t = 65_536 * super::size::<u32>();
    // SAFETY: `groups` has `bytes` bytes, and both outlive the call.
    super::checked(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    })?;
    groups.truncate(bytes as usize / size_of::<u32>());
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_groups_of_a_peer_are_those_of_its_process() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        let mut groups = supplementary_groups(socket.as_fd()).unwrap();
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
        let mut own: Vec<u32> =
            line.split_whitespace().map(|group| group.parse().unwrap()).collect();
        groups.sort_unstable();
        own.sort_unstable();
        assert_eq!(groups, own);
    }

    #[test]
    fn a_file_is_not_a_unix_socket_and_has_no_groups() {
        let file = fs::File::open("/proc/self/status").unwrap();
        assert!(supplementary_groups(file.as_fd()).is_err());
    }
}
