//! What happens when mapped memory of a program is gone: the signal SIGBUS.
//!
//! A program may truncate the file behind its memory while it is in use here, and huge pages may be
//! used up. The kernel then sends SIGBUS to the thread that touches the memory, which ends a process
//! that does not handle it. The handler here maps zeroed memory over the whole region, marks the
//! region, and lets the access go on; the owner looks at the mark ([`Registered::is_lost`]) and ends
//! the connection. A SIGBUS anywhere else goes where it went before.

use std::io;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};

/// Regions that can be mapped at a time: eight of each of a thousand programs.
const SLOTS: usize = 8192;

/// A region that the handler looks after.
#[derive(Debug)]
struct Slot {
    /// True while it has an owner, which alone changes it.
    owned: AtomicBool,
    /// Odd while the owner changes the next two.
    generation: AtomicU32,
    start: AtomicUsize,
    /// 0 without a region.
    len: AtomicUsize,
    lost: AtomicBool,
}

static REGIONS: [Slot; SLOTS] = [const { Slot::empty() }; SLOTS];

/// The action for SIGBUS before this one.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// A region that is looked after until this is dropped, which must be before it is unmapped.
#[derive(Debug)]
pub(super) struct Registered(&'static Slot);

impl Slot {
    const fn empty() -> Self {
        Self {
            owned: AtomicBool::new(false),
            generation: AtomicU32::new(0),
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            lost: AtomicBool::new(false),
        }
    }

    /// Changes the region; only its owner does.
    fn set(&self, start: usize, len: usize) {
        let generation = self.generation.load(Ordering::Relaxed);
        self.generation.store(generation.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
        self.generation.store(generation.wrapping_add(2), Ordering::Release);
    }

    /// The region, unless it is just being changed.
    fn range(&self) -> Option<(usize, usize)> {
        let before = self.generation.load(Ordering::Acquire);
        let range = (self.start.load(Ordering::Relaxed), self.len.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let unchanged = before == self.generation.load(Ordering::Relaxed);
        (unchanged && before.is_multiple_of(2)).then_some(range)
    }
}

impl Registered {
    /// Looks after the region of `len` bytes at `start`, which is mapped.
    ///
    /// # Errors
    /// As many regions are mapped as can be, or the handler cannot be set.
    pub(super) fn new(start: *mut u8, len: usize) -> io::Result<Self> {
        install()?;
        let slot = REGIONS.iter().find(|slot| !slot.owned.swap(true, Ordering::AcqRel));
        let slot = slot.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOSPC))?;
        slot.lost.store(false, Ordering::Relaxed);
        slot.set(start.addr(), len);
        Ok(Self(slot))
    }

    /// True if memory of the region was gone when it was touched. All of it is zeros since.
    #[inline]
    pub(super) fn is_lost(&self) -> bool {
        self.0.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.0.set(0, 0);
        self.0.owned.store(false, Ordering::Release);
    }
}

/// Sets the handler, the first time.
fn install() -> io::Result<()> {
    if BEFORE.get().is_some() {
        return Ok(());
    }
    let mut before = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: sigaction writes the action that is set, a whole one, and changes nothing.
    super::super::checked(unsafe {
        libc::sigaction(libc::SIGBUS, std::ptr::null(), before.as_mut_ptr())
    })?;
    // SAFETY: sigaction has succeeded, so it has written all of it.
    let before = unsafe { before.assume_init() };
    if BEFORE.set(before).is_err() {
        // Another thread is at it, and has what was before.
        return Ok(());
    }
    // SAFETY: all-zero is a valid sigaction: an empty mask, and no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_sigbus as *const () as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the handler has the signature that SA_SIGINFO asks for, and makes only calls that a signal handler may make.
    super::super::checked(unsafe {
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut())
    })?;
    Ok(())
}

extern "C" fn on_sigbus(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO a whole siginfo.
    let info = unsafe { &*info };
    // SAFETY: a SIGBUS has an address; one that somebody sends has another number there, of no region.
    let address = unsafe { info.si_addr() }.addr();
    // The thread that touches a region keeps it, so its slot does not change meanwhile.
    let hit = REGIONS.iter().find_map(|slot| {
        let (start, len) = slot.range()?;
        (address.wrapping_sub(start) < len).then_some((slot, start, len))
    });
    if let Some((slot, start, len)) = hit {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the range is that of a region which the interrupted thread keeps, and which is accessed by pointers only; its bytes may change at any time.
        let mapped = unsafe {
            libc::mmap(std::ptr::without_provenance_mut(start), len, access, flags, -1, 0)
        };
        if mapped != libc::MAP_FAILED {
            slot.lost.store(true, Ordering::Relaxed);
            return;
        }
    }
    // Nobody's region: the access is repeated under the action that was set before.
    let before = BEFORE.get().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `before` is a whole sigaction, or null, with which nothing is set.
    let set = unsafe { libc::sigaction(libc::SIGBUS, before, std::ptr::null_mut()) };
    if set < 0 || before.is_null() {
        std::process::abort();
    }
}
