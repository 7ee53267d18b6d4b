//! The oracle: which member should reach which.
//!
//! It is a table of cases and does not run the switch, so that the two can disagree. The cases are
//! those of the kernel's driver (drivers/net/macvlan.c), measured on 6.18, except where
//! [`Semantics::Documented`] says otherwise.

use umacvlan_core::{KernelRelease, Mode, Semantics};

use crate::reach::{Probe, Reach};
use crate::station::Member::{self, External, Host, Sub};

/// The settings under which reachability is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Setup {
    /// The mode of all sub-interfaces.
    pub mode: Mode,
    /// True if the switch returns frames on the parent's port.
    pub hairpin: bool,
    /// The rules that the sub-interfaces follow.
    pub semantics: Semantics,
    /// The rules of the running kernel.
    pub running: KernelRelease,
}

/// Why a cell for which [`host_sees_more`] is true does not count as a failure. The caller appends
/// the reason why the filter is missing.
pub const HOST_SEES_MORE: &str = "an AF_PACKET uplink takes no frame away from the host's stack, as \
     the kernel's driver does, and there is no filter that hides it";

/// The members that exist in this mode, in the order of [`Member::ALL`]. Passthru has one
/// sub-interface.
pub fn members(mode: Mode) -> impl Iterator<Item = Member> {
    Member::ALL
        .into_iter()
        .filter(move |member| mode != Mode::Passthru || !matches!(member, Sub(2..)))
}

/// The source addresses that this sub-interface admits in source mode, as members.
///
/// mac1 and mac2 list each other, mac1 also lists the host, mac3 lists mac1 but mac1 does not list
/// mac3, and mac4 lists no member. This covers every combination of two lists.
pub const fn listed(sub: u8) -> &'static [Member] {
    match sub {
        1 => &[External, Host, Sub(2)],
        2 => &[External, Sub(1)],
        3 => &[External, Sub(1)],
        _ => &[],
    }
}

/// Every cell of this mode's tables: the probe, the sender and the receiver.
pub fn cells(mode: Mode) -> impl Iterator<Item = (Probe, Member, Member)> {
    Probe::ALL.into_iter().flat_map(move |probe| {
        let row = move |from| members(mode).map(move |to| (probe, from, to));
        members(mode)
            .flat_map(row)
            .filter(move |(_, from, to)| probe == Probe::Broadcast || from != to)
    })
}

/// The reachability that the rules demand: one copy in each cell that should be reached, and two where
/// a frame arrives both locally and by the hairpin.
pub fn expected_reach(setup: Setup) -> Reach {
    let mut reach = Reach::default();
    for (probe, from, to) in cells(setup.mode) {
        if expected(setup, probe, from, to) == Some(true) {
            reach.add(probe, from, to);
            if probe == Probe::Broadcast && arrives_twice(setup, from, to) {
                reach.add(probe, from, to);
            }
        }
    }
    reach
}

/// True if `from` should reach `to`. `None` if there is no such cell: the mode lacks one of the two
/// members, or a member would send unicast to itself.
pub fn expected(setup: Setup, probe: Probe, from: Member, to: Member) -> Option<bool> {
    let exists = |member| members(setup.mode).any(|m| m == member);
    if !exists(from) || !exists(to) {
        return None;
    }
    match probe {
        Probe::Broadcast => Some(broadcast_arrives(setup, from, to)),
        _ if from == to => None,
        _ => Some(unicast_arrives(setup, from, to) && unicast_arrives(setup, to, from)),
    }
}

/// True for a cell in which the host receives or answers a frame that the kernel's driver would
/// have consumed, if the uplink is an AF_PACKET socket and no filter hides the frame from the host.
/// [`HOST_SEES_MORE`] says why.
pub fn host_sees_more(setup: Setup, probe: Probe, from: Member, to: Member) -> bool {
    match (probe, setup.mode) {
        // In these modes the driver consumes a sub-interface's reflected broadcast.
        (Probe::Broadcast, Mode::Private | Mode::Source) => {
            setup.hairpin && to == Host && matches!(from, Sub(_))
        }
        // Here it also consumes the host's own, which has the sub-interface's address.
        (Probe::Broadcast, Mode::Passthru) => setup.hairpin && to == Host && from != External,
        // It consumes all unicast too.
        (_, Mode::Passthru) => from == Host || to == Host,
        _ => false,
    }
}

