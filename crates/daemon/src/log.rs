//! The log: its destination, and its filter, which can be changed while the daemon runs.
//!
//! Only control threads log. Workers never do: they report through counters and messages.

use std::fmt;
use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt as text};
use umacvlan_config::check_log_filter;

/// The log filter where neither the command line nor the configuration has one.
pub const DEFAULT_FILTER: &str = "info";

/// Where the log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To standard error, and to the journal if there is one: of a daemon in the background, whose
    /// standard error serves for its start-up only.
    Both,
    /// To the journal if standard error is connected to it, else to standard error as text.
    Stderr,
}

/// The log's filter, to be read and changed.
#[derive(Clone)]
pub struct Log {
    handle: Handle<EnvFilter, Registry>,
    /// The filter as [`get`](Self::get) returns it.
    filter: Arc<Mutex<String>>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("filter", &self.get()).finish_non_exhaustive()
    }
}

impl Log {
    /// Starts to log.
    ///
    /// # Errors
    /// `filter` is not a log filter, or this process logs already.
    pub fn start(filter: &str, destination: Destination) -> Result<Self> {
        let Parsed { filter, shown } = parse(filter)?;
        let (filter, handle) = reload::Layer::new(filter);
        // Without access to the journal's socket, the log is text on standard error.
        let (both, connected) = (destination == Destination::Both, is_journal());
        let journal = (both || connected).then(tracing_journald::layer).and_then(Result::ok);
        let mut layers: Vec<_> = journal.into_iter().map(Layer::boxed).collect();
        if layers.is_empty() || (both && !connected) {
            let colors = io::stderr().is_terminal();
            let text = text::layer().with_writer(io::stderr).with_target(false);
            layers.push(text.with_ansi(colors).boxed());
        }
        let started = tracing_subscriber::registry().with(filter).with(layers).try_init();
        started.context("cannot start to log")?;
        Ok(Self { handle, filter: Arc::new(Mutex::new(shown)) })
    }

    /// The filter: a level, or targets with levels, as in `info,umacvlan=debug`.
    pub fn get(&self) -> String {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the filter.
    ///
    /// # Errors
    /// `filter` is not a log filter; the old one stays.
    pub fn set(&self, filter: &str) -> Result<()> {
        let Parsed { filter, shown } = parse(filter)?;
        let mut current = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        self.handle.reload(filter)?;
        *current = shown;
        Ok(())
    }
}

/// A filter, and its text in the order in which `tracing` prints it.
struct Parsed {
    filter: EnvFilter,
    shown: String,
}

fn parse(filter: &str) -> Result<Parsed> {
    let filter = filter.trim();
    check_log_filter(filter).map_err(|why| anyhow!("log filter: {why}"))?;
    let invalid = || format!("no log filter: \"{filter}\"");
    let shown = EnvFilter::try_new(filter).with_context(invalid)?.to_string();
    let filter = EnvFilter::try_new(with_crates(filter)).with_context(invalid)?;
    Ok(Parsed { filter, shown })
}

/// The filter with a second directive for each target below `umacvlan::`.
///
/// Events of the daemon's crates have targets such as `umacvlan_daemon::service`, and users write
/// `umacvlan::daemon=debug`, after the command. A target also selects all targets that begin with
/// it, so `umacvlan=debug` needs no translation.
fn with_crates(filter: &str) -> String {
    let of_crates = filter.split(',').filter_map(|directive| {
        let module = directive.strip_prefix("umacvlan::")?;
        Some(format!(",umacvlan_{module}"))
    });
    [filter.to_owned()].into_iter().chain(of_crates).collect()
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
    use tracing::{Level, enabled};

    use super::*;

    #[test]
    fn a_filter_is_a_level_or_a_list_of_targets() {
        for good in ["info", "off", " debug ", "info,umacvlan=debug", "warn,axum=trace"] {
            parse(good).unwrap();
        }
        for bad in ["", "  ", "umacvlan=loud", "info,,=", "a=b=c", "inof", "umacvlan", "info,"] {
            assert!(parse(bad).is_err(), "{bad:?} was taken");
        }
    }

    /// Which of the command, the daemon's service and Docker's driver this filter lets log at level
    /// debug.
    fn debugged(filter: &str) -> [bool; 3] {
        let subscriber = tracing_subscriber::registry().with(parse(filter).unwrap().filter);
        tracing::subscriber::with_default(subscriber, || {
            [
                enabled!(target: "umacvlan::daemon", Level::DEBUG),
                enabled!(target: "umacvlan_daemon::service", Level::DEBUG),
                enabled!(target: "umacvlan_docker::driver", Level::DEBUG),
            ]
        })
    }

    #[test]
    fn targets_of_the_command_select_its_crates() {
        for (filter, expected) in [
            ("info", [false; 3]),
            ("debug", [true; 3]),
            ("info,umacvlan=debug", [true; 3]),
            ("info,umacvlan::daemon=debug", [true, true, false]),
            ("info,umacvlan::daemon::service=debug", [false, true, false]),
            ("umacvlan::docker=debug,info", [false, false, true]),
            ("umacvlan_daemon=trace", [false, true, false]),
            ("debug,umacvlan::daemon=warn", [false, false, true]),
        ] {
            assert_eq!(debugged(filter), expected, "{filter}");
        }
    }

    #[test]
    fn a_filter_is_shown_as_it_was_given() {
        let shown = |filter| parse(filter).unwrap().shown;
        assert_eq!(shown("umacvlan::daemon=debug"), "umacvlan::daemon=debug");
        let parts = shown("info,umacvlan=debug");
        assert!(["info,umacvlan=debug", "umacvlan=debug,info"].contains(&&*parts), "{parts}");
        parse("umacvlan::daemon[asked{uid=1}]=debug").unwrap();
    }

    #[test]
    fn events_of_this_crate_have_the_target_that_filters_are_translated_to() {
        assert!(module_path!().starts_with("umacvlan_daemon::"));
    }
}
