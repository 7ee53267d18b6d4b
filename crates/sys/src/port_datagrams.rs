//! [`DatagramListener`]: the Unix datagram socket of a port, to which the program at its far end sends.
//!
//! There are no connections to be accepted: whoever may write to the file of the socket may send. The
//! first who does is looked at without taking its datagram ([`DatagramListener::sender`]), and then the
//! socket is connected to the address from which that came ([`PortDatagrams::connect`]): from then on the
//! kernel refuses what others send, and reports when the other socket is gone.
//!
//! The address is what the sender says, and its path may lead elsewhere by now, or for us. Only a
//! datagram that is sent after the socket was connected proves that the socket there is the sender's.

use std::fmt;
use std::io;
use std::mem::size_of;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use socket2::{SockAddr, Socket, Type};

use super::buffer_pool::BufferPool;
use super::close_aside::{CloseAside, CloseCount};
use super::port_socket::{
    BoundSocket, Descriptors, Program, RefusedDescriptors, SocketFile, SocketOwner,
};
use super::rx_batch::RxBatch;
use super::tx_batch::TxBatch;

/// The credentials of a message: one header, followed by them. This is the layout of `CMSG_DATA`
/// (cmsg(3)).
#[repr(C)]
struct Credentials {
    header: libc::cmsghdr,
    of: libc::ucred,
}

/// Who has sent a datagram.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The process, when it sent.
    pub program: Program,
    address: SockAddr,
}

/// Why nothing can be sent to a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// Its socket was bound at a path in a directory that only it knows.
    Relative,
    /// Its socket is not bound.
    Unbound,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relative => "the path of its socket is not absolute",
            Self::Unbound => "its socket has no address to send to: it is not bound",
        })
    }
}

impl Sender {
    /// The address of its socket, as people read it: an absolute path, or an abstract name behind `@`.
    ///
    /// # Errors
    /// Its socket has none of these.
    pub fn address(&self) -> Result<String, Unreachable> {
        if let Some(name) = self.address.as_abstract_namespace() {
            return Ok(format!("@{}", printable(name)));
        }
        match self.address.as_pathname() {
            Some(path) if path.is_absolute() => Ok(printable(path.as_os_str().as_encoded_bytes())),
            Some(_) => Err(Unreachable::Relative),
            None => Err(Unreachable::Unbound),
        }
    }
}

/// Bytes of a program as text that a terminal can be given.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.contains(char::is_control) {
        true => text.escape_debug().to_string(),
        false => text.into_owned(),
    }
}

/// The socket of a port, which never blocks. To close it may: its owner does so [aside](CloseAside).
#[derive(Debug)]
pub struct PortDatagrams {
    socket: Socket,
    /// True if the kernel lets no descriptor pass.
    guarded: bool,
    refused: RefusedDescriptors,
}

impl PortDatagrams {
    /// Connects the socket to that of a sender. To look up its path may take any time: the caller makes
    /// this call [aside](super::call_aside).
    ///
    /// # Errors
    /// `NotFound` if there is no such file, `PermissionDenied` if it may not be written to,
    /// `ConnectionRefused` if nobody has that socket open, `EPERM` if that is connected to another one; or
    /// another error of connect(2).
    pub fn connect(&self, to: &Sender) -> io::Result<()> {
        // Nobody asks again, and they would be before the descriptors of a datagram.
        self.socket.set_passcred(false)?;
        self.socket.connect(&to.address)
    }

    /// The headers for [`PortDatagrams::recv`].
    pub fn rx_batch(&self) -> RxBatch {
        RxBatch::new(!self.guarded)
    }

