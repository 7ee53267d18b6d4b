//! Our software segmentation against the kernel's own, byte by byte.
//!
//! The kernel segments every frame that is sent through a TAP without offloads. So each frame goes
//! into such a TAP by a packet socket with its virtio_net header, and `segment` has to produce the
//! same frames as the kernel. A VLAN tag stays in the frame on this way, which it would not on a
//! veth pair.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers included")]
#![allow(unsafe_code, reason = "a lab of a TAP and a packet socket, apart from the engine's own")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::thread;

use umacvlan_core::offload::{
    SEGMENT_BUFFER_LEN, VNET_LEN, VnetHeader, complete_checksum, insert_tag, segment,
};

use offload_frames::Packet;

#[path = "../../core/tests/offload_frames/mod.rs"]
mod offload_frames;

#[test]
fn segments_are_those_of_the_kernel() {
    in_lab(|lab| {
        for packet in packets() {
            let ours = cut(packet.header(), &packet.frame());
            let kernels = lab.through(packet.header(), &packet.frame(), ours.len());
            assert_same(&ours, &kernels, &packet);
        }
    });
}

#[test]
fn a_frame_of_one_segment_is_that_of_the_kernel() {
    in_lab(|lab| {
        for packet in packets() {
            // The kernel counts TCP options as payload when it asks whether there is anything to
            // segment, and then drops the frame because there is not.
            let payload = usize::from(packet.gso_size) - packet.tcp_options;
            let packet = Packet { payload: vec![7; payload], tcp_flags: 0xff, ..packet };
            let ours = cut(packet.header(), &packet.frame());
            let kernels = lab.through(packet.header(), &packet.frame(), 1);
            assert_same(&ours, &kernels, &packet);
        }
    });
}

#[test]
fn a_completed_checksum_is_that_of_the_kernel() {
    in_lab(|lab| {
        for packet in packets() {
            let packet = Packet { payload: vec![1; 101], ..packet };
            let mut header = packet.header();
            header.gso_type = VnetHeader::GSO_NONE;
            header.gso_size = 0;
            let mut ours = packet.frame();
            let kernels = lab.through(header, &ours, 1);
            complete_checksum(&mut header, &mut ours).unwrap();
            assert_same(&[ours], &kernels, &packet);
        }
    });
}

#[test]
fn a_tag_put_back_is_one_that_the_kernel_segments_behind() {
    in_lab(|lab| {
        let packet = Packet::default();
        for tpid in [0x8100, 0x88a8] {
            let mut slot = vec![0; 4 + VNET_LEN];
            packet.header().write_to(slot[4..].first_chunk_mut().unwrap());
            slot.extend(packet.frame());
            insert_tag(&mut slot, 4, tpid, 0x6007).unwrap();
            let (header, frame) = slot.split_first_chunk().unwrap();
            let header = VnetHeader::parse(header);
            let ours = cut(header, frame);
            assert_same(&ours, &lab.through(header, frame, 3), &packet);
        }
    });
}

#[test]
fn the_kernel_takes_every_header_that_we_take() {
    in_lab(|lab| {
        let mut taken = 0;
        for packet in packets() {
            let frame = packet.frame();
            let mut bytes = [0; VNET_LEN];
            packet.header().write_to(&mut bytes);
            for at in 0..VNET_LEN {
                for value in [0, 1, 2, 3, 4, 5, 16, 32, 64, 128, 255] {
                    let mut bytes = bytes;
                    bytes[at] = value;
                    if VnetHeader::parse(&bytes).validate(&frame).is_ok() {
                        taken += 1;
                        // The frame may be longer than the MTU, but not malformed.
                        let refused = lab.send(&bytes, &frame).err().map(|error| error.kind());
                        assert_ne!(
                            refused,
                            Some(io::ErrorKind::InvalidInput),
                            "{bytes:x?} for {packet:?}"
                        );
                        lab.discard();
                    }
                }
            }
        }
        assert!(taken > 100, "the test has tested something: {taken}");
    });
}

