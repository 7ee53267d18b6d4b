//! What the kernel knows of a TCP connection.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The segments that a TCP socket has sent again since it was connected (`tcpi_total_retrans`).
///
/// # Errors
/// The error of `getsockopt`: `ENOPROTOOPT` or `EOPNOTSUPP` for another kind of socket.
pub fn retransmits(socket: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: it has integers only, for which zeros are valid.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = super::size::<libc::tcp_info>();
    let (fd, value): (_, *mut libc::tcp_info) = (socket.as_raw_fd(), &raw mut info);
    // SAFETY: `info` has `len` bytes and outlives the call.
    let got = unsafe {
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, value.cast(), &raw mut len)
    };
    super::checked(got)?;
    Ok(info.tcpi_total_retrans)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_connection_that_loses_nothing_sends_nothing_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(retransmits(stream.as_fd()).unwrap(), 0);
    }

    #[test]
    fn another_socket_has_no_such_number() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(retransmits(socket.as_fd()).is_err());
    }
}
