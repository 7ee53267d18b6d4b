//! What the daemon and its clients say to each other: plain data, read and written as JSON.
//!
//! Sub-interfaces are called links here, as users of `ip link` know them. What is shown of one
//! ([`LinkView`]) has the names and the shape of `ip -j -d -s -s link show`, and ours beside them.

mod answer;
mod counters;
mod event;
mod link;
mod parent;
mod problem;
mod spec;

pub(crate) use answer::{Changes, Health, LogFilter, NewLink, Saved};
pub(crate) use counters::{Amount, Reasons, SubCounters, WireCounters, WorkerCounters};
pub(crate) use event::{EventView, Happening};
pub(crate) use link::{InfoData, LinkInfo, LinkView, Own, RxStats, Stats, TxStats};
pub(crate) use parent::{ParentView, WorkerView};
pub(crate) use problem::{Code, Problem};
pub(crate) use spec::{Flags, LinkChange, LinkSpec, MacaddrChange, MacaddrOp, MacvlanChange};

/// The namespace of the client itself, where one is asked for: the daemon finds it by the peer
/// credentials of the connection. No interface file, name or process id begins with this sign.
pub(crate) const CALLER: &str = "@caller";
