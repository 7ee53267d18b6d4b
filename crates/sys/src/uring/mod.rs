//! [`Uring`]: TAP reads and writes without a system call each.
//!
//! One multishot read per TAP stays armed for ever: an idle TAP costs nothing, a busy one fills
//! buffers from a ring that all TAPs share. Writes are queued and submitted together; each is
//! marked `RWF_NOWAIT`, so the kernel is done with its memory when the submission returns, and
//! only a refused one leaves a completion behind.
//!
//! Multishot reads came with Linux 6.7, non-blocking TAPs with 6.4, and either may be forbidden:
//! [`Uring::new`] tries everything once on a pipe instead of asking for a version.

mod completion;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};

use super::buffer_pool::{BUFFER_LEN, BufferPool};
use super::mapping::Mapping;
use super::syscall_count;

use completion::{CANCEL, READ, WATCH, WRITE, decode, tag, written};
pub use completion::{Completion, GENERATIONS};

/// Writes that may be queued before they must be submitted.
const SUBMISSIONS: u32 = 512;

/// Completions that may wait for us: every buffer of a large pool, and failed writes.
const COMPLETIONS: u32 = 4096;

/// Submissions after which a queue that does not empty is an error; one is enough but for the odd
/// shortage of memory.
const SUBMIT_TRIES: u32 = 64;

/// The one group of provided buffers.
const GROUP: u16 = 0;

/// `RWF_NOWAIT` of `linux/fs.h`: fail with EAGAIN rather than wait.
const RWF_NOWAIT: i32 = 8;

/// `IORING_ENTER_GETEVENTS` of `linux/io_uring.h`: finish what was put off.
const GETEVENTS: u32 = 1;

/// Bytes of a buffer, as the ring wants it.
#[allow(clippy::cast_possible_truncation, reason = "69 632")]
const READ_LEN: u32 = BUFFER_LEN as u32;

/// An `io_uring(7)` with one group of provided buffers and a table of registered TAPs.
///
/// # Threads
/// The ring serves the thread that made it, and must be used there.
pub struct Uring {
    /// Dropped first: the kernel stops using the memory below when the ring is gone.
    ring: IoUring,
    buffers: Mapping,
    mask: u16,
    tail: u16,
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring").field("tail", &self.tail).finish_non_exhaustive()
    }
}

impl Uring {
    /// A ring for at most `ports` TAPs that reads into the buffers of `pool`, whose number must
    /// be a power of two. They are lent to the ring with [`Uring::provide_buffers`].
    ///
    /// # Errors
    /// This kernel has no io_uring, forbids it, or lacks something that the engine needs of it.
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
            .build(SUBMISSIONS)?;
        ring.submitter().register_files_sparse(ports)?;
        let entries = u16::try_from(pool.count()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let buffers = Mapping::anonymous(usize::from(entries) * size_of::<BufRingEntry>())?;
        let address = buffers.start().addr() as u64;
        // SAFETY: the mapping holds `entries` entries and lives until after the ring (field order).
        unsafe { ring.submitter().register_buf_ring_with_flags(address, entries, GROUP, 0) }?;
        Ok(Self { ring, buffers, mask: entries - 1, tail: 0 })
    }

