//! [`HostAccess`]: how the host reaches a link.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_with::{DisplayFromStr, serde_as};
use umacvlan_core::Destination;
use utoipa::ToSchema;

/// How the host, on which the parent is, reaches a link: through a link of its own on the same parent.
#[serde_as]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostAccess {
    /// The link's addresses, for each of which the host gets a route. Without any the host does not
    /// reach the link.
    #[serde_as(as = "Vec<DisplayFromStr>")]
    #[schema(value_type = Vec<String>)]
    #[serde(default)]
    pub to: Vec<Destination>,
    /// The host's own addresses on its link; derived from those of the parent if absent.
    #[schema(value_type = Vec<String>)]
    #[serde(default)]
    pub from: Vec<IpAddr>,
}

impl HostAccess {
    /// Whether the host does not reach the link.
    pub const fn is_off(&self) -> bool {
        self.to.is_empty()
    }

    /// Why the host cannot have these addresses; `None` if it can.
    pub fn fault(&self) -> Option<&'static str> {
        let several = |v4: bool| self.from.iter().filter(|ip| ip.is_ipv4() == v4).count() > 1;
        match (self.is_off(), several(true), several(false)) {
            (true, ..) if !self.from.is_empty() => {
                Some("host_address is for a link that the host reaches: expected host, too")
            }
            (_, true, _) | (.., true) => {
                Some("host_address: expected at most one address of each family")
            }
            _ => None,
        }
    }
}
