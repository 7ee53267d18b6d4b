//! [`PortListener`]: the Unix socket of a port, where the program at its far end connects.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

use super::close_aside::{CloseAside, CloseCount};
use super::message_socket;
use super::port_socket::{
    BoundSocket, Descriptors, Program, RefusedDescriptors, SocketFile, SocketOwner,
    refuse_descriptors,
};

/// Connections that may wait while another one is served.
const BACKLOG: libc::c_int = 1;

/// A connection, which never blocks. To close it may: its owner does so
/// [aside](CloseAside).
#[derive(Debug)]
pub struct PortConnection {
    socket: Socket,
    /// True if the kernel lets no descriptor pass.
    guarded: bool,
    refused: RefusedDescriptors,
}

impl PortConnection {
    /// Connects to the socket at which a program listens, without waiting for it. Also returns the process
    /// that listens.
    ///
    /// # Errors
    /// `NotFound` if there is no such file, `ConnectionRefused` if nobody listens, `WouldBlock` if too many
    /// wait there; or the error of another system call.
    pub fn connect(path: &Path, descriptors: Descriptors) -> io::Result<(Self, Program)> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        let guarded = descriptors == Descriptors::Refused && refuse_descriptors(&socket).is_ok();
        socket.connect(&SockAddr::unix(path)?)?;
        let program = program_of(&socket)?;
        Ok((Self { socket, guarded, refused: RefusedDescriptors::default() }, program))
    }

    /// Receives what has arrived, at most as much as the buffer holds; 0 bytes at its end.
    ///
    /// # Errors
    /// `WouldBlock` if nothing has arrived, `EPERM` if descriptors came with it, of which the connection is
    /// left with those that it has; or the error of `recv(2)`.
    #[inline]
    pub fn recv(&self, bytes: &mut [u8]) -> io::Result<usize> {
        super::syscall_count::record();
        match self.guarded {
            true => (&self.socket).read(bytes),
            false => self.recv_alone(bytes),
        }
    }

    /// As [`PortConnection::recv`], where the kernel lets descriptors pass. Without room for them it would
    /// close them on this thread.
    fn recv_alone(&self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.refused.is_any() {
            return Err(RefusedDescriptors::error());
        }
        let mut descriptors = Vec::new();
        let received = message_socket::receive(self.as_fd(), bytes, &mut descriptors);
        match descriptors.is_empty() {
            true => received,
            false => Err(self.refused.keep(descriptors)),
        }
    }

    /// Sends as many of the bytes as the socket has room for, and returns how many.
    ///
    /// # Errors
    /// `WouldBlock` if it has no room, `BrokenPipe` if the other end is closed; or the error of
    /// `send(2)`.
    #[inline]
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        super::syscall_count::record();
        self.socket.send_with_flags(bytes, libc::MSG_NOSIGNAL)
    }
}

impl From<PortConnection> for OwnedFd {
    fn from(connection: PortConnection) -> Self {
        connection.socket.into()
    }
}

impl AsFd for PortConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A listening stream socket. Its file is removed when this is dropped, which waits for nobody.
#[derive(Debug)]
pub struct PortListener {
    /// With it the connections that wait are closed.
    socket: CloseAside<Socket>,
    /// True if the kernel lets no descriptor pass to it.
    guarded: bool,
    file: SocketFile,
}

impl PortListener {
    /// A socket that listens at `path`. The socket of a process that has ended is replaced.
    ///
    /// # Errors
    /// `AddrInUse` if another process listens there, `AlreadyExists` if the file is not a socket; or the
    /// error of a system call.
    pub fn bind(path: &Path, owner: SocketOwner, descriptors: Descriptors) -> io::Result<Self> {
        let bound = BoundSocket::bind(path, Type::STREAM, owner, descriptors)?;
        let BoundSocket { socket, guarded, file } = bound;
        socket.listen(BACKLOG)?;
        Ok(Self { socket: CloseAside::new(socket, &CloseCount::default()), guarded, file })
    }

    /// The path of the socket.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The next connection, non-blocking, and who has made it; `None` if nobody waits.
    ///
    /// # Errors
    /// Too many open files, or no memory.
    pub fn accept(&self) -> io::Result<Option<(PortConnection, Program)>> {
        match self.socket.accept() {
            Ok((socket, _)) => {
                socket.set_nonblocking(true)?;
                let program = program_of(&socket)?;
                let (guarded, refused) = (self.guarded, RefusedDescriptors::default());
                Ok(Some((PortConnection { socket, guarded, refused }, program)))
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::Interrupted
                | io::ErrorKind::ConnectionAborted => Ok(None),
                _ => Err(error),
            },
        }
    }
}

