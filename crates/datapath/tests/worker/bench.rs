//! A worker run by hand, with in-memory links as wire and ports.

use umacvlan_core::offload::{Offloads, VNET_LEN, VnetHeader};
use umacvlan_core::options::PortIo;
use umacvlan_core::stats::SubStats;
use umacvlan_core::{MacAddr, Mode, ParentInfo, Semantics, SubConfig, SubIndex, Switch};
use umacvlan_datapath::memory_link::MemoryLink;
use umacvlan_datapath::port::PortLink;
use umacvlan_datapath::uplink::Uplink;
use umacvlan_datapath::worker::{Snapshot, Turn, Worker, WorkerConfig};

/// A worker with the other ends of all its links.
pub(crate) struct Bench {
    pub(crate) worker: Worker,
    pub(crate) wire: MemoryLink,
    pub(crate) ports: Vec<Port>,
}

/// The user's end of a sub-interface.
pub(crate) struct Port {
    pub(crate) id: SubIndex,
    pub(crate) mac: MacAddr,
    pub(crate) link: MemoryLink,
}

impl Bench {
    /// A worker with an uplink and no sub-interface.
    pub(crate) fn new() -> Self {
        let config = WorkerConfig { io: PortIo::Plain, ..WorkerConfig::default() };
        let mut worker = Worker::new(switch(), config).unwrap();
        let (near, wire) = MemoryLink::pair(2048, 1 << 20);
        worker.attach(Uplink::Memory(near)).unwrap();
        Self { worker, wire, ports: Vec::new() }
    }

    /// A worker with this many bridge sub-interfaces.
    pub(crate) fn with_bridges(count: usize) -> Self {
        let mut bench = Self::new();
        for _ in 0..count {
            bench.add(Mode::Bridge);
        }
        bench
    }

    /// Adds a sub-interface, up. Its index in `ports` is its number in the order of creation.
    pub(crate) fn add(&mut self, mode: Mode) -> usize {
        let config = SubConfig::new(MacAddr::ZERO, mode);
        self.add_as(config, Offloads::ALL, 256)
    }

    /// Adds a sub-interface with this configuration, up. It gets an address if it has none, and its
    /// queue holds `frames` frames.
    pub(crate) fn add_as(&mut self, config: SubConfig, offloads: Offloads, frames: usize) -> usize {
        let place = self.ports.len();
        let mac = match config.mac {
            MacAddr::ZERO => mac(place + 1),
            given => given,
        };
        let (near, link) = MemoryLink::pair(frames, 128 * frames.max(64));
        let config = SubConfig { mac, ..config };
        let port = PortLink::Memory(near);
        let id = self.worker.add(&config, port, offloads).unwrap();
        self.worker.set_up(id, true).unwrap();
        self.ports.push(Port { id, mac, link });
        place
    }

    /// Runs one turn. At rest every frame must be accounted for.
    pub(crate) fn turn(&mut self) -> Turn {
        let turn = self.worker.turn().unwrap();
        let counters = self.worker.snapshot();
        let sum = counters.subs.iter().fold(counters.removed, |mut sum, &(_, sub)| {
            sum += sub;
            sum
        });
        let wire = counters.wire;
        assert!(counters.pending_floods > 0 || counters.is_balanced(), "{wire:?} {sum:?}");
        turn
    }

    /// Runs turns until no work is left, and returns their number.
    pub(crate) fn turn_to_rest(&mut self) -> usize {
        let mut turns = 1;
        while self.turn().frames > 0 || self.counters().pending_floods > 0 {
            turns += 1;
            assert!(turns < 10_000, "it never comes to rest");
        }
        turns
    }

    pub(crate) fn counters(&self) -> Snapshot {
        self.worker.snapshot()
    }

    pub(crate) fn sub(&self, place: usize) -> SubStats {
        let id = self.ports[place].id;
        let found = self.counters().subs.into_iter().find(|&(of, _)| of == id);
        found.unwrap().1
    }

    /// The frames that a sub-interface received, without vnet headers.
    pub(crate) fn got(&self, place: usize) -> Vec<Vec<u8>> {
        taken(&self.ports[place].link)
    }
}

/// The table of a parent with the address 0 and an MTU of 1500 bytes.
pub(crate) fn switch() -> Switch {
    let parent = ParentInfo { mac: mac(0), mtu: 1500, promisc: false };
    Switch::new(parent, Semantics::Documented)
}

/// Every received frame, without vnet headers.
pub(crate) fn taken(link: &MemoryLink) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| link.pop()).map(|unit| unit[VNET_LEN..].to_vec()).collect()
}

/// The address of host `n`: the parent is 0, port `p` is `p + 1`.
pub(crate) fn mac(n: usize) -> MacAddr {
    let [.., high, low] = n.to_be_bytes();
    MacAddr::new([2, 0, 0, 0, high, low])
}

/// A frame of 60 bytes, identified by `mark`.
pub(crate) fn frame(dst: MacAddr, src: MacAddr, mark: u8) -> Vec<u8> {
    let mut frame = [dst.octets(), src.octets()].concat();
    frame.extend([0x88, 0xb5, mark]);
    frame.resize(60, 0);
    frame
}

/// A vnet header as bytes.
pub(crate) fn bytes(header: VnetHeader) -> [u8; VNET_LEN] {
    let mut bytes = [0; VNET_LEN];
    header.write_to(&mut bytes);
    bytes
}
