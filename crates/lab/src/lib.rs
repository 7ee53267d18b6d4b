//! The laboratory: networks in namespaces, and the instruments that measure who reaches whom in
//! them and at what cost.
//!
//! [`network`] builds the namespaces and [`probe`] finds out who reaches whom, which [`oracle`]
//! predicts. [`traffic`] and [`measure`] send and count frames. [`baseline_relay`] and [`rx_only`] are baselines:
//! the crossings into the kernel alone, without the engine's decisions.
//!
//! Nothing here runs another program or leaves a trace: the namespaces have no name, so they end
//! with the process, however it ends. Who implements the sub-interfaces is one value
//! ([`network::Maker`]), and everything else is the same for all of them, so results can be
//! compared.
//!
//! Architecture invariant: the lab uses the public items of the engine only; no other library crate
//! depends on the lab, and it does not use `umacvlan-testkit` outside its tests.
#![forbid(unsafe_code)]

pub mod baseline_relay;
pub mod error;
mod idle_subs;
pub mod measure;
mod namespace;
pub mod network;
pub mod oracle;
pub mod probe;
pub mod rx_only;
pub mod station;
pub mod traffic;
pub mod vlan_pair;

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::{Duration, Instant};

    use umacvlan_core::{Mode, Semantics};
    use umacvlan_testkit::{root_or_skip, skip};

    use super::measure::{Path, frame_rate, round_trips, tcp_throughput};
    use super::network::{Maker, Network, Wire};
    use super::oracle::{Setup, cells, wanted};
    use super::probe::{Patience, reach};
    use super::traffic::{Instruments, Kind, Load, Rate, Sizes};

    /// Attaches the kernel's sub-interfaces; false if the test must be skipped.
    fn attach(network: &mut Network, mode: Mode) -> bool {
        match network.attach(Maker::Kernel, mode) {
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
    fn the_kernel_s_macvlan_reaches_whom_the_table_says() {
        if !root_or_skip() {
            return;
        }
        let mut network = Network::build().unwrap();
        for mode in Mode::ALL {
            if !attach(&mut network, mode) {
                return;
            }
            for hairpin in [false, true] {
                network.set_hairpin(hairpin).unwrap();
                let setup = Setup { mode, hairpin, semantics: Semantics::Kernel };
                let wanted = wanted(setup);
                let found = reach(&network.stations(), &wanted, Patience::default()).unwrap();
                let differing: Vec<_> = cells(mode)
                    .map(|(probe, from, to)| (probe, from, to, found.copies(probe, from, to)))
                    .filter(|&(probe, from, to, copies)| copies != wanted.copies(probe, from, to))
                    .collect();
                assert!(differing.is_empty(), "{setup:?}: {differing:?}");
            }
        }
    }

    #[test]
    fn every_measurement_finds_something_to_measure() {
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
    fn a_crowd_is_given_what_is_for_everybody_and_nothing_else() {
        if !root_or_skip() {
            return;
        }
        let mut network = Network::build_with(Wire::Cable).unwrap();
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
            // The destination has told everybody where it is.
            assert_eq!(network.crowd_received().unwrap(), idle);
            let sent = open(all).to_everybody().run(load).unwrap().sent.offered;
            let wanted = idle * (1 + sent + members as u64);
            // The kernel's macvlan gives what is for everybody to one after the other, and later.
            let end = Instant::now() + Duration::from_secs(5);
            while network.crowd_received().unwrap() < wanted && Instant::now() < end {
                std::thread::yield_now();
            }
            assert_eq!(network.crowd_received().unwrap(), wanted);
        }
    }

    #[test]
    fn a_linux_bridge_on_a_cable_forwards_to_one_and_floods_to_all() {
        if !root_or_skip() {
            return;
        }
        let mut network = Network::build_with(Wire::Cable).unwrap();
        network.attach(Maker::Bridge, Mode::Bridge).unwrap();
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
            assert_eq!(outcome.received.tallies.len(), to.len());
            assert!(outcome.sent.offered > 0 && outcome.lost() == 0, "{outcome:?}");
        }
        drop(stations);
        network.detach().unwrap();
        network.attach(Maker::Bridge, Mode::Vepa).unwrap();
    }
}
