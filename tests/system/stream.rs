//! A TCP connection between two namespaces that carries numbered bytes until it is stopped.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use umacvlan_sys::netns::Netns;

/// Limit of a pause in the connection.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection under load.
pub(crate) struct Stream {
    arrived: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    sender: JoinHandle<u64>,
    receiver: JoinHandle<u64>,
}

impl Stream {
    /// Connects from one namespace to an address in another.
    pub(crate) fn open(from: &Netns, to: &Netns, address: &str) -> Self {
        let address: SocketAddr = format!("{address}:5001").parse().unwrap();
        let listener = to.run(|| TcpListener::bind(address)).unwrap().unwrap();
        let output = from.run(|| TcpStream::connect(address)).unwrap().unwrap();
        let (input, _) = listener.accept().unwrap();
        let (arrived, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, ended) = (Arc::clone(&arrived), Arc::clone(&stop));
        Self {
            arrived,
            stop,
            sender: std::thread::spawn(move || send(output, &ended)),
            receiver: std::thread::spawn(move || receive(input, &count)),
        }
    }

    /// Waits until more bytes have arrived than before this call.
    pub(crate) fn advance(&self) {
        // Two windows more, so that bytes already under way do not count.
        let wanted = self.arrived.load(Ordering::Acquire) + 8 * 1024 * 1024;
        let begun = std::time::Instant::now();
        while self.arrived.load(Ordering::Acquire) < wanted {
            assert!(begun.elapsed() < PATIENCE, "the connection stands still");
            assert!(!self.receiver.is_finished(), "the connection has ended");
            std::thread::yield_now();
        }
    }

    /// Ends the connection, and asserts that all bytes have arrived unchanged.
    pub(crate) fn close(self) {
        self.stop.store(true, Ordering::Release);
        assert_eq!(self.sender.join().unwrap(), self.receiver.join().unwrap());
    }
}

fn send(mut output: TcpStream, stop: &AtomicBool) -> u64 {
    output.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut number = 0;
    while !stop.load(Ordering::Acquire) {
        let block: Vec<u8> = (number..number + 8192_u64).flat_map(u64::to_le_bytes).collect();
        output.write_all(&block).unwrap();
        number += 8192;
    }
    number
}

fn receive(mut input: TcpStream, arrived: &AtomicU64) -> u64 {
    input.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut word = [0; 8];
    let mut reader = std::io::BufReader::with_capacity(1 << 16, &mut input);
    let mut number = 0;
    while reader.read_exact(&mut word).is_ok() {
        assert_eq!(u64::from_le_bytes(word), number, "the bytes are not those that were sent");
        number += 1;
        arrived.store(8 * number, Ordering::Release);
    }
    number
}
