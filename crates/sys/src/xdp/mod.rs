//! AF_XDP: the program that redirects frames, and the sockets that receive them.
//!
//! A socket is bound to one queue of the parent and shares memory with the kernel, the UMEM. Each of
//! its chunks holds one frame, or a fragment of a longer one. Every chunk has exactly one owner, which
//! `UmemOwnership` tracks. Facts from `Documentation/networking/af_xdp.rst` and `net/xdp/xsk.c`.

mod baseline;
mod program;
mod setup;
mod socket;
mod umem_ownership;

pub use baseline::BaselineSocket;
pub use program::{QUEUES, RedirectRules, Seen, XdpAttachMode, XdpProgram};
pub use setup::{Binding, is_multi_buffer, longest_frame};
pub use socket::{CHUNKS_RX, NotSent, XskSocket, umem_bytes};
