//! The IP addresses of links that share the MAC address of their parent: as records, and as clients see
//! them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_with::{DisplayFromStr, serde_as};
use umacvlan_api::NeighbourView;
use umacvlan_core::MacAddr;
use umacvlan_engine::engine::{NeighbourStatus, ParentStatus, SubId};

/// An IP address of a link.
#[serde_as]
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct NeighbourRecord {
    /// Number of the link.
    pub link: u64,
    pub address: IpAddr,
    /// The address from which the link sends.
    #[serde_as(as = "DisplayFromStr")]
    pub mac: MacAddr,
}

impl From<&NeighbourStatus> for NeighbourRecord {
    fn from(&NeighbourStatus { sub, address, mac, .. }: &NeighbourStatus) -> Self {
        Self { link: sub.0, address, mac }
    }
}

impl From<&NeighbourRecord> for NeighbourStatus {
    fn from(&NeighbourRecord { link, address, mac }: &NeighbourRecord) -> Self {
        Self::former(SubId(link), address, mac)
    }
}

/// The addresses of the links of a parent.
pub(crate) fn views(status: &ParentStatus) -> Vec<NeighbourView> {
    let name = |sub: SubId| {
        let found = status.subs.iter().find(|it| it.number == sub);
        found.map(|it| it.name.clone()).unwrap_or_default()
    };
    let view = |it: &NeighbourStatus| NeighbourView {
        address: it.address.to_string(),
        link: it.sub.0,
        ifname: name(it.sub),
        lladdr: it.mac.to_string(),
        idle: it.idle.as_secs(),
    };
    status.neighbours.iter().flatten().map(view).collect()
}
