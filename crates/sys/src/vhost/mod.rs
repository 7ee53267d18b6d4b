//! The device side of vhost-user: the memory that a program shares, and the rings in it.
//!
//! [`GuestMemory`] maps the memory, [`Ring`] is one ring there. Both belong to a program that is not
//! trusted and that changes them at any time: every number is read once into memory of our own, is
//! checked there, and is never read again; bytes are copied and not looked at where they are. A ring
//! that breaks its rules is not served any further ([`RingError`]).

mod call;
mod chain;
pub mod driver;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod memory;
mod place;
mod ring;
mod ring_error;
mod sigbus;
#[cfg(test)]
mod tests;

pub use call::{CallEvent, KickEvent};
pub use memory::GuestMemory;
pub use ring::{ReadFrame, Ring, RingConfig, WriteFrame};
pub use ring_error::RingError;

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Checks that a descriptor of a program is an eventfd, which nothing else can be made of: a read
/// or a write of a pipe or of a file could wait for the program.
///
/// # Errors
/// It is none, or `/proc` is not there.
pub fn check_eventfd(fd: &OwnedFd) -> io::Result<()> {
    let kind = fs::read_link(format!("/proc/thread-self/fd/{}", fd.as_raw_fd()))?;
    match kind.to_str() {
        Some("anon_inode:[eventfd]") => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is no eventfd")),
    }
}
