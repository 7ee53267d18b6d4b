//! After random events every frame is accounted for.

use proptest::prelude::*;

use umacvlan_core::offload::{Offloads, VNET_LEN};
use umacvlan_core::{MacAddr, Mode, SubConfig};

use crate::bench::{Bench, mac};

const PORTS: usize = 6;

/// An event in the life of a worker.
#[derive(Clone, Debug)]
enum Op {
    /// A frame, from a port or from the wire.
    Put {
        from: Option<usize>,
        header: [u8; VNET_LEN],
        dst: MacAddr,
        src: MacAddr,
        len: usize,
    },
    Turn,
    SetUp(usize, bool),
    SetMode(usize, Mode),
    SetMtu(usize, u32),
    /// The port is removed, and another one with its address is added.
    Replace(usize),
    /// A reader drains a port.
    Drain(usize),
}

fn address() -> impl Strategy<Value = MacAddr> {
    prop_oneof![
        6 => (0..PORTS + 2).prop_map(mac),
        2 => Just(MacAddr::BROADCAST),
        1 => Just(MacAddr::new([1, 0, 0x5e, 0, 0, 1])),
    ]
}

fn mode() -> impl Strategy<Value = Mode> {
    prop::sample::select(vec![Mode::Bridge, Mode::Private, Mode::Source, Mode::Vepa])
}

fn header() -> impl Strategy<Value = [u8; VNET_LEN]> {
    prop_oneof![
        4 => Just([0; VNET_LEN]),
        1 => any::<[u8; VNET_LEN]>(),
        // A partial checksum near the beginning.
        1 => (0..80_u8, 0..20_u8).prop_map(|(start, offset)| {
            [1, 0, 0, 0, 0, 0, start, 0, offset, 0]
        }),
    ]
}

fn put() -> impl Strategy<Value = Op> {
    let from = prop::option::of(0..PORTS);
    (from, header(), address(), address(), 0..1600_usize)
        .prop_map(|(from, header, dst, src, len)| Op::Put { from, header, dst, src, len })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => put(),
        4 => Just(Op::Turn),
        1 => (0..PORTS, any::<bool>()).prop_map(|(place, up)| Op::SetUp(place, up)),
        1 => (0..PORTS, mode()).prop_map(|(place, mode)| Op::SetMode(place, mode)),
        1 => (0..PORTS, 68..1500_u32).prop_map(|(place, mtu)| Op::SetMtu(place, mtu)),
        1 => (0..PORTS).prop_map(Op::Replace),
        1 => (0..PORTS).prop_map(Op::Drain),
    ]
}

fn happen(bench: &mut Bench, op: Op) {
    match op {
        Op::Put { from, header, dst, src, len } => {
            let mut bytes = [dst.octets(), src.octets()].concat();
            bytes.extend([0x08, 0x00]);
            bytes.resize(len, 0x45);
            let link = from.map_or(&bench.wire, |place| &bench.ports[place].link);
            // A frame for a full queue counts as never sent.
            let _ = link.push_with_header(&header, &bytes);
        }
        Op::Turn => drop(bench.turn()),
        Op::SetUp(place, up) => {
            let id = bench.ports[place].id;
            bench.worker.set_up(id, up).unwrap();
        }
        Op::SetMode(place, mode) => {
            let id = bench.ports[place].id;
            bench.worker.switch_mut().set_mode(id, mode).unwrap();
        }
        Op::SetMtu(place, mtu) => {
            let id = bench.ports[place].id;
            bench.worker.switch_mut().set_mtu(id, mtu).unwrap();
        }
        Op::Replace(place) => replace(bench, place),
        Op::Drain(place) => drop(bench.ports[place].link.drain()),
    }
}

/// A new owner of a port's slot and address.
fn replace(bench: &mut Bench, place: usize) {
    let old = bench.ports.swap_remove(place);
    bench.worker.remove(old.id);
    let mut config = SubConfig::new(old.mac, Mode::Source);
    config.settings.sources = vec![mac(0), mac(PORTS + 1)];
    bench.add_as(config, Offloads::NONE, 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn at_rest_every_frame_is_accounted_for(
        modes in prop::collection::vec(mode(), PORTS),
        ops in prop::collection::vec(op(), 1..200),
    ) {
        let mut bench = Bench::new();
        for mode in modes {
            let config = SubConfig::new(MacAddr::ZERO, mode);
            bench.add_as(config, Offloads::ALL, 4);
        }
        for op in ops {
            happen(&mut bench, op);
        }
        bench.turn_to_rest();
    }
}
