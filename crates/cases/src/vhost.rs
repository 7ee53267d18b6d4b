//! A worker's turn between two vhost-user programs.

use umacvlan_core::offload::Offloads;
use umacvlan_core::options::PortIo;
use umacvlan_core::{MacAddr, Mode, ParentInfo, Semantics, SubConfig, Switch};
use umacvlan_datapath::port::{PortLink, VhostPort, VhostQueues};
use umacvlan_datapath::worker::{Worker, WorkerConfig};
use umacvlan_sys::vhost::Ring;
use umacvlan_sys::vhost::driver::Driver;

use crate::Round;
use crate::frames::{head, random, random_mac};

/// Frames of a round: as many as a turn reads of a port.
const BURST: usize = 64;

/// A worker and the programs of two sub-interfaces.
struct Programs {
    worker: Worker,
    drivers: [Driver; 2],
    frame: Vec<u8>,
    received: Vec<u8>,
}

impl Round for Programs {
    fn prepare(&mut self) {
        let [sender, receiver] = &mut self.drivers;
        while receiver.receive(&mut self.received).is_some() {}
        receiver.publish();
        assert!((0..BURST).all(|_| sender.send(&self.frame)), "a ring has no room for a burst");
        sender.publish();
    }

    fn run(&mut self) -> usize {
        let turn = self.worker.turn().expect("a turn in memory makes no failing system call");
        assert_eq!(turn.frames, BURST, "nothing would be measured");
        turn.frames
    }

    fn frames(&self) -> usize {
        BURST
    }
}

/// Frames of so many bytes from one program to another.
pub(crate) fn program_to_program(bytes: usize) -> Box<dyn Round> {
    let mut random = random();
    let parent = ParentInfo { mac: random_mac(&mut random), mtu: 1500, promisc: true };
    let config = WorkerConfig { io: PortIo::Plain, ..WorkerConfig::default() };
    let switch = Switch::new(parent, Semantics::Documented);
    let mut worker = Worker::new(switch, config).expect("a worker without a TAP can be created");
    let macs = [random_mac(&mut random), random_mac(&mut random)];
    let drivers = macs.map(|mac| program(&mut worker, mac));
    let mut frame = head(macs[1], macs[0]).to_vec();
    frame.resize(bytes, 0);
    Box::new(Programs { worker, drivers, received: vec![0; frame.len()], frame })
}

fn program(worker: &mut Worker, mac: MacAddr) -> Driver {
    let driver = Driver::new().expect("there is memory");
    let memory = driver.memory().expect("there is memory");
    let ring = |number| Ring::new(&memory, Driver::config(number)).expect("its rings are right");
    let config = SubConfig::new(mac, Mode::Bridge);
    let port = PortLink::Vhost(VhostPort::default());
    let sub = worker.add(&config, port, Offloads::NONE).expect("there is room");
    worker.set_up(sub, true).expect("the address is new");
    let (to_program, from_program) = (ring(0), ring(1));
    let offloads = Offloads::NONE;
    let queues = VhostQueues { number: 1, to_program, from_program, kick: None, offloads };
    worker.start_rings(sub, queues).expect("a port for rings takes them");
    driver
}
