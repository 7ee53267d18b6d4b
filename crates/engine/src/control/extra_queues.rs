//! Queues that others attach to a TAP.
//!
//! Whoever has CAP_NET_ADMIN in the namespace of a multi-queue TAP can attach one more queue to it. Some
//! of the frames that its stack sends are then in that queue, and that queue can set the length of the
//! vnet header of all of them. Nobody can detach it but its owner: it is reported, and the header is
//! set again. A worker drops the frames that it cannot read meanwhile.

use umacvlan_core::offload::VNET_LEN;

use super::Control;
use super::sub::Sub;
use crate::control::engine::SubId;

impl Sub {
    /// The number of queues of its TAP, as last read, that are not the engine's.
    pub(super) fn count_extra_queues(&self) -> u32 {
        let own = u32::try_from(self.queues().count()).unwrap_or(u32::MAX);
        self.link.queues.map_or(0, |all| all.saturating_sub(own))
    }
}

impl Control {
    /// Reports queues that others have attached since the last look, and undoes what these may have set.
    pub(super) fn check_queues(&mut self, id: SubId) {
        let Some(sub) = self.inventory.sub_mut(id).filter(|sub| sub.link.queues.is_some()) else {
            return;
        };
        // Also without such a queue: it may have come and gone. Refused only by a TAP that is gone.
        let _ = sub.tap().map(|tap| tap.set_header_len(VNET_LEN));
        let extra = sub.count_extra_queues();
        let before = std::mem::replace(&mut sub.extra_queues, extra);
        if extra > before {
            let what = format!(
                "another program has attached a queue to the TAP of {}, and {extra} in all: frames \
                 that are sent there do not reach the engine",
                sub.name
            );
            self.events.trouble_of(id, what);
        }
    }
}