#[test]
fn accurate_ecn_is_segmented_as_by_a_kernel_that_knows_it() {
    in_lab(|lab| {
        for v6 in [false, true] {
            let packet = Packet {
                v6,
                tcp_flags: 0xff,
                gso_bits: VnetHeader::GSO_ACCECN,
                ..Packet::default()
            };
            let mut bytes = [0; VNET_LEN];
            packet.header().write_to(&mut bytes);
            if let Err(error) = lab.send(&bytes, &packet.frame()) {
                // Older kernels are right to refuse it, and CI has such kernels, so this is no
                // skip.
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                return eprintln!("not compared: AccECN is known since Linux 6.18");
            }
            let kernels = lab.receive(3);
            let ours = cut(packet.header(), &packet.frame());
            assert_same(&ours, &kernels, &packet);
        }
    });
}

/// Packets of every kind that can be segmented.
fn packets() -> Vec<Packet> {
    let mut packets = Vec::new();
    for (v6, udp) in [(false, false), (false, true), (true, false), (true, true)] {
        for tags in [vec![], vec![0x8100], vec![0x88a8, 0x8100]] {
            for (ip_options, tcp_options) in [(0, 0), (8, 12), (40, 40)] {
                packets.push(Packet {
                    tags: tags.clone(),
                    v6,
                    udp,
                    ip_options,
                    tcp_options,
                    ..Packet::default()
                });
            }
        }
        packets.push(Packet {
            v6,
            udp,
            sequence: u32::MAX - 1500,
            id: u16::MAX - 1,
            payload: (0..=250).cycle().take(60_001).collect(),
            gso_size: 1431,
            ..Packet::default()
        });
    }
    // FIN, SYN, RST, PSH, ACK, URG, ECE and CWR, one by one and together, in each ECN type.
    for v6 in [false, true] {
        for gso_bits in [0, VnetHeader::GSO_ECN] {
            for tcp_flags in (0..8).map(|bit| 1 << bit).chain([0xff, 0xd9]) {
                packets.push(Packet { v6, tcp_flags, gso_bits, ..Packet::default() });
            }
        }
    }
    packets
}

fn assert_same(ours: &[Vec<u8>], kernels: &[Vec<u8>], packet: &Packet) {
    assert_eq!(ours.len(), kernels.len(), "frames of {packet:?}");
    for (index, (ours, kernels)) in ours.iter().zip(kernels).enumerate() {
        let differ = ours.iter().zip(kernels).position(|(a, b)| a != b);
        assert_eq!(differ, None, "first byte of frame {index} of {packet:?}");
        assert_eq!(ours.len(), kernels.len(), "length of frame {index}");
    }
}

fn cut(header: VnetHeader, frame: &[u8]) -> Vec<Vec<u8>> {
    let mut scratch = Box::new([0; SEGMENT_BUFFER_LEN]);
    let mut frames = Vec::new();
    segment(header, frame, &mut scratch, |unit| {
        frames.push(unit[VNET_LEN..].to_vec());
    })
    .unwrap();
    frames
}

/// Runs a test on a thread of its own in a new network namespace, which ends with the thread.
fn in_lab(test: impl FnOnce(&mut Lab) + Send + 'static) {
    let run = move || {
        // SAFETY: takes no pointers; only this thread moves.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return skip("a new network namespace needs CAP_SYS_ADMIN");
        }
        match Lab::new() {
            Ok(mut lab) => test(&mut lab),
            Err(error) => skip(&format!("no TAP here: {error}")),
        }
    };
    thread::spawn(run).join().unwrap();
}

fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "skipped in CI: {why}");
    eprintln!("skipped: {why}");
}

/// A TAP without offloads, and a packet socket that sends into it.
struct Lab {
    tap: File,
    socket: OwnedFd,
}

