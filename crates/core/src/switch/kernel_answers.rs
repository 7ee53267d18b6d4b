//! [`KernelAnswers`]: the unicast frames about which the addresses alone decide, for programs in
//! the kernel that forward them without the engine.
//!
//! An answer is final: the frame goes to one place and changes one counter at each end. Everything
//! else has no answer here and goes to the engine: group frames, all frames while a source list
//! may match, drops, secondary addresses, all frames with a limit or a rule, and frames that are too long. So the rules stay in
//! [`Switch`]: a property test compares every answer with its verdict.

use std::collections::{BTreeMap, BTreeSet};

use crate::MacAddr;
use crate::frame::HEADER_LEN;
use crate::limit::Limiter;

use super::config::Mode;
use super::flood::longest;
use super::{Semantics, SubIndex, Switch};

/// Where a frame goes that has an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelAnswer {
    /// To this sub-interface.
    Deliver(SubIndex),
    /// To the wire.
    Wire,
}

/// A sub-interface that is up, as found by one of its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressOwner {
    /// The sub-interface.
    pub sub: SubIndex,
    /// Its mode.
    pub mode: Mode,
    /// Frames for this address can have an answer: it is its own address and not a secondary one, and
    /// nothing limits or restricts what it receives.
    pub answers: bool,
}

/// What programs in the kernel may answer; `crates/sys/bpf/port.c` has the same rules as the methods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelAnswers {
    /// Frames from the wire have answers.
    pub ingress: bool,
    /// The passthru sub-interface that is up and gets all unicast from the wire.
    pub owner: Option<SubIndex>,
    /// Frames from the wire between a private sub-interface and a sibling have no answer.
    pub isolates: bool,
    /// The longest frame between siblings that has an answer, in bytes; zero if none has. A GSO
    /// packet has length zero, which fits unless this is zero.
    pub longest_local: u32,
    /// The longest frame to the wire that has an answer, in bytes.
    pub longest_wire: u32,
    /// By address: the sub-interfaces that are up.
    pub addresses: BTreeMap<MacAddr, AddressOwner>,
    /// The sub-interfaces that are up and send with any source address, without a limit and without a
    /// rule: programs check none of them.
    pub senders: BTreeSet<SubIndex>,
    /// Those of them in bridge mode, which can reach siblings.
    pub bridges: BTreeSet<SubIndex>,
}

impl KernelAnswers {
    /// The sub-interface that gets a unicast frame from the wire; `None` without an answer.
    pub fn ingress(&self, src: MacAddr, dst: MacAddr) -> Option<KernelAnswer> {
        if !self.ingress || dst.is_group() {
            return None;
        }
        if let Some(owner) = self.owner {
            return Some(KernelAnswer::Deliver(owner));
        }
        let target = self.addresses.get(&dst)?;
        if !target.answers || target.mode == Mode::Source {
            return None;
        }
        let blocked = |sender: &AddressOwner| {
            let private = sender.mode == Mode::Private || target.mode == Mode::Private;
            private && sender.sub != target.sub
        };
        match self.isolates && self.addresses.get(&src).is_some_and(blocked) {
            true => None,
            false => Some(KernelAnswer::Deliver(target.sub)),
        }
    }

    /// Where a unicast frame of a sub-interface goes; `None` without an answer. `len` is in bytes,
    /// and zero for a GSO packet.
    pub fn egress(&self, from: SubIndex, dst: MacAddr, len: u32) -> Option<KernelAnswer> {
        if dst.is_group() || !self.senders.contains(&from) {
            return None;
        }
        let sibling = self.addresses.get(&dst).filter(|_| self.bridges.contains(&from));
        match sibling {
            Some(target) if target.mode == Mode::Bridge => {
                let fits = self.longest_local != 0 && len <= self.longest_local;
                (fits && target.answers).then_some(KernelAnswer::Deliver(target.sub))
            }
            _ => (len <= self.longest_wire).then_some(KernelAnswer::Wire),
        }
    }
}

impl KernelAnswers {
    /// Leaves all frames from and to a sub-interface to the engine.
    pub fn withdraw(&mut self, sub: SubIndex) {
        self.senders.remove(&sub);
        for owner in self.addresses.values_mut().filter(|owner| owner.sub == sub) {
            owner.answers = false;
        }
        self.ingress &= self.owner != Some(sub);
    }

