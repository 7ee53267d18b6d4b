//! Settings of a new link, and changes of a link.

use serde::{Deserialize, Serialize};
use serde_with::{DisplayFromStr, serde_as, skip_serializing_none};
use umacvlan_core::{MacAddr, Mode};
use utoipa::ToSchema;

/// Settings of a new link: an entry of the configuration, and the body of a request. The words are
/// those of `ip link add`.
#[serde_as]
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkSpec {
    /// Name of the parent, in the daemon's namespace.
    pub parent: String,
    /// MAC address; random if absent. In mode passthru it is the parent's.
    #[serde_as(as = "Option<DisplayFromStr>")]
    #[schema(value_type = Option<String>)]
    pub address: Option<MacAddr>,
    /// Alias, as set by `ip link set alias`.
    pub alias: Option<String>,
    /// Receive all multicast groups.
    #[serde(default)]
    pub allmulticast: bool,
    /// Broadcast limit of the parent: a multicast address with more receivers than this uses the
    /// broadcast queue.
    pub bclim: Option<i32>,
    /// Requested length of the broadcast queue, in frames.
    pub bcqueuelen: Option<u32>,
    /// Source mode: the source list, the addresses that the link receives from.
    #[serde_as(as = "Vec<DisplayFromStr>")]
    #[schema(value_type = Vec<String>)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macaddr: Vec<MacAddr>,
    /// Mode; `vepa` if absent, as for the kernel.
    #[serde_as(as = "DisplayFromStr")]
    #[schema(value_type = String)]
    #[serde(default)]
    pub mode: Mode,
    /// MTU in bytes; the parent's if absent.
    pub mtu: Option<u32>,
    /// Namespace in which the link is made: a name, a path or a process id; `@caller` for the
    /// client's own; the daemon's if absent.
    pub netns: Option<String>,
    /// Source mode: frames from addresses of the source list go to no other link.
    #[serde(default)]
    pub nodst: bool,
    /// Passthru: do not set the parent promiscuous.
    #[serde(default)]
    pub nopromisc: bool,
    /// Receive all multicast groups, and have the parent receive all frames.
    #[serde(default)]
    pub promisc: bool,
    /// Transmit queue length: frames that may wait for the engine.
    pub txqueuelen: Option<u32>,
    /// Set the link up. If absent, a request leaves it down, and the configuration sets it up.
    pub up: Option<bool>,
}

/// Changes of a link; absent fields stay as they are. Changes are made in the order of these
/// fields; the first one refused ends the request, and those before it remain, as with `ip link
/// set`.
#[serde_as]
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkChange {
    /// Macvlan settings.
    pub macvlan: Option<MacvlanChange>,
    /// Namespace to move the link to: a name, a path, a process id, or `@caller`.
    pub netns: Option<String>,
    /// MAC address.
    #[serde_as(as = "Option<DisplayFromStr>")]
    #[schema(value_type = Option<String>)]
    pub address: Option<MacAddr>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// Transmit queue length: frames that may wait for the engine.
    pub txqueuelen: Option<u32>,
    /// Name of the interface.
    pub name: Option<String>,
    /// Alias; empty to remove it.
    pub alias: Option<String>,
    /// Receive all multicast groups, and have the parent receive all frames.
    pub promisc: Option<bool>,
    /// Receive all multicast groups.
    pub allmulticast: Option<bool>,
    /// Set the link up, or down.
    pub up: Option<bool>,
}

/// Settings that `ip link set NAME type macvlan ...` can change, in the kernel's order.
#[serde_as]
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MacvlanChange {
    /// The mode.
    #[serde_as(as = "Option<DisplayFromStr>")]
    #[schema(value_type = Option<String>)]
    pub mode: Option<Mode>,
    /// All flags at once; those that are absent are cleared.
    pub flags: Option<Flags>,
    /// Requested length of the broadcast queue, in frames.
    pub bcqueuelen: Option<u32>,
    /// Broadcast limit of the parent: a multicast address with more receivers than this uses the
    /// broadcast queue.
    pub bclim: Option<i32>,
    /// Change of the source list.
    pub macaddr: Option<MacaddrChange>,
}

/// Flags of a link.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Flags {
    /// Source mode: frames from addresses of the source list go to no other link.
    #[serde(default)]
    pub nodst: bool,
    /// Passthru: do not set the parent promiscuous.
    #[serde(default)]
    pub nopromisc: bool,
}

/// Change of a source list.
#[serde_as]
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MacaddrChange {
    /// Add or remove addresses, or replace the list.
    pub op: MacaddrOp,
    /// The addresses.
    #[serde_as(as = "Vec<DisplayFromStr>")]
    #[schema(value_type = Vec<String>)]
    #[serde(default)]
    pub addresses: Vec<MacAddr>,
}

/// How a source list is changed.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MacaddrOp {
    /// Add addresses.
    Add,
    /// Remove addresses.
    Del,
    /// Replace the list; without addresses, empty it.
    Set,
}
