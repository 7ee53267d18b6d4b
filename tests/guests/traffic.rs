//! Traffic of the guests of `make guests`, with the bytes compared at both ends: `serve INTERFACE` runs on
//! the wire or on a link, `check INTERFACE IPV4 IPV6` against it; `-` leaves out an address, or groups. It uses the standard library alone and
//! only what the stack of the guest makes, so checksums, segments and fragments are as the driver has them.
//!
//! `check` prints a line for each check, `ok NAME` or `failed NAME: REASON`, and fails if one did.

use std::io::{self, Read, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket,
};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// The port of the echo services for TCP and UDP.
const ECHO_PORT: u16 = 7000;
/// The ports at which the server hears its groups.
const GROUP_PORT: u16 = 7001;
const GROUP_PORT_V6: u16 = 7011;
/// The ports at which a client hears the answers of groups.
const ANSWER_PORT: u16 = 7002;
const ANSWER_PORT_V6: u16 = 7012;
/// The size of a datagram to a group.
const GROUP_BYTES: usize = 700;
/// Groups that the server joins.
const SERVER_GROUPS: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(239, 9, 9, 9), group_v6(9));
/// Groups that a client joins.
const CLIENT_GROUPS: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(239, 9, 9, 10), group_v6(10));
/// Sizes of datagrams: single bytes, the smallest frame, full frames of both families, fragments.
const UDP_BYTES: [usize; 12] = [1, 2, 17, 18, 19, 512, 1024, 1452, 1472, 1473, 9000, 20_000];
/// Bytes that TCP carries each way.
const TCP_BYTES: usize = 2 << 20;
/// A check waits as long as this for an answer.
const LIMIT: Duration = Duration::from_secs(3);
/// A datagram may be lost; it is sent as often as this.
const ATTEMPTS: usize = 4;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["serve", interface] => serve(interface).map(|()| true),
        ["check", interface, v4, v6] => check(interface, v4, v6),
        _ => Err(io::Error::other("usage: traffic serve INTERFACE | check INTERFACE IPV4 IPV6")),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("failed start: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Answers TCP, UDP and groups until it is killed.
fn serve(interface: &str) -> io::Result<()> {
    let index = index_of(interface)?;
    let datagrams = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, ECHO_PORT))?;
    let groups_v4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, GROUP_PORT))?;
    groups_v4.join_multicast_v4(&SERVER_GROUPS.0, &Ipv4Addr::UNSPECIFIED)?;
    let groups_v6 = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, GROUP_PORT_V6))?;
    groups_v6.join_multicast_v6(&SERVER_GROUPS.1, index)?;
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, ECHO_PORT))?;

    thread::spawn(move || answer(&datagrams, None));
    thread::spawn(move || answer(&groups_v4, Some((CLIENT_GROUPS.0, ANSWER_PORT).into())));
    let answer_v6 = SocketAddrV6::new(CLIENT_GROUPS.1, ANSWER_PORT_V6, 0, index);
    thread::spawn(move || answer(&groups_v6, Some(answer_v6.into())));
    println!("ready");
    for stream in listener.incoming().flatten() {
        thread::spawn(move || echo(stream));
    }
    Ok(())
}

/// Returns each datagram to its sender, or sends it to a group.
fn answer(socket: &UdpSocket, group: Option<SocketAddr>) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        if let Ok((length, sender)) = socket.recv_from(&mut buffer) {
            // A datagram that cannot be answered is one that its sender sends again.
            let _ = socket.send_to(&buffer[..length], group.unwrap_or(sender));
        }
    }
}

fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// Makes the checks of the families that have an address, and returns whether each passed.
fn check(interface: &str, v4: &str, v6: &str) -> io::Result<bool> {
    let mut results = Vec::new();
    let families = [(v4, "udp4", "tcp4"), (v6, "udp6", "tcp6")];
    for (address, datagrams, stream) in families.into_iter().filter(|family| family.0 != "-") {
        let address: IpAddr = address.parse().map_err(io::Error::other)?;
        results.push(report(datagrams, || udp(address)));
        results.push(report(stream, || tcp(address)));
    }
    if interface != "-" {
        let index = index_of(interface)?;
        results.push(report("multicast4", multicast_v4));
        results.push(report("multicast6", || multicast_v6(index)));
    }
    Ok(results.iter().all(|&passed| passed))
}

/// A datagram to a group is answered by one to another.
fn multicast_v4() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, ANSWER_PORT))?;
    socket.join_multicast_v4(&CLIENT_GROUPS.0, &Ipv4Addr::UNSPECIFIED)?;
    exchange(&socket, (SERVER_GROUPS.0, GROUP_PORT).into(), GROUP_BYTES)
}

fn multicast_v6(index: u32) -> io::Result<()> {
    let group = SocketAddrV6::new(SERVER_GROUPS.1, GROUP_PORT_V6, 0, index);
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, ANSWER_PORT_V6))?;
    socket.join_multicast_v6(&CLIENT_GROUPS.1, index)?;
    exchange(&socket, group.into(), GROUP_BYTES)
}

fn report(name: &str, check: impl FnOnce() -> io::Result<()>) -> bool {
    match check() {
        Ok(()) => println!("ok {name}"),
        Err(error) => {
            println!("failed {name}: {error}");
            return false;
        }
    }
    true
}

/// Datagrams of all sizes come back unchanged.
fn udp(server: IpAddr) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    let server = SocketAddr::new(mapped(server), ECHO_PORT);
    UDP_BYTES.iter().try_for_each(|&bytes| exchange(&socket, server, bytes))
}

/// Sends a datagram until it has come back, a few times at most.
fn exchange(socket: &UdpSocket, server: SocketAddr, bytes: usize) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    socket.set_read_timeout(Some(LIMIT))?;
    for attempt in 0..ATTEMPTS {
        let sent = pattern(bytes, bytes + attempt);
        socket.send_to(&sent, server)?;
        while let Ok((length, _)) = socket.recv_from(&mut buffer) {
            // The late answer to an earlier datagram is none of this one.
            if buffer[..length] == sent {
                return Ok(());
            }
        }
    }
    Err(io::Error::other(format!("none of {ATTEMPTS} datagrams of {bytes} bytes came back")))
}

/// A stream comes back unchanged while it is still being sent.
fn tcp(server: IpAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&(server, ECHO_PORT).into(), LIMIT * 4)?;
    stream.set_read_timeout(Some(LIMIT * 5))?;
    stream.set_write_timeout(Some(LIMIT * 5))?;
    let mut sender = stream.try_clone()?;
    let sent = pattern(TCP_BYTES, 1);
    let mut received = vec![0; TCP_BYTES];
    thread::scope(|scope| {
        let sending = scope.spawn(|| sender.write_all(&sent));
        let receiving = stream.read_exact(&mut received);
        // A panic of the sender would have been printed; its result is all that counts here.
        sending.join().unwrap_or(Ok(()))?;
        receiving
    })?;
    if received != sent {
        return Err(io::Error::other("the bytes that came back are others"));
    }
    Ok(())
}

/// Bytes in which a shifted or repeated part is noticed.
fn pattern(bytes: usize, seed: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    (0..bytes).map(|_| next()).collect()
}

/// An address as a socket for both families has it.
fn mapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        IpAddr::V6(_) => address,
    }
}

const fn group_v6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 9, last)
}

fn index_of(interface: &str) -> io::Result<u32> {
    let path = format!("/sys/class/net/{interface}/ifindex");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
    text.trim().parse().map_err(io::Error::other)
}
