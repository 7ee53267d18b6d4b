//! [`Verdict`]: what the switch decides about one frame.

use std::fmt;

use super::{Copies, Flood, SubIndex};

/// What is to happen to one frame: first the copies, then the [`Action`].
#[must_use = "a verdict that is not carried out is a lost frame"]
#[derive(Clone, Debug)]
pub struct Verdict<'t> {
    /// The source sub-interfaces that list the frame's source address: each gets a copy.
    pub copies: Copies<'t>,
    /// What happens to the frame itself.
    pub action: Action<'t>,
}

/// What happens to a frame after the copies.
// `repr(u8)` gives it a tag of its own. A tag in a niche of a variant has to be computed, and then
// the compiler uses a jump table even where it knows the variant.
#[derive(Clone, Debug)]
#[repr(u8)]
pub enum Action<'t> {
    /// One sub-interface gets it.
    Deliver(SubIndex),
    /// It is dropped.
    Drop(DropReason),
    /// Several sub-interfaces get it, and the side that the flood's rule names.
    Flood(Flood<'t>),
    /// The host's stack gets it.
    Host,
    /// It is sent to the wire.
    Wire,
}

/// Why a frame, or a copy of it, was dropped.
///
/// Core and engine share this list. Each reason is one counter, under its [`name`](Self::name).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum DropReason {
    /// The offload header in front of the frame contradicts itself or the frame.
    BadVnetHeader,
    /// The bounded queue of group frames was full (`bcqueuelen`).
    BcQueueFull,
    /// The sub-interface, or the interface behind its port, is down.
    Down,
    /// The queue of the port or of the uplink was full.
    Full,
    /// Between sub-interfaces of different [isolation groups](crate::rules::IsolationGroup).
    Isolated,
    /// With MAC-NAT: it names an IP address of its sender that the host or another sub-interface has.
    MacnatClaimed,
    /// With MAC-NAT: no room for one more IP address of its sender.
    MacnatFull,
    /// With MAC-NAT: a frame of this parent that the network has sent back.
    MacnatReflected,
    /// With MAC-NAT: a frame for the wire to which no answer could come back: neither ARP nor IP, or in a
    /// VLAN tag, or for the parent itself.
    MacnatUntranslated,
    /// The parent has no carrier.
    NoCarrier,
    /// A source sub-interface with `nodst` lists the sender: only source sub-interfaces get the
    /// frame.
    Nodst,
    /// An address outside or an EtherType that a [rule](crate::rules) of the sub-interface does not
    /// allow.
    NotAllowed,
    /// Reflected unicast between a private sub-interface and a sibling.
    PrivateIsolation,
    /// More than a [limit](crate::limit) of the sub-interface allows, and no room to wait.
    Rate,
    /// The kernel refused the frame when it was written.
    Refused,
    /// Shorter than an Ethernet header.
    Runt,
    /// Its source is not the sender's: its address, with `spoofchk`, or an IP address that it names, with
    /// [`allow_ip`](crate::rules::RuleWord::AllowIp).
    Spoofed,
    /// Longer than the receiver's MTU allows.
    TooLong,
    /// A GSO packet in a tunnel that cannot be segmented.
    TunnelGso,
    /// It needs an offload that this uplink or port does not have.
    Unsupported,
    /// The worker failed while it had the frame.
    WorkerFailed,
}

impl DropReason {
    /// The number of reasons.
    pub const COUNT: usize = Self::ALL.len();

    /// Every reason, in alphabetical order, which is that of [`index`](Self::index).
    pub const ALL: [Self; 21] = [
        Self::BadVnetHeader,
        Self::BcQueueFull,
        Self::Down,
        Self::Full,
        Self::Isolated,
        Self::MacnatClaimed,
        Self::MacnatFull,
        Self::MacnatReflected,
        Self::MacnatUntranslated,
        Self::NoCarrier,
        Self::Nodst,
        Self::NotAllowed,
        Self::PrivateIsolation,
        Self::Rate,
        Self::Refused,
        Self::Runt,
        Self::Spoofed,
        Self::TooLong,
        Self::TunnelGso,
        Self::Unsupported,
        Self::WorkerFailed,
    ];

    /// The index of the reason in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The stable name of the reason, as counters and metrics show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadVnetHeader => "bad_vnet_header",
            Self::BcQueueFull => "bc_queue_full",
            Self::Down => "down",
            Self::Full => "full",
            Self::Isolated => "isolated",
            Self::MacnatClaimed => "macnat_claimed",
            Self::MacnatFull => "macnat_full",
            Self::MacnatReflected => "macnat_reflected",
            Self::MacnatUntranslated => "macnat_untranslated",
            Self::NoCarrier => "no_carrier",
            Self::Nodst => "nodst",
            Self::NotAllowed => "not_allowed",
            Self::PrivateIsolation => "private_isolation",
            Self::Rate => "rate",
            Self::Refused => "refused",
            Self::Runt => "runt",
            Self::Spoofed => "spoofed",
            Self::TooLong => "too_long",
            Self::TunnelGso => "tunnel_gso",
            Self::Unsupported => "unsupported",
            Self::WorkerFailed => "worker_failed",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_own_index() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
    }

    #[test]
    fn the_names_are_sorted_and_differ() {
        let names = DropReason::ALL.map(DropReason::name);
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    }
}
