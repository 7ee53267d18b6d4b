//! The system calls of umacvlan, each behind a safe function: packet sockets, TAPs, io_uring,
//! AF_XDP, BPF programs, namespaces, netlink sockets.
//!
//! One system call per `unsafe` block, one safe function around it. Memory that the kernel may still
//! write to (ring slots, lent buffers) is handed out as a slice only while this process owns it.
//! That is checked at run time, so no caller can reach memory at the wrong moment.
//!
//! This crate does not know switches, parents or sub-interfaces, and it does not interpret netlink
//! messages: `umacvlan-netlink` does. The feature `af-xdp` compiles the programs of `bpf/`.
//!
//! Architecture invariant: `unsafe` is in this crate only, and it depends on `umacvlan-core` only.
#![allow(unsafe_code, reason = "system calls; one per block, each with its SAFETY line")]

pub mod address_filter;
pub mod bpf;
pub mod buffer_pool;
pub mod call_aside;
pub mod close_aside;
pub mod dhcp_socket;
pub mod epoll;
pub mod ethtool;
pub mod eventfd;
mod fanout;
pub mod holder;
pub mod interface_lock;
pub mod kept_packet;
mod mapping;
pub mod message_socket;
pub mod netlink;
pub mod netns;
pub mod packet;
pub mod peer_groups;
pub mod poll;
pub mod port_datagrams;
pub mod port_listener;
pub mod port_socket;
pub mod process;
pub mod raw_socket;
pub mod rx_batch;
pub mod rx_ring;
pub mod syscall_count;
pub mod tap;
pub mod tcp_info;
pub mod timestamp_ring;
pub mod tx_batch;
pub mod udp_batch;
pub mod uring;
pub mod vhost;
pub mod wire_form;
#[cfg(feature = "af-xdp")]
pub mod xdp;

use std::io;

/// True if the `len` bytes from `at` on lie within `room` bytes, for any numbers.
#[inline]
const fn fits(at: usize, len: usize, room: usize) -> bool {
    at <= room && len <= room - at
}

/// The value of a system call, or the error that it left in `errno`.
fn checked(returned: libc::c_int) -> io::Result<libc::c_int> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

/// The size of `T` as the kernel's `socklen_t`.
fn size<T>() -> libc::socklen_t {
    // Every type handed to a socket option here is far below 4 GiB.
    #[allow(clippy::cast_possible_truncation, reason = "see the line above")]
    const {
        size_of::<T>() as libc::socklen_t
    }
}
