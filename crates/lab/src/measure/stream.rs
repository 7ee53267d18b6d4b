//! One TCP stream at full speed, every byte of which is verified.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::pattern::{CHUNK, Pattern};
use super::{Path, Result};
use crate::station::Member;
use crate::threads::{join, pin};

/// The received bytes of a stream, and the time they took.
#[derive(Clone, Copy, Debug)]
pub struct Throughput {
    /// Bytes of payload that the receiver read and verified.
    pub bytes: u64,
    /// The time from the end of the warm-up to the last byte.
    pub time: Duration,
}

impl Throughput {
    /// Bits of payload per second.
    pub fn bits_per_second(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.time.as_secs_f64()
    }
}

/// Sends one TCP stream along `path` for `time`, after a warm-up of a quarter of that. `congestion`
/// names its congestion control (`tcp(7)`, `TCP_CONGESTION`); `None` leaves the system's.
///
/// # Errors
/// The kernel lacks this congestion control, the connection is not established or stalls for two
/// seconds, or other bytes arrive than were sent.
pub fn tcp_throughput(
    path: Path<'_, '_>,
    time: Duration,
    congestion: Option<&str>,
) -> Result<Throughput> {
    connect(path, congestion, STALL_TIMEOUT)
        .and_then(|(sender, receiver)| run(path, sender, receiver, time))
        .map_err(|e| path.failed("a TCP stream", e))
}

fn run(
    path: Path<'_, '_>,
    sender: TcpStream,
    receiver: TcpStream,
    time: Duration,
) -> io::Result<Throughput> {
    let warm_up = time / 4;
    let (here, there) = path.cores.unzip();
    thread::scope(|scope| {
        let sending = scope.spawn(move || {
            pin(here);
            send(sender, warm_up + time)
        });
        let receiving = scope.spawn(move || {
            pin(there);
            receive(receiver, warm_up)
        });
        let sent = join(sending);
        // The receiver's error comes first: the sender only sees a closed connection.
        let received = join(receiving)?;
        sent.map(|()| received)
    })
}

fn send(mut stream: TcpStream, time: Duration) -> io::Result<()> {
    let end = Instant::now() + time;
    let mut pattern = Pattern::default();
    while Instant::now() < end {
        let sent = stream.write(pattern.next())?;
        pattern.advance(sent);
    }
    Ok(())
}

fn receive(mut stream: TcpStream, warm_up: Duration) -> io::Result<Throughput> {
    let mut chunk = vec![0; CHUNK];
    let mut pattern = Pattern::default();
    let mut bytes = 0_u64;
    let mut warm = Instant::now() + warm_up;
    let mut cold = true;
    loop {
        let length = stream.read(&mut chunk)?;
        let now = Instant::now();
        if length == 0 {
            return Ok(Throughput { bytes, time: now - warm });
        }
        pattern.check(&chunk[..length])?;
        if !cold {
            bytes += length as u64;
        } else if now >= warm {
            (cold, warm) = (false, now);
        }
    }
}

/// Both ends of a connection along `path`, opened in their namespaces. Neither waits longer than
/// `patience` without progress.
pub(super) fn connect(
    path: Path<'_, '_>,
    congestion: Option<&str>,
    patience: Duration,
) -> io::Result<(TcpStream, TcpStream)> {
    let (from, to) = (path.from.member, path.to.member);
    let listener = path.to.netns.run(|| TcpListener::bind((to.ip(), 0)))??;
    let address = listener.local_addr()?;
    let sender = path.from.netns.run(|| connect_from(from, address, congestion, patience))??;
    let (receiver, _) = listener.accept()?;
    sender.set_write_timeout(Some(patience))?;
    receiver.set_read_timeout(Some(patience))?;
    Ok((sender, receiver))
}

fn connect_from(
    from: Member,
    address: SocketAddr,
    congestion: Option<&str>,
    patience: Duration,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // Congestion control is the sender's; the receiver needs no setting.
    if let Some(name) = congestion {
        set_congestion(&socket, name)?;
    }
    socket.bind(&SocketAddr::from((from.ip(), 0)).into())?;
    socket.connect_timeout(&address.into(), patience)?;
    Ok(socket.into())
}

/// Checks that this kernel has a congestion control of this name.
///
/// # Errors
/// It has not, or this process may not use it.
pub fn check_congestion(name: &str) -> io::Result<()> {
    set_congestion(&Socket::new(Domain::IPV4, Type::STREAM, None)?, name)
}

fn set_congestion(socket: &Socket, name: &str) -> io::Result<()> {
    socket.set_tcp_congestion(name.as_bytes()).map_err(|error| {
        let known = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
        let why = match known {
            Ok(known) if error.kind() == io::ErrorKind::NotFound => {
                format!("this kernel has {}", known.trim())
            }
            _ => error.to_string(),
        };
        io::Error::new(error.kind(), format!("no TCP congestion control \"{name}\": {why}"))
    })
}

/// The time without progress after which a stream counts as broken.
const STALL_TIMEOUT: Duration = Duration::from_secs(2);
