//! Several packet sockets that share the frames of one interface (`PACKET_FANOUT`, `packet(7)`).
//!
//! Who gets a frame is decided by its flow: addresses, protocol and ports, alike in both directions
//! (`fanout_demux_hash` in `net/packet/af_packet.c`: `hash * sockets >> 32`, with the hash of
//! `__skb_get_hash_symmetric`, which is also that of a TAP's queues). So one socket gets a flow in
//! order. A frame that is no IP packet belongs to the flow of its EtherType, and all fragments
//! between two addresses to one, whatever the ports of the first.
//!
//! The sockets stand in the group in the order in which they joined, which is that in which they
//! were opened: the kernel takes them out when the interface goes down, and in again by their age
//! (Linux 5.2; before that the other way round). While they come in again, one by one, some frames
//! of a flow can overtake others.

use std::io;
use std::os::fd::AsRawFd;

use socket2::SockFilter;

use super::packet::{PacketSocket, set_option};

/// `PACKET_FANOUT_FLAG_IGNORE_OUTGOING` of `linux/if_packet.h` (Linux 6.2; others do not look at
/// it): a group does not heed the option of its sockets.
const IGNORE_OUTGOING: u32 = 0x4000;

/// `PACKET_FANOUT_FLAG_UNIQUEID` of `linux/if_packet.h`: the kernel chooses a free number.
const UNIQUE: u32 = 0x2000;

impl PacketSocket {
    /// Opens so many sockets as [`PacketSocket::open`] does, of which each gets the frames of some
    /// flows, and all of them together every frame once.
    ///
    /// # Errors
    /// `NetworkDown` for an interface that is down, before Linux 6.13; else as
    /// [`PacketSocket::open`].
    pub fn open_group(index: u32, mtu: u32, count: usize) -> io::Result<Vec<Self>> {
        let unbound = (0..count).map(|_| Self::unbound(index, mtu));
        let sockets: Vec<Self> = unbound.collect::<io::Result<_>>()?;
        // A socket that is bound and not yet in the group gets every frame, and one in a group that
        // is not yet complete the frames of others: until all are in, none gets any.
        for packet in &sockets {
            packet.socket.attach_filter(&NOTHING)?;
            packet.bind()?;
        }
        let mut group = None;
        for packet in &sockets {
            packet.join_group(group)?;
            group = Some(packet.group()?);
        }
        for packet in &sockets {
            packet.socket.attach_filter(&INCOMING)?;
        }
        Ok(sockets)
    }

    /// Joins the group of that number, or a new one.
    fn join_group(&self, group: Option<u32>) -> io::Result<()> {
        let flags = match group {
            Some(_) => IGNORE_OUTGOING,
            None => IGNORE_OUTGOING | UNIQUE,
        };
        let request = group.unwrap_or(0) | (libc::PACKET_FANOUT_HASH | flags) << 16;
        set_option(&self.socket, libc::PACKET_FANOUT, &request).map_err(|error| {
            match error.raw_os_error() {
                // All else is right: the socket does not run, because its interface does not.
                Some(libc::EINVAL) => io::ErrorKind::NetworkDown.into(),
                _ => error,
            }
        })
    }

    /// The number of the group that the socket is in.
    fn group(&self) -> io::Result<u32> {
        let mut group: u32 = 0;
        let mut len = super::size::<u32>();
        let value: *mut u32 = &raw mut group;
        let fd = self.socket.as_raw_fd();
        // SAFETY: the value outlives the call and has the length given.
        let got = unsafe {
            libc::getsockopt(fd, libc::SOL_PACKET, libc::PACKET_FANOUT, value.cast(), &raw mut len)
        };
        super::checked(got)?;
        Ok(group & 0xffff)
    }
}

/// Instructions of `linux/filter.h`: return, load a word, jump if equal.
const RETURN: u16 = 0x06;
const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;

/// Where a filter finds out who a frame is for (`SKF_AD_OFF + SKF_AD_PKTTYPE`), and that it is one
/// that the machine sends itself (`PACKET_OUTGOING` of `linux/if_packet.h`).
const PACKET_TYPE: u32 = 0xffff_f004;
const OUTGOING: u32 = 4;

/// Lets no frame through.
const NOTHING: [SockFilter; 1] = [SockFilter::new(RETURN, 0, 0, 0)];

