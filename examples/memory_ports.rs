//! A worker with two memory ports that switches a frame between them. It needs neither root nor an
//! interface: `cargo run --example memory_ports`.

use umacvlan_core::offload::{Offloads, VNET_LEN};
use umacvlan_core::{MacAddr, Mode, ParentInfo, Semantics, SubConfig, Switch};
use umacvlan_datapath::memory_link::MemoryLink;
use umacvlan_datapath::port::PortLink;
use umacvlan_datapath::worker::{Worker, WorkerConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = ParentInfo { mac: mac(0), mtu: 1500, promisc: false };
    let switch = Switch::new(parent, Semantics::default());
    let mut worker = Worker::new(switch, WorkerConfig::default())?;
    let one = add_port(&mut worker, 1)?;
    let two = add_port(&mut worker, 2)?;

    assert!(one.push(&frame(mac(2), mac(1))), "the link holds one frame");
    let turn = worker.turn()?;
    println!("the worker read {} frame", turn.frames);
    while let Some(unit) = two.pop() {
        let frame = &unit[VNET_LEN..];
        println!("port 2 got {} bytes: {}", frame.len(), String::from_utf8_lossy(&frame[14..]));
    }
    for (sub, stats) in worker.snapshot().subs {
        let (sent, got) = (stats.received.frames, stats.delivered.frames);
        println!("sub-interface {}: sent {sent}, got {got}", sub.index());
    }
    Ok(())
}

/// Adds a sub-interface in bridge mode, sets it up, and returns the far end of its port.
fn add_port(worker: &mut Worker, number: u8) -> Result<MemoryLink, Box<dyn std::error::Error>> {
    let (near, far) = MemoryLink::pair(16, 16 * 1024);
    let config = SubConfig::new(mac(number), Mode::Bridge);
    let sub = worker.add(&config, PortLink::Memory(near), Offloads::ALL)?;
    worker.set_up(sub, true)?;
    Ok(far)
}

fn mac(number: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, number])
}

/// A frame of a local experimental EtherType (IEEE 802).
fn frame(dst: MacAddr, src: MacAddr) -> Vec<u8> {
    let ethertype = [0x88, 0xb5];
    [&dst.octets()[..], &src.octets(), &ethertype, b"hello from port 1"].concat()
}
