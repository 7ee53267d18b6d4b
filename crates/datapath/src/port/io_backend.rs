//! [`IoBackend`]: how a worker reads and writes its TAPs, and waits for them.

use std::io;

use umacvlan_core::options::PortIo;
use umacvlan_sys::buffer_pool::BufferPool;
use umacvlan_sys::epoll::Epoll;
use umacvlan_sys::eventfd::EventFd;
use umacvlan_sys::process;
use umacvlan_sys::uring::{Uring, explained};

/// Slots for TAPs in an io_uring: one for each sub-interface that a switch can have.
const SLOTS_MAX: u32 = 65_536;

/// Tokens of what a worker waits for beside the ports, whose token is their index.
pub(super) const UPLINK: u32 = u32::MAX;
pub(super) const WAKE_EVENT: u32 = u32::MAX - 1;
/// Room in a full uplink, of io_uring only.
pub(super) const UPLINK_WRITABLE: u32 = u32::MAX - 2;
/// Socket ports, all together.
pub(super) const SOCKETS: u32 = u32::MAX - 3;

/// The I/O backend for all TAPs of a worker.
#[derive(Debug)]
pub(super) enum IoBackend {
    /// A system call for each frame, and epoll.
    Plain {
        epoll: Epoll,
        /// TAPs with reception enabled: without any, a turn makes no system call.
        taps: usize,
    },
    /// Batches of reads and writes by io_uring.
    Uring {
        /// Boxed: it is many times the size of the other variant.
        uring: Box<Uring>,
        watches_uplink: bool,
        watches_sockets: bool,
        watches_wake_event: bool,
    },
}

impl IoBackend {
    /// The backend that was asked for; io_uring where it works, if that is left open.
    ///
    /// # Errors
    /// io_uring was demanded and does not work here, or no descriptor is left.
    pub(super) fn new(io: PortIo, pool: &BufferPool, wake_event: &EventFd) -> io::Result<Self> {
        // The ring's table may not be larger than the limit on descriptors, nor need it be.
        let descriptors = process::raise_descriptor_limit()?;
        let slots = u32::try_from(descriptors).unwrap_or(SLOTS_MAX).min(SLOTS_MAX);
        let uring = match io {
            PortIo::Plain => None,
            PortIo::Uring => Some(Uring::new(pool, slots).map_err(explained)?),
            PortIo::Auto => Uring::new(pool, slots).ok(),
        };
        if let Some(uring) = uring {
            let uring = Box::new(uring);
            return Ok(Self::Uring {
                uring,
                watches_uplink: false,
                watches_sockets: false,
                watches_wake_event: false,
            });
        }
        let epoll = Epoll::new()?;
        epoll.add(wake_event, u64::from(WAKE_EVENT))?;
        Ok(Self::Plain { epoll, taps: 0 })
    }
}
