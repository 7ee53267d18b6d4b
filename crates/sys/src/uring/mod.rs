//! [`Uring`]: TAP reads and writes without a system call each.
//!
//! A TAP with few frames has a multishot read that stays armed: an idle TAP costs nothing, and its
//! frames fill provided buffers that all such TAPs share. A busy TAP would take all of them, so it
//! is read by single reads ([`Uring::read`]), as many as its owner grants it. Writes are queued and
//! submitted together. Each has `RWF_NOWAIT`, so the kernel has read its memory when the submission
//! returns, and only a failed write has a completion.
//!
//! The ring keeps the memory of its buffer pool mapped, and after a failed [`Uring::send`] submits
//! nothing any more: the kernel never sees memory that its owner has freed.
//!
//! Multishot reads came with Linux 6.7, non-blocking TAPs with 6.4, and either may be forbidden:
//! [`Uring::new`] tries everything once on a pipe instead of comparing versions.

mod completion;
mod explained;
mod pipe;
mod watch;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::register::Restriction;
use io_uring::types::{BufRingEntry, Fixed};
use io_uring::{IoUring, opcode, squeue};

use super::buffer_pool::{BUFFER_LEN, BufferPool};
use super::mapping::Mapping;
use super::syscall_count;
use super::tap::Tap;

use completion::{CANCEL, READ, READ_ONE, WRITE, decode, tag, written};
pub use completion::{Completion, GENERATIONS};
pub use explained::explained;
use pipe::pipe;

/// Writes that may be queued before they must be submitted.
const SUBMISSIONS: u32 = 512;

/// Completions that may wait: one for every buffer of a large pool, and failed writes.
const COMPLETIONS: u32 = 4096;

/// Submissions after which a queue that is not empty is an error. One is enough unless the kernel is
/// short of memory.
const SUBMIT_TRIES: u32 = 64;

/// The only group of provided buffers.
const GROUP: u16 = 0;

/// `RWF_NOWAIT` of `linux/fs.h`: fail with EAGAIN rather than wait.
const RWF_NOWAIT: i32 = 8;

/// `IORING_REGISTER_FILES_UPDATE` of `linux/io_uring.h`.
const FILES_UPDATE: u8 = 6;

/// `IORING_ENTER_GETEVENTS` of `linux/io_uring.h`: run deferred task work.
const GETEVENTS: u32 = 1;

/// Bytes of a buffer, in the type of a ring entry.
#[allow(clippy::cast_possible_truncation, reason = "69 632")]
const READ_LEN: u32 = BUFFER_LEN as u32;

/// An `io_uring(7)` with one group of provided buffers and a table of registered TAPs.
///
/// # Threads
/// Usable on the thread that created it; on another one submissions fail with `EEXIST`.
pub struct Uring {
    /// Dropped first: the kernel stops using the memory below when the ring is gone.
    ring: IoUring,
    /// The ring of provided buffers.
    buffers: Mapping,
    /// The memory of the pool, into which the kernel may write as long as the ring lives.
    memory: Mapping,
    /// Entries of `buffers`, less one.
    mask: u16,
    /// The next entry of `buffers` to fill, modulo 2^16.
    tail: u16,
    /// True while the queue may hold borrowed frames or descriptors; for good after a failed call.
    holds_borrowed: bool,
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring").field("tail", &self.tail).finish_non_exhaustive()
    }
}

impl Uring {
    /// A ring for at most `ports` TAPs that reads into the buffers of `pool`, whose number must
    /// be a power of two. [`Uring::provide_buffers`] lends them to the ring.
    ///
    /// # Errors
    /// The kernel has no io_uring, forbids it, or lacks a feature that the engine needs.
    pub fn new(pool: &BufferPool, ports: u32) -> io::Result<Self> {
        Self::probe()?;
        Self::open(pool, ports)
    }

