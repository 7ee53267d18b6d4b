//! When a daemon that was started on demand is not needed any more.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use umacvlan_daemon::{Shared, lock_service};
use umacvlan_sys::netns::{Holders, Netns, NetnsId, holders};

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
    let (mut idle, mut unheld, mut mounted) = (0, 0, false);
    while idle < IDLE_LOOKS && unheld < UNHELD_LOOKS {
        looks.tick().await;
        let (_, links) = lock_service(&service).count();
        idle = if links == 0 { idle + 1 } else { 0 };
        let found = match &netns {
            Ok(netns) => look(*netns).await,
            Err(_) => None,
        };
        let alone = found.as_ref().is_some_and(|found| is_alone(found, mounted));
        unheld = if alone { unheld + 1 } else { 0 };
        mounted |= found.is_some_and(|found| !found.mounted.is_empty());
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

/// Looks who else holds this namespace.
async fn look(netns: NetnsId) -> Option<Holders> {
    let look = move || holders(&BTreeSet::from([netns]));
    tokio::task::spawn_blocking(look).await.ok()
}

/// Whether nobody else holds the namespace. Where not every process can be looked at, only the end of a
/// mount that was there (`mounted`) proves that, as `ip netns del` takes one away.
fn is_alone(found: &Holders, mounted: bool) -> bool {
    let sees_everything = found.sees_all && found.failed.is_none();
    (mounted || sees_everything) && found.mounted.is_empty() && found.used.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_ends_with_its_mount_or_when_every_process_was_looked_at() {
        let netns = NetnsId { dev: 4, ino: 7 };
        let partly = Holders::default;
        let all = || Holders { sees_all: true, ..Holders::default() };
        assert!(is_alone(&all(), false) && is_alone(&partly(), true));
        assert!(!is_alone(&partly(), false));
        let failed = Holders { failed: Some(std::io::ErrorKind::PermissionDenied.into()), ..all() };
        assert!(!is_alone(&failed, false) && is_alone(&failed, true));
        let used = Holders { used: [netns].into(), ..all() };
        let named = Holders { mounted: [netns].into(), ..all() };
        assert!(!is_alone(&used, true) && !is_alone(&named, true));
    }
}
