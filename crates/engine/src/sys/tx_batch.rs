//! [`TxBatch`]: many frames to a socket by one `sendmmsg(2)`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Frames in one system call.
pub const TX_BATCH: usize = 64;

/// Room for the headers of one batch, kept between batches.
pub struct TxBatch {
    messages: Box<[libc::mmsghdr; TX_BATCH]>,
    vectors: Box<[libc::iovec; TX_BATCH]>,
}

// SAFETY: the pointers inside are written and read within one call of `send` only.
unsafe impl Send for TxBatch {}

impl std::fmt::Debug for TxBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TxBatch").finish_non_exhaustive()
    }
}

impl TxBatch {
    /// Room for [`TX_BATCH`] frames.
    pub fn new() -> Self {
        // SAFETY: all-zero is a valid mmsghdr.
        let message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self { messages: Box::new([message; TX_BATCH]), vectors: Box::new([vector; TX_BATCH]) }
    }

    /// Sends `count` frames, the one numbered `i` being the bytes `frame(i)`, without waiting. A
    /// frame that the kernel refuses is told to `refused` with the reason, and the rest go on.
    pub fn send<'f>(
        &mut self,
        fd: BorrowedFd<'_>,
        count: usize,
        frame: impl Fn(usize) -> &'f [u8],
        mut refused: impl FnMut(usize, &io::Error),
    ) {
        let mut next = 0;
        while next < count {
            let batch = (count - next).min(TX_BATCH);
            for at in 0..batch {
                let bytes = frame(next + at);
                self.vectors[at] = libc::iovec {
                    iov_base: bytes.as_ptr().cast_mut().cast(),
                    iov_len: bytes.len(),
                };
                self.messages[at].msg_hdr.msg_iov = &raw mut self.vectors[at];
                self.messages[at].msg_hdr.msg_iovlen = 1;
            }
            match self.send_batch(fd, batch) {
                Ok(sent) => next += sent.max(1),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    refused(next, &error);
                    next += 1;
                }
            }
        }
    }

    fn send_batch(&mut self, fd: BorrowedFd<'_>, count: usize) -> io::Result<usize> {
        let room = libc::c_uint::try_from(count).unwrap_or(0);
        let messages = self.messages.as_mut_ptr();
        super::calls::note();
        // SAFETY: the first `count` headers point at vectors of this value and at frames borrowed for this call; the kernel only reads them.
        let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), messages, room, libc::MSG_DONTWAIT) };
        super::checked(sent).map(|sent| usize::try_from(sent).unwrap_or(0))
    }
}

impl Default for TxBatch {
    fn default() -> Self {
        Self::new()
    }
}
