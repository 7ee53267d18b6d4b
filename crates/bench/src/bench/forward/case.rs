//! [`Case`]: what is sent, by whom, and what must become of it.

use umacvlan_core::Mode;

/// What kind of frames a case consists of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Traffic {
    Broadcast,
    FromWire,
    Local,
    MulticastFiltered,
    SourceHit,
    SourceMiss,
    ToWire,
    Unknown,
}

/// What must become of one frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Destination {
    /// It goes to one sub-interface: the one that was addressed.
    Addressed,
    /// It goes to everybody who hears groups, and to the host.
    All,
    Host,
    /// It goes to the sub-interface that lists its sender, and to the host.
    Listed,
    Wire,
}

impl Traffic {
    pub(super) const ALL: [Self; 8] = [
        Self::Local,
        Self::FromWire,
        Self::ToWire,
        Self::Unknown,
        Self::Broadcast,
        Self::MulticastFiltered,
        Self::SourceHit,
        Self::SourceMiss,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Broadcast => "broadcast",
            Self::FromWire => "from-wire",
            Self::Local => "local",
            Self::MulticastFiltered => "multicast-filtered",
            Self::SourceHit => "source-hit",
            Self::SourceMiss => "source-miss",
            Self::ToWire => "to-wire",
            Self::Unknown => "unknown",
        }
    }

    /// True for frames that a sub-interface sends.
    pub(super) const fn is_egress(self) -> bool {
        matches!(self, Self::Local | Self::ToWire)
    }

    /// True for frames to the address of a sub-interface.
    pub(super) const fn is_addressed(self) -> bool {
        matches!(self, Self::Local | Self::FromWire)
    }

    /// What docs/semantics.md says of such a frame where all sub-interfaces are in this mode;
    /// nothing, if the mode does not have such traffic.
    pub(super) const fn destination(self, mode: Mode) -> Option<Destination> {
        let is_source = matches!(mode, Mode::Source);
        Some(match (self, mode) {
            (Self::SourceHit | Self::SourceMiss, _) if !is_source => return None,
            (Self::SourceHit, _) => Destination::Listed,
            (Self::SourceMiss, _) => Destination::Host,
            (Self::ToWire, _) => Destination::Wire,
            (Self::Local, Mode::Bridge) => Destination::Addressed,
            (Self::Local, _) => Destination::Wire,
            // Passthru has all unicast of its parent.
            (Self::Unknown, Mode::Passthru) => Destination::Addressed,
            // It hears by list only.
            (Self::FromWire, Mode::Source) => Destination::Host,
            (Self::FromWire, _) => Destination::Addressed,
            (Self::Broadcast, _) => Destination::All,
            (Self::Unknown | Self::MulticastFiltered, _) => Destination::Host,
        })
    }
}

/// Where the engine is entered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Path {
    /// The switch decides, and that is all.
    Decision,
    /// A worker's turn: from a port or an uplink in memory to another, frames copied.
    Memory,
}

/// One point of the matrix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) path: Path,
    pub(super) mode: Mode,
    pub(super) traffic: Traffic,
    /// What must become of each frame.
    pub(super) destination: Destination,
    pub(super) subs: u32,
    /// Bytes of a frame, with the check sequence that no program sees.
    pub(super) size: u32,
}

impl Case {
    /// Bytes of a frame in memory.
    pub(super) const fn bytes(&self) -> usize {
        (self.size - CHECK_SEQUENCE) as usize
    }

    /// How many sub-interfaces get a frame.
    pub(super) const fn receivers(&self) -> usize {
        match (self.destination, self.mode) {
            (Destination::All, Mode::Source) | (Destination::Host | Destination::Wire, _) => 0,
            (Destination::All, _) => self.subs as usize,
            (Destination::Addressed | Destination::Listed, _) => 1,
        }
    }
}

/// The matrix: every mode and traffic, and what that means for each number of sub-interfaces and
/// each size where it makes a difference.
pub(super) fn cases(quick: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for mode in Mode::ALL {
        for traffic in Traffic::ALL {
            let Some(destination) = traffic.destination(mode) else {
                continue;
            };
            let mut add = |path, subs, size| {
                cases.push(Case { path, mode, traffic, destination, subs, size });
            };
            for &subs in subs(mode, quick) {
                add(Path::Decision, subs, SIZES[0]);
                if mode == Mode::Bridge || subs == 1 || subs == 64 {
                    add(Path::Memory, subs, SIZES[0]);
                }
            }
            // A decision does not look at the payload, and modes do not differ in how they copy.
            if mode == Mode::Bridge && traffic.is_addressed() {
                SIZES[1..].iter().for_each(|&size| add(Path::Memory, 64, size));
            }
        }
    }
    if quick {
        cases.retain(|case| case.mode == Mode::Bridge || case.subs <= 64);
    }
    cases
}

/// How many sub-interfaces a parent is measured with.
const fn subs(mode: Mode, quick: bool) -> &'static [u32] {
    match (mode, quick) {
        // A passthru sub-interface is alone.
        (Mode::Passthru, _) => &[1],
        (_, true) => &[1, 64, 1024],
        (_, false) => &[1, 8, 64, 1024, 65_536],
    }
}

/// Bytes of a frame with its check sequence, as RFC 2544 has them.
const SIZES: [u32; 4] = [64, 512, 1024, 1518];

/// Bytes of a check sequence.
const CHECK_SEQUENCE: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_meets_each_traffic_that_it_has() {
        let cases = cases(false);
        for mode in Mode::ALL {
            for traffic in Traffic::ALL {
                let found = cases.iter().any(|case| case.mode == mode && case.traffic == traffic);
                assert_eq!(found, traffic.destination(mode).is_some(), "{mode} {}", traffic.name());
            }
        }
        assert!(cases.iter().all(|case| case.mode != Mode::Passthru || case.subs == 1));
    }
}