    /// Receives what has arrived, at most `most` datagrams, each into the bytes `place` of a buffer of the
    /// turn. Returns how many there are in `batch`; 0 if no buffer is free.
    ///
    /// # Errors
    /// `WouldBlock` if nothing has arrived, `EPERM` if descriptors came with it, of which the socket is left
    /// with those that it has; or the error of recvmmsg(2).
    pub fn recv(
        &self,
        batch: &mut RxBatch,
        pool: &mut BufferPool,
        place: Range<usize>,
        most: usize,
    ) -> io::Result<usize> {
        if self.refused.is_any() {
            return Err(RefusedDescriptors::error());
        }
        let count = batch.receive(self.as_fd(), pool, place, most)?;
        match batch.take_descriptors(count) {
            descriptors if descriptors.is_empty() => Ok(count),
            descriptors => {
                (0..count).for_each(|_| pool.release_last());
                Err(self.refused.keep(descriptors))
            }
        }
    }

    /// Sends the first of these datagrams, as many as the other socket has room for, and returns how many.
    ///
    /// # Errors
    /// `WouldBlock` if it has no room, `ConnectionRefused` if it is closed; or another error of sendmmsg(2).
    pub fn send(&self, batch: &mut TxBatch, datagrams: &[&[u8]]) -> io::Result<usize> {
        batch.send_first(self.as_fd(), datagrams)
    }
}

impl AsFd for PortDatagrams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The socket of a port, and its file. That is removed when this is dropped, which waits for nobody.
#[derive(Debug)]
pub struct DatagramListener {
    /// With it the datagrams that wait are discarded.
    socket: CloseAside<Arc<PortDatagrams>>,
    file: SocketFile,
}

impl DatagramListener {
    /// A socket at `path`, to be counted while it is being closed. The socket of a process that has ended
    /// is replaced.
    ///
    /// # Errors
    /// `AddrInUse` if another process has one there, `AlreadyExists` if the file is not a socket; or the
    /// error of a system call.
    pub fn bind(path: &Path, owner: SocketOwner, closing: &CloseCount) -> io::Result<Self> {
        let bound = BoundSocket::bind(path, Type::DGRAM, owner, Descriptors::Refused)?;
        let BoundSocket { socket, guarded, file } = bound;
        let socket = PortDatagrams { socket, guarded, refused: RefusedDescriptors::default() };
        Ok(Self { socket: CloseAside::new(Arc::new(socket), closing), file })
    }

    /// The path of the socket.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The socket, for whoever reads and writes it. It is to be given back before this is dropped.
    pub fn socket(&self) -> &Arc<PortDatagrams> {
        &self.socket
    }

    /// Who has sent the datagram that waits first, and goes on waiting; `None` if none does.
    ///
    /// # Errors
    /// The error of recvmsg(2).
    pub fn sender(&self) -> io::Result<Option<Sender>> {
        // SAFETY: all-zero is a valid cmsghdr.
        let header: libc::cmsghdr = unsafe { std::mem::zeroed() };
        let of = libc::ucred { pid: 0, uid: libc::uid_t::MAX, gid: libc::gid_t::MAX };
        let mut control = Credentials { header, of };
        let peek = |storage: *mut socket2::SockAddrStorage, len: *mut libc::socklen_t| {
            // SAFETY: all-zero is a valid msghdr.
            let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
            message.msg_name = storage.cast();
            message.msg_namelen = super::size::<socket2::SockAddrStorage>();
            message.msg_control = (&raw mut control).cast();
            message.msg_controllen = size_of::<Credentials>() as _;
            let (fd, flags) =
                (self.socket.as_fd().as_raw_fd(), libc::MSG_PEEK | libc::MSG_DONTWAIT);
            // SAFETY: `message` points to `storage` and `control`, which outlive the call, and has their sizes; it has no room for bytes.
            let peeked = unsafe { libc::recvmsg(fd, &raw mut message, flags) };
            usize::try_from(peeked).map_err(|_| io::Error::last_os_error())?;
            // SAFETY: `len` is given by `try_init`, for this.
            unsafe { len.write(message.msg_namelen) };
            Ok(())
        };
        // SAFETY: recvmsg writes an address of a Unix socket of the length that it returns.
        let peeked = unsafe { SockAddr::try_init(peek) };
        let address = match peeked {
            Ok(((), address)) => address,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        let program =
            Program { pid: u32::try_from(control.of.pid).unwrap_or(0), uid: control.of.uid };
        Ok(Some(Sender { program, address }))
    }
}

impl AsFd for DatagramListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use umacvlan_testkit::Scratch;

