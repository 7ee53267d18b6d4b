//! `umacvlan run` forwards frames and counts them.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use serde_json::Value;
use umacvlan_netlink::{BridgeOptions, Rtnl};
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::{LIMIT, netns_path, root_or_skip};

use crate::world::World;

const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const TWO: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

fn give_address(netns: &Netns, name: &str, ip: IpAddr) {
    let mut rtnl = Rtnl::open_in(netns).unwrap();
    let index = rtnl.link(name).unwrap().expect(name).index;
    rtnl.add_address(index, ip, 24).unwrap();
}

fn udp(netns: &Netns, ip: IpAddr) -> UdpSocket {
    let socket = netns.run(|| UdpSocket::bind((ip, 0))).unwrap().unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

/// Sends a datagram in each direction.
fn talk_udp(here: &UdpSocket, there: &UdpSocket) {
    let mut buffer = [0; 64];
    here.send_to(b"ping", there.local_addr().unwrap()).unwrap();
    let (len, from) = there.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"ping");
    there.send_to(b"pong", from).unwrap();
    let (len, from) = here.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..len], from), (&b"pong"[..], there.local_addr().unwrap()));
}

/// A connection that carries `len` bytes one way and their number back.
fn talk_tcp(server: &Netns, at: IpAddr, client: &Netns, len: usize) {
    let listener = server.run(|| TcpListener::bind((at, 0))).unwrap().unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        stream.write_all(&bytes.len().to_be_bytes()).unwrap();
        bytes
    });
    let connect = || TcpStream::connect_timeout(&address, LIMIT);
    let mut stream = client.run(connect).unwrap().unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let sent: Vec<u8> = (0..len).map(|place| place.to_le_bytes()[0]).collect();
    stream.write_all(&sent).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = [0; size_of::<usize>()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(usize::from_be_bytes(answer), len);
    assert!(reader.join().unwrap() == sent, "the bytes have changed");
}

#[test]
fn bridge_subs_in_two_namespaces_talk_and_are_counted() {
    if !root_or_skip() {
        return;
    }
    let world = World::new();
    let (one, two) = (Netns::create().unwrap(), Netns::create().unwrap());
    let subs = [&one, &two].map(netns_path);
    let running = world.start(&[
        "--sub",
        &format!("mac1,mode=bridge,address=02:00:00:00:00:01,netns={}", subs[0]),
        "--sub",
        &format!("mac2,mode=bridge,mtu=1400,netns={}", subs[1]),
    ]);
    let ready = running.ready();
    let first = ready.iter().find(|line| line.starts_with("mac1")).unwrap();
    for word in ["bridge", "02:00:00:00:00:01", "1500", &subs[0]] {
        assert!(first.contains(word), "no {word} in {first}");
    }
    give_address(&one, "mac1", ONE);
    give_address(&two, "mac2", TWO);
    talk_udp(&udp(&one, ONE), &udp(&two, TWO));
    talk_tcp(&two, TWO, &one, 1 << 20);

    let (status, table, errors) = running.terminate();
    assert!(status.success(), "{errors:#?}");
    for name in ["mac1", "mac2"] {
        let row = table.iter().find(|line| line.starts_with(name)).expect(name);
        let words: Vec<&str> = row.split_whitespace().collect();
        // Name, mode, frames, bytes, unit, frames, bytes, unit.
        for frames in [words[2], words[5]] {
            let frames: u64 = frames.replace(',', "").parse().expect(row);
            assert!(frames >= 10, "{row}");
        }
    }
    assert!(table.iter().any(|line| line.starts_with("worker: ")), "{table:#?}");
}

#[cfg(feature = "af-xdp")]
#[test]
fn the_kernel_forwards_unicast_between_veth_pairs() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new();
    let (one, two) = (Netns::create().unwrap(), Netns::create().unwrap());
    let subs = [("mac1", &one), ("mac2", &two)]
        .map(|(name, netns)| format!("{name},mode=bridge,netns={}", netns_path(netns)));
    let running = world.start(&["--port", "auto", "--sub", &subs[0], "--sub", &subs[1]]);
    let ready = running.ready();
    for name in ["mac1", "mac2"] {
        let line = format!("{name}: veth, the kernel forwards plain unicast");
        assert!(ready.contains(&line), "{ready:#?}");
        let host_end = world.link(&format!("{name}-h0"));
        assert!(host_end.alias.contains(name), "{host_end:?}");
    }
    give_address(&one, "mac1", ONE);
    give_address(&two, "mac2", TWO);
    talk_tcp(&two, TWO, &one, 1 << 20);
    let (here, there) = (udp(&one, ONE), udp(&two, TWO));
    (0..50).for_each(|_| talk_udp(&here, &there));
    let (status, table, errors) = running.terminate();
    assert!(status.success(), "{errors:#?}");
    for name in ["mac1", "mac2"] {
        let line =
            table.iter().find(|line| line.starts_with(name) && line.ends_with("by the kernel"));
        let share = line.and_then(|line| line.split_whitespace().nth(1));
        let share: f64 = share.expect("its share").parse().unwrap();
        assert!(share > 80.0, "{table:#?}");
        for end in ["h0", "s0"] {
            let left = world.rtnl.link(&format!("{name}-{end}")).unwrap();
            assert!(left.is_none(), "{left:?}");
        }
    }
}

