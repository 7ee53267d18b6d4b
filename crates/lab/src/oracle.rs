//! Who should reach whom: the oracle of the laboratory.
//!
//! Written as a table of cases and not by running the switch, so that the two can disagree. The
//! cases are those of the kernel's driver (drivers/net/macvlan.c), measured on 6.18, except where
//! [`Semantics::Documented`] says otherwise.

use umacvlan_core::{Mode, Semantics};

use crate::probe::Reach;
use crate::station::Member::{self, External, Host, Sub};

/// What a laboratory is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Setup {
    /// The mode of all sub-interfaces.
    pub mode: Mode,
    /// True if the switch returns frames on the parent's port.
    pub hairpin: bool,
    /// Whose rules the sub-interfaces follow.
    pub semantics: Semantics,
}

/// How reaching is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Probe {
    /// An ARP request to everybody; reached is whose stack is given it. Asks one direction.
    Broadcast,
    /// An ICMP echo with static neighbours; reached is who answers. Asks both directions.
    Unicast,
    /// A TCP connection and some bytes echoed, with static neighbours.
    Tcp,
}

impl Probe {
    /// All of them, in the order of every table.
    pub const ALL: [Self; 3] = [Self::Broadcast, Self::Unicast, Self::Tcp];
}

/// Why a cell for which [`host_sees_more`] is true is no failure; the reason is to follow.
pub const HOST_SEES_MORE: &str = "an AF_PACKET uplink takes no frame away from the host's stack, as \
     the kernel's driver does, and there is no filter that hides it";

/// The members of this mode, in the order of [`Member::ALL`]: passthru has one sub-interface.
pub fn members(mode: Mode) -> impl Iterator<Item = Member> {
    Member::ALL
        .into_iter()
        .filter(move |member| mode != Mode::Passthru || !matches!(member, Sub(2..)))
}

/// The sources that this sub-interface admits in source mode.
///
/// mac1 and mac2 list each other, mac1 the host as well, mac3 lists mac1 but is not listed by it,
/// mac4 lists nobody; so every answer that a list can give is in the table.
pub const fn listed(sub: u8) -> &'static [Member] {
    match sub {
        1 => &[External, Host, Sub(2)],
        2 => &[External, Sub(1)],
        3 => &[External, Sub(1)],
        _ => &[],
    }
}

/// Every cell of the tables of this mode: who reaches whom, by which probe.
pub fn cells(mode: Mode) -> impl Iterator<Item = (Probe, Member, Member)> {
    Probe::ALL.into_iter().flat_map(move |probe| {
        let row = move |from| members(mode).map(move |to| (probe, from, to));
        members(mode)
            .flat_map(row)
            .filter(move |(_, from, to)| probe == Probe::Broadcast || from != to)
    })
}

/// One copy in every cell in which one should arrive.
pub fn wanted(setup: Setup) -> Reach {
    let mut wanted = Reach::default();
    for (probe, from, to) in cells(setup.mode) {
        if expected(setup, probe, from, to) == Some(true) {
            wanted.add(probe, from, to);
        }
    }
    wanted
}

/// True if `from` reaches `to`; `None` if there is no such cell: a member that is not there, or
/// unicast to oneself.
pub fn expected(setup: Setup, probe: Probe, from: Member, to: Member) -> Option<bool> {
    let there = |member| members(setup.mode).any(|m| m == member);
    if !there(from) || !there(to) {
        return None;
    }
    match probe {
        Probe::Broadcast => Some(broadcast_arrives(setup, from, to)),
        _ if from == to => None,
        _ => Some(unicast_arrives(setup, from, to) && unicast_arrives(setup, to, from)),
    }
}

/// True for a cell in which the host of an AF_PACKET uplink without a filter sees, or answers, what the kernel's
/// driver would have consumed. [`HOST_SEES_MORE`] says why.
pub fn host_sees_more(setup: Setup, probe: Probe, from: Member, to: Member) -> bool {
    match (probe, setup.mode) {
        // The driver keeps the reflected broadcast of a sub-interface of these modes.
        (Probe::Broadcast, Mode::Private | Mode::Source) => {
            setup.hairpin && to == Host && matches!(from, Sub(_))
        }
        // Here it keeps the host's own as well: it has the sub-interface's address.
        (Probe::Broadcast, Mode::Passthru) => setup.hairpin && to == Host && from != External,
        // And all unicast.
        (_, Mode::Passthru) => from == Host || to == Host,
        _ => false,
    }
}

/// One direction: does a unicast frame of `from` to the address of `to` get to its stack?
fn unicast_arrives(setup: Setup, from: Member, to: Member) -> bool {
    let Setup { mode, hairpin, .. } = setup;
    match (from, to) {
        (_, External) => true,
        // A passthru sub-interface takes all unicast.
        (_, Host) if mode == Mode::Passthru => false,
        (External, Host) => true,
        (_, Host) => hairpin,
        (External, Sub(to)) => mode != Mode::Source || listed(to).contains(&from),
        (_, Sub(to)) => match mode {
            Mode::Bridge => hairpin || from != Host,
            Mode::Passthru | Mode::Vepa => hairpin,
            Mode::Private => hairpin && (from == Host || setup.semantics == Semantics::Kernel),
            Mode::Source => hairpin && listed(to).contains(&from),
        },
    }
}

/// Does a broadcast of `from` get to the stack of `to`? Asked of oneself: does it come back?
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
            hairpin && matches!(mode, Mode::Passthru | Mode::Private | Mode::Source)
        }
        (Sub(_), Sub(to)) => match mode {
            Mode::Bridge => true,
            Mode::Passthru | Mode::Private => false,
            Mode::Source => hairpin && listed(to).contains(&from),
            Mode::Vepa => hairpin,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn setup(mode: Mode, hairpin: bool, semantics: Semantics) -> Setup {
        Setup { mode, hairpin, semantics }
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
