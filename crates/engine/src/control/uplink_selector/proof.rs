//! [`Proof`]: whether frames really come through an AF_XDP uplink.
//!
//! A driver can accept a program and its sockets, and then receive nothing or lose frames above some
//! length (igb did both), the host's own included. So the program counts all frames that it sees, also
//! those that it leaves to the host, until it has seen one of full size: an uplink is unproven until
//! then. One whose program sees nothing while the NIC counts frames is deaf.
//!
//! These never make an uplink deaf, as the NIC does not count them as received or lacked no buffer for
//! them: frames with errors, and those that its filters of addresses, VLANs and flows drop. Programs at
//! tc come after this one, and where another XDP program is there is no AF_XDP. A NIC that is too busy
//! loses frames (`rx_missed_errors`), and the program sees others.

use umacvlan_netlink::Link;
use umacvlan_sys::xdp::Seen;

/// Looks without a frame in the program after which the counters of a NIC are believed. They are read
/// once a second, and some drivers are two seconds late with them: frames of a burst that the program
/// has seen may be counted that much later.
const LATE: u32 = 3;

/// Frames that a NIC must have counted meanwhile: more than a driver sends to itself.
const COUNTED: u64 = 8;

/// What is known about one uplink so far.
#[derive(Debug)]
pub(super) struct Proof {
    /// Bytes of a frame of full size, without tags.
    full_size: u32,
    /// Frames in the program at the last look.
    seen: u32,
    /// Looks since the program has seen a frame.
    quiet: u32,
    /// The counters of the NIC when they began to be believed.
    believed: u64,
}

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The NIC has counted this many frames, and the program has seen none.
    Deaf(u64),
    /// A frame of full size has come through.
    Proven,
    /// Neither.
    Unproven,
}

impl Proof {
    /// For an uplink that was just opened, on an interface with this MTU in bytes.
    pub(super) fn new(mtu: u32) -> Self {
        Self { full_size: mtu.saturating_add(14), seen: 0, quiet: 0, believed: 0 }
    }

    /// Compares the counters of the NIC with those of the program, which are read after them.
    pub(super) fn look(&mut self, nic: u64, seen: Seen) -> Found {
        if seen.longest >= self.full_size {
            return Found::Proven;
        }
        if seen.frames != self.seen {
            (self.seen, self.quiet) = (seen.frames, 0);
            return Found::Unproven;
        }
        self.quiet = self.quiet.saturating_add(1);
        if self.quiet <= LATE {
            self.believed = nic;
            return Found::Unproven;
        }
        // A driver that was reset counts from zero again.
        match nic.saturating_sub(self.believed) {
            counted if counted >= COUNTED => Found::Deaf(counted),
            _ => Found::Unproven,
        }
    }
}

/// Frames that a NIC has received, or had no buffer for.
pub(super) fn frames_of(link: &Link) -> u64 {
    let stats = &link.stats;
    stats.rx_packets.saturating_add(stats.rx_missed_errors).saturating_add(stats.rx_fifo_errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(frames: u32, longest: u32) -> Seen {
        Seen { frames, longest }
    }

    #[test]
    fn a_frame_of_full_size_proves_an_uplink_and_a_shorter_one_does_not() {
        let mut proof = Proof::new(1500);
        assert_eq!(proof.look(5, seen(5, 1513)), Found::Unproven);
        assert_eq!(proof.look(6, seen(6, 1514)), Found::Proven);
    }

    #[test]
    fn an_uplink_is_deaf_when_the_nic_counts_and_the_program_does_not() {
        let mut proof = Proof::new(1500);
        for nic in [100, 200, 300] {
            assert_eq!(proof.look(nic, seen(0, 0)), Found::Unproven);
        }
        assert_eq!(proof.look(307, seen(0, 0)), Found::Unproven, "they are too few");
        assert_eq!(proof.look(308, seen(0, 0)), Found::Deaf(8));
    }

    #[test]
    fn counters_that_are_late_make_no_uplink_deaf() {
        let mut proof = Proof::new(1500);
        // A burst that the NIC counts two looks after the program has seen it.
        for (nic, frames) in [(0, 64), (0, 64), (0, 64), (64, 64), (64, 64), (64, 64), (71, 70)] {
            assert_eq!(proof.look(nic, seen(frames, 60)), Found::Unproven);
        }
        // And a silent wire.
        for _ in 0..100 {
            assert_eq!(proof.look(71, seen(70, 60)), Found::Unproven);
        }
    }

    #[test]
    fn a_program_that_sees_some_frames_is_not_deaf_however_many_the_nic_loses() {
        let mut proof = Proof::new(1500);
        for look in 1..100 {
            assert_eq!(proof.look(u64::from(look) * 1_000_000, seen(look, 60)), Found::Unproven);
        }
    }
}
