//! [`RxBatch`]: receives many datagrams into buffers of the turn with one `recvmmsg(2)`.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::buffer_pool::BufferPool;
use crate::message_socket::Control;

/// Datagrams in one system call.
pub const RX_BATCH: usize = 64;

/// The message headers of one batch, reused between batches.
pub struct RxBatch {
    messages: Box<[libc::mmsghdr; RX_BATCH]>,
    vectors: Box<[libc::iovec; RX_BATCH]>,
    /// Room for descriptors, one for each message; empty if the kernel lets none pass.
    controls: Box<[Control]>,
    /// Where the datagrams of the last batch are.
    buffers: Box<[u16; RX_BATCH]>,
}

// SAFETY: each call of `receive` writes the pointers before the kernel reads them; none is used later.
unsafe impl Send for RxBatch {}

impl std::fmt::Debug for RxBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RxBatch").finish_non_exhaustive()
    }
}

impl RxBatch {
    /// A batch of [`RX_BATCH`] datagrams, with room for the descriptors that may come with them. Without
    /// it the kernel closes them on the thread that receives, and that may take any time.
    pub(crate) fn new(with_descriptors: bool) -> Self {
        // SAFETY: all-zero is a valid mmsghdr.
        let message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let controls = if with_descriptors { RX_BATCH } else { 0 };
        Self {
            messages: Box::new([message; RX_BATCH]),
            vectors: Box::new([vector; RX_BATCH]),
            controls: (0..controls).map(|_| Control::empty()).collect(),
            buffers: Box::new([0; RX_BATCH]),
        }
    }

    /// Receives what waits, at most `most` datagrams and [`RX_BATCH`], each into the bytes `place` of a
    /// free buffer, which then belongs to the turn. Returns how many; 0 if no buffer is free.
    ///
    /// # Errors
    /// `WouldBlock` if none waits; or another error of recvmmsg(2).
    pub(crate) fn receive(
        &mut self,
        fd: BorrowedFd<'_>,
        pool: &mut BufferPool,
        place: Range<usize>,
        most: usize,
    ) -> io::Result<usize> {
        let mut room = 0;
        while room < most.min(RX_BATCH)
            && let Some(buffer) = pool.acquire()
        {
            let bytes = pool.bytes_mut(buffer, place.start, place.len());
            self.vectors[room] =
                libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
            self.buffers[room] = buffer;
            self.lay_out(room);
            room += 1;
        }
        if room == 0 {
            return Ok(0);
        }
        let received = self.receive_batch(fd, room);
        let count = *received.as_ref().unwrap_or(&0);
        (count..room).for_each(|_| pool.release_last());
        received
    }

    fn lay_out(&mut self, at: usize) {
        let header = &mut self.messages[at].msg_hdr;
        (header.msg_iov, header.msg_iovlen) = (&raw mut self.vectors[at], 1);
        if let Some(control) = self.controls.get_mut(at) {
            *control = Control::empty();
            header.msg_control = std::ptr::from_mut(control).cast();
            header.msg_controllen = size_of::<Control>() as _;
        }
    }

    fn receive_batch(&mut self, fd: BorrowedFd<'_>, room: usize) -> io::Result<usize> {
        let messages = self.messages.as_mut_ptr();
        let vlen = libc::c_uint::try_from(room).unwrap_or(0);
        // The type is that of the platform.
        #[allow(clippy::cast_possible_wrap, reason = "a small constant; it is u32 with musl")]
        let flags = (libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC) as _;
        super::syscall_count::record();
        // SAFETY: the first `room` headers point to vectors and controls of this value, and those to buffers of the turn, which nobody else has.
        let received =
            unsafe { libc::recvmmsg(fd.as_raw_fd(), messages, vlen, flags, std::ptr::null_mut()) };
        super::checked(received).map(|count| usize::try_from(count).unwrap_or(0))
    }

    /// The buffer and the length of a datagram of the last batch; no length if it was longer than its
    /// place.
    #[inline]
    pub fn datagram(&self, number: usize) -> (u16, Option<usize>) {
        let message = &self.messages[number];
        let is_whole = message.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
        // A u32 fits, on every platform that Linux has this call on.
        let len = is_whole.then_some(message.msg_len as usize);
        (self.buffers[number], len)
    }

    /// The descriptors that came with the first `count` datagrams of the last batch.
    pub(crate) fn take_descriptors(&mut self, count: usize) -> Vec<OwnedFd> {
        let controls = self.controls.iter_mut().take(count);
        controls.flat_map(|control| std::mem::replace(control, Control::empty()).take()).collect()
    }
}
