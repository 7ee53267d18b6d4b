//! A native XDP program that returns every frame (`XDP_TX`), as a tenant may attach it to its own
//! interface.
#![allow(unsafe_code, reason = "two system calls of bpf(2), apart from the engine's own programs")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Commands and numbers of `linux/bpf.h` and `linux/if_link.h`.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// `r0 = XDP_TX; exit`.
static PROGRAM: [u64; 2] = [0x0000_0003_0000_00b7, 0x0000_0000_0000_0095];

/// Attaches the program to an interface in the namespace of the calling thread, until the returned
/// link is closed.
pub(crate) fn attach(index: u32) -> io::Result<OwnedFd> {
    let license = c"GPL";
    let mut load = [0_u64; 16];
    load[0] = u64::from(BPF_PROG_TYPE_XDP) | (PROGRAM.len() as u64) << 32;
    load[1] = PROGRAM.as_ptr().addr() as u64;
    load[2] = license.as_ptr().addr() as u64;
    let program = bpf(BPF_PROG_LOAD, &load)?;
    let mut link = [0_u64; 16];
    let fd = u32::try_from(program.as_raw_fd()).unwrap();
    link[0] = u64::from(fd) | u64::from(index) << 32;
    link[1] = u64::from(BPF_XDP) | u64::from(XDP_FLAGS_DRV_MODE) << 32;
    bpf(BPF_LINK_CREATE, &link)
}

/// A command that returns a descriptor. Pairs of 32-bit fields are in the order of little endian.
fn bpf(command: libc::c_int, attributes: &[u64; 16]) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads the attributes, and the program and license that they point to, all
    // of which outlive the call.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(attributes))
    };
    let fd = i32::try_from(fd).ok().filter(|&fd| fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: bpf(2) has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
