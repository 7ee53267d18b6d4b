//! Who is at the other end of a Unix socket, beyond what other crates can ask.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The supplementary groups that the peer's process had when it connected (unix(7),
/// `SO_PEERGROUPS`).
///
/// # Errors
/// Whatever `getsockopt` says: `ENODATA` where the socket has no peer.
pub fn supplementary_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    // As many as a process can have (NGROUPS_MAX), so that it is one call.
    let mut groups = vec![0_u32; 65_536];
    let mut bytes: libc::socklen_t = 65_536 * super::size::<u32>();
    // SAFETY: `bytes` is the size of the buffer, and both outlive the call.
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
    fn what_is_no_unix_socket_has_no_groups() {
        let file = fs::File::open("/proc/self/status").unwrap();
        assert!(supplementary_groups(file.as_fd()).is_err());
    }
}
