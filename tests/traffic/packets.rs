//! A packet socket that shows frames as they were on the wire, tags included.

use socket2::Socket;
use umacvlan_core::offload::VNET_LEN;
use umacvlan_sys::raw_socket;
use umacvlan_testkit::LIMIT;

use crate::sockets::{Auxdata, receive_with_auxdata, set_option};
use crate::world::Station;

/// Frames in and out of a station's interface.
#[derive(Debug)]
pub(crate) struct Packets {
    socket: Socket,
    /// Bytes before each frame.
    before: usize,
}

impl Packets {
    pub(crate) fn open(station: &mut Station) -> Self {
        let index = station.link().index;
        let open = || raw_socket::open(index, ETH_P_ALL);
        let socket = Socket::from(station.netns.run(open).unwrap().unwrap());
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        set_option(&socket, libc::SOL_PACKET, PACKET_AUXDATA, 1);
        set_option(&socket, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
        Self { socket, before: 0 }
    }

    /// Frames are read and written with a virtio_net header, in the kernel's form: its `csum_start`
    /// does not count the tag that was taken off.
    pub(crate) fn open_unfinished(station: &mut Station) -> Self {
        let packets = Self::open(station);
        set_option(&packets.socket, libc::SOL_PACKET, PACKET_VNET_HDR, 1);
        Self { before: VNET_LEN, ..packets }
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        assert_eq!(self.socket.send(frame).unwrap(), frame.len());
    }

    /// All frames received up to the first that is `wanted`.
    pub(crate) fn until(&self, wanted: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        loop {
            let frame = self.receive();
            let found = wanted(&frame);
            frames.push(frame);
            if found {
                return frames;
            }
        }
    }

    fn receive(&self) -> Vec<u8> {
        let mut frame = vec![0; 80_000];
        let (length, auxdata) = receive_with_auxdata(&self.socket, &mut frame).unwrap();
        frame.truncate(length);
        let Some(Auxdata { status, tci, tpid }) = auxdata else {
            return frame;
        };
        if status & TP_STATUS_VLAN_VALID != 0 {
            // The kernel takes the outer tag off before a socket sees the frame.
            let tag = [tpid.to_be_bytes(), tci.to_be_bytes()].concat();
            let at = self.before + 12;
            frame.splice(at..at, tag);
        }
        frame
    }
}

// linux/if_ether.h and linux/if_packet.h
const ETH_P_ALL: u16 = 3;
const PACKET_AUXDATA: i32 = 8;
const PACKET_VNET_HDR: i32 = 15;
const PACKET_IGNORE_OUTGOING: i32 = 23;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
