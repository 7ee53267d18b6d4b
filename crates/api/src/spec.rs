//! What a link is asked to be, and to become.

use serde::{Deserialize, Serialize};
use serde_with::{DisplayFromStr, serde_as, skip_serializing_none};
use umacvlan_core::{MacAddr, Mode};
use utoipa::ToSchema;

/// What a new link is to be: an entry of the configuration, and the body of a request. The words
/// are those of `ip link add`.
#[serde_as]
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkSpec {
    /// The parent's name, in the daemon's namespace.
    pub parent: String,
    /// Its address; a random one if absent. Passthru takes the parent's.
    #[serde_as(as = "Option<DisplayFromStr>")]
    #[schema(value_type = Option<String>)]
    pub address: Option<MacAddr>,
    /// Text for people, as of `ip link set alias`.
    pub alias: Option<String>,
    /// It listens to every group.
    #[serde(default)]
    pub allmulticast: bool,
    /// The port-wide limit above which a group takes the broadcast queue.
    pub bclim: Option<i32>,
    /// Requested length of the broadcast queue, in frames.
    pub bcqueuelen: Option<u32>,
    /// Source mode: the stations it hears.
    #[serde_as(as = "Vec<DisplayFromStr>")]
    #[schema(value_type = Vec<String>)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macaddr: Vec<MacAddr>,
    /// Its mode; vepa, as for the kernel, if absent.
    #[serde_as(as = "DisplayFromStr")]
    #[schema(value_type = String)]
    #[serde(default)]
    pub mode: Mode,
    /// Its MTU in bytes; the parent's if absent.
    pub mtu: Option<u32>,
    /// The namespace it is made in: a name, a path or the id of a process; `@caller` for the
    /// client's own; the daemon's if absent.
    pub netns: Option<String>,
    /// Source mode: what the stations of its list send goes to nobody else.
    #[serde(default)]
    pub nodst: bool,
    /// Passthru: leave the parent's promiscuous setting alone.
    #[serde(default)]
    pub nopromisc: bool,
    /// It listens to every group, and its parent to everything.
    #[serde(default)]
    pub promisc: bool,
    /// Frames that may wait for the engine.
    pub txqueuelen: Option<u32>,
    /// Set it up; if absent a request does not, and the configuration does.
    pub up: Option<bool>,
}

/// What is to become of a link; what is absent stays. Steps are taken in the order of these
/// fields; the first one refused ends it, and those before it remain, as with `ip link set`.
#[serde_as]
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkChange {
    /// Its mode and what belongs to it.
    pub macvlan: Option<MacvlanChange>,
    /// The namespace to move to: a name, a path, the id of a process, or `@caller`.
    pub netns: Option<String>,
    /// Its address.
    #[serde_as(as = "Option<DisplayFromStr>")]
    #[schema(value_type = Option<String>)]
    pub address: Option<MacAddr>,
    /// Its MTU in bytes.
    pub mtu: Option<u32>,
    /// Frames that may wait for the engine.
    pub txqueuelen: Option<u32>,
    /// Its name.
    pub name: Option<String>,
    /// Text for people; empty for none.
    pub alias: Option<String>,
    /// It listens to every group, and its parent to everything.
    pub promisc: Option<bool>,
    /// It listens to every group.
    pub allmulticast: Option<bool>,
    /// Up or down.
    pub up: Option<bool>,
}

/// What `ip link set NAME type macvlan ...` can change, in the kernel's order.
#[serde_as]
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MacvlanChange {
    /// The mode.
    #[serde_as(as = "Option<DisplayFromStr>")]
    #[schema(value_type = Option<String>)]
    pub mode: Option<Mode>,
    /// All flags at once: those not named are cleared.
    pub flags: Option<Flags>,
    /// Requested length of the broadcast queue, in frames.
    pub bcqueuelen: Option<u32>,
    /// The port-wide limit above which a group takes the broadcast queue.
    pub bclim: Option<i32>,
    /// What to do with the source list.
    pub macaddr: Option<MacaddrChange>,
}

/// The flags of a link.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Flags {
    /// Source mode: what the stations of its list send goes to nobody else.
    #[serde(default)]
    pub nodst: bool,
    /// Passthru: leave the parent's promiscuous setting alone.
    #[serde(default)]
    pub nopromisc: bool,
}

/// What to do with a source list.
#[serde_as]
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MacaddrChange {
    /// Add or take off each of these stations, or have these and no others.
    pub op: MacaddrOp,
    /// The stations.
    #[serde_as(as = "Vec<DisplayFromStr>")]
    #[schema(value_type = Vec<String>)]
    #[serde(default)]
    pub addresses: Vec<MacAddr>,
}

/// How a source list is changed.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MacaddrOp {
    /// Add stations.
    Add,
    /// Take stations off.
    Del,
    /// Replace the list; by nothing, to flush it.
    Set,
}