    fn open(pool: &BufferPool, ports: u32) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_cqsize(COMPLETIONS)
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_r_disabled()
            .build(SUBMISSIONS)?;
        ring.submitter().register_files_sparse(ports)?;
        let entries = u16::try_from(pool.count()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let buffers = Mapping::anonymous(usize::from(entries) * size_of::<BufRingEntry>())?;
        let address = buffers.start().addr() as u64;
        // SAFETY: the mapping holds `entries` entries and lives until after the ring (field order).
        unsafe { ring.submitter().register_buf_ring_with_flags(address, entries, GROUP, 0) }?;
        ring.submitter().register_restrictions(&mut restrictions())?;
        ring.submitter().register_enable_rings()?;
        let memory = pool.memory().clone();
        Ok(Self { ring, buffers, memory, mask: entries - 1, tail: 0, holds_borrowed: false })
    }

    /// Reads and writes a pipe with the same operations as a TAP.
    fn probe() -> io::Result<()> {
        let mut pool = BufferPool::new(2)?;
        let mut uring = Self::open(&pool, 2)?;
        uring.provide_buffers(&mut pool, 2);
        let (reader, writer) = pipe()?;
        uring.register(0, reader.as_fd())?;
        uring.register(1, writer.as_fd())?;
        uring.arm(0, 1)?;
        uring.submit()?;
        uring.send(1, |_| (1, 1, false, 0, b"probe"))?;
        uring.wait([], Some(Duration::from_secs(1)))?;
        let mut whole = false;
        uring.completions(&mut pool, usize::MAX, |pool, completion| {
            if let Completion::Read { port: 0, generation: 1, buffer, len: 5, armed: true } =
                completion
            {
                whole = pool.bytes(buffer, 0, 5) == b"probe";
            }
        });
        pool.release();
        let mut ended = false;
        if uring.read(0, 1, &mut pool)? {
            uring.submit_all()?;
            uring.completions(&mut pool, usize::MAX, |_, completion| {
                ended |=
                    matches!(completion, Completion::SingleReadEnded { errno: libc::EAGAIN, .. });
            });
        }
        if whole && ended { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    /// Registers a TAP under the slot `port`.
    ///
    /// # Errors
    /// No such slot, or no memory.
    pub fn add(&mut self, port: u32, tap: &Tap) -> io::Result<()> {
        self.register(port, tap.as_fd())
    }

    /// Registers a file whose `RWF_NOWAIT` writes are complete when they return.
    fn register(&mut self, port: u32, fd: BorrowedFd<'_>) -> io::Result<()> {
        let files = self.ring.submitter();
        files.register_files_update(port, &[fd.as_raw_fd()]).map(drop)
    }

    /// Arms the read of a registered TAP at the next submission, for the first time or after
    /// [`Completion::ReadEnded`]. `generation` distinguishes frames of this TAP from late frames of
    /// the TAP that had the slot before.
    ///
    /// # Errors
    /// The error of a submission, if the queue was full.
    pub fn arm(&mut self, port: u32, generation: u8) -> io::Result<()> {
        self.check_usable()?;
        // Length 0 reads as much as the buffer holds; the kernel refuses any other. The builder of
        // this opcode omits the flag for registered files.
        let entry = opcode::ReadMulti::new(Fixed(port), 0, GROUP).build();
        let entry = entry.flags(squeue::Flags::FIXED_FILE);
        self.push(entry.user_data(tag(READ, generation, 0, port)))
    }

    /// Queues a read of one frame into a free buffer of the pool, for a TAP whose multishot read is
    /// not armed. False: no buffer is free. After [`Uring::submit_all`] the completion is there:
    /// [`Completion::SingleRead`] or [`Completion::SingleReadEnded`].
    ///
    /// # Errors
    /// The error of a submission, if the queue was full.
    ///
    /// # Panics
    /// If `pool` is not the pool that the ring was made for.
    #[inline]
    pub fn read(&mut self, port: u32, generation: u8, pool: &mut BufferPool) -> io::Result<bool> {
        self.check_usable()?;
        self.check_pool(pool);
        let Some((buffer, start)) = pool.lend_one() else {
            return Ok(false);
        };
        let entry = opcode::Read::new(Fixed(port), start, READ_LEN).rw_flags(RWF_NOWAIT).build();
        self.push(entry.user_data(tag(READ_ONE, generation, buffer.into(), port)))?;
        Ok(true)
    }

    /// Ends the read of a TAP. Its last completions may still come.
    ///
    /// # Errors
    /// The error of the submission.
    pub fn disarm(&mut self, port: u32, generation: u8) -> io::Result<()> {
        self.check_usable()?;
        let entry = opcode::AsyncCancel::new(tag(READ, generation, 0, port)).build();
        let entry = entry.user_data(tag(CANCEL, 0, 0, port));
        self.push(entry.flags(squeue::Flags::SKIP_SUCCESS))?;
        self.submit()
    }

    /// Ends the read of a TAP and frees its slot.
    ///
    /// # Errors
    /// The error of the kernel; the slot is free even then.
    pub fn remove(&mut self, port: u32, generation: u8) -> io::Result<()> {
        self.disarm(port, generation)?;
        self.ring.submitter().register_files_update(port, &[-1]).map(drop)
    }

    /// Writes `count` frames. `frame(i)` gives frame `i`: its port, the port's generation, whether
    /// it is for a group, a cookie of 14 bits that a failure returns, and the bytes. On return every
    /// frame is delivered or has a [`Completion::WriteFailed`].
    ///
    /// # Errors
    /// The error of a submission. The queue may then hold some of the frames, so every later
    /// submission fails too.
    pub fn send<'f>(
        &mut self,
        count: usize,
        mut frame: impl FnMut(usize) -> (u32, u8, bool, u16, &'f [u8]),
    ) -> io::Result<()> {
        self.check_usable()?;
        // Cleared only when the queue is empty: neither an error nor a panic of `frame` may leave
        // frames in the queue that a later submission would read.
        self.holds_borrowed = true;
        for number in 0..count {
            let (port, generation, group, cookie, bytes) = frame(number);
            // A frame is below 70 KB.
            let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let entry =
                opcode::Write::new(Fixed(port), bytes.as_ptr(), len).rw_flags(RWF_NOWAIT).build();
            self.push(
                entry
                    .user_data(tag(WRITE, generation, len, written(port, group, cookie)))
                    .flags(squeue::Flags::SKIP_SUCCESS),
            )?;
        }
        self.drain()?;
        self.holds_borrowed = false;
        Ok(())
    }

    /// Submits what is queued and runs deferred work of the kernel, if there is either.
    ///
    /// # Errors
    /// The error of `io_uring_enter`, except for an interruption.
    #[inline]
    pub fn submit(&mut self) -> io::Result<()> {
        self.check_usable()?;
        self.enter()
    }

    fn check_usable(&self) -> io::Result<()> {
        match self.holds_borrowed {
            true => Err(io::Error::other("an earlier submission to io_uring failed")),
            false => Ok(()),
        }
    }

    #[inline]
    fn enter(&mut self) -> io::Result<()> {
        let mut queue = self.ring.submission();
        queue.sync();
        if queue.is_empty() && !queue.taskrun() && !queue.cq_overflow() {
            return Ok(());
        }
        let queued = u32::try_from(queue.len()).unwrap_or(SUBMISSIONS);
        drop(queue);
        syscall_count::record();
        // SAFETY: no argument is passed, and `queued` entries are in the queue.
        let entered =
            unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, 0, GETEVENTS, None) };
        match entered {
            Ok(_) => Ok(()),
            Err(error) => passing(error),
        }
    }

