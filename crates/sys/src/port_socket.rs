//! The file of the Unix socket of a port: who may reach it, and what may be sent there.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use socket2::{Domain, SockAddr, Socket, Type};

/// `SO_PASSRIGHTS` of `asm-generic/socket.h`, since Linux 6.16: whether descriptors may be sent to a
/// socket.
const SO_PASSRIGHTS: libc::c_int = 83;

/// Who may connect to the socket of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOwner {
    /// The user id of its file; `None` for this process's.
    pub user: Option<u32>,
    /// The group id of its file, whose members may connect; `None` if no group may.
    pub group: Option<u32>,
}

/// The process at the other end of a connection, when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its process id, as seen from here; 0 if it is not visible from here.
    pub pid: u32,
    /// Its effective user id.
    pub uid: u32,
}

/// What becomes of descriptors that a program sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptors {
    /// They are received, by whoever takes the socket over.
    Expected,
    /// The kernel refuses to send them, with `EPERM`, or, before Linux 6.16, whoever reads the socket does.
    Refused,
}

/// Descriptors that came although they are refused. They are closed with their socket, and not by the
/// thread that receives: that may take any time.
#[derive(Debug, Default)]
pub(crate) struct RefusedDescriptors(OnceLock<Vec<OwnedFd>>);

impl RefusedDescriptors {
    pub(crate) fn is_any(&self) -> bool {
        self.0.get().is_some()
    }

    /// Keeps the descriptors, and returns the error of whoever has received them.
    pub(crate) fn keep(&self, descriptors: Vec<OwnedFd>) -> io::Error {
        // It is empty: nothing was refused so far, or by another thread.
        if let Err(second) = self.0.set(descriptors) {
            std::mem::forget(second);
        }
        Self::error()
    }

    /// The error of a socket that has some.
    pub(crate) fn error() -> io::Error {
        io::Error::from_raw_os_error(libc::EPERM)
    }
}

/// The file of a bound socket, which is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Its device and inode: another one with the same name is not removed.
    file: (u64, u64),
}

impl SocketFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_own = |now: fs::Metadata| (now.dev(), now.ino()) == self.file;
        if fs::symlink_metadata(&self.path).is_ok_and(is_own) {
            // If this fails, the next one replaces the file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A socket that is bound at a path, and does not block.
#[derive(Debug)]
pub(crate) struct BoundSocket {
    pub(crate) socket: Socket,
    /// True if the kernel lets no descriptor pass to it.
    pub(crate) guarded: bool,
    pub(crate) file: SocketFile,
}

impl BoundSocket {
    /// A socket of this kind at `path`. The socket of a process that has ended is
    /// replaced.
    ///
    /// # Errors
    /// `AddrInUse` if another process has one there, `AlreadyExists` if the file is not a socket; or the
    /// error of a system call.
    pub(crate) fn bind(
        path: &Path,
        kind: Type,
        owner: SocketOwner,
        descriptors: Descriptors,
    ) -> io::Result<Self> {
        remove_stale(path, kind)?;
        let socket = Socket::new(Domain::UNIX, kind, None)?;
        socket.set_nonblocking(true)?;
        // Its connections have this from it.
        let guarded = descriptors == Descriptors::Refused && refuse_descriptors(&socket).is_ok();
        if kind == Type::DGRAM {
            // Before anybody can send.
            socket.set_passcred(true)?;
        }
        // The mode of the file that bind makes: nobody else can connect before it has its owner.
        // SAFETY: fchmod takes no pointers, and the descriptor is open.
        super::checked(unsafe { libc::fchmod(socket.as_raw_fd(), 0o600) })?;
        socket.bind(&SockAddr::unix(path)?)?;
        let made = fs::symlink_metadata(path)?;
        let file = SocketFile { path: path.to_owned(), file: (made.dev(), made.ino()) };
        let mode = if owner.group.is_some() { 0o660 } else { 0o600 };
        // First, because the file may belong to another user afterwards.
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        if owner.user.is_some() || owner.group.is_some() {
            chown(path, owner.user, owner.group)?;
        }
        Ok(Self { socket, guarded, file })
    }
}

/// Has the kernel refuse to send descriptors to a socket.
pub(crate) fn refuse_descriptors(socket: &Socket) -> io::Result<()> {
    let no: libc::c_int = 0;
    // SAFETY: SO_PASSRIGHTS reads one int, of which it is given the size.
    super::checked(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw const no).cast(),
            super::size::<libc::c_int>(),
        )
    })
    .map(drop)
}

/// Removes the socket of a process that has ended.
fn remove_stale(path: &Path, kind: Type) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(file) if file.file_type().is_socket() => {}
        Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
    }
    let probe = Socket::new(Domain::UNIX, kind, None)?;
    // The backlog of one that listens may be full.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}
