//! Taking what one process can have at a time (a lock, a socket) from a process that ends.
//!
//! A process that was killed has its descriptors until the kernel has taken down its memory and its
//! sockets, which can be a second on a busy machine. Whoever starts its successor need not know that.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// How long a process that ends is waited for.
const ENDING: Duration = Duration::from_secs(10);

/// How long a process that is not visible is waited for: one whose descriptors the kernel closes has
/// none in `/proc` any more, and one of another PID namespace never has.
const HIDDEN: Duration = Duration::from_secs(2);

/// The pause between two attempts. The end of a lock cannot be waited for together with the end of a
/// process.
const PAUSE: Duration = Duration::from_millis(5);

/// `PF_EXITING` of the kernel's `include/linux/sched.h`.
const EXITING: u32 = 0x4;

/// The bit of SIGKILL in the sets of `/proc/PID/status`.
const KILLED: u64 = 1 << (libc::SIGKILL - 1);

/// What an attempt to take something has found.
#[derive(Debug, PartialEq, Eq)]
pub enum Attempt<T> {
    /// It is taken.
    Taken(T),
    /// A process has it; `None` if that is not visible from here.
    Held(Option<u32>),
}

/// Repeats `attempt` while the process that has the thing is ending, and for `grace` while that
/// process is alive. Returns the last attempt. It sleeps between two attempts, for 10 s in all at
/// most.
///
/// # Errors
/// The error of an attempt, at once.
pub fn take<T, E>(
    grace: Duration,
    mut attempt: impl FnMut() -> Result<Attempt<T>, E>,
) -> Result<Attempt<T>, E> {
    let start = Instant::now();
    let mut known = None;
    loop {
        let holder = match attempt()? {
            // `/proc/locks` may leave one out while others come and go. A lock that a child has inherited is
            // that of its parent, which may be gone.
            Attempt::Held(holder) => holder.or(known).filter(|&process| exists(process)),
            taken @ Attempt::Taken(_) => return Ok(taken),
        };
        let patience = match holder {
            None => HIDDEN,
            Some(process) if is_ending(process) => ENDING,
            Some(_) => grace,
        };
        known = holder;
        if start.elapsed() >= patience {
            return Ok(Attempt::Held(holder));
        }
        thread::sleep(PAUSE);
    }
}

/// Whether there is such a process, or one that has ended and whose parent has not asked for its status.
fn exists(process: u32) -> bool {
    fs::exists(format!("/proc/{process}")).unwrap_or(true)
}

/// Whether a process is ending, or was killed and is about to end.
fn is_ending(process: u32) -> bool {
    let read =
        |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
    exits(&read("stat")) || was_killed(&read("status"))
}

/// Whether a line of `/proc/PID/stat` is about a process that ends. The name is in parentheses and
/// may have any character; after it come state, parent, group, session, terminal, its group, flags.
fn exits(stat: &str) -> bool {
    let mut words = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let state = words.next().unwrap_or_default();
    let flags = words.nth(5).and_then(|flags| flags.parse::<u32>().ok()).unwrap_or(0);
    matches!(state, "Z" | "X") || flags & EXITING != 0
}

/// Whether a text of `/proc/PID/status` has SIGKILL among its pending signals.
fn was_killed(status: &str) -> bool {
    let pending = status.lines().filter_map(|line| {
        let (key, set) = line.split_once(':')?;
        matches!(key, "SigPnd" | "ShdPnd").then(|| u64::from_str_radix(set.trim(), 16).ok())?
    });
    pending.fold(0, |all, set| all | set) & KILLED != 0
}

#[cfg(test)]
mod tests {
    use std::process::{self, Command};

    use super::*;

    #[test]
    fn a_process_that_ends_is_known_by_its_state_flags_or_signals() {
        assert!(!exits("7 (a) b) S 1 7 7 0 -1 4194560 1 2 3"));
        assert!(exits("7 (a) b) Z 1 7 7 0 -1 4227084 1 2 3"));
        assert!(exits("7 (ab) D 1 7 7 0 -1 4194564 1 2 3"));
        assert!(!exits("") && !exits("7 (S"));
        assert!(was_killed("Name:\tx\nSigPnd:\t0000000000000100\nShdPnd:\t0000000000000000\n"));
        assert!(was_killed("SigPnd:\t0000000000000000\nShdPnd:\t0000000000000100\n"));
        assert!(!was_killed("SigPnd:\t0000000000000200\nSigBlk:\t0000000000000100\n"));
        assert!(!is_ending(process::id()));
        let mut ended = Command::new("true").spawn().unwrap();
        let process = ended.id();
        assert!(exists(process), "nobody has asked for its status");
        ended.wait().unwrap();
        assert!(!exists(process));
    }

    #[test]
    fn what_a_killed_process_has_is_taken_when_it_has_ended_and_that_of_a_living_one_is_not() {
        let mut held = Command::new("sleep").arg("1000").spawn().unwrap();
        let process = held.id();
        let living = take::<(), ()>(Duration::ZERO, || Ok(Attempt::Held(Some(process))));
        assert_eq!(living, Ok(Attempt::Held(Some(process))));
        held.kill().unwrap();
        let mut attempts = 0;
        let taken = take::<_, ()>(Duration::ZERO, || {
            attempts += 1;
            Ok(if attempts < 3 { Attempt::Held(Some(process)) } else { Attempt::Taken("lock") })
        });
        held.wait().unwrap();
        assert_eq!((taken, attempts), (Ok(Attempt::Taken("lock")), 3));
        let (mut held, own) = ([Some(process::id()), None].into_iter(), process::id());
        let once = take::<(), ()>(PAUSE, || Ok(Attempt::Held(held.next().flatten())));
        assert_eq!(once, Ok(Attempt::Held(Some(own))), "it was seen before, and lives");
        let inherited = take::<(), ()>(Duration::ZERO, || Ok(Attempt::Held(Some(process))));
        assert_eq!(inherited, Ok(Attempt::Held(None)), "who has it is not known");
    }
}
