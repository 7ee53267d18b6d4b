//! SIGINT and SIGTERM as messages.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// Turns the first SIGINT or SIGTERM into a message; the next one ends the process at once.
///
/// # Errors
/// The handlers or the thread cannot be set up.
pub(super) fn catch() -> Result<Receiver<()>> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot catch signals")?;
    let (sender, receiver) = bounded(1);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut first = None;
            for signal in signals.forever() {
                let first = *first.get_or_insert_with(Instant::now);
                if first.elapsed() >= REPEAT {
                    // It does not fail for these two signals and does not return.
                    let _ = emulate_default_handler(signal);
                }
                // Full or closed: the command is ending already.
                let _ = sender.try_send(());
            }
        })
        .context("cannot catch signals")?;
    Ok(receiver)
}

/// A signal sooner than this after the first is a duplicate: timeout(1) and some shells signal the
/// process and then its group.
const REPEAT: Duration = Duration::from_millis(500);
