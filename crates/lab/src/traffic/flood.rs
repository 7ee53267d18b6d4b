//! [`Flood`]: a station that sends as fast as it can, beside a measurement of others.

use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use umacvlan_core::MacAddr;
use umacvlan_core::offload::{VNET_LEN, VnetHeader};
use umacvlan_sys::raw_socket::{self, BATCH};

use super::open_at;
use crate::error::{Context, Result};
use crate::station::Station;
use crate::threads::join;

/// What a [`Flood`] sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloodKind {
    /// Datagrams of 18 bytes by an ordinary socket, which needs no capability.
    Datagrams,
    /// Frames of 60 bytes by a packet socket, 64 at a time.
    Frames,
    /// Broadcast GSO packets of 60 KB by a packet socket.
    GsoBroadcasts,
}

/// A sender without a limit.
#[derive(Debug)]
pub struct Flood(Sender);

#[derive(Debug)]
enum Sender {
    Datagrams(UdpSocket),
    /// A frame with what the socket wants in front of it.
    Units(OwnedFd, Vec<u8>),
}

impl Flood {
    /// Opens a sender at a station; what is not broadcast is for another one.
    ///
    /// # Errors
    /// The kernel refuses a socket.
    pub fn open(kind: FloodKind, from: &Station<'_>, to: &Station<'_>) -> Result<Self> {
        let packet_socket = || open_at(from, |index| raw_socket::open(index, 0));
        Ok(Self(match kind {
            FloodKind::Datagrams => {
                let (own, other) = (from.member.ip(), to.member.ip());
                Sender::Datagrams(open_at(from, |_| {
                    let socket = UdpSocket::bind((own, 0))?;
                    socket.connect((other, DISCARD))?;
                    Ok(socket)
                })?)
            }
            FloodKind::Frames => {
                let mut frame = head(to.mac, from.mac, super::ANNOUNCEMENT);
                frame.resize(FRAME_LEN, 0);
                Sender::Units(packet_socket()?, frame)
            }
            FloodKind::GsoBroadcasts => {
                let socket = packet_socket()?;
                let headers = raw_socket::expect_vnet_headers(socket.as_fd());
                headers.context(|| "a socket for GSO packets")?;
                Sender::Units(socket, gso_broadcast(from))
            }
        }))
    }

    /// Sends while `during` runs. Returns the result of `during` and how many packets the kernel
    /// took.
    ///
    /// # Errors
    /// The socket fails.
    pub fn run_during<T>(&self, during: impl FnOnce() -> T) -> Result<(T, u64)> {
        let stop = AtomicBool::new(false);
        let (done, sent) = thread::scope(|scope| {
            let sending = scope.spawn(|| self.send_until(&stop));
            let done = during();
            stop.store(true, Ordering::Relaxed);
            (done, join(sending))
        });
        Ok((done, sent.context(|| "a flood")?))
    }

    fn send_until(&self, stop: &AtomicBool) -> std::io::Result<u64> {
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            sent += match &self.0 {
                // A full queue, or nobody who listens there: both are part of a flood.
                Sender::Datagrams(socket) => u64::from(socket.send(&[0; DATAGRAM_LEN]).is_ok()),
                Sender::Units(socket, unit) => {
                    raw_socket::send(socket.as_fd(), unit, BATCH)? as u64
                }
            };
        }
        Ok(sent)
    }
}

fn head(to: MacAddr, from: MacAddr, ethertype: u16) -> Vec<u8> {
    [&to.octets()[..], &from.octets(), &ethertype.to_be_bytes()].concat()
}

/// A TCP packet of [`GSO_LEN`] bytes to everybody, behind its vnet header. No stack takes TCP from a
/// broadcast frame, so it ends there.
fn gso_broadcast(from: &Station<'_>) -> Vec<u8> {
    let header = VnetHeader {
        flags: VnetHeader::NEEDS_CSUM,
        gso_type: VnetHeader::GSO_TCPV4,
        hdr_len: 54,
        gso_size: 1448,
        csum_start: 34,
        csum_offset: 16,
    };
    let mut unit = vec![0; VNET_LEN];
    if let Some(room) = unit.first_chunk_mut() {
        header.write_to(room);
    }
    unit.extend(head(MacAddr::BROADCAST, from.mac, 0x0800));
    let length = u16::try_from(GSO_LEN - 14).unwrap_or(u16::MAX).to_be_bytes();
    unit.extend([0x45, 0, length[0], length[1], 0, 1, 0, 0, 64, 6, 0, 0]);
    unit.extend(from.member.ip().octets());
    unit.extend([10, 76, 0, 255]);
    // Ports, sequence, acknowledgement, 20 bytes of header with ACK, window.
    unit.extend([0, 9, 0, 9, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff]);
    unit.resize(VNET_LEN + GSO_LEN, 0);
    unit
}

/// The port of the discard service.
const DISCARD: u16 = 9;

/// Bytes of the shortest frame without its FCS, of a datagram in it, and of a GSO packet.
const FRAME_LEN: usize = 60;
const DATAGRAM_LEN: usize = 18;
const GSO_LEN: usize = 60_000;