impl AsFd for PortListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The process that has connected (`SO_PEERCRED`).
fn program_of(socket: &Socket) -> io::Result<Program> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = super::size::<libc::ucred>();
    // SAFETY: SO_PEERCRED writes at most `len` bytes, the size of the struct it is given.
    super::checked(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut len,
        )
    })?;
    Ok(Program { pid: u32::try_from(peer.pid).unwrap_or(0), uid: peer.uid })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::net::UnixStream;

    use umacvlan_testkit::Scratch;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_connection_says_who_has_made_it() {
        let dir = Scratch::new();
        let path = dir.path().join("vm1.sock");
        let listener =
            PortListener::bind(&path, SocketOwner::default(), Descriptors::Refused).unwrap();
        assert!(listener.accept().unwrap().is_none());
        let mut far = UnixStream::connect(&path).unwrap();
        let (near, program) = listener.accept().unwrap().unwrap();
        assert_eq!(program.pid, std::process::id());
        let mut bytes = [0; 8];
        assert_eq!(near.recv(&mut bytes).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        far.write_all(b"frame").unwrap();
        assert_eq!(near.recv(&mut bytes).unwrap(), 5);
        assert_eq!(&bytes[..5], b"frame");
        drop(far);
        assert_eq!(near.recv(&mut bytes).unwrap(), 0);
        assert_eq!(near.send(b"frame").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn descriptors_are_refused_by_the_kernel_or_kept_by_the_connection() {
        let dir = Scratch::new();
        let path = dir.path().join("vm1.sock");
        let listener =
            PortListener::bind(&path, SocketOwner::default(), Descriptors::Refused).unwrap();
        let far =
            message_socket::MessageSocket::from(OwnedFd::from(UnixStream::connect(&path).unwrap()));
        let (mut near, _) = listener.accept().unwrap().unwrap();
        let (pipe, mut end) = io::pipe().unwrap();
        let mut bytes = [0; 8];
        if near.guarded {
            let refused = far.send(b"frame", &[pipe.as_fd()]).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
            far.send(b"frame", &[]).unwrap();
            assert_eq!(near.recv(&mut bytes).unwrap(), 5);
        }
        // As with an older kernel.
        let (a, b) = UnixStream::pair().unwrap();
        b.set_nonblocking(true).unwrap();
        let far = message_socket::MessageSocket::from(OwnedFd::from(a));
        (near.socket, near.guarded) = (OwnedFd::from(b).into(), false);
        far.send(b"frame", &[]).unwrap();
        assert_eq!(near.recv(&mut bytes).unwrap(), 5);
        far.send(b"frame", &[pipe.as_fd()]).unwrap();
        drop(pipe);
        for _ in 0..2 {
            assert_eq!(near.recv(&mut bytes).unwrap_err().raw_os_error(), Some(libc::EPERM));
        }
        end.write_all(b"x").unwrap();
    }

    #[test]
    fn a_program_that_listens_is_connected_to() {
        let dir = Scratch::new();
        let path = dir.path().join("vm1.sock");
        let connect = || PortConnection::connect(&path, Descriptors::Refused);
        assert_eq!(connect().unwrap_err().kind(), io::ErrorKind::NotFound);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let (near, program) = connect().unwrap();
        assert_eq!(program.pid, std::process::id());
        let (mut far, _) = listener.accept().unwrap();
        far.write_all(b"frame").unwrap();
        assert_eq!(near.recv(&mut [0; 8]).unwrap(), 5);
        drop(listener);
        assert_eq!(connect().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn the_file_is_for_its_owner_only_unless_a_group_is_named() {
        let dir = Scratch::new();
        let path = dir.path().join("vm1.sock");
        let listener =
            PortListener::bind(&path, SocketOwner::default(), Descriptors::Refused).unwrap();
        assert_eq!((listener.path(), mode(&path)), (path.as_path(), 0o600));
        drop(listener);
        assert!(!path.exists());
        let group = fs::metadata(dir.path()).unwrap().gid();
        let owner = SocketOwner { user: None, group: Some(group) };
        let _listener = PortListener::bind(&path, owner, Descriptors::Refused).unwrap();
        assert_eq!(mode(&path), 0o660);
    }

    #[test]
    fn only_the_socket_of_a_process_that_has_ended_is_replaced() {
        let dir = Scratch::new();
        let path = dir.path().join("vm1.sock");
        let bind = || PortListener::bind(&path, SocketOwner::default(), Descriptors::Refused);
        let first = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(bind().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        drop(bind().unwrap());
        fs::write(&path, "mine").unwrap();
        assert_eq!(bind().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn another_file_of_the_same_name_stays() {
        let dir = Scratch::new();
        let path = dir.path().join("vm1.sock");
        let listener =
            PortListener::bind(&path, SocketOwner::default(), Descriptors::Refused).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        drop(listener);
        assert!(path.exists());
    }
}
