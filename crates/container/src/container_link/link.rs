//! The link itself, which the daemon makes and removes.

use umacvlan_netlink::{self as netlink, Route, Rtnl};

use umacvlan_api::{LinkSpec, LinkView, NewLink};
use umacvlan_client::{Client, RequestError};

/// Where the daemon has its links.
const LINKS: &str = "/v1/links";

/// Makes a link called `name`, in the namespace that `spec` names, and returns what it is like:
/// its address, its MTU. `owner` is text by which [`remove`] finds it, wherever it is by then.
///
/// # Errors
/// The daemon's reason, or that it cannot be asked.
pub(crate) fn make(
    client: &mut Client,
    name: &str,
    spec: LinkSpec,
    owner: &str,
) -> Result<LinkView, RequestError> {
    let new = NewLink { name: name.to_owned(), owner: Some(owner.to_owned()), spec };
    client.post(LINKS, &[], &new)
}

/// Removes every link of `owner`; that there is none is no error.
///
/// # Errors
/// The daemon's reason, or that it cannot be asked.
pub(crate) fn remove(client: &mut Client, owner: &str) -> Result<(), RequestError> {
    client.delete(LINKS, &[("owner", owner)])
}

/// The parent where none is named: the interface of this namespace's default route, of IPv4 before
/// IPv6, and with the smallest metric. `None` if there is no such route.
///
/// # Errors
/// If the kernel does not tell.
pub(crate) fn default_parent() -> netlink::Result<Option<String>> {
    let mut rtnl = Rtnl::open()?;
    let routes = rtnl.routes()?.into_iter();
    let index = routes
        .filter(|route| route.to.is_empty() && route.table == Route::MAIN_TABLE)
        .filter(|route| route.index.is_some())
        .min_by_key(|route| (route.to.ip().is_ipv6(), route.metric.unwrap_or(0)))
        .and_then(|route| route.index);
    let link = index.map(|index| rtnl.link_by_index(index)).transpose()?.flatten();
    Ok(link.map(|link| link.name))
}
