//! [`TxBatch`]: sends many frames to a socket with one `sendmmsg(2)`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use umacvlan_core::offload::{TaggedPrefix, UNTAGGED_PREFIX_LEN};

use crate::wire_form::WireForm;

/// Frames in one system call.
pub const TX_BATCH: usize = 64;

/// A frame on its way to the wire.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'f> {
    /// Vnet header and frame. They are not modified, because other ports may get the same bytes.
    pub unit: &'f [u8],
    /// The VLAN tags to insert before those that the frame has, and its source address.
    pub form: &'f WireForm,
}

impl<'f, B: AsRef<[u8]> + ?Sized> From<&'f B> for Outgoing<'f> {
    /// A frame as it is.
    fn from(unit: &'f B) -> Self {
        Self { unit: unit.as_ref(), form: &WireForm::UNCHANGED }
    }
}

/// The message headers of one batch, reused between batches.
pub struct TxBatch {
    messages: Box<[libc::mmsghdr; TX_BATCH]>,
    /// Two for each frame: the whole frame, or a prefix that differs and the rest.
    vectors: Box<[[libc::iovec; 2]; TX_BATCH]>,
    heads: Box<[TaggedPrefix; TX_BATCH]>,
}

// SAFETY: each call of `send` writes the pointers before the kernel reads them; none is used later.
unsafe impl Send for TxBatch {}

impl std::fmt::Debug for TxBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TxBatch").finish_non_exhaustive()
    }
}

impl TxBatch {
    /// A batch of [`TX_BATCH`] frames.
    pub fn new() -> Self {
        // SAFETY: all-zero is a valid mmsghdr.
        let message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self {
            messages: Box::new([message; TX_BATCH]),
            vectors: Box::new([[vector; 2]; TX_BATCH]),
            heads: Box::new([TaggedPrefix::EMPTY; TX_BATCH]),
        }
    }

    /// Sends the frames `frame(0)` to `frame(count - 1)` without blocking. For a frame that the kernel
    /// refuses, calls `refused` with its number and the error, and continues with the next. Ends early
    /// when the send buffer of the socket is full: returns how many frames have been sent or refused.
    pub fn send<'f, F: Into<Outgoing<'f>>>(
        &mut self,
        fd: BorrowedFd<'_>,
        count: usize,
        frame: impl Fn(usize) -> F,
        mut refused: impl FnMut(usize, &io::Error),
    ) -> usize {
        let mut next = 0;
        while next < count {
            let batch = (count - next).min(TX_BATCH);
            for at in 0..batch {
                self.lay_out(at, frame(next + at).into());
            }
            match self.send_batch(fd, batch) {
                Ok(sent) => next += sent.max(1),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    refused(next, &error);
                    next += 1;
                }
            }
        }
        next
    }

    /// Sends the first of these frames with one system call, at most [`TX_BATCH`], and returns how many.
    ///
    /// # Errors
    /// `WouldBlock` if the socket has no room; or another error for the first frame.
    pub fn send_first(&mut self, fd: BorrowedFd<'_>, frames: &[&[u8]]) -> io::Result<usize> {
        let batch = frames.len().min(TX_BATCH);
        for (at, frame) in frames.iter().take(batch).enumerate() {
            self.lay_out(at, (*frame).into());
        }
        self.send_batch(fd, batch)
    }

    /// Fills the message of a frame. Inserted tags and another source are in a copy of the first bytes, so
    /// the frame itself is not modified.
    #[inline]
    fn lay_out(&mut self, at: usize, Outgoing { unit, form }: Outgoing<'_>) {
        let vectors = &mut self.vectors[at];
        let mut pieces = 1;
        vectors[0] = vector(unit);
        if !form.is_unchanged() {
            // The kernel refuses an empty message, so an invalid frame is reported as refused.
            if let Some(head) = form.prefix(unit) {
                self.heads[at] = head;
                *vectors =
                    [vector(self.heads[at].as_bytes()), vector(&unit[UNTAGGED_PREFIX_LEN..])];
                pieces = 2;
            } else {
                vectors[0] = vector(&[]);
            }
        }
        self.messages[at].msg_hdr.msg_iov = vectors.as_mut_ptr();
        self.messages[at].msg_hdr.msg_iovlen = pieces;
    }

    fn send_batch(&mut self, fd: BorrowedFd<'_>, count: usize) -> io::Result<usize> {
        let room = libc::c_uint::try_from(count).unwrap_or(0);
        let messages = self.messages.as_mut_ptr();
        super::syscall_count::record();
        // SAFETY: the first `count` headers point to vectors of this value and to frames borrowed for this call; the kernel only reads them.
        let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), messages, room, libc::MSG_DONTWAIT) };
        super::checked(sent).map(|sent| usize::try_from(sent).unwrap_or(0))
    }
}

fn vector(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

impl Default for TxBatch {
    fn default() -> Self {
        Self::new()
    }
}