    /// Reads and writes a pipe in the very way in which TAPs will be used.
    fn probe() -> io::Result<()> {
        let mut pool = BufferPool::new(2)?;
        let mut uring = Self::open(&pool, 2)?;
        uring.provide_buffers(&mut pool, 2);
        let (reader, writer) = pipe()?;
        uring.add(0, reader.as_fd())?;
        uring.add(1, writer.as_fd())?;
        uring.arm(0, 1)?;
        uring.submit()?;
        uring.send(1, |_| (1, 1, false, 0, b"probe"))?;
        uring.wait(Some(Duration::from_secs(1)))?;
        let mut whole = false;
        uring.completions(&mut pool, usize::MAX, |pool, completion| {
            if let Completion::Read { port: 0, generation: 1, buffer, len: 5, armed: true } =
                completion
            {
                whole = pool.bytes(buffer, 0, 5) == b"probe";
            }
        });
        if whole { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    /// Registers a TAP under the slot `port`.
    ///
    /// # Errors
    /// No such slot, or no memory.
    pub fn add(&mut self, port: u32, fd: BorrowedFd<'_>) -> io::Result<()> {
        let files = self.ring.submitter();
        files.register_files_update(port, &[fd.as_raw_fd()]).map(drop)
    }

    /// Arms the read of a registered TAP at the next submission, for the first time or after
    /// [`Completion::ReadEnded`]. `generation` tells frames of this TAP from late ones of an
    /// earlier owner of the slot.
    ///
    /// # Errors
    /// Whatever a submission says, if the queue was full.
    pub fn arm(&mut self, port: u32, generation: u8) -> io::Result<()> {
        // The length is the buffer's: another one is refused. The flag is set again because the
        // builder of this opcode forgets that the descriptor is a registered one.
        let entry = opcode::ReadMulti::new(Fixed(port), 0, GROUP).build();
        let entry = entry.flags(squeue::Flags::FIXED_FILE);
        self.push(entry.user_data(tag(READ, generation, 0, port)))
    }

    /// Ends the read of a TAP. Its last completions may still come.
    ///
    /// # Errors
    /// Whatever a submission says.
    pub fn disarm(&mut self, port: u32, generation: u8) -> io::Result<()> {
        let entry = opcode::AsyncCancel::new(tag(READ, generation, 0, port)).build();
        let entry = entry.user_data(tag(CANCEL, 0, 0, port));
        self.push(entry.flags(squeue::Flags::SKIP_SUCCESS))?;
        self.submit()
    }

    /// Ends the read of a TAP and frees its slot.
    ///
    /// # Errors
    /// Whatever the kernel says; the slot is free all the same.
    pub fn remove(&mut self, port: u32, generation: u8) -> io::Result<()> {
        self.disarm(port, generation)?;
        self.ring.submitter().register_files_update(port, &[-1]).map(drop)
    }

    /// Asks once for [`Completion::Ready`] when `fd` can be read or has failed.
    ///
    /// # Errors
    /// Whatever a submission says, if the queue was full.
    pub fn watch(&mut self, fd: BorrowedFd<'_>, name: u32) -> io::Result<()> {
        let entry =
            opcode::PollAdd::new(Fd(fd.as_raw_fd()), u32::from(libc::POLLIN.cast_unsigned()))
                .build();
        self.push(entry.user_data(tag(WATCH, 0, 0, name)))
    }

    /// Writes `count` frames, the one numbered `i` being what `frame(i)` names: a port, its
    /// generation, whether it is for a group, 14 bits of the caller's own, and the bytes. All are with their ports, or refused
    /// ([`Completion::WriteFailed`]), on return.
    ///
    /// # Errors
    /// Whatever a submission says.
    pub fn send<'f>(
        &mut self,
        count: usize,
        mut frame: impl FnMut(usize) -> (u32, u8, bool, u16, &'f [u8]),
    ) -> io::Result<()> {
        for number in 0..count {
            let (port, generation, group, more, bytes) = frame(number);
            // A frame is below 70 KB.
            let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let entry =
                opcode::Write::new(Fixed(port), bytes.as_ptr(), len).rw_flags(RWF_NOWAIT).build();
            self.push(
                entry
                    .user_data(tag(WRITE, generation, len, written(port, group, more)))
                    .flags(squeue::Flags::SKIP_SUCCESS),
            )?;
        }
        self.submit_all()
    }

    /// Submits what is queued and lets the kernel finish what it has put off, if there is either.
    ///
    /// # Errors
    /// Whatever `io_uring_enter` says, but for an interruption.
    #[inline]
    pub fn submit(&mut self) -> io::Result<()> {
        let mut queue = self.ring.submission();
        queue.sync();
        if queue.is_empty() && !queue.taskrun() && !queue.cq_overflow() {
            return Ok(());
        }
        let queued = u32::try_from(queue.len()).unwrap_or(SUBMISSIONS);
        drop(queue);
        syscall_count::record();
        // SAFETY: no argument is passed, and the count is what the queue holds.
        let entered =
            unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, 0, GETEVENTS, None) };
        match entered {
            Ok(_) => Ok(()),
            Err(error) => passing(error),
        }
    }

    /// Submits until nothing is queued: what `send` borrowed must be done with when it returns.
    fn submit_all(&mut self) -> io::Result<()> {
        for _ in 0..SUBMIT_TRIES {
            self.submit()?;
            if self.ring.submission().is_empty() {
                return Ok(());
            }
        }
        Err(io::ErrorKind::QuotaExceeded.into())
    }

    /// Submits what is queued and waits for a completion, at most for `timeout` (`None`: for ever).
    ///
    /// # Errors
    /// Whatever `io_uring_enter` says, but for an interruption or the end of the time.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        syscall_count::record();
        let waited = match timeout {
            None => self.ring.submit_and_wait(1),
            Some(time) => {
                let time = Timespec::from(time);
                self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&time))
            }
        };
        match waited {
            Ok(_) => Ok(()),
            Err(error) => passing(error),
        }
    }

    /// Hands at most `budget` completions to `on`, and returns how many there were. The buffers of
    /// reads become buffers of this turn.
    pub fn completions(
        &mut self,
        pool: &mut BufferPool,
        budget: usize,
        mut on: impl FnMut(&mut BufferPool, Completion),
    ) -> usize {
        let mut count = 0;
        for entry in self.ring.completion().take(budget) {
            count += 1;
            if let Some(completion) = decode(&entry, pool) {
                on(pool, completion);
            }
        }
        count
    }

    /// Lends free buffers of the pool to the ring until it has `most`: call it when a turn has
    /// released its own.
    pub fn provide_buffers(&mut self, pool: &mut BufferPool, most: usize) {
        let entries = self.buffers.start().cast::<BufRingEntry>();
        let before = self.tail;
        pool.lend(most, |buffer, start| {
            let slot = usize::from(self.tail & self.mask);
            // SAFETY: the slot is masked to the number of entries that the mapping holds.
            let entry = unsafe { entries.add(slot) };
            // SAFETY: the kernel reads entries only below the tail published further down; this one is ours.
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
        // SAFETY: the tail is an aligned u16 in the mapping, which lives as long as `self`; kernel and we share it atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    #[inline]
    fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        // SAFETY: reads name provided buffers only; what a write borrows outlives its submission (see `send`).
        if unsafe { self.ring.submission().push(&entry) }.is_ok() {
            return Ok(());
        }
        self.submit_all()?;
        // SAFETY: as above; the queue has room again.
        unsafe { self.ring.submission().push(&entry) }
            .map_err(|_| io::ErrorKind::QuotaExceeded.into())
    }
}

/// Failures of `io_uring_enter` after which one simply goes on.
fn passing(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN) => Ok(()),
        _ => Err(error),
    }
}

/// A pipe for the probe: reader, writer.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    super::checked(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
    let [reader, writer] = ends;
    // SAFETY: pipe2 made this descriptor for us alone.
    let reader = unsafe { OwnedFd::from_raw_fd(reader) };
    // SAFETY: pipe2 made this descriptor for us alone.
    let writer = unsafe { OwnedFd::from_raw_fd(writer) };
    Ok((reader, writer))
}
