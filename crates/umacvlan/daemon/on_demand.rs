//! When a daemon that was started on demand is not needed any more.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use umacvlan_daemon::{Shared, lock_service};
use umacvlan_sys::netns::{Netns, NetnsId, holders};

/// The time between two looks. A script makes the links of a namespace one by one, so the daemon stays
/// for some looks without any.
const PERIOD: Duration = Duration::from_secs(2);

/// How many looks in a row must find no link.
const IDLE_LOOKS: u32 = 5;

/// How many looks in a row must find nobody else who holds the namespace: a descriptor on its way from
/// one process to another is in neither.
const UNHELD_LOOKS: u32 = 2;

/// Returns when the daemon had no link for ten seconds, or when its namespace would have ended without
/// it, and the links in it.
pub(super) async fn unneeded(service: Shared) {
    let netns = Netns::current().map(|netns| netns.id());
    let mut looks = interval(PERIOD);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut idle, mut unheld) = (0, 0);
    while idle < IDLE_LOOKS && unheld < UNHELD_LOOKS {
        looks.tick().await;
        let (_, links) = lock_service(&service).count();
        idle = if links == 0 { idle + 1 } else { 0 };
        let alone = match &netns {
            Ok(netns) => is_alone_in(*netns).await,
            Err(_) => false,
        };
        unheld = if alone { unheld + 1 } else { 0 };
    }
    tracing::info!("not needed any more");
}

/// Removes the state directory, in which no link is recorded any more, and the directory around it. Called
/// while the lock in it is held, so that it is no other daemon's.
pub(super) fn remove_files(state: &Path) {
    if let Err(error) = fs::remove_dir_all(state) {
        tracing::warn!("cannot remove {}: {error}", state.display());
    }
    // The socket of another daemon, which starts just now, may be in it.
    let _ = state.parent().map(fs::remove_dir);
}

/// Whether it is certain that nobody else holds this namespace.
async fn is_alone_in(netns: NetnsId) -> bool {
    let look = move || holders(&BTreeSet::from([netns]));
    tokio::task::spawn_blocking(look).await.is_ok_and(|found| {
        found.sees_all
            && found.failed.is_none()
            && found.mounted.is_empty()
            && found.used.is_empty()
    })
}
