//! [`Lease`]: what the daemon has got for a link by DHCP.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use umacvlan_api::{DhcpView, LinkView};
use umacvlan_client::{Client, RequestError, item_path};
use umacvlan_netlink::{IpPrefix, Route};

use super::ContainerLink;
use super::link::LINKS;

/// The interval between two looks at the state of the link.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The maker of routes from DHCP (`RTPROT_DHCP` of linux/rtnetlink.h).
const RTPROT_DHCP: u8 = 16;

/// What a link has by DHCP, which the daemon has assigned to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) address: IpPrefix,
    /// The router of the default route.
    pub(crate) gateway: Option<IpAddr>,
    /// The routes by a router.
    pub(crate) routes: Vec<Route>,
    pub(crate) dns: Vec<IpAddr>,
    pub(crate) domain: Option<String>,
}

/// Why a link has no lease.
#[derive(Debug)]
pub(crate) enum NoLease {
    /// The daemon cannot be asked.
    Request(RequestError),
    /// The interface cannot be set up or read.
    Interface(anyhow::Error),
    /// The time is over, and this is how far the daemon has come.
    Late { ifname: String, limit: Duration, state: Option<Box<DhcpView>> },
}

impl Display for NoLease {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(error) => error.fmt(f),
            Self::Interface(error) => f.write_str(&umacvlan_text::output::one_line(error)),
            Self::Late { ifname, limit, state } => {
                let state = state.as_ref();
                let at = state.map_or("off", |state| state.state.as_str());
                write!(f, "{ifname} has no address by DHCP after {} s, ", limit.as_secs())?;
                match state.and_then(|state| state.trouble.as_ref()) {
                    Some(trouble) => write!(f, "state {at}: {trouble}"),
                    None => {
                        write!(f, "state {at}: does a DHCP server answer on the parent's network?")
                    }
                }
            }
        }
    }
}

impl std::error::Error for NoLease {}

/// Sets a link up that is called so in the namespace at `netns`, and waits until the daemon has
/// assigned what a DHCP server gives.
///
/// # Errors
/// As [`NoLease`] says.
pub(crate) fn wait_for_lease(
    client: &mut Client,
    interface: &mut ContainerLink<'_>,
    netns: &str,
    limit: Duration,
) -> Result<Lease, NoLease> {
    let ifname = interface.name.clone();
    interface.configure(&[], &[], false).map_err(NoLease::Interface)?;
    let path = item_path(LINKS, &ifname);
    let end = Instant::now() + limit;
    loop {
        let view: LinkView = client.get(&path, &[("netns", netns)]).map_err(NoLease::Request)?;
        let state = view.umacvlan.dhcp;
        if let Some((address, state)) = state.as_ref().and_then(|it| Some((assigned(it)?, it))) {
            return interface.lease(address, state).map_err(NoLease::Interface);
        }
        if Instant::now() >= end {
            return Err(NoLease::Late { ifname, limit, state: state.map(Box::new) });
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// The address that a link has by DHCP now; `None` if it has none, or not all that comes with it.
pub(crate) fn assigned(state: &DhcpView) -> Option<IpPrefix> {
    let has_lease = ["bound", "renewing", "rebinding"].contains(&state.state.as_str());
    let address = state.address.as_ref().filter(|_| has_lease && state.trouble.is_none());
    address?.parse().ok()
}

impl ContainerLink<'_> {
    /// What the daemon has assigned to this interface.
    fn lease(&mut self, address: IpPrefix, state: &DhcpView) -> anyhow::Result<Lease> {
        let mut routes = self.all_routes()?;
        routes.retain(|route| {
            let own = route.index == Some(self.index) && route.protocol == RTPROT_DHCP;
            own && route.via.is_some()
        });
        let first = state.routers.first().and_then(|router| router.parse().ok());
        let default = || routes.iter().find(|route| route.to.is_any())?.via;
        Ok(Lease {
            address,
            gateway: first.or_else(default),
            dns: state.dns.iter().filter_map(|server| server.parse().ok()).collect(),
            domain: state.domain.clone(),
            routes,
        })
    }
}