/// Lets whole frames through, but for those that the machine sends itself.
const INCOMING: [SockFilter; 4] = [
    SockFilter::new(LOAD, 0, 0, PACKET_TYPE),
    SockFilter::new(JUMP_EQUAL, 0, 1, OUTGOING),
    SockFilter::new(RETURN, 0, 0, 0),
    SockFilter::new(RETURN, 0, 0, u32::MAX),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::fd::{AsFd, OwnedFd};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;
    use crate::netlink::Rtnl;
    use crate::privilege::root_or_skip;
    use crate::sys::blast;
    use crate::sys::netns::Netns;

    const IPV4: u16 = 0x0800;
    const FLOWS: u8 = 32;
    const ROUNDS: u16 = 40;

    /// A datagram of a flow, with a number in it.
    fn datagram(flow: u8, number: u16) -> [u8; 60] {
        let mut frame = [0; 60];
        frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
        frame[14..34].copy_from_slice(&[
            0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1,
        ]);
        frame[34..42].copy_from_slice(&[80, flow, 0, 9, 0, 26, 0, 0]);
        frame[42..44].copy_from_slice(&number.to_be_bytes());
        frame
    }

    /// What a ring has got: the numbers of each flow, in the order in which they came.
    fn drain(packet: &mut PacketSocket, seen: &mut BTreeMap<u8, Vec<u16>>) -> usize {
        let mut count = 0;
        while let Some(received) = packet.ring.receive() {
            let bytes = &packet.ring.bytes(received.slot, received.at, received.len)[10..];
            if let [80, flow, 0, 9, _, _, _, _, high, low, ..] = bytes[34..] {
                seen.entry(flow).or_default().push(u16::from_be_bytes([high, low]));
                count += 1;
            }
            packet.ring.release();
        }
        count
    }

    #[test]
    fn while_a_group_forms_no_frame_comes_twice_and_then_none_is_missing() {
        if !root_or_skip("while_a_group_forms_no_frame_comes_twice_and_then_none_is_missing") {
            return;
        }
        let netns = Netns::create().unwrap();
        let mut rtnl = Rtnl::open_in(&netns).unwrap();
        rtnl.add_veth("w0", "p0", None).unwrap();
        let [wire, parent] = ["w0", "p0"].map(|name| {
            let index = rtnl.link(name).unwrap().unwrap().index;
            rtnl.set_up(index, true).unwrap();
            index
        });
        let sender = netns.run(|| blast::open(wire, IPV4)).unwrap().unwrap();
        // What happens in between takes microseconds: a large group, and often, meets it.
        for _ in 0..4 {
            let mut sockets = while_sending(&sender, || {
                netns.run(|| PacketSocket::open_group(parent, 1500, 16)).unwrap().unwrap()
            });
            let mut seen = BTreeMap::new();
            let each: Vec<usize> = sockets.iter_mut().map(|one| drain(one, &mut seen)).collect();
            let spread = each.iter().filter(|&&count| count > 0).count();
            assert!(spread > 4, "most got nothing: {each:?}");
            assert_eq!(seen.len(), usize::from(FLOWS));
            for (flow, numbers) in seen {
                // The first round may have begun before the group was whole.
                assert!(numbers.len() >= usize::from(ROUNDS) - 1, "flow {flow}: {numbers:?}");
                let whole = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
                assert!(whole, "flow {flow}: {numbers:?}");
            }
        }
    }

    /// Does something while datagrams are sent, of which some more follow.
    fn while_sending<T>(sender: &OwnedFd, act: impl FnOnce() -> T) -> T {
        let (done, going) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                let (mut number, mut left) = (0, ROUNDS);
                while left > 0 {
                    number += 1;
                    for flow in 0..FLOWS {
                        let frame = datagram(flow, number);
                        while blast::send(sender.as_fd(), &frame, 1).unwrap() == 0 {}
                    }
                    going.store(true, Ordering::Release);
                    left -= u16::from(done.load(Ordering::Acquire));
                }
            });
            while !going.load(Ordering::Acquire) {
                thread::yield_now();
            }
            let made = act();
            done.store(true, Ordering::Release);
            made
        })
    }

    #[test]
    fn a_group_does_not_hear_its_own_machine() {
        if !root_or_skip("a_group_does_not_hear_its_own_machine") {
            return;
        }
        let netns = Netns::create().unwrap();
        let mut rtnl = Rtnl::open_in(&netns).unwrap();
        rtnl.add_veth("w0", "p0", None).unwrap();
        let [wire, parent] = ["w0", "p0"].map(|name| {
            let index = rtnl.link(name).unwrap().unwrap().index;
            rtnl.set_up(index, true).unwrap();
            index
        });
        let group = || PacketSocket::open_group(parent, 1500, 2);
        let mut sockets = netns.run(group).unwrap().unwrap();
        // Another program on the parent, and then the wire.
        for (index, number) in [(parent, 1), (wire, 2)] {
            let sender = netns.run(|| blast::open(index, IPV4)).unwrap().unwrap();
            for flow in 0..FLOWS {
                assert_eq!(blast::send(sender.as_fd(), &datagram(flow, number), 1).unwrap(), 1);
            }
        }
        let mut seen = BTreeMap::new();
        sockets.iter_mut().for_each(|one| _ = drain(one, &mut seen));
        assert!(seen.len() == usize::from(FLOWS) && seen.values().all(|n| *n == [2]), "{seen:?}");
    }
}
