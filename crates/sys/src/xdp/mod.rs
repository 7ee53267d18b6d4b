//! AF_XDP: the program that picks frames, and the sockets that it hands them to.
//!
//! A socket serves one queue of the parent and shares a piece of memory with the kernel, the UMEM,
//! cut into chunks: of one frame each, or of a piece of one that is longer. Every chunk is in exactly one place, and the `ledger` knows
//! which. Facts from `Documentation/networking/af_xdp.rst` and `net/xdp/xsk.c`.

mod bare;
mod ledger;
mod open;
mod program;
mod socket;

pub use bare::BareSocket;
pub use open::{Binding, in_pieces, longest_frame};
pub use program::{Attached, QUEUES, Rules, XdpProgram};
pub use socket::{CHUNKS_RX, NotSent, XskSocket};
