//! [`InterfaceLock`]: the exclusive right of one user to serve an interface.
//!
//! The lock is a packet socket that is bound to the interface with `0x05ee` as its protocol. Such a
//! socket receives nothing, and every process in the namespace sees it in `/proc/net/packet`,
//! whatever its root folder, mounts and process ids are. The kernel ends it with its process, also
//! after SIGKILL, and with the interface.
//!
//! A file could be locked only by processes that see the same folder. An abstract Unix socket would
//! be seen by all of the namespace, and any user there could bind its name first. A packet socket
//! needs CAP_NET_RAW, and whoever has that can disturb the interface anyway.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::Duration;

use super::holder::{self, Attempt};
use super::raw_socket;

/// The protocol of the sockets: below 1536 it is the length of a frame, and no EtherType.
const MARK: u16 = 0x05ee;

/// The packet sockets of the calling thread's namespace.
const SOCKETS: &str = "/proc/thread-self/net/packet";

/// How often two that come at the same moment, and see each other, try again.
const ATTEMPTS: usize = 4;

/// The longest pause between two attempts, in microseconds.
const PAUSE: u64 = 8_000;

/// A lock on an interface, until it is dropped or the interface is gone.
#[derive(Debug)]
pub struct InterfaceLock {
    _socket: OwnedFd,
}

/// Why an interface was not locked.
#[derive(Debug)]
pub enum LockError {
    /// Another has the lock.
    Held {
        /// Its process; `None` if that is not visible from here.
        process: Option<u32>,
    },
    /// The interface cannot be locked, or it cannot be seen whether it is.
    System(io::Error),
}

impl InterfaceLock {
    /// Locks the interface of this index in the namespace of the calling thread. It takes some
    /// milliseconds to be refused, and up to ten seconds while a process that ends has the lock.
    ///
    /// # Errors
    /// Another has the lock; CAP_NET_RAW, a descriptor or `/proc` is missing.
    pub fn take(index: u32) -> Result<Self, LockError> {
        let taken = holder::take(Duration::ZERO, || Self::attempt(index));
        match taken.map_err(LockError::System)? {
            Attempt::Taken(lock) => Ok(lock),
            Attempt::Held(process) => Err(LockError::Held { process }),
        }
    }

    /// Locks the interface unless another has the lock, also after some pauses.
    fn attempt(index: u32) -> io::Result<Attempt<Self>> {
        let random = RandomState::new();
        let mut attempt = 0;
        loop {
            // First bound, then compared: of two, the one that compares last sees the other.
            let socket = raw_socket::open(index, MARK)?;
            let own = inode(&socket)?;
            let sockets = fs::read_to_string(SOCKETS)?;
            let mut held = marked(&sockets, index).filter(|&other| other != own);
            let Some(other) = held.next() else {
                return Ok(Attempt::Taken(Self { _socket: socket }));
            };
            drop(socket);
            attempt += 1;
            if attempt == ATTEMPTS {
                return Ok(Attempt::Held(process_of(other)));
            }
            thread::sleep(Duration::from_micros(random.hash_one(attempt) % PAUSE));
        }
    }
}

/// The inodes of the marked sockets on an interface. The columns are socket, references, type,
/// protocol, interface, running, memory, user and inode.
fn marked(sockets: &str, index: u32) -> impl Iterator<Item = u64> {
    sockets.lines().filter_map(move |line| {
        let mut columns = line.split_whitespace().skip(3);
        let protocol = u16::from_str_radix(columns.next()?, 16).ok()?;
        let interface: u32 = columns.next()?.parse().ok()?;
        let inode = columns.nth(3)?.parse().ok()?;
        ((protocol, interface) == (MARK, index)).then_some(inode)
    })
}

fn inode(socket: &OwnedFd) -> io::Result<u64> {
    Ok(fs::File::from(socket.try_clone()?).metadata()?.ino())
}

/// The process that has a socket open.
fn process_of(inode: u64) -> Option<u32> {
    let target = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let process: u32 = entry.file_name().to_str()?.parse().ok()?;
        let open = fs::read_dir(entry.path().join("fd")).ok()?;
        let has = |link: io::Result<fs::DirEntry>| {
            let file = link.and_then(|link| fs::read_link(link.path()));
            file.is_ok_and(|file| file.as_os_str() == target.as_str())
        };
        open.into_iter().any(has).then_some(process)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marked_sockets_on_the_interface_are_locks() {
        let sockets = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n\
                       0000000094849ff2 3      2    05ee   3     1 0      0      17\n\
                       0000000094849ff3 3      3    0003   3     1 0      0      18\n\
                       0000000094849ff4 3      3    05ee   4     1 0      0      19\n\
                       0000000094849ff5 2      3    05ee   -1    0 0      0      20\n\
                       0000000094849ff6 3      3    05ee   3     1 0      0\n";
        assert_eq!(marked(sockets, 3).collect::<Vec<_>>(), [17]);
        assert_eq!(marked(sockets, 4).collect::<Vec<_>>(), [19]);
        assert_eq!(marked("", 3).next(), None);
    }
}
