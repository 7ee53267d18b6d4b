//! The signals that end the command.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// From now on the first SIGINT or SIGTERM is a message, and the next ends the process at once:
/// somebody is tired of waiting.
pub(super) fn catch() -> Result<Receiver<()>> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot catch signals")?;
    let (sender, receiver) = bounded(1);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut first = None;
            for signal in signals.forever() {
                let first = *first.get_or_insert_with(Instant::now);
                if first.elapsed() >= ECHO {
                    // It cannot fail for these two, and does not return.
                    let _ = emulate_default_handler(signal);
                }
                // Full: it was asked for already. Gone: it is ending already.
                let _ = sender.try_send(());
            }
        })
        .context("cannot catch signals")?;
    Ok(receiver)
}

/// What comes sooner than this after the first signal is the first signal: timeout(1) and some
/// shells send one to the process and the same one to its group.
const ECHO: Duration = Duration::from_millis(500);
