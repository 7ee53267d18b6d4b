//! [`EventView`]: what happens, one object a line.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::link::LinkView;

/// Something that has happened.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct EventView {
    /// When: seconds since 1970, with the microseconds behind the point.
    pub time: f64,
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A parent has got or lost its carrier.
    Carrier { parent: String, on: bool },
    /// A link was made, or found again by a daemon that has started.
    LinkAdded { link: Box<LinkView> },
    /// Something else of a link has changed: address, name, MTU, state, mode, groups.
    LinkChanged { link: Box<LinkView>, changed: Vec<String> },
    /// A link is gone.
    LinkDeleted { id: u64, ifname: String, parent: String },
    /// A link lives in another namespace now.
    LinkMoved { link: Box<LinkView>, from: Option<String> },
    /// Events were lost, because this client reads too slowly.
    Lost { count: u64 },
    /// An interface with the name of a lost parent has come, and taken its place.
    ParentBack { parent: String },
    /// A parent is gone; its links stay, without carrier.
    ParentLost { parent: String },
    /// The configuration was applied again.
    Reloaded { changes: usize },
    /// What was done on a link's interface is against the rules, and was undone.
    Reverted { ifname: String, why: String },
    /// The daemon could not do something by itself that it should have done.
    Trouble { what: String },
}
