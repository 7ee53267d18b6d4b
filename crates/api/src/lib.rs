//! What the daemon and its clients say to each other: plain data, read and written as JSON.
//!
//! Sub-interfaces are called links here, as users of `ip link` know them. What is shown of one
//! ([`LinkView`]) has the names and the shape of `ip -j -d -s -s link show`, and ours beside them.
#![allow(missing_docs, reason = "TEMPORARY")]

mod answer;
mod counters;
mod event;
mod link;
mod parent;
mod problem;
mod socket;
mod spec;

pub use answer::{Changes, Health, LogFilter, NewLink, Saved};
pub use counters::{Amount, Reasons, SubCounters, WireCounters, WorkerCounters};
pub use event::{EventView, Happening};
pub use link::{InfoData, InfoDataError, LinkInfo, LinkView, Own, RxStats, Stats, TxStats};
pub use parent::{ParentView, WorkerView};
pub use problem::{Code, Problem};
pub use socket::{DEFAULT_SOCKET, socket_path};
pub use spec::{Flags, LinkChange, LinkSpec, MacaddrChange, MacaddrOp, MacvlanChange};

/// The namespace of the client itself, where one is asked for: the daemon finds it by the peer
/// credentials of the connection. No interface file, name or process id begins with this sign.
pub const CALLER: &str = "@caller";
