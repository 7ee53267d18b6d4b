//! [`Lingering`]: a descriptor that takes long to close.

use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};

use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt::Linger};

use crate::LIMIT;

/// A TCP socket whose last descriptor takes three times [`LIMIT`] to close, because its peer does not
/// read what it has sent.
#[derive(Debug)]
pub struct Lingering {
    /// To be passed on.
    pub near: TcpStream,
    /// Its peer, to be kept.
    pub far: TcpStream,
}

impl Lingering {
    /// Connected by the loopback interface.
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        let full = loop {
            if let Err(error) = (&near).write(&[0; 65536]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        near.set_nonblocking(false).unwrap();
        let seconds = i32::try_from(3 * LIMIT.as_secs()).unwrap();
        setsockopt(&near, Linger, &linger { l_onoff: 1, l_linger: seconds }).unwrap();
        Self { near, far }
    }
}

impl Default for Lingering {
    fn default() -> Self {
        Self::new()
    }
}
