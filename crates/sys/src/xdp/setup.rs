//! What it takes to open an [`XskSocket`](super::XskSocket): chunks, rings and a queue.

use std::error::Error;
use std::io;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use xsk_rs::config::{Interface, QueueSize, SocketConfig, XDP_UMEM_MIN_CHUNK_SIZE};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

/// Bytes of a chunk that the kernel keeps before a frame (`XDP_PACKET_HEADROOM`).
pub(super) const HEADROOM: usize = 256;

/// Bytes of the largest chunk: a page.
const CHUNK_MAX: u32 = 4096;

/// How long a queue may take to be given back, and how often to look.
const GIVEN_BACK: Duration = Duration::from_millis(500);
const RETRY: Duration = Duration::from_millis(5);

/// How frames get from the driver into the UMEM and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// The driver uses the UMEM itself.
    ZeroCopy,
    /// The kernel copies.
    Copy,
}

/// Most chunks that one frame lies in: as many pieces as a socket buffer of the kernel has
/// (`MAX_SKB_FRAGS`, unless it was built with another number).
pub(super) const PIECES: usize = 17;

/// Bytes of the longest frame that fits a chunk of the largest kind, its tags included.
const fn room_in_chunk() -> usize {
    CHUNK_MAX as usize - HEADROOM
}

/// Bytes of the longest frame that AF_XDP carries, its tags included.
pub const fn longest_frame() -> usize {
    PIECES * room_in_chunk()
}

/// True if frames of so many bytes come in several chunks, for which a kernel since Linux 6.6 and a
/// driver that can are needed.
pub const fn is_multi_buffer(longest: usize) -> bool {
    longest > room_in_chunk()
}

type Queues = (TxQueue, RxQueue, Option<(FillQueue, CompQueue)>);

/// Binds a socket to a queue, which the kernel gives back some milliseconds after the socket before
/// has been closed.
pub(super) fn bind(
    config: SocketConfig,
    umem: &Umem,
    interface: &Interface,
    queue: u32,
) -> io::Result<Queues> {
    let start = Instant::now();
    loop {
        // SAFETY: the loading of a program is inhibited, which is what the function asks for.
        let opened = unsafe { Socket::new(config, umem, interface, queue) };
        match opened.map_err(os_error) {
            Err(error)
                if error.raw_os_error() == Some(libc::EBUSY) && start.elapsed() < GIVEN_BACK =>
            {
                std::thread::sleep(RETRY);
            }
            opened => return opened,
        }
    }
}

/// The smallest chunk for frames of that length, or the largest if they come in several.
pub(super) fn chunk_for(longest: usize) -> io::Result<u32> {
    let small = XDP_UMEM_MIN_CHUNK_SIZE;
    match longest {
        _ if longest <= small as usize - HEADROOM => Ok(small),
        _ if longest <= longest_frame() => Ok(CHUNK_MAX),
        _ => Err(io::Error::from_raw_os_error(libc::EMSGSIZE)),
    }
}

pub(super) fn slots(count: u32) -> io::Result<QueueSize> {
    QueueSize::new(count).map_err(io::Error::other)
}

/// The first byte of a UMEM, which xsk-rs does not tell: counted back from its first frame.
pub(super) fn start_of(umem: &Umem, descs: &[FrameDesc]) -> io::Result<NonNull<u8>> {
    let mut first = *descs.first().ok_or(io::ErrorKind::InvalidInput)?;
    let addr = first.addr();
    // SAFETY: nobody else has this chunk yet.
    let mut data = unsafe { umem.data_mut(&mut first) };
    let start = data.contents_mut().as_mut_ptr().wrapping_sub(addr);
    NonNull::new(start).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// What the kernel said, which xsk-rs keeps as the source of its errors.
pub(super) fn os_error(error: impl Error) -> io::Error {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    match source.and_then(io::Error::raw_os_error) {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::other(error.to_string()),
    }
}