    use super::*;
    use crate::message_socket::MessageSocket;

    /// A listener, and the socket of a program beside it.
    fn pair(dir: &Scratch) -> (DatagramListener, UnixDatagram) {
        let listener = bind(dir);
        let far = UnixDatagram::bind(dir.path().join("far")).unwrap();
        far.connect(listener.path()).unwrap();
        (listener, far)
    }

    fn bind(dir: &Scratch) -> DatagramListener {
        let path = dir.path().join("vm1.sock");
        DatagramListener::bind(&path, SocketOwner::default(), &CloseCount::default()).unwrap()
    }

    /// What has arrived, each datagram or `None` where it was too long.
    fn received(near: &PortDatagrams, most: usize) -> io::Result<Vec<Option<Vec<u8>>>> {
        let (mut pool, mut batch) = (BufferPool::new(8).unwrap(), near.rx_batch());
        let count = near.recv(&mut batch, &mut pool, 10..1010, most)?;
        let bytes = (0..count).map(|number| {
            let (buffer, len) = batch.datagram(number);
            len.map(|len| pool.bytes(buffer, 10, len).to_vec())
        });
        let bytes = bytes.collect();
        assert!((count..8).all(|_| pool.acquire().is_some()), "a buffer is lost");
        Ok(bytes)
    }

    fn kind<T: fmt::Debug>(result: io::Result<T>) -> io::ErrorKind {
        result.unwrap_err().kind()
    }

