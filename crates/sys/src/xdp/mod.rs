//! AF_XDP: the program that picks frames, and the sockets that it hands them to.
//!
//! A socket serves one queue of the parent and shares a piece of memory with the kernel, the UMEM,
//! cut into chunks: of one frame each, or of a piece of one that is longer. Every chunk is in exactly one place, and the `ownership` knows
//! which. Facts from `Documentation/networking/af_xdp.rst` and `net/xdp/xsk.c`.

mod baseline;
mod program;
mod setup;
mod socket;
mod umem_ownership;

pub use baseline::BaselineSocket;
pub use program::{QUEUES, RedirectRules, XdpAttachMode, XdpProgram};
pub use setup::{Binding, is_multi_buffer, longest_frame};
pub use socket::{CHUNKS_RX, NotSent, XskSocket};
