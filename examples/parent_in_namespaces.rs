//! An engine with one parent and two links, each in a network namespace of its own, and a message
//! from one link to the other and back. It needs root: `cargo run --example parent_in_namespaces`.
//!
//! The namespaces have no name. They end with the example, and every interface in them, however it
//! ends.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use umacvlan_core::{MacvlanSettings, Mode};
use umacvlan_engine::Engine;
use umacvlan_engine::engine::{ParentOptions, SubOptions, SubStatus};
use umacvlan_netlink::Rtnl;
use umacvlan_sys::netns::Netns;

const PORT: u16 = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let host = Netns::create().map_err(|error| format!("{error}: run this example as root"))?;
    make_parent(&host)?;
    let engine = host.run(Engine::start)??;
    engine.add_parent(ParentOptions { name: "p0".to_owned(), ..ParentOptions::default() })?;

    let (one, two) = (Guest::new(&engine, 1)?, Guest::new(&engine, 2)?);
    two.socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    one.socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let start = Instant::now();
    one.socket.send_to(b"ping", (two.address, PORT))?;
    let (message, sender) = two.receive()?;
    println!("{} got \"{message}\" from {sender}", two.link.name);
    two.socket.send_to(b"pong", sender)?;
    let (message, sender) = one.receive()?;
    println!("{} got \"{message}\" from {sender} after {:?}", one.link.name, start.elapsed());

    for parent in engine.status()? {
        println!("{}: {} links, by {}", parent.name, parent.subs.len(), parent.uplink.kind);
        for (link, (_, stats)) in parent.subs.iter().zip(&parent.counters.subs) {
            let (mode, sent, got) = (link.settings.mode, stats.received, stats.delivered);
            let (sent, got) = (sent.frames, got.frames);
            println!("  {} {} mode {mode}: sent {sent} frames, got {got}", link.name, link.mac);
        }
    }
    Ok(())
}

/// Makes the parent `p0`, a veth that is up. Nobody is at its other end: links in bridge mode reach
/// each other without the wire.
fn make_parent(host: &Netns) -> Result<(), Box<dyn Error>> {
    let mut rtnl = Rtnl::open_in(host)?;
    rtnl.add_veth("p0", "wire", None)?;
    for name in ["p0", "wire"] {
        let link = rtnl.link(name)?.ok_or("the veth is gone")?;
        rtnl.set_up(link.index, true)?;
    }
    Ok(())
}

/// A namespace with a link, as a container has it.
struct Guest {
    link: SubStatus,
    address: IpAddr,
    socket: UdpSocket,
    /// Keeps the namespace alive.
    _netns: Netns,
}

impl Guest {
    /// Makes a link in a new namespace, with the IP address 192.0.2.`number` (RFC 5737).
    fn new(engine: &Engine, number: u8) -> Result<Self, Box<dyn Error>> {
        let netns = Netns::create()?;
        let options = SubOptions {
            name: format!("link{number}"),
            settings: MacvlanSettings::new(Mode::Bridge),
            netns: Some(netns.try_clone()?),
            up: true,
            ..SubOptions::default()
        };
        let link = engine.add_sub("p0", options)?;
        let address = IpAddr::from(Ipv4Addr::new(192, 0, 2, number));
        Rtnl::open_in(&netns)?.add_address(link.index, address, 24)?;
        let socket = netns.run(|| UdpSocket::bind((address, PORT)))??;
        Ok(Self { link, address, socket, _netns: netns })
    }

    /// Waits for a message; returns it and its sender.
    fn receive(&self) -> Result<(String, SocketAddr), Box<dyn Error>> {
        let mut buffer = [0; 64];
        let (len, sender) = self.socket.recv_from(&mut buffer)?;
        Ok((String::from_utf8_lossy(&buffer[..len]).into_owned(), sender))
    }
}