    /// Leaves all frames to the engine.
    pub fn withdraw_all(&mut self) {
        self.ingress = false;
        self.senders.clear();
        self.addresses.values_mut().for_each(|owner| owner.answers = false);
    }
}

impl Switch {
    /// The unicast frames about which the addresses alone decide now.
    pub fn kernel_answers(&self) -> KernelAnswers {
        let listed = !self.sources.is_empty();
        let header = u32::try_from(HEADER_LEN).unwrap_or(u32::MAX);
        let mut answers = KernelAnswers {
            ingress: !listed && self.passthru.is_none_or(|owner| self.table.port(owner).is_up()),
            owner: self.passthru,
            isolates: self.table.has_private() && self.semantics == Semantics::Documented,
            longest_local: if listed { 0 } else { longest(self.parent.mtu) },
            longest_wire: self.parent.mtu.saturating_add(header),
            ..KernelAnswers::default()
        };
        for (id, sub) in self.subs().filter(|(_, sub)| sub.up) {
            let (mode, limiter) = (sub.mode(), Limiter::new(*sub.limits()));
            if !sub.checks_sent() && !limiter.limits_tx() {
                answers.senders.insert(id);
            }
            if mode == Mode::Bridge {
                answers.bridges.insert(id);
            }
            let limited = limiter.limits_rx() || sub.rules().restricts_receiving();
            let owner = |own: bool| AddressOwner { sub: id, mode, answers: own && !limited };
            answers.addresses.extend(sub.secondary().iter().map(|&mac| (mac, owner(false))));
            answers.addresses.insert(sub.mac, owner(true));
            answers.ingress &= !(limited && mode == Mode::Passthru);
        }
        answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MacvlanSettings;
    use crate::switch::{ParentInfo, SubConfig};

    fn mac(last: u8) -> MacAddr {
        MacAddr::new([2, 0, 0, 0, 0, last])
    }

    /// The answers of a switch with these sub-interfaces, whose addresses end in 1, 2 and so on.
    fn answers(modes: &[Mode]) -> KernelAnswers {
        let parent = ParentInfo { mac: mac(0xff), mtu: 1500, promisc: false };
        let mut switch = Switch::new(parent, Semantics::default());
        for (last, &mode) in (1..).zip(modes) {
            let settings = MacvlanSettings::new(mode);
            let id = switch.add(&SubConfig { mac: mac(last), mtu: None, settings }).unwrap();
            switch.set_up(id, true).unwrap();
        }
        switch.kernel_answers()
    }

    #[test]
    fn nothing_from_or_to_a_withdrawn_sub_interface_has_an_answer() {
        let mut answers = answers(&[Mode::Bridge, Mode::Bridge, Mode::Bridge]);
        let [first, second, third] = [1, 2, 3].map(|last| answers.addresses[&mac(last)].sub);
        answers.withdraw(second);
        assert_eq!(answers.egress(first, mac(2), 60), None);
        assert_eq!(answers.egress(second, mac(1), 60), None);
        assert_eq!(answers.egress(second, mac(9), 60), None);
        assert_eq!(answers.ingress(mac(9), mac(2)), None);
        assert_eq!(answers.egress(first, mac(3), 60), Some(KernelAnswer::Deliver(third)));
        assert_eq!(answers.ingress(mac(9), mac(1)), Some(KernelAnswer::Deliver(first)));
        answers.withdraw_all();
        assert_eq!(answers.egress(first, mac(3), 60), None);
        assert_eq!(answers.ingress(mac(9), mac(1)), None);
    }

    #[test]
    fn a_withdrawn_passthru_sub_interface_gets_everything_through_the_engine() {
        let mut answers = answers(&[Mode::Passthru]);
        let owner = answers.owner.unwrap();
        assert_eq!(answers.ingress(mac(9), mac(7)), Some(KernelAnswer::Deliver(owner)));
        answers.withdraw(owner);
        assert_eq!(answers.ingress(mac(9), mac(7)), None);
    }
}
