//! Frames for groups: broadcast and multicast.

use super::forwarding_table::UpSub;
use super::{
    Action, FloodRule, GroupListeners, KernelRelease, Mode, Step, SubIndex, Switch, length,
};
use crate::{Frame, MacAddr};

/// EtherType of MAC control, PAUSE above all (IEEE 802.3 annex 31). It ends at the first hop, so
/// such group frames are never flooded.
pub(super) const MAC_CONTROL: u16 = 0x8808;

/// The modes that receive group frames whose source is no sub-interface.
const LISTENERS: u8 =
    Mode::Bridge.bit() | Mode::Passthru.bit() | Mode::Private.bit() | Mode::Vepa.bit();

impl Switch {
    #[inline(never)]
    pub(super) fn ingress_group(
        &self,
        frame: Frame<'_>,
        mut trace: impl FnMut(Step),
    ) -> Action<'_> {
        let dst = frame.dst();
        let sender = self.table.lookup_with_mode(frame.src_key());
        let step = Step::Sender(sender.map(|UpSub { id, mode }| (id, mode)));
        let (modes, except) = match sender {
            None => (LISTENERS, None),
            Some(UpSub { id, mode }) => match mode {
                // Only its sender gets the reflected frame. VRRP relies on receiving from a peer
                // that sends from the same virtual address.
                Mode::Passthru | Mode::Private | Mode::Source => {
                    return self.reflected_group(id, frame, step, trace);
                }
                Mode::Vepa => (Mode::Vepa.bit() | Mode::Bridge.bit(), Some(id)),
                // Bridge siblings got the frame when it was sent, or another host has the address.
                Mode::Bridge => match self.release() {
                    KernelRelease::V6_18 => (Mode::Vepa.bit(), Some(id)),
                    KernelRelease::V7_3 => (Mode::Vepa.bit() | Mode::Bridge.bit(), None),
                },
            },
        };
        trace(step);
        // The kernel has consumed the outer tag off when macvlan looks at a frame from the wire.
        let listeners = self.group_listeners(dst, frame.ethertype_untagged());
        trace(Step::Listeners(listeners));
        if listeners != GroupListeners::Possible {
            return Action::Host;
        }
        let rule = FloodRule::ingress(dst, modes, except, self.defers(dst));
        let rule = rule.seen(self.seen(sender.map(|sender| sender.id), frame));
        trace(Step::Flood(rule));
        Action::Flood(self.flood(rule, 0))
    }

    /// Decides about a frame for a group that came back to its sender, which alone gets it.
    #[cold]
    #[inline(never)]
    fn reflected_group(
        &self,
        id: SubIndex,
        frame: Frame<'_>,
        step: Step,
        mut trace: impl FnMut(Step),
    ) -> Action<'_> {
        if let Some(reason) = self.check_ingress(id, frame, &mut trace) {
            return Action::Drop(reason);
        }
        trace(step);
        Action::Deliver(id)
    }

    /// Whether a sub-interface may accept a frame of this EtherType for this group.
    #[inline]
    fn group_listeners(&self, group: MacAddr, ethertype: u16) -> GroupListeners {
        match ethertype {
            MAC_CONTROL => GroupListeners::MacControl,
            _ if self.table.has_listeners(group) => GroupListeners::Possible,
            _ => GroupListeners::None,
        }
    }

    /// True when frames for this group take the broadcast queue.
    fn defers(&self, group: MacAddr) -> bool {
        let Ok(cutoff) = u32::try_from(self.bc_cutoff) else {
            return false;
        };
        self.parent.promisc
            || self.table.wants_all_multicast()
            || group.is_broadcast()
            || self.table.members(group) > cutoff
    }

    pub(super) fn egress_group(
        &self,
        from: SubIndex,
        frame: Frame<'_>,
        gso: bool,
        mut trace: impl FnMut(Step),
    ) -> Action<'_> {
        let dst = frame.dst();
        let listeners = self.group_listeners(dst, frame.ethertype());
        trace(Step::LocalListeners(listeners));
        if listeners != GroupListeners::Possible {
            return Action::Wire;
        }
        let len = if gso { 0 } else { length(frame) };
        let rule = FloodRule::egress(dst, Mode::Bridge.bit(), from, len);
        let rule = rule.seen(self.seen(Some(from), frame));
        trace(Step::LocalFlood(rule));
        Action::Flood(self.flood(rule, 0))
    }
}
