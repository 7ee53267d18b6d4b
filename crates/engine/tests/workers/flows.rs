//! Numbered datagrams of many flows, which show whether each flow is complete and in order.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use umacvlan_core::MacAddr;
use umacvlan_sys::{poll, raw_socket};

use crate::common::{PATIENCE, Place, mac, send};

/// IPv4.
const ETHERTYPE: u16 = 0x0800;

/// Frames of a [`Way`] that are under way at a time: twice as many fit the buffer of a socket.
const WINDOW: u32 = 32;

/// Offsets of the ports and of the number of a datagram in its frame.
const PORTS: usize = 14 + 20;
const NUMBER: usize = PORTS + 8;

/// Flows from one interface to another.
pub(crate) struct Way {
    from: OwnedFd,
    to: OwnedFd,
    ends: (u8, u8),
}

impl Way {
    /// Flows from an interface to one in another place, each with its address ([`mac`]).
    pub(crate) fn new(from: (&Place, &str, u8), to: (&Place, &str, u8)) -> Self {
        Self { from: socket(from.0, from.1), to: socket(to.0, to.1), ends: (from.2, to.2) }
    }

    /// Sends `rounds` datagrams of each of this many flows, in turn, until told to stop. Asserts
    /// that all arrived once and in order within their flow, and returns their number.
    pub(crate) fn run(&self, flows: u16, rounds: u32, stop: &AtomicBool) -> u32 {
        let arrived = AtomicU32::new(0);
        let total = AtomicU32::new(u32::MAX);
        thread::scope(|scope| {
            let watching = scope.spawn(|| self.watch(flows, &arrived, &total));
            let sent = self.send(flows, rounds, stop, &arrived);
            total.store(sent, Ordering::Release);
            let (seen, strays) = watching.join().unwrap();
            let round = sent / u32::from(flows);
            assert!(strays.is_empty(), "{:?}: out of order or twice: {strays:?}", self.ends);
            let lacking = seen.iter().filter(|&&last| last != round).count();
            assert_eq!(lacking, 0, "{:?}: of {sent} in {round} rounds: {seen:?}", self.ends);
            sent
        })
    }

    fn send(&self, flows: u16, rounds: u32, stop: &AtomicBool, arrived: &AtomicU32) -> u32 {
        let (from, to) = self.ends;
        let mut sent = 0;
        for number in 1..=rounds {
            for flow in 0..flows {
                let end = Instant::now() + PATIENCE;
                while sent - arrived.load(Ordering::Acquire) >= WINDOW {
                    if Instant::now() > end {
                        // The receiver reports missing datagrams.
                        return sent;
                    }
                    thread::yield_now();
                }
                send(&self.from, &datagram(mac(to), mac(from), flow, number));
                sent += 1;
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        sent
    }

    /// The last number of each flow, and the datagrams out of order: flow, number, and the one
    /// before. `total` is how many are sent, once that is known.
    fn watch(
        &self,
        flows: u16,
        arrived: &AtomicU32,
        total: &AtomicU32,
    ) -> (Vec<u32>, Vec<(u16, u32, u32)>) {
        let mut seen = vec![0; usize::from(flows)];
        let mut strays = Vec::new();
        loop {
            let total = total.load(Ordering::Acquire);
            let last = total != u32::MAX;
            let time = match last && arrived.load(Ordering::Relaxed) < total {
                true => PATIENCE,
                // Perhaps there are some twice.
                false => Duration::from_millis(if last { 100 } else { 20 }),
            };
            match self.next(time) {
                Some((flow, number)) if flow < flows => {
                    let before = &mut seen[usize::from(flow)];
                    if number != *before + 1 {
                        strays.push((flow, number, *before));
                    }
                    *before = number;
                    arrived.fetch_add(1, Ordering::Release);
                }
                Some(_) => {}
                None if last => return (seen, strays),
                None => {}
            }
        }
    }

    /// Sends one datagram of a flow, which must arrive.
    pub(crate) fn one(&self, flow: u16, number: u32) {
        let (from, to) = self.ends;
        send(&self.from, &datagram(mac(to), mac(from), flow, number));
        while self.next(PATIENCE).expect("it never arrived") != (flow, number) {}
    }

    /// Sends one datagram until it arrives.
    pub(crate) fn opens(&self) {
        let (from, to) = self.ends;
        let end = Instant::now() + PATIENCE;
        let frame = datagram(mac(to), mac(from), 9_999, 0);
        loop {
            send(&self.from, &frame);
            if self.next(Duration::from_millis(50)).is_some() {
                while self.next(Duration::from_millis(50)).is_some() {}
                return;
            }
            assert!(Instant::now() < end, "{:?}: nothing gets through", self.ends);
        }
    }

    /// Flow and number of the next datagram.
    fn next(&self, time: Duration) -> Option<(u16, u32)> {
        let mut buffer = [0; 128];
        let end = Instant::now() + time;
        loop {
            let socket = self.to.as_fd();
            if raw_socket::receive(socket, &mut buffer).unwrap() == Some(60)
                && buffer[6..12] == mac(self.ends.0).octets()
            {
                let port = |at: usize| u16::from_be_bytes([buffer[at], buffer[at + 1]]);
                let own = port(PORTS).max(port(PORTS + 2));
                let number = buffer[NUMBER..].first_chunk().copied().map_or(0, u32::from_be_bytes);
                return Some((own - 20_000, number));
            }
            let left = end.saturating_duration_since(Instant::now());
            let mut wanted = [poll::Interest::readable(socket)];
            if left.is_zero() || poll::wait(&mut wanted, left).unwrap() == 0 {
                return None;
            }
        }
    }
}

fn socket(place: &Place, name: &str) -> OwnedFd {
    let open = || raw_socket::open(raw_socket::index_of(name).unwrap(), ETHERTYPE);
    place.netns.run(open).unwrap().unwrap()
}

/// A UDP datagram with a number in it. The ports identify its flow, and are swapped in the other
/// direction, as in a conversation.
fn datagram(to: MacAddr, from: MacAddr, flow: u16, number: u32) -> Vec<u8> {
    let mut frame = [to.octets(), from.octets()].concat();
    frame.extend(ETHERTYPE.to_be_bytes());
    frame.extend([0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0, 0]);
    let host = |mac: MacAddr| [10, 0, 0, mac.octets()[5]];
    frame.extend([host(from), host(to)].concat());
    let (own, other) = (20_000 + flow, 9_u16);
    let (source, target) = if from < to { (own, other) } else { (other, own) };
    frame.extend([source, target, 12, 0].map(u16::to_be_bytes).concat());
    frame.extend(number.to_be_bytes());
    frame.resize(60, 0);
    frame
}