/// True if a unicast frame from `from` to the address of `to` reaches the stack of `to`.
fn unicast_arrives(setup: Setup, from: Member, to: Member) -> bool {
    let Setup { mode, hairpin, .. } = setup;
    match (from, to) {
        (_, External) => true,
        // A passthru sub-interface receives all unicast.
        (_, Host) if mode == Mode::Passthru => false,
        (External, Host) => true,
        (_, Host) => hairpin,
        (External, Sub(to)) => mode != Mode::Source || listed(to).contains(&from),
        (_, Sub(to)) => match mode {
            Mode::Bridge => hairpin || from != Host,
            Mode::Passthru | Mode::Vepa => hairpin,
            Mode::Private => hairpin && (from == Host || setup.semantics != Semantics::Documented),
            Mode::Source => hairpin && listed(to).contains(&from),
        },
    }
}

/// True if a broadcast frame from `from` reaches the stack of `to`. If both are the same member:
/// true if the frame is reflected to its sender.
fn broadcast_arrives(setup: Setup, from: Member, to: Member) -> bool {
    let Setup { mode, hairpin, .. } = setup;
    match (from, to) {
        (External, External) => false,
        (_, External) | (External, Host) => true,
        (External, Sub(to)) => mode != Mode::Source || listed(to).contains(&from),
        (Host, Host) => hairpin && mode != Mode::Passthru,
        (Host, Sub(to)) => hairpin && (mode != Mode::Source || listed(to).contains(&from)),
        (Sub(_), Host) => hairpin && matches!(mode, Mode::Bridge | Mode::Vepa),
        (Sub(a), Sub(b)) if a == b => {
            let to_sender = match mode {
                Mode::Passthru | Mode::Private | Mode::Source => true,
                Mode::Bridge => setup.returns_to_bridge(),
                Mode::Vepa => false,
            };
            hairpin && to_sender
        }
        (Sub(_), Sub(to)) => match mode {
            Mode::Bridge => true,
            Mode::Passthru | Mode::Private => false,
            Mode::Source => hairpin && listed(to).contains(&from),
            Mode::Vepa => hairpin,
        },
    }
}

/// True if a broadcast frame between these bridge sub-interfaces is delivered when it is sent, and again
/// when the hairpin returns it.
fn arrives_twice(setup: Setup, from: Member, to: Member) -> bool {
    let siblings = matches!((from, to), (Sub(a), Sub(b)) if a != b);
    siblings && setup.mode == Mode::Bridge && setup.hairpin && setup.returns_to_bridge()
}

impl Setup {
    /// True if a reflected group frame of a bridge sub-interface goes to bridge sub-interfaces.
    fn returns_to_bridge(self) -> bool {
        self.semantics.release(self.running) >= KernelRelease::V7_3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn setup(mode: Mode, hairpin: bool, semantics: Semantics) -> Setup {
        Setup { mode, hairpin, semantics, running: KernelRelease::V6_18 }
    }

    #[test]
    fn private_unicast_through_a_hairpin_switch_is_where_the_semantics_differ() {
        for (semantics, reached) in [(Semantics::Documented, false), (Semantics::Kernel, true)] {
            let setup = setup(Mode::Private, true, semantics);
            assert_eq!(expected(setup, Probe::Unicast, Sub(1), Sub(2)), Some(reached));
            assert_eq!(expected(setup, Probe::Unicast, Sub(1), Host), Some(true));
        }
    }

    #[test]
    fn an_echo_needs_both_lists_and_a_broadcast_one() {
        let setup = setup(Mode::Source, true, Semantics::Kernel);
        assert_eq!(expected(setup, Probe::Broadcast, Sub(1), Sub(3)), Some(true));
        assert_eq!(expected(setup, Probe::Unicast, Sub(1), Sub(3)), Some(false));
        assert_eq!(expected(setup, Probe::Tcp, Sub(1), Sub(2)), Some(true));
    }

    #[test]
    fn passthru_has_three_members() {
        assert!(members(Mode::Passthru).eq([Sub(1), Host, External]));
        let setup = setup(Mode::Passthru, true, Semantics::Kernel);
        assert_eq!(expected(setup, Probe::Broadcast, Sub(1), Sub(2)), None);
    }
}
