//! The engine of umacvlan: workers that forward frames, and a thread that makes parents and
//! sub-interfaces and follows what their users do to them.
//!
//! `datapath` is the way of a frame: one [`worker::Worker`] serves one wire on a thread of its own,
//! with all parents there. It reads frames from the [`uplink::Uplink`] and from the [`port`]s, asks
//! the switch of `umacvlan-core`, and writes them where it says, all at the end of a turn. `control`
//! is everything else: [`Engine`] is its handle, and one thread behind it does the work.
//!
//! The engine decides about no frame (`umacvlan-core` does) and keeps nothing on disk. It reads no
//! configuration and serves no API; the daemon does.
//!
//! Architecture invariant: `control` uses `datapath`, and `datapath` never uses `control`; there is
//! no allocation, no lock and no log on the way of a frame.
#![forbid(unsafe_code)]

mod control;
pub mod cpus;
mod datapath;

pub use control::engine::{self, Engine};
pub use control::error::{self, Error};
pub use control::{check_suitable, try_af_xdp, why_af_packet};
pub use datapath::{SwitchId, idle, memory_link, port, uplink, worker};
