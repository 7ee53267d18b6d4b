//! [`EventView`]: an event, one JSON object a line.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{DhcpView, LinkView};

/// An event.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct EventView {
    /// Time of the event: seconds since 1970, with a fraction.
    pub time: f64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = Happening)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A parent has gained or lost its carrier.
    Carrier {
        /// Name of the parent.
        parent: String,
        /// Whether it has a carrier now.
        on: bool,
    },
    /// A link has another address by DHCP, or none any more.
    Lease {
        /// Number of the link.
        id: u64,
        /// Name of its interface.
        ifname: String,
        /// What it has now.
        dhcp: Box<DhcpView>,
    },
    /// A link was made, or re-adopted by a daemon that has started.
    LinkAdded {
        /// The link.
        link: Box<LinkView>,
    },
    /// A setting of a link has changed, such as address, name, MTU, state, mode or groups.
    LinkChanged {
        /// The link as it is now.
        link: Box<LinkView>,
        /// Names of the fields that have changed.
        changed: Vec<String>,
    },
    /// A link is gone.
    LinkDeleted {
        /// Number of the link.
        id: u64,
        /// Name of its interface.
        ifname: String,
        /// Name of its parent.
        parent: String,
    },
    /// A link was moved to another namespace.
    LinkMoved {
        /// The link as it is now.
        link: Box<LinkView>,
        /// The namespace that it left; absent for the daemon's own.
        from: Option<String>,
    },
    /// Events were lost because this client reads too slowly.
    Lost {
        /// How many.
        count: u64,
    },
    /// The interface of a lost parent is back.
    ParentBack {
        /// Name of the parent.
        parent: String,
    },
    /// The interface of a parent is gone; its links stay, without carrier.
    ParentLost {
        /// Name of the parent.
        parent: String,
    },
    /// The interface of a parent was renamed; its links stay with it.
    ParentRenamed {
        /// Name of the parent now.
        parent: String,
        /// Its former name.
        from: String,
    },
    /// The configuration was reloaded.
    Reloaded {
        /// How many changes were made.
        changes: usize,
    },
    /// A change of a link's interface broke a rule of macvlan and was reverted.
    Reverted {
        /// Name of the interface.
        ifname: String,
        /// Which rule, and what was done.
        why: String,
    },
    /// The daemon could not do a part of its work.
    Trouble {
        /// What failed, and why.
        what: String,
    },
}