    #[test]
    fn the_first_sender_is_known_and_then_nobody_else_may_send() {
        let dir = Scratch::new();
        let (listener, far) = pair(&dir);
        assert!(listener.sender().unwrap().is_none());
        far.send(b"one").unwrap();
        let other = UnixDatagram::unbound().unwrap();
        other.connect(listener.path()).unwrap();
        other.send(b"another").unwrap();
        let (first, same) = (listener.sender().unwrap().unwrap(), listener.sender().unwrap());
        assert_eq!(first.program.pid, std::process::id());
        let address = dir.path().join("far").display().to_string();
        assert_eq!(first.address().unwrap(), address);
        assert_eq!(same.unwrap().address().unwrap(), address);
        let near = Arc::clone(listener.socket());
        near.connect(&first).unwrap();
        far.send(b"two").unwrap();
        assert_eq!(kind(other.send(b"late")), io::ErrorKind::PermissionDenied);
        let all = [&b"one"[..], b"another", b"two"].map(|bytes| Some(bytes.to_vec()));
        assert_eq!(received(&near, 2).unwrap(), all[..2]);
        assert_eq!(received(&near, 64).unwrap(), all[2..]);
        assert_eq!(kind(received(&near, 64)), io::ErrorKind::WouldBlock);

        let mut tx = TxBatch::new();
        assert_eq!(near.send(&mut tx, &[b"three", b"four"]).unwrap(), 2);
        let mut bytes = [0; 8];
        for expected in [&b"three"[..], b"four"] {
            let len = far.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..len], expected);
        }
        drop(far);
        assert_eq!(kind(near.send(&mut tx, &[b"five"])), io::ErrorKind::ConnectionRefused);
        let path = listener.path().to_owned();
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_sender_has_a_path_or_an_abstract_name_or_cannot_be_reached() {
        let dir = Scratch::new();
        let address_of = |far: UnixDatagram| {
            let listener = bind(&dir);
            far.send_to(b"frame", listener.path()).unwrap();
            listener.sender().unwrap().unwrap().address()
        };
        assert_eq!(address_of(UnixDatagram::unbound().unwrap()), Err(Unreachable::Unbound));
        let name = format!("umacvlan\n{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let shown = format!("@{}", name.replace('\n', "\\n"));
        assert_eq!(address_of(UnixDatagram::bind_addr(&address).unwrap()), Ok(shown));
        let path = dir.path().join("a\u{1b}b");
        let shown = path.display().to_string().replace('\u{1b}', "\\u{1b}");
        assert_eq!(address_of(UnixDatagram::bind(&path).unwrap()), Ok(shown));
        let relative = format!("umacvlan-test-{}", std::process::id());
        let bound = UnixDatagram::bind(&relative).unwrap();
        std::fs::remove_file(&relative).unwrap();
        assert_eq!(address_of(bound), Err(Unreachable::Relative));
    }

    #[test]
    fn a_datagram_without_bytes_or_with_too_many_is_one_of_its_own() {
        let dir = Scratch::new();
        let (listener, far) = pair(&dir);
        for len in [0, 1000, 1001, 60_000, 1] {
            far.send(&vec![7; len]).unwrap();
        }
        let all = [Some(0), Some(1000), None, None, Some(1)].map(|len| len.map(|len| vec![7; len]));
        assert_eq!(received(listener.socket(), 64).unwrap(), all);
    }

    #[test]
    fn a_program_that_does_not_read_takes_some_and_then_none() {
        let dir = Scratch::new();
        let (listener, far) = pair(&dir);
        far.send(b"frame").unwrap();
        let near = listener.socket();
        near.connect(&listener.sender().unwrap().unwrap()).unwrap();
        let (mut tx, frame) = (TxBatch::new(), [7_u8; 9000]);
        let many = [&frame[..]; 1000];
        let mut sent = 0;
        while let Ok(count) = near.send(&mut tx, &many) {
            sent += count;
        }
        assert_eq!(kind(near.send(&mut tx, &many)), io::ErrorKind::WouldBlock);
        far.set_nonblocking(true).unwrap();
        let mut bytes = [0; 9000];
        assert_eq!((0..sent).filter(|_| far.recv(&mut bytes).is_ok()).count(), sent);
        assert_eq!(kind(far.recv(&mut bytes)), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn descriptors_are_refused_by_the_kernel_or_kept_by_the_socket() {
        let dir = Scratch::new();
        let (listener, far) = pair(&dir);
        let far = MessageSocket::from(OwnedFd::from(far));
        let (pipe, mut end) = io::pipe().unwrap();
        if listener.socket().guarded {
            let refused = far.send(b"frame", &[pipe.as_fd()]).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        }
        // As with an older kernel.
        let (path, closing) = (dir.path().join("old.sock"), CloseCount::default());
        let (owner, descriptors) = (SocketOwner::default(), Descriptors::Expected);
        let bound = BoundSocket::bind(&path, Type::DGRAM, owner, descriptors).unwrap();
        let refused = RefusedDescriptors::default();
        let near = Arc::new(PortDatagrams { socket: bound.socket, guarded: false, refused });
        let socket = CloseAside::new(Arc::clone(&near), &closing);
        let listener = DatagramListener { socket, file: bound.file };
        let far = UnixDatagram::bind(dir.path().join("new")).unwrap();
        far.connect(&path).unwrap();
        let far = MessageSocket::from(OwnedFd::from(far));
        far.send(b"frame", &[pipe.as_fd()]).unwrap();
        near.connect(&listener.sender().unwrap().unwrap()).unwrap();
        assert_eq!(kind(received(&near, 64)), io::ErrorKind::PermissionDenied);
        drop((far, near, listener));
        let (near, far) = UnixDatagram::pair().unwrap();
        let socket = OwnedFd::from(near).into();
        let near = PortDatagrams { socket, guarded: false, refused: RefusedDescriptors::default() };
        let far = MessageSocket::from(OwnedFd::from(far));
        far.send(b"frame", &[]).unwrap();
        assert_eq!(received(&near, 64).unwrap(), [Some(b"frame".to_vec())]);
        far.send(b"frame", &[]).unwrap();
        far.send(b"frame", &[pipe.as_fd()]).unwrap();
        drop(pipe);
        for _ in 0..2 {
            assert_eq!(kind(received(&near, 64)), io::ErrorKind::PermissionDenied);
        }
        end.write_all(b"x").unwrap();
    }
}
