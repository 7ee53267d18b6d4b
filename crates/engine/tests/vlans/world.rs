//! A wire whose far end sees tags, and parents that are VLANs on it.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;
use umacvlan_core::options::{Backend, PortIo};

use umacvlan_core::offload::VNET_LEN;
use umacvlan_core::{MacvlanSettings, Mode};
use umacvlan_datapath::worker::WorkerConfig;
use umacvlan_engine::Engine;
use umacvlan_engine::engine::{ParentOptions, ParentStatus, SubOptions};
use umacvlan_sys::address_filter::Membership;
use umacvlan_sys::packet::PacketSocket;
use umacvlan_sys::poll;
use umacvlan_testkit::root_or_skip;

use crate::common::{Lab, PARENT, PATIENCE, Place, mac, wire};

pub(crate) const C10: &[u8] = &[0x81, 0, 0, 10];
const C20: &[u8] = &[0x81, 0, 0, 20];
const S10_C20: &[u8] = &[0x88, 0xa8, 0, 10, 0x81, 0, 0, 20];

/// All parents on the wire, and the tags that their frames have there.
pub(crate) const PARENTS: [(&str, &[u8]); 4] =
    [("p0", &[]), ("p0.10", C10), ("p0.20", C20), ("p0.10.20", S10_C20)];

/// The frame with these tags.
pub(crate) fn tagged(tags: &[u8], frame: &[u8]) -> Vec<u8> {
    [&frame[..12], tags, &frame[12..]].concat()
}

/// The far end of the wire, which receives every frame with its tags.
pub(crate) struct Wire {
    pub(crate) sender: OwnedFd,
    receiver: PacketSocket,
}

impl Wire {
    pub(crate) fn open(far: &mut Place) -> Self {
        let index = far.index("x0");
        let receiver = far.netns.run(|| PacketSocket::open(index, 9000)).unwrap().unwrap();
        receiver.join(Membership::Promiscuous).unwrap();
        Self { sender: far.socket("x0"), receiver }
    }

    /// The next frame for which `wanted` is true, with its tags.
    pub(crate) fn next(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let end = Instant::now() + PATIENCE;
        loop {
            while let Some(received) = self.receiver.ring.receive() {
                let unit = self.receiver.ring.bytes(received.slot, received.at, received.len);
                let mut frame = unit[VNET_LEN..].to_vec();
                if let Some(tag) = received.tag {
                    let tag = [tag.tpid.to_be_bytes(), tag.tci.to_be_bytes()].concat();
                    frame.splice(12..12, tag);
                }
                if wanted(&frame) {
                    self.receiver.ring.release();
                    return Some(frame);
                }
            }
            self.receiver.ring.release();
            let left = end.saturating_duration_since(Instant::now());
            let mut interest = [poll::Interest::readable(self.receiver.as_fd())];
            if left.is_zero() || poll::wait(&mut interest, left).unwrap() == 0 {
                return None;
            }
        }
    }
}

/// An engine with some of the parents, each with one sub-interface `s0` in a namespace of its own;
/// all of these have the same address.
pub(crate) struct Trunk {
    pub(crate) lab: Lab,
    pub(crate) wire: Wire,
    pub(crate) guests: Vec<(Place, OwnedFd)>,
}

impl Trunk {
    pub(crate) fn new(parents: &[(&str, &[u8])], options: &ParentOptions) -> Self {
        Self::with_mtu(1500, parents, options)
    }

    pub(crate) fn with_mtu(mtu: u32, parents: &[(&str, &[u8])], options: &ParentOptions) -> Self {
        let (mut host, mut far) = (Place::new(), Place::new());
        wire(&mut host, &far);
        for (place, name) in [(&mut host, PARENT), (&mut far, "x0")] {
            let index = place.index(name);
            place.rtnl.set_mtu(index, mtu).unwrap();
        }
        let engine = host.netns.run(Engine::start).unwrap().unwrap();
        let mut guests = Vec::new();
        for (name, _) in parents {
            let parent = ParentOptions { name: (*name).to_owned(), ..options.clone() };
            engine.add_parent(parent).unwrap();
            let place = Place::new();
            engine.add_sub(name, guest(1, &place)).unwrap();
            let socket = place.socket("s0");
            guests.push((place, socket));
        }
        let wire = Wire::open(&mut far);
        Self { lab: Lab { engine: Some(engine), host, far }, wire, guests }
    }

    pub(crate) fn parent(&self, name: &str) -> ParentStatus {
        let mut parents = self.lab.engine().status().unwrap().into_iter();
        parents.find(|parent| parent.name == name).unwrap()
    }

    pub(crate) fn assert_counters_balance(&self) {
        for parent in self.lab.engine().status().unwrap() {
            assert!(parent.counters.is_balanced(), "{}: {:#?}", parent.name, parent.counters);
        }
    }
}

/// A bridge sub-interface `s0` with the address `n`, up.
pub(crate) fn guest(n: u8, place: &Place) -> SubOptions {
    SubOptions {
        name: "s0".to_owned(),
        mac: Some(mac(n)),
        settings: MacvlanSettings::new(Mode::Bridge),
        netns: Some(place.netns.try_clone().unwrap()),
        up: true,
        ..SubOptions::default()
    }
}

pub(crate) fn workers(count: usize, io: PortIo, backend: Backend) -> ParentOptions {
    let worker = WorkerConfig { io, ..WorkerConfig::default() };
    ParentOptions { workers: vec![worker; count], backend, ..ParentOptions::default() }
}

/// Every backend of the wire.
pub(crate) fn each_way(test: impl Fn(ParentOptions)) {
    if !root_or_skip() {
        return;
    }
    for (count, io, backend) in [
        (1, PortIo::Plain, Backend::AfPacket),
        (2, PortIo::Auto, Backend::AfPacket),
        #[cfg(feature = "af-xdp")]
        (1, PortIo::Auto, Backend::AfXdp),
    ] {
        eprintln!("{count} workers, {io:?}, {backend}");
        test(workers(count, io, backend));
    }
}
