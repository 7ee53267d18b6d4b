//! What the reasons of drops mean, in a line: as section 9 of docs/semantics.md.

/// The meaning of `queue_full`, which the kernel counts.
pub(super) const QUEUE_FULL: &str = "the link sends faster than its worker reads";

/// The meaning of a reason, by its name in the counters.
pub(super) fn meaning(reason: &str) -> &'static str {
    let known = MEANINGS.iter().find(|(name, _)| *name == reason);
    // The daemon may be a newer version.
    known.map_or("this version of the command does not know it", |(_, meaning)| meaning)
}

const MEANINGS: [(&str, &str); 21] = [
    ("bad_vnet_header", "the offload header contradicts itself or the frame"),
    ("bc_queue_full", "the queue of broadcast and multicast frames was full (bcqueuelen)"),
    ("down", "the link was down"),
    ("full", "the queue of the link or of the parent was full"),
    ("isolated", "between links of different isolation groups"),
    ("macnat_claimed", "from an IP address that the host or another link has"),
    ("macnat_full", "from one more IP address than MAC-NAT has room for"),
    ("macnat_reflected", "from the parent's own address, which the network has sent back"),
    ("macnat_untranslated", "for the wire, and no answer could come back: neither ARP nor IP"),
    ("no_carrier", "the parent has no carrier, or is gone"),
    ("nodst", "a source link with nodst lists the sender"),
    ("not_allowed", "an address or an EtherType that the link's lists do not allow"),
    ("private_isolation", "reflected unicast between a private link and a sibling"),
    ("rate", "over a limit of the link, and too much waited already"),
    ("refused", "the kernel did not take the frame"),
    ("runt", "shorter than an Ethernet header"),
    ("spoofed", "from a link with spoofchk or allow_ip, and not from one of its addresses"),
    ("too_long", "longer than the MTU allows"),
    ("tunnel_gso", "a GSO packet in a tunnel that cannot be segmented"),
    ("unsupported", "needs an offload that the uplink or the link does not have"),
    ("worker_failed", "the worker failed while it had the frame, and was started again"),
];

#[cfg(test)]
mod tests {
    use umacvlan_core::DropReason;

    use super::*;

    #[test]
    fn every_reason_has_a_meaning() {
        assert_eq!(MEANINGS.map(|(name, _)| name), DropReason::ALL.map(DropReason::name));
        assert!(meaning("of tomorrow").contains("does not know"));
    }
}
