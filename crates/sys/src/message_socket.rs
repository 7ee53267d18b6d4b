//! [`MessageSocket`]: a Unix socket whose messages can carry descriptors (`SOCK_SEQPACKET` and
//! `SCM_RIGHTS`, unix(7)).

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

/// The most descriptors of one message (`SCM_MAX_FD` in the kernel's `include/net/scm.h`).
pub const DESCRIPTORS_MAX: usize = 253;

/// A listening socket or a connection. Messages keep their boundaries and their order.
#[derive(Debug)]
pub struct MessageSocket {
    socket: Socket,
}

/// A received message.
#[derive(Debug)]
pub struct Received {
    /// Its bytes in the buffer; 0 if the peer has closed the connection.
    pub len: usize,
    /// Its descriptors, in the order in which they were sent; closed on exec.
    pub descriptors: Vec<OwnedFd>,
}

/// The process at the other end of a connection, when it connected or began to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process id.
    pub pid: libc::pid_t,
    /// Its effective user id.
    pub uid: libc::uid_t,
}

/// The control data of a message: one header, followed by descriptors. Without padding between them
/// this is the layout of `CMSG_DATA` (cmsg(3)).
#[repr(C)]
pub(crate) struct Control {
    header: libc::cmsghdr,
    descriptors: [RawFd; DESCRIPTORS_MAX],
}

impl MessageSocket {
    /// A socket that listens at `path`, which must not exist.
    ///
    /// # Errors
    /// The path is too long or in use, or its directory cannot be written.
    pub fn listen_at(path: &Path) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        socket.listen(BACKLOG)?;
        Ok(Self { socket })
    }

    /// A connection to the socket that listens at `path`.
    ///
    /// # Errors
    /// `ECONNREFUSED` if nobody listens there any more, `NotFound` if there is no such file.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        socket.connect(&SockAddr::unix(path)?)?;
        Ok(Self { socket })
    }

    /// Makes this process the one that listens here, for [`MessageSocket::peer`] of its clients.
    ///
    /// # Errors
    /// `EINVAL` for a socket that is not bound, `EOPNOTSUPP` for one of another kind.
    pub fn listen(&self) -> io::Result<()> {
        self.socket.listen(BACKLOG)
    }

    /// The connection of the next client. Waits for one.
    ///
    /// # Errors
    /// The error of accept(2).
    pub fn accept(&self) -> io::Result<Self> {
        let (socket, _) = self.socket.accept()?;
        Ok(Self { socket })
    }

    /// Makes sending and receiving fail with `WouldBlock` after this time.
    ///
    /// # Errors
    /// The error of setsockopt(2).
    pub fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(timeout))?;
        self.socket.set_write_timeout(Some(timeout))
    }

    /// The process at the other end (`SO_PEERCRED`).
    ///
    /// # Errors
    /// The error of getsockopt(2).
    pub fn peer(&self) -> io::Result<Peer> {
        let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
        let mut len = super::size::<libc::ucred>();
        // SAFETY: SO_PEERCRED writes at most `len` bytes, the size of the struct it is given.
        super::checked(unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut peer).cast(),
                &raw mut len,
            )
        })?;
        Ok(Peer { pid: peer.pid, uid: peer.uid })
    }

    /// Sends one message.
    ///
    /// # Errors
    /// `InvalidInput` for more than [`DESCRIPTORS_MAX`] descriptors, `EPIPE` if the peer has closed the
    /// connection, `ETOOMANYREFS` if too many descriptors are on their way, `WouldBlock` after a
    /// timeout.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if descriptors.len() > DESCRIPTORS_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut control = Control::empty();
        for (to, from) in control.descriptors.iter_mut().zip(descriptors) {
            *to = from.as_raw_fd();
        }
        control.header.cmsg_level = libc::SOL_SOCKET;
        control.header.cmsg_type = libc::SCM_RIGHTS;
        let len = size_of::<libc::cmsghdr>() + size_of_val(descriptors);
        control.header.cmsg_len = len as _;
        let mut part =
            libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut message = message(&mut part, &mut control);
        match descriptors.is_empty() {
            true => (message.msg_control, message.msg_controllen) = (std::ptr::null_mut(), 0),
            false => message.msg_controllen = len as _,
        }
        retry(|| {
            // SAFETY: `message` points to `part` and `control`, which outlive the call, and `part` to
            // `bytes`; sendmsg writes to none of them.
            unsafe {
                libc::sendmsg(self.socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
            }
        })?;
        Ok(())
    }

    /// Receives one message into `buffer`.
    ///
    /// # Errors
    /// `InvalidData` if the message is longer than the buffer, or this process has no room for its
    /// descriptors; `WouldBlock` after a timeout.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut descriptors = Vec::new();
        let len = self.receive_with(buffer, &mut descriptors)?;
        Ok(Received { len, descriptors })
    }

    /// As [`MessageSocket::receive`]; the descriptors are added to `descriptors`, even those of a message
    /// that is refused: to close one may have to wait.
    ///
    /// # Errors
    /// As [`MessageSocket::receive`].
    pub fn receive_with(
        &self,
        buffer: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
    ) -> io::Result<usize> {
        receive(self.as_fd(), buffer, descriptors)
    }
}