#[test]
fn a_sub_talks_to_the_wire() {
    if !root_or_skip() {
        return;
    }
    let world = World::new();
    let one = Netns::create().unwrap();
    let sub = format!("mac1,mode=private,netns={}", netns_path(&one));
    let running = world.start(&["--sub", &sub]);
    running.ready();
    give_address(&one, "mac1", ONE);
    give_address(&world.netns, "q0", TWO);
    talk_udp(&udp(&one, ONE), &udp(&world.netns, TWO));
    talk_tcp(&one, ONE, &world.netns, 1 << 18);
}

#[test]
fn a_bridge_may_be_a_parent() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new();
    world.rtnl.add_bridge("sw", &BridgeOptions::default()).unwrap();
    let (port, bridge) = (world.link("p0").index, world.link("sw").index);
    world.rtnl.set_master(port, Some(bridge)).unwrap();
    world.set_up("sw");
    world.wait_until("carrier of sw", |world| world.link("sw").is_running());
    let one = Netns::create().unwrap();
    let sub = format!("mac1,netns={}", netns_path(&one));
    let running = world.start_on("sw", &["--sub", &sub]);
    running.ready();
    give_address(&one, "mac1", ONE);
    give_address(&world.netns, "q0", TWO);
    talk_udp(&udp(&one, ONE), &udp(&world.netns, TWO));
}

#[test]
fn a_tap_may_be_a_parent() {
    if !root_or_skip() {
        return;
    }
    let world = World::new();
    let two = Netns::create().unwrap();
    // The TAP is a passthru sub-interface of another parent, because passthru also receives frames
    // for other addresses.
    let lower = world.start(&["--sub", "tap,mode=passthru"]);
    lower.ready();
    let sub = format!("mac2,netns={}", netns_path(&two));
    let upper = world.start_on("tap", &["--sub", &sub]);
    upper.ready();
    give_address(&world.netns, "q0", ONE);
    give_address(&two, "mac2", TWO);
    talk_udp(&udp(&world.netns, ONE), &udp(&two, TWO));
}

#[test]
fn json_lines_have_every_event_and_counter() {
    if !root_or_skip() {
        return;
    }
    let world = World::new();
    let (one, two) = (Netns::create().unwrap(), Netns::create().unwrap());
    let subs = [("mac1", &one), ("mac2", &two)];
    let subs = subs.map(|(name, netns)| format!("{name},mode=bridge,netns={}", netns_path(netns)));
    let words = ["-j", "--stats", "1", "--cpu", "0", "--sub", &subs[0], "--sub", &subs[1]];
    let running = world.start(&words);
    let mut lines = running.ready();
    give_address(&one, "mac1", ONE);
    give_address(&two, "mac2", TWO);
    talk_udp(&udp(&one, ONE), &udp(&two, TWO));
    lines.extend(running.until("\"stats\""));
    let (status, rest, errors) = running.terminate();
    assert!(status.success() && errors.is_empty(), "{errors:#?}");
    lines.extend(rest);

    let parse = |line: &String| serde_json::from_str(line).expect(line);
    let objects: Vec<Value> = lines.iter().map(parse).collect();
    let ready = &objects[0];
    assert_eq!(ready["event"], "ready");
    assert_eq!(ready["parent"]["name"], "p0");
    assert_eq!(ready["cpu"], 0);
    assert_eq!(ready["subs"][0]["name"], "mac1");
    assert_eq!(ready["subs"][1]["netns"], netns_path(&two));
    assert_eq!(ready["subs"][1]["mtu"], 1500);

    let stopped = objects.last().unwrap();
    assert_eq!(stopped["event"], "stopped");
    for sub in stopped["subs"].as_array().unwrap() {
        let count = |name: &str| sub[name].as_u64().unwrap();
        let frames = |name: &str| sub[name]["frames"].as_u64().unwrap();
        let dropped: u64 =
            sub["dropped"].as_object().unwrap().values().map(|value| value.as_u64().unwrap()).sum();
        assert!(count("local") >= 1, "{sub}");
        assert!(frames("delivered") >= 1, "{sub}");
        let fates = count("local") + count("flooded") + count("wire") + dropped;
        assert_eq!(frames("received"), fates, "{sub}");
    }
    assert!(stopped["worker"]["turns"].as_u64() > Some(0));
}
