//! What systemd is told, where there is one: sd_notify(3). Without it nothing here does anything.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::service::{Shared, lock_service};

/// Everything is served: also after a reload.
pub fn ready(service: &Shared) {
    notify(&[NotifyState::Ready, NotifyState::Status(&status(service))]);
}

/// The configuration is being read again. Since version 253 systemd wants to know when.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

/// The daemon is about to end.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Keeps the status up to date, and the watchdog quiet for as long as the engine answers.
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
        // An engine that hangs keeps this waiting, and systemd starts the daemon again.
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
    let mut told = String::new();
    loop {
        if matches!(events.recv().await, Err(RecvError::Closed)) {
            return;
        }
        // Whatever came meanwhile is in the next answer.
        events = events.resubscribe();
        let asked = Arc::clone(&service);
        let now = spawn_blocking(move || status(&asked)).await.unwrap_or_default();
        if now != told {
            notify(&[NotifyState::Status(&now)]);
            told = now;
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
    // Without systemd there is nobody to tell, and one that does not listen is no reason to stop.
    let _ = sd_notify::notify(states);
}
