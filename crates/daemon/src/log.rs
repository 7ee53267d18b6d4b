//! Logging: where to, and how much of it, which can be changed while the daemon runs.
//!
//! Only the threads that control log. The workers, which forward, never do: what they have to
//! tell is counters and messages.

use std::fmt;
use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt as text};

/// What is logged unless told otherwise.
pub const DEFAULT_FILTER: &str = "info";

/// The log's filter, to be read and changed.
#[derive(Clone)]
pub struct Log {
    handle: Handle<EnvFilter, Registry>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

impl Log {
    /// Starts to log: to the journal if standard error is it, else to standard error as text.
    pub fn start(filter: &str) -> Result<Self> {
        let (filter, handle) = reload::Layer::new(parse(filter)?);
        // Refused where the journal's socket is not to be reached: then text has to do.
        let journal = is_journal().then(tracing_journald::layer).and_then(Result::ok);
        let layer = match journal {
            Some(layer) => layer.boxed(),
            None => {
                let colors = io::stderr().is_terminal();
                let text = text::layer().with_writer(io::stderr).with_target(false);
                text.with_ansi(colors).boxed()
            }
        };
        let started = tracing_subscriber::registry().with(filter).with(layer).try_init();
        started.context("cannot start to log")?;
        Ok(Self { handle })
    }

    /// What is logged: a level, or targets with levels, as `info,umacvlan=debug`.
    ///
    /// # Errors
    /// The log has ended.
    pub fn get(&self) -> Result<String> {
        Ok(self.handle.with_current(ToString::to_string)?)
    }

    /// Changes what is logged.
    ///
    /// # Errors
    /// The words are no filter; nothing is changed then.
    pub fn set(&self, filter: &str) -> Result<()> {
        Ok(self.handle.reload(parse(filter)?)?)
    }
}

fn parse(filter: &str) -> Result<EnvFilter> {
    let advice = "give a level (error, warn, info, debug, trace, off) or TARGET=LEVEL with commas";
    let filter = filter.trim();
    anyhow::ensure!(!filter.is_empty(), "an empty log filter: {advice}");
    EnvFilter::try_new(filter).with_context(|| format!("no log filter: \"{filter}\"; {advice}"))
}

/// True if standard error is the journal: it is the file that `JOURNAL_STREAM` names by device and
/// inode (systemd.exec(5)).
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|file| stream == format!("{}:{}", file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_a_list_of_targets() {
        for good in ["info", "off", " debug ", "info,umacvlan=debug", "warn,axum=trace"] {
            parse(good).unwrap();
        }
        for bad in ["", "  ", "umacvlan=loud", "info,,=", "a=b=c"] {
            assert!(parse(bad).is_err(), "{bad:?} was taken");
        }
    }
}