    /// Submits until the queue is empty. Then every write, and every read of [`Uring::read`], is done.
    ///
    /// # Errors
    /// As [`Uring::submit`], or the kernel accepts nothing for want of memory.
    pub fn submit_all(&mut self) -> io::Result<()> {
        self.check_usable()?;
        self.drain()
    }

    fn drain(&mut self) -> io::Result<()> {
        for _ in 0..SUBMIT_TRIES {
            self.enter()?;
            if self.ring.submission().is_empty() {
                return Ok(());
            }
        }
        Err(io::ErrorKind::QuotaExceeded.into())
    }

    /// Passes at most `budget` completions to `on`, and returns their number. The buffers of reads
    /// become buffers of the turn.
    ///
    /// # Panics
    /// If `pool` is not the pool that the ring was made for.
    pub fn completions(
        &mut self,
        pool: &mut BufferPool,
        budget: usize,
        mut on: impl FnMut(&BufferPool, Completion),
    ) -> usize {
        self.check_pool(pool);
        let mut count = 0;
        for entry in self.ring.completion().take(budget) {
            count += 1;
            if let Some(completion) = decode(&entry, pool) {
                on(pool, completion);
            }
        }
        count
    }

    /// Lends free buffers of the pool to the ring until `most` are lent; for the end of a turn, when
    /// its buffers are free again.
    ///
    /// # Panics
    /// If `pool` is not the pool that the ring was made for.
    pub fn provide_buffers(&mut self, pool: &mut BufferPool, most: usize) {
        self.check_pool(pool);
        let entries = self.buffers.start().cast::<BufRingEntry>();
        let before = self.tail;
        pool.lend(most, |buffer, start| {
            let slot = usize::from(self.tail & self.mask);
            // SAFETY: the slot is masked to the number of entries that the mapping holds.
            let entry = unsafe { entries.add(slot) };
            // SAFETY: the kernel reads entries only below the tail that is published further down, and this one is above.
            let entry = unsafe { &mut *entry };
            entry.set_addr(start.addr() as u64);
            entry.set_len(READ_LEN);
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
        });
        if self.tail == before {
            return;
        }
        // SAFETY: `entries` is the base of the registered ring, as the function asks.
        let tail = unsafe { BufRingEntry::tail(entries) };
        // SAFETY: the tail is an aligned u16 in the mapping, which lives as long as `self`; the kernel accesses it atomically too.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// The kernel writes into the memory of this pool only, and `pool` keeps the owners of its buffers.
    fn check_pool(&self, pool: &BufferPool) {
        assert!(self.memory.is_same(pool.memory()), "a pool of another ring");
    }

    #[inline]
    fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        // SAFETY: reads use lent buffers of the pool, whose memory outlives the ring; the frame of a write outlives its submission (see `send`).
        if unsafe { self.ring.submission().push(&entry) }.is_ok() {
            return Ok(());
        }
        self.drain()?;
        // SAFETY: as above; the queue is empty now.
        unsafe { self.ring.submission().push(&entry) }
            .map_err(|_| io::ErrorKind::QuotaExceeded.into())
    }
}

/// What the ring may be asked for from then on: a seccomp filter does not see its requests.
fn restrictions() -> [Restriction; 7] {
    let flags =
        squeue::Flags::BUFFER_SELECT | squeue::Flags::FIXED_FILE | squeue::Flags::SKIP_SUCCESS;
    [
        Restriction::register_op(FILES_UPDATE),
        Restriction::sqe_flags_allowed(flags.bits()),
        Restriction::sqe_op(opcode::AsyncCancel::CODE),
        Restriction::sqe_op(opcode::PollAdd::CODE),
        Restriction::sqe_op(opcode::Read::CODE),
        Restriction::sqe_op(opcode::ReadMulti::CODE),
        Restriction::sqe_op(opcode::Write::CODE),
    ]
}

/// `Ok` for the errors of `io_uring_enter` that a later call makes up for.
fn passing(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN) => Ok(()),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests;