impl Lab {
    fn new() -> io::Result<Self> {
        let tap = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")?;
        // SAFETY: an ifreq is plain bytes, for which zeroes are good.
        let mut request: libc::ifreq = unsafe { mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(*b"cut0") {
            *to = libc::c_char::try_from(from).unwrap();
        }
        let kind = libc::c_short::try_from(libc::IFF_TAP | libc::IFF_NO_PI).unwrap();
        request.ifr_ifru.ifru_flags = kind;
        // SAFETY: TUNSETIFF reads and writes an ifreq, which outlives the call.
        check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &mut request) })?;
        // SAFETY: TUNSETOFFLOAD takes a number.
        check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETOFFLOAD, 0) })?;

        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: takes no pointers.
        let socket = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: the descriptor is new and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).unwrap();
        // SAFETY: SIOCSIFFLAGS reads an ifreq, which outlives the call.
        check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) })?;

        let lab = Self { tap, socket };
        lab.expect_vnet_headers()?;
        lab.bind(&request)?;
        Ok(lab)
    }

    fn expect_vnet_headers(&self) -> io::Result<()> {
        let on: libc::c_int = 1;
        // SAFETY: the option is read from an int that outlives the call, with its size.
        check(unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                15, // PACKET_VNET_HDR of linux/if_packet.h
                (&raw const on).cast(),
                socklen::<libc::c_int>(),
            )
        })?;
        Ok(())
    }

    fn bind(&self, request: &libc::ifreq) -> io::Result<()> {
        // SAFETY: the name is of 16 bytes, the last of them zero.
        let index = unsafe { libc::if_nametoindex(request.ifr_name.as_ptr()) };
        // SAFETY: a sockaddr_ll is plain bytes, for which zeroes are good.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::sa_family_t::try_from(libc::AF_PACKET).unwrap();
        address.sll_ifindex = libc::c_int::try_from(index).unwrap();
        // SAFETY: the address outlives the call, and the length is its own.
        check(unsafe {
            libc::bind(
                self.socket.as_raw_fd(),
                (&raw const address).cast(),
                socklen::<libc::sockaddr_ll>(),
            )
        })?;
        Ok(())
    }

    /// The `count` frames that leave the TAP when this frame is sent into it.
    fn through(&mut self, header: VnetHeader, frame: &[u8], count: usize) -> Vec<Vec<u8>> {
        let mut bytes = [0; VNET_LEN];
        header.write_to(&mut bytes);
        self.send(&bytes, frame).unwrap();
        let frames = self.receive(count);
        assert!(self.next(0).is_none(), "more than {count} frames");
        frames
    }

    fn send(&self, header: &[u8; VNET_LEN], frame: &[u8]) -> io::Result<()> {
        let mut unit = header.to_vec();
        unit.extend_from_slice(frame);
        // SAFETY: the unit outlives the call, and the length is its own.
        let sent =
            unsafe { libc::send(self.socket.as_raw_fd(), unit.as_ptr().cast(), unit.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    fn receive(&mut self, count: usize) -> Vec<Vec<u8>> {
        (0..count)
            .map(|got| self.next(5000).unwrap_or_else(|| panic!("{got} frames of {count}")))
            .collect()
    }

    fn discard(&mut self) {
        while self.next(0).is_some() {}
    }

    /// The next frame of the test, or none within this many milliseconds.
    fn next(&mut self, timeout: libc::c_int) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 70_000];
        loop {
            let mut poll =
                libc::pollfd { fd: self.tap.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one pollfd, which outlives the call.
            if unsafe { libc::poll(&raw mut poll, 1, timeout) } != 1 {
                return None;
            }
            let len = self.tap.read(&mut buffer).unwrap();
            // The kernel sends IPv6 neighbour discovery by itself, from another address.
            if buffer[6..12] == [2, 0, 0, 0, 0, 2] {
                buffer.truncate(len);
                return Some(buffer);
            }
        }
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

fn socklen<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap()
}
