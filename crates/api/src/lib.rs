//! JSON types that the daemon and its clients exchange, and the path of the daemon's socket.
//!
//! Requests: [`NewLink`] and [`LinkChange`] (settings of a link, with the words of `ip link`),
//! [`LogFilter`]. Responses: [`LinkView`], [`ParentView`], [`EventView`], and [`Problem`] for every
//! failure. Sub-interfaces are called links here, as users of `ip link` know them; a [`LinkView`]
//! has the fields of `ip -j -d -s -s link show` and umacvlan's own in one object beside them.
//!
//! The doc comments of these types become the descriptions of `/openapi.json`. There is no
//! transport here: `umacvlan-client` sends requests, `umacvlan-daemon` answers them.
//!
//! Architecture invariant: plain data, made of types of `umacvlan-core`; the engine is unknown
//! here.

mod answer;
mod capture;
mod counters;
mod dhcp;
mod event;
mod flags;
mod host_access;
mod last_event;
mod limits;
mod link;
mod link_port;
mod macaddr;
mod parent;
mod problem;
mod rules;
mod socket;
mod spec;
mod strict_json;

pub use answer::{Changes, Health, LogFilter, NewLink, Saved};
pub use capture::{CapturePoint, CaptureSpec, CaptureView, CapturedFrame, FrameFate};
pub use counters::{Amount, Reasons, SubCounters, WireCounters, WorkerCounters};
pub use dhcp::{Dhcp, DhcpView};
pub use event::{EventKind, EventView};
pub use flags::{Flags, KernelFlags};
pub use host_access::HostAccess;
pub use last_event::LastEvent;
pub use limits::LimitsJson;
pub use link::{
    InfoData, InfoDataError, InterfaceView, LinkInfo, LinkView, PortView, RxStats, Stats, TxStats,
    UmacvlanInfo, VhostView,
};
pub use parent::{NeighbourView, ParentView, WorkerView};
pub use problem::{Code, Problem};
pub use rules::RulesJson;
pub use socket::{DEFAULT_SOCKET, socket_path};
pub use spec::{LinkChange, LinkKind, LinkSpec, MacaddrChange, MacaddrOp, MacvlanChange};
pub use strict_json::from_strict_json;

/// The client's own namespace, in place of a namespace's name. The daemon finds it by the peer
/// credentials of the connection. No name, path or process id begins with `@`.
pub const CALLER: &str = "@caller";
