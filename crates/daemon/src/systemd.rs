//! Notifications to systemd (sd_notify(3)): ready, reloading, stopping, status and watchdog.
//! Without systemd these functions do nothing.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::service::{Shared, lock_service};

/// Start-up or a reload is complete.
pub fn ready(service: &Shared) {
    notify(&[NotifyState::Ready, NotifyState::Status(&status(service))]);
}

/// A reload begins. systemd 253 and later expect this (`Type=notify-reload`).
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

/// The daemon ends.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Updates the status, and feeds the watchdog for as long as `alive` returns true. Ends with the
/// daemon.
pub async fn keep_informed(service: Shared, alive: impl Fn() -> bool + Send + Sync + 'static) {
    let alive = Arc::new(alive);
    tokio::join!(feed_watchdog(alive), update_status(service));
}

async fn feed_watchdog(alive: Arc<impl Fn() -> bool + Send + Sync + 'static>) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticks = interval((limit / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let alive = Arc::clone(&alive);
        // If the engine hangs, this waits, and systemd restarts the daemon.
        if spawn_blocking(move || alive()).await.unwrap_or(false) {
            notify(&[NotifyState::Watchdog]);
        }
    }
}

async fn update_status(service: Shared) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let mut events = lock_service(&service).subscribe();
    let mut sent = String::new();
    loop {
        if matches!(events.recv().await, Err(RecvError::Closed)) {
            return;
        }
        // The status includes all events so far.
        events = events.resubscribe();
        let asked = Arc::clone(&service);
        let now = spawn_blocking(move || status(&asked)).await.unwrap_or_default();
        if now != sent {
            notify(&[NotifyState::Status(&now)]);
            sent = now;
        }
    }
}

fn status(service: &Shared) -> String {
    let (parents, links) = lock_service(service).count();
    let number =
        |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    format!("{}, {}", number(parents, "parent"), number(links, "link"))
}

fn notify(states: &[NotifyState<'_>]) {
    // Without systemd, or if it does not listen, the daemon works all the same.
    let _ = sd_notify::notify(states);
}
