//! Frames per second: the shortest frames, as many as one core can send.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use umacvlan_core::MacAddr;
use umacvlan_sys::raw_socket;

use super::{Path, Result};
use crate::threads::{join, pin};

/// The frame rates of both ends, per second.
#[derive(Clone, Copy, Debug)]
pub struct FrameRate {
    /// Frames that the sender's kernel accepted.
    pub offered: f64,
    /// Frames that the receiver's interface counted.
    pub delivered: f64,
}

/// Sends 60-byte frames along `path` for `time`, after a warm-up of a quarter of that.
///
/// Delivered frames are read from the receiving interface's counter while the sender runs at full
/// speed. A receiving program would measure itself, and frames still queued at the end would count.
///
/// # Errors
/// The socket cannot be opened or used, or the interface is gone.
pub fn frame_rate(path: Path<'_, '_>, time: Duration) -> Result<FrameRate> {
    run(path, time).map_err(|e| path.failed("60-byte frames", e))
}

fn run(path: Path<'_, '_>, time: Duration) -> io::Result<FrameRate> {
    let (from, to) = (path.from, path.to);
    let socket = from.netns.run(|| {
        let index = raw_socket::index_of(from.member.interface_name())?;
        raw_socket::open(index, 0)
    })??;
    let mut received = to.netns.run(|| Counter::open(to.member.interface_name()))??;
    let frame = frame(from.mac, to.mac);
    let (offered, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            pin(path.cores.map(|(here, _)| here));
            send(&socket, &frame, &offered, &stop)
        });
        thread::sleep(time / 4);
        let rate = window(time, &offered, &mut received);
        // After an error too, because the scope waits for the sender.
        stop.store(true, Ordering::Relaxed);
        join(sending)?;
        rate
    })
}

/// Both rates over the same time.
fn window(time: Duration, offered: &AtomicU64, received: &mut Counter) -> io::Result<FrameRate> {
    let mut now = || Ok::<_, io::Error>((offered.load(Ordering::Relaxed), received.read()?));
    let (before, begun) = (now()?, Instant::now());
    thread::sleep(time);
    let (after, elapsed) = (now()?, begun.elapsed());
    let rate = |before, after: u64| after.saturating_sub(before) as f64 / elapsed.as_secs_f64();
    Ok(FrameRate { offered: rate(before.0, after.0), delivered: rate(before.1, after.1) })
}

/// Sends until told to stop, and stores in `offered` how many frames the kernel has accepted.
fn send(socket: &OwnedFd, frame: &[u8], offered: &AtomicU64, stop: &AtomicBool) -> io::Result<()> {
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        match raw_socket::send(socket.as_fd(), frame, raw_socket::BATCH)? {
            // The queue is full, and its consumer may need this core.
            0 => thread::yield_now(),
            count => sent += count as u64,
        }
        offered.store(sent, Ordering::Relaxed);
    }
    Ok(())
}

/// The counter of received frames of one interface.
struct Counter {
    /// `/proc/net/dev` of the namespace in which the file was opened.
    file: File,
    interface: &'static str,
    text: String,
}

impl Counter {
    fn open(interface: &'static str) -> io::Result<Self> {
        Ok(Self { file: File::open("/proc/thread-self/net/dev")?, interface, text: String::new() })
    }

    fn read(&mut self) -> io::Result<u64> {
        self.text.clear();
        self.file.rewind()?;
        self.file.read_to_string(&mut self.text)?;
        received(&self.text, self.interface).ok_or_else(|| {
            let interface = self.interface;
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("no counters of {interface} in /proc/net/dev"),
            )
        })
    }
}

/// The frames that `interface` received, in the text of `/proc/net/dev` (proc_pid_net(5)).
fn received(text: &str, interface: &str) -> Option<u64> {
    let numbers = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(name, numbers)| (name.trim() == interface).then_some(numbers))?;
    // The first number is bytes.
    numbers.split_whitespace().nth(1)?.parse().ok()
}

/// The shortest frame, of an EtherType that no stack handles.
fn frame(from: MacAddr, to: MacAddr) -> [u8; FRAME_LEN] {
    let mut frame = [0; FRAME_LEN];
    frame[..6].copy_from_slice(&to.octets());
    frame[6..12].copy_from_slice(&from.octets());
    frame[12..14].copy_from_slice(&LOCAL_EXPERIMENTAL.to_be_bytes());
    frame
}

/// Bytes of the shortest Ethernet frame, without its FCS.
const FRAME_LEN: usize = 60;

/// The first EtherType that IEEE 802 reserves for local experiments.
const LOCAL_EXPERIMENTAL: u16 = 0x88b5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_counter_of_one_interface() {
        let text =
            "Inter-|   Receive\n face |bytes    packets errs\n  mac1: 600 10 0 0\nmac10:66 11 0\n";
        assert_eq!(received(text, "mac1"), Some(10));
        assert_eq!(received(text, "mac10"), Some(11));
        assert_eq!(received(text, "mac2"), None);
    }
}
