//! The packet sockets on parents, which the [keeper](crate::keeper) holds while the daemon restarts.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;

use super::Service;

/// The number of sockets of a former daemon: none of this one has it.
const FORMER: NonZeroU64 = NonZeroU64::MAX;

impl Service {
    /// Offers the engine the sockets of a former daemon, by the index of their interface.
    pub(super) fn offer_uplinks(&mut self, kept: BTreeMap<u32, Vec<OwnedFd>>) {
        self.kept_uplinks = kept.keys().map(|&index| (index, FORMER)).collect();
        // Without an engine there are no parents either.
        let _ = self.engine.offer_uplinks(kept);
    }

    /// Has the keeper hold the sockets that there are now, and no others.
    pub(super) fn keep_uplinks(&mut self) {
        if !self.keeper.is_there() {
            return;
        }
        let uplinks = match self.engine.uplink_sockets(self.kept_uplinks.clone()) {
            Ok(uplinks) => uplinks,
            Err(error) => {
                return tracing::warn!(
                    "frames from the wire will not wait for the next daemon: {error}"
                );
            }
        };
        let now: BTreeMap<_, _> = uplinks.iter().map(|one| (one.index, one.number)).collect();
        for &index in self.kept_uplinks.keys().filter(|index| !now.contains_key(index)) {
            self.keeper.release_uplinks(index);
        }
        for uplink in uplinks.iter().filter(|uplink| !uplink.sockets.is_empty()) {
            self.keeper.put_uplinks(uplink.index, &uplink.sockets);
        }
        self.kept_uplinks = now;
    }

    /// Has the keeper close the sockets if the daemon leaves no link behind: nobody waits for frames.
    pub fn release_idle_uplinks(&mut self) {
        if self.links.is_empty() && self.waiting.is_empty() {
            for index in std::mem::take(&mut self.kept_uplinks).into_keys() {
                self.keeper.release_uplinks(index);
            }
        }
    }
}
