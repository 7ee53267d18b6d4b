//! [`Case`]: the frames to send, and the destination that each must reach.

use umacvlan_core::Mode;

/// The kind of frames of a case.
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

/// The destination that a frame must reach.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Destination {
    /// The sub-interface that the frame is addressed to.
    Addressed,
    /// All sub-interfaces that receive group frames, and the host.
    All,
    Host,
    /// The sub-interface that lists the sender, and the host.
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

    /// The destination according to docs/semantics.md if all sub-interfaces are in this mode.
    /// `None` if the mode has no such traffic.
    pub(super) const fn destination(self, mode: Mode) -> Option<Destination> {
        let is_source = matches!(mode, Mode::Source);
        Some(match (self, mode) {
            (Self::SourceHit | Self::SourceMiss, _) if !is_source => return None,
            (Self::SourceHit, _) => Destination::Listed,
            (Self::SourceMiss, _) => Destination::Host,
            (Self::ToWire, _) => Destination::Wire,
            (Self::Local, Mode::Bridge) => Destination::Addressed,
            (Self::Local, _) => Destination::Wire,
            // A passthru sub-interface receives all unicast of its parent.
            (Self::Unknown, Mode::Passthru) => Destination::Addressed,
            // Source mode delivers by the source list only.
            (Self::FromWire, Mode::Source) => Destination::Host,
            (Self::FromWire, _) => Destination::Addressed,
            (Self::Broadcast, _) => Destination::All,
            (Self::Unknown | Self::MulticastFiltered, _) => Destination::Host,
        })
    }
}

/// The part of the engine that is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Path {
    /// The switch's decision alone.
    Decision,
    /// A worker's turn: frames are copied between ports and an uplink in memory.
    Memory,
}

/// One case to measure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) path: Path,
    pub(super) mode: Mode,
    pub(super) traffic: Traffic,
    /// The destination that each frame must reach.
    pub(super) destination: Destination,
    pub(super) subs: u32,
    /// Bytes of a frame, with the FCS, which programs do not see.
    pub(super) size: u32,
}

impl Case {
    /// Bytes of a frame in memory.
    pub(super) const fn bytes(&self) -> usize {
        (self.size - FCS_LEN) as usize
    }

    /// The number of sub-interfaces that receive a frame.
    pub(super) const fn receivers(&self) -> usize {
        match (self.destination, self.mode) {
            (Destination::All, Mode::Source) | (Destination::Host | Destination::Wire, _) => 0,
            (Destination::All, _) => self.subs as usize,
            (Destination::Addressed | Destination::Listed, _) => 1,
        }
    }
}

/// All cases: every mode and traffic, with each number of sub-interfaces, and with each size where
/// it makes a difference.
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
            // A decision does not read the payload, and all modes copy in the same way.
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

/// The numbers of sub-interfaces to measure.
const fn subs(mode: Mode, quick: bool) -> &'static [u32] {
    match (mode, quick) {
        // A passthru sub-interface is alone.
        (Mode::Passthru, _) => &[1],
        (_, true) => &[1, 64, 1024],
        (_, false) => &[1, 8, 64, 1024, 65_536],
    }
}

/// Frame sizes of RFC 2544 in bytes, with the FCS.
const SIZES: [u32; 4] = [64, 512, 1024, 1518];

/// Bytes of the FCS.
const FCS_LEN: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_is_measured_with_all_of_its_traffic() {
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
