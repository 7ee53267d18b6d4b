//! The engine of umacvlan: a thread that makes parents and sub-interfaces, gives them to the workers
//! of `umacvlan-datapath`, and follows what their users do to them.
//!
//! [`Engine`] is the handle of that thread, whose work is in `control`.
//!
//! Architecture invariant: the engine decides about no frame (`umacvlan-core` does), is not on the way
//! of any (`umacvlan-datapath` is), and keeps nothing on disk. It reads no configuration and serves no
//! API; the daemon does.
#![forbid(unsafe_code)]

mod control;
pub mod cpus;

pub use control::engine::{self, Engine};
pub use control::error::{self, Error};
pub use control::{
    check_suitable, running_kernel, try_af_xdp, try_running_kernel, why_af_packet, zero_copy_memory,
};