impl From<OwnedFd> for MessageSocket {
    /// Wraps a descriptor. With one of another kind every call fails.
    fn from(fd: OwnedFd) -> Self {
        Self { socket: Socket::from(fd) }
    }
}

impl From<MessageSocket> for OwnedFd {
    fn from(socket: MessageSocket) -> Self {
        socket.socket.into()
    }
}

impl AsFd for MessageSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Control {
    /// Room for all of them.
    pub(crate) const fn empty() -> Self {
        // SAFETY: all-zero is a valid cmsghdr.
        let header = unsafe { std::mem::zeroed() };
        Self { header, descriptors: [-1; DESCRIPTORS_MAX] }
    }

    /// The descriptors that recvmsg has installed; a header that it has not written has length 0.
    pub(crate) fn take(self) -> Vec<OwnedFd> {
        let Self { header, descriptors } = self;
        let rights = (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS);
        // The type is that of the platform.
        #[allow(clippy::unnecessary_cast, reason = "it is u32 with musl")]
        let bytes = (header.cmsg_len as usize).saturating_sub(size_of::<libc::cmsghdr>());
        let count = if rights { bytes / size_of::<RawFd>() } else { 0 };
        descriptors
            .into_iter()
            .take(count)
            .map(|fd| {
                // SAFETY: recvmsg has just installed this descriptor, and nothing else owns it.
                unsafe { OwnedFd::from_raw_fd(fd) }
            })
            .collect()
    }
}

/// Receives from a Unix socket of any type; see [`MessageSocket::receive_with`].
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut control = Control::empty();
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut message = message(&mut part, &mut control);
    let len = retry(|| {
        // SAFETY: `message` points to `part` and `control`, which outlive the call, and `part` to
        // `buffer`, which is borrowed mutably; recvmsg writes within the lengths given there.
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) }
    })?;
    descriptors.append(&mut control.take());
    if message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is cut off"));
    }
    Ok(len)
}

/// The header of a message with one part and room for descriptors.
fn message(part: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: all-zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = std::ptr::from_mut(control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    message
}

/// Repeats a system call that a signal has interrupted, and returns its value.
fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(value) => return Ok(value),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
}

/// Clients that may wait to be accepted.
const BACKLOG: libc::c_int = 8;

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};

    use umacvlan_testkit::Scratch;

    use super::*;

    fn pair() -> (MessageSocket, MessageSocket) {
        let dir = Scratch::new();
        let path = dir.path().join("s");
        let listener = MessageSocket::listen_at(&path).unwrap();
        let near = MessageSocket::connect(&path).unwrap();
        (near, listener.accept().unwrap())
    }

    #[test]
    fn a_message_arrives_with_its_descriptors_in_order() {
        let (near, far) = pair();
        let pipes: Vec<_> = (0..DESCRIPTORS_MAX).map(|_| io::pipe().unwrap()).collect();
        let ends: Vec<_> = pipes.iter().map(|(read, _)| read.as_fd()).collect();
        near.send(b"many", &ends).unwrap();
        near.send(b"none", &[]).unwrap();
        let mut buffer = [0; 16];
        let many = far.receive(&mut buffer).unwrap();
        assert_eq!((&buffer[..many.len], many.descriptors.len()), (&b"many"[..], DESCRIPTORS_MAX));
        for (number, ((_, write), fd)) in (0..).zip(pipes.iter().zip(many.descriptors)) {
            (&*write).write_all(&[number]).unwrap();
            let mut byte = [0];
            File::from(fd).read_exact(&mut byte).unwrap();
            assert_eq!(byte, [number]);
        }
        let none = far.receive(&mut buffer).unwrap();
        assert_eq!((&buffer[..none.len], none.descriptors.len()), (&b"none"[..], 0));
        drop(near);
        assert_eq!(far.receive(&mut buffer).unwrap().len, 0);
    }

    #[test]
    fn too_many_descriptors_and_too_long_a_message_are_errors() {
        let (near, far) = pair();
        let null = File::open("/dev/null").unwrap();
        let ends = vec![null.as_fd(); DESCRIPTORS_MAX + 1];
        let refused = near.send(b"x", &ends).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        near.send(b"longer than the buffer", &ends[..1]).unwrap();
        let refused = far.receive(&mut [0; 4]).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        drop(far);
        assert_eq!(near.send(b"x", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_peer_is_known_and_silence_ends() {
        let (near, far) = pair();
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(far.peer().unwrap().pid, own);
        assert_eq!(near.peer().unwrap(), far.peer().unwrap());
        near.set_timeout(Duration::from_millis(1)).unwrap();
        let error = near.receive(&mut [0; 4]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
