//! [`BaselineSocket`]: xsk-rs alone, the baseline for measurements of [`XskSocket`](super::XskSocket).

use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use xsk_rs::config::{BindFlags, FrameSize, Interface, LibxdpFlags, SocketConfig, UmemConfig};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, TxQueue, Umem};

use super::setup::{Binding, bind, chunk_for, os_error, slots};
use super::socket::{BATCH, CHUNKS_RX, RX_RING};

/// A socket with the same rings as [`XskSocket`](super::XskSocket), which returns every chunk
/// unread and does not track its owner.
pub struct BaselineSocket {
    // Dropped in this order: the rings before the UMEM.
    rx: RxQueue,
    _tx: TxQueue,
    fill: FillQueue,
    _comp: CompQueue,
    _umem: Umem,
    batch: Box<[FrameDesc]>,
}

impl std::fmt::Debug for BaselineSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BaselineSocket")
            .field("fd", &self.rx.fd().as_raw_fd())
            .finish_non_exhaustive()
    }
}

impl BaselineSocket {
    /// Opens a socket on the first queue of the interface of that name in the namespace of the
    /// calling thread, in copy mode, for frames of at most `longest` bytes.
    ///
    /// # Errors
    /// As [`XskSocket::open`](super::XskSocket::open).
    pub fn open(interface: &str, longest: usize) -> io::Result<Self> {
        let config = UmemConfig::builder()
            .frame_size(
                FrameSize::new(chunk_for(longest, Binding::Copy)?).map_err(io::Error::other)?,
            )
            .fill_queue_size(slots(CHUNKS_RX.into())?)
            .build()
            .map_err(io::Error::other)?;
        let count = NonZeroU32::MIN.saturating_add(u32::from(CHUNKS_RX - 1));
        let (umem, descs) = Umem::new(config, count, false).map_err(os_error)?;
        let config = SocketConfig::builder()
            .rx_queue_size(slots(RX_RING)?)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(BindFlags::XDP_COPY | BindFlags::XDP_USE_NEED_WAKEUP)
            .build();
        let interface: Interface =
            interface.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let (tx, rx, rings) = bind(config, &umem, &interface, 0)?;
        let (mut fill, comp) = rings.ok_or_else(|| io::Error::other("the queue has no rings"))?;
        // SAFETY: the chunks belong to this UMEM, and none is in use yet.
        unsafe { fill.produce(&descs) };
        let batch = vec![FrameDesc::default(); BATCH].into_boxed_slice();
        Ok(Self { rx, _tx: tx, fill, _comp: comp, _umem: umem, batch })
    }

    /// Receives up to 64 waiting frames, returns their chunks to the kernel, and returns their number.
    pub fn recycle(&mut self) -> usize {
        // SAFETY: the call overwrites the descriptors with ones of this UMEM.
        let count = unsafe { self.rx.consume(&mut self.batch) };
        // SAFETY: these chunks have just left the RX ring, and nothing refers to their bytes.
        unsafe { self.fill.produce(&self.batch[..count]) };
        count
    }
}

impl AsFd for BaselineSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as this value owns the rings.
        unsafe { BorrowedFd::borrow_raw(self.rx.fd().as_raw_fd()) }
    }
}
