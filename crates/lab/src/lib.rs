//! The lab: networks in namespaces, and tools that measure reachability and cost in them.
//!
//! [`network`] builds the namespaces. [`probe`] tests which member reaches which, and [`oracle`]
//! predicts it. [`traffic`] and [`measure`] send and count frames. [`baseline_relay`] and
//! [`rx_only`] are the baselines: the system calls alone, without the engine's decisions.
//!
//! One value, the [`site::Provider`], decides what implements the sub-interfaces: the engine, the
//! kernel's macvlan, a Linux bridge. All else is the same for all of them, so results are
//! comparable. The lab runs no other program and leaves nothing behind: the namespaces have no
//! names and end with the process. It prints nothing; the commands are in `umacvlan-bench`.
//!
//! Architecture invariant: the lab uses the public items of the engine only; no other library crate
//! depends on the lab, and it does not use `umacvlan-testkit` outside its tests.
#![forbid(unsafe_code)]

mod baseline_io;
pub mod baseline_relay;
pub mod error;
mod idle_subs;
pub mod lockstep;
pub mod measure;
mod namespace;
pub mod network;
pub mod oracle;
mod parent_queue;
pub mod probe;
pub mod reach;
pub mod rx_only;
pub mod site;
pub mod station;
mod threads;
pub mod traffic;
pub mod vlan_pair;

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::{Duration, Instant};

    use umacvlan_core::{Mode, Semantics};
    use umacvlan_netlink::macvlan_release;
    use umacvlan_testkit::{root_or_skip, skip};

    use super::measure::{Path, frame_rate, round_trips, tcp_throughput};
    use super::network::{Network, Wire};
    use super::oracle::{Setup, cells, expected_reach};
    use super::probe::{WaitLimits, probe_all};
    use super::site::Provider;
    use super::traffic::{Instruments, Kind, Load, Rate, Sizes};

    /// Attaches the kernel's sub-interfaces; false if the test must be skipped.
    fn attach(network: &mut Network, mode: Mode) -> bool {
        match network.attach(Provider::Kernel, mode) {
            Err(e) if e.kind() == io::ErrorKind::Unsupported => {
                skip("this kernel has no macvlan");
                false
            }
            done => {
                done.unwrap();
                true
            }
        }
    }

    #[test]
    fn the_kernels_macvlan_matches_the_oracle() {
        if !root_or_skip() {
            return;
        }
        let mut network = Network::build().unwrap();
        for mode in Mode::ALL {
            if !attach(&mut network, mode) {
                return;
            }
            let running = macvlan_release().unwrap();
            for hairpin in [false, true] {
                network.set_hairpin(hairpin).unwrap();
                let setup = Setup { mode, hairpin, semantics: Semantics::Kernel, running };
                let wanted = expected_reach(setup);
                let found = probe_all(&network.stations(), &wanted, WaitLimits::default()).unwrap();
                let differing: Vec<_> = cells(mode)
                    .map(|(probe, from, to)| (probe, from, to, found.copies(probe, from, to)))
                    .filter(|&(probe, from, to, copies)| copies != wanted.copies(probe, from, to))
                    .collect();
                assert!(differing.is_empty(), "{setup:?}: {differing:?}");
            }
        }
    }

    #[test]
    fn every_measurement_measures_something() {
        if !root_or_skip() {
            return;
        }
        let mut network = Network::build().unwrap();
        if !attach(&mut network, Mode::Bridge) {
            return;
        }
        let stations = network.stations();
        let path = Path { from: &stations[0], to: &stations[1], cores: None };
        let time = Duration::from_millis(50);
        assert!(tcp_throughput(path, time, None).unwrap().bytes > 0);
        let trips = round_trips(path, time).unwrap();
        assert!(trips.percentile(50) <= trips.percentile(99), "{trips:?}");
        let rate = frame_rate(path, time).unwrap();
        assert!(rate.offered > 0.0 && rate.delivered > 0.0, "{rate:?}");
    }

    #[test]
    fn idle_sub_interfaces_receive_broadcast_frames_only() {
        if !root_or_skip() {
            return;
        }
        let mut network = Network::build_with(Wire::VethPair).unwrap();
        let load = Load {
            rate: Rate::Frames(2000.0),
            sizes: Sizes::Fixed(64),
            warm_up: Duration::ZERO,
            time: Duration::from_millis(25),
        };
        for (subs, members, idle) in [(1, 1, 0), (7, 4, 3)] {
            network.set_subs(subs).unwrap();
            if !attach(&mut network, Mode::Bridge) {
                return;
            }
            let stations = network.stations();
            assert_eq!(stations.len(), members + 2);
            let (external, all) = (&stations[members + 1], &stations[..members]);
            let open = |to| Instruments::open(external, to, Kind::Frames, None).unwrap();
            open(&all[..1]).run(load).unwrap();
            // The destination has broadcast one announcement.
            assert_eq!(network.idle_received().unwrap(), idle);
            let sent = open(all).to_broadcast().run(load).unwrap().sent.offered;
            let wanted = idle * (1 + sent + members as u64);
            // The kernel's macvlan delivers broadcast frames later, from a work queue.
            let end = Instant::now() + Duration::from_secs(5);
            while network.idle_received().unwrap() < wanted && Instant::now() < end {
                std::thread::yield_now();
            }
            assert_eq!(network.idle_received().unwrap(), wanted);
        }
    }

    #[test]
    fn a_linux_bridge_forwards_unicast_and_floods_broadcast() {
        if !root_or_skip() {
            return;
        }
        let mut network = Network::build_with(Wire::VethPair).unwrap();
        network.attach(Provider::Bridge, Mode::Bridge).unwrap();
        let stations = network.stations();
        let (subs, external) = (&stations[..4], &stations[5]);
        let load = Load {
            rate: Rate::Frames(2000.0),
            sizes: Sizes::Fixed(64),
            warm_up: Duration::ZERO,
            time: Duration::from_millis(25),
        };
        for (from, to) in [(external, &subs[..1]), (&subs[0], &subs[1..2]), (external, subs)] {
            let outcome =
                Instruments::open(from, to, Kind::Frames, None).unwrap().run(load).unwrap();
            assert_eq!(outcome.received.trackers.len(), to.len());
            assert!(outcome.sent.offered > 0 && outcome.lost() == 0, "{outcome:?}");
        }
        drop(stations);
        network.detach().unwrap();
        network.attach(Provider::Bridge, Mode::Vepa).unwrap();
    }
}
