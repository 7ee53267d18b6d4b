//! [`Workload`]: the sub-interfaces of a case, and the frames that are sent to them.

use fastrand::Rng;
use hashbrown::HashMap;
use umacvlan_core::frame::HEADER_LEN;
use umacvlan_core::{MacAddr, Mode, ParentInfo, Semantics, SubConfig, Switch};

use super::case::{Case, Destination, Traffic};

/// The addresses of a case, and a source of random ones.
pub(super) struct Workload {
    random: Rng,
    /// The addresses of the sub-interfaces, in the order of their creation.
    pub(super) macs: Vec<MacAddr>,
    /// The source address that each of them lists, in source mode.
    listed: Vec<MacAddr>,
}

/// One frame, its sender and its receiver.
pub(super) struct TestFrame {
    pub(super) bytes: Box<[u8]>,
    /// The index of the sender in [`Workload::macs`], unless the frame comes from the wire.
    pub(super) from: usize,
    /// The index of the receiver, if it is one sub-interface.
    pub(super) to: usize,
    /// The key for the hash lookup.
    pub(super) key: u64,
}

impl Workload {
    pub(super) fn new(case: &Case, seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let addresses = |random: &mut Rng| (0..case.subs).map(|_| random_mac(random)).collect();
        let macs = addresses(&mut random);
        let listed = match case.mode {
            Mode::Source => addresses(&mut random),
            _ => Vec::new(),
        };
        Self { random, macs, listed }
    }

    /// A switch without sub-interfaces. The parent has a random address, or in passthru mode that
    /// of the sub-interface.
    pub(super) fn switch(&mut self, mode: Mode) -> Switch {
        let mac = match mode {
            Mode::Passthru => self.macs[0],
            _ => random_mac(&mut self.random),
        };
        Switch::new(ParentInfo { mac, mtu: 1500, promisc: true }, Semantics::Documented)
    }

    /// The configuration of the sub-interface with this index.
    pub(super) fn config(&self, place: usize, mode: Mode) -> SubConfig {
        let mut config = SubConfig::new(self.macs[place], mode);
        config.settings.sources.extend(self.listed.get(place));
        config
    }

    /// `count` frames for a case, in random order.
    pub(super) fn frames(&mut self, case: &Case, count: usize) -> Vec<TestFrame> {
        (0..count).map(|number| self.frame(case, number)).collect()
    }

    /// The hash table with the keys of the frames.
    pub(super) fn table(&self, case: &Case) -> HashMap<u64, u16> {
        let keys = if case.destination == Destination::Listed { &self.listed } else { &self.macs };
        keys.iter().map(|mac| mac.to_u64()).zip(0..=u16::MAX).collect()
    }

    fn frame(&mut self, case: &Case, number: usize) -> TestFrame {
        let from = number % self.macs.len().min(SENDERS);
        let to = match (case.traffic.is_addressed(), case.destination) {
            (true, _) | (_, Destination::Listed) => self.random.usize(..self.macs.len()),
            // Only passthru receives other unicast, and it has one sub-interface.
            _ => 0,
        };
        let dst = match case.traffic {
            Traffic::Broadcast => MacAddr::BROADCAST,
            Traffic::MulticastFiltered => MacAddr::new([1, 0, 0x5e, 0, 0, 1]),
            Traffic::Local | Traffic::FromWire => self.macs[to],
            _ => random_mac(&mut self.random),
        };
        let src = match case.traffic {
            Traffic::SourceHit => self.listed[to],
            _ if case.traffic.is_egress() => self.macs[from],
            _ => random_mac(&mut self.random),
        };
        let mut bytes = vec![0; case.bytes()].into_boxed_slice();
        bytes[..6].copy_from_slice(&dst.octets());
        bytes[6..12].copy_from_slice(&src.octets());
        // An EtherType for local experiments (IEEE 802), and the frame's number.
        bytes[12..HEADER_LEN].copy_from_slice(&[0x88, 0xb5]);
        bytes[HEADER_LEN..HEADER_LEN + 8].copy_from_slice(&(number as u64).to_be_bytes());
        let key = if case.destination == Destination::Listed { src } else { dst }.to_u64();
        TestFrame { bytes, from, to, key }
    }
}

/// A random, locally administered unicast address.
fn random_mac(random: &mut Rng) -> MacAddr {
    let [a, b, c, d, e, ..] = random.u64(..).to_le_bytes();
    MacAddr::new([2, a, b, c, d, e])
}

/// The largest number of sub-interfaces that send.
const SENDERS: usize = 8;
