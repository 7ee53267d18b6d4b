//! Setting up the UMEM, the rings and the queue of an [`XskSocket`](super::XskSocket).

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

/// How long the kernel may take to release a queue, and the interval between attempts to bind it.
const RELEASE_TIMEOUT: Duration = Duration::from_millis(500);
const RETRY: Duration = Duration::from_millis(5);

/// How frames move between the driver and the UMEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// The driver uses the UMEM directly.
    ZeroCopy,
    /// The kernel copies.
    Copy,
}

/// Most chunks of one frame: the fragments of a socket buffer (`MAX_SKB_FRAGS` in the default kernel
/// configuration).
pub(super) const MAX_FRAGS: usize = 17;

/// Bytes of the longest frame that fits one chunk of the largest size, tags included.
const fn room_in_chunk() -> usize {
    CHUNK_MAX as usize - HEADROOM
}

/// Bytes of the longest frame that AF_XDP carries, tags included.
pub const fn longest_frame() -> usize {
    MAX_FRAGS * room_in_chunk()
}

/// True if frames of `longest` bytes need several chunks (multi-buffer), which needs Linux 6.6 and
/// support by the driver.
pub const fn is_multi_buffer(longest: usize) -> bool {
    longest > room_in_chunk()
}

type Queues = (TxQueue, RxQueue, Option<(FillQueue, CompQueue)>);

/// Binds a socket to a queue, and retries for a while: the kernel releases a queue some milliseconds
/// after its last socket was closed.
pub(super) fn bind(
    config: SocketConfig,
    umem: &Umem,
    interface: &Interface,
    queue: u32,
) -> io::Result<Queues> {
    let start = Instant::now();
    loop {
        // SAFETY: `config` inhibits the loading of a program, as the function requires.
        let opened = unsafe { Socket::new(config, umem, interface, queue) };
        match opened.map_err(os_error) {
            Err(error)
                if error.raw_os_error() == Some(libc::EBUSY)
                    && start.elapsed() < RELEASE_TIMEOUT =>
            {
                std::thread::sleep(RETRY);
            }
            opened => return opened,
        }
    }
}

/// The size of the chunks for frames of that length: the smallest that holds one, or the largest if
/// they need several. Without copies it is always the largest: igb gives its hardware the room in
/// whole kilobytes, which is one of 2048 bytes less the headroom, and receives no longer frame.
pub(super) fn chunk_for(longest: usize, binding: Binding) -> io::Result<u32> {
    let small = XDP_UMEM_MIN_CHUNK_SIZE;
    match longest {
        _ if longest <= small as usize - HEADROOM && binding == Binding::Copy => Ok(small),
        _ if longest <= longest_frame() => Ok(CHUNK_MAX),
        _ => Err(io::Error::from_raw_os_error(libc::EMSGSIZE)),
    }
}

pub(super) fn slots(count: u32) -> io::Result<QueueSize> {
    QueueSize::new(count).map_err(io::Error::other)
}

/// The first byte of a UMEM, computed from its first frame because xsk-rs does not return it. The
/// pointer may be used for the whole UMEM: it is mapped memory, whose address the kernel has got, and
/// not the slice of that frame.
pub(super) fn start_of(umem: &Umem, descs: &[FrameDesc]) -> io::Result<NonNull<u8>> {
    let mut first = *descs.first().ok_or(io::ErrorKind::InvalidInput)?;
    let addr = first.addr();
    // SAFETY: no chunk of this new UMEM is in use yet.
    let mut data = unsafe { umem.data_mut(&mut first) };
    let start = data.contents_mut().as_mut_ptr().expose_provenance().wrapping_sub(addr);
    NonNull::new(std::ptr::with_exposed_provenance_mut(start))
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// The error of the kernel, which xsk-rs keeps as the source of its own.
pub(super) fn os_error(error: impl Error) -> io::Error {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    match source.and_then(io::Error::raw_os_error) {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_holds_a_frame_and_is_a_page_without_copies() {
        let chunk = |longest, binding| chunk_for(longest, binding).ok();
        assert_eq!(chunk(1522, Binding::Copy), Some(2048));
        assert_eq!(chunk(1522, Binding::ZeroCopy), Some(4096));
        assert_eq!(chunk(2048 - HEADROOM + 1, Binding::Copy), Some(4096));
        assert_eq!(chunk(9022, Binding::ZeroCopy), Some(4096));
        assert_eq!(chunk(longest_frame() + 1, Binding::Copy), None);
    }
}
