//! The requests to the daemon that create and remove a link.

use umacvlan_netlink::{self as netlink, Route, Rtnl};

use umacvlan_api::{LinkChange, LinkSpec, LinkView, NewLink};
use umacvlan_client::{Client, RequestError, item_path};

/// The path of links in the API.
pub(super) const LINKS: &str = "/v1/links";

/// Creates a link called `name` in the namespace of `spec` and returns its state. `owner` is an
/// opaque tag for [`remove`], which finds the link by it in any namespace.
///
/// # Errors
/// The daemon refuses it or cannot be reached.
pub(crate) fn create(
    client: &mut Client,
    name: &str,
    spec: LinkSpec,
    owner: &str,
) -> Result<LinkView, RequestError> {
    let new = NewLink { name: name.to_owned(), owner: Some(owner.to_owned()), spec };
    client.post(LINKS, &[], &new)
}

/// Changes the link called `name` in the namespace `netns`.
///
/// # Errors
/// The daemon refuses it or cannot be reached.
pub(crate) fn change(
    client: &mut Client,
    name: &str,
    netns: &str,
    change: &LinkChange,
) -> Result<(), RequestError> {
    let path = item_path(LINKS, name);
    client.patch::<LinkView>(&path, &[("netns", netns)], change).map(drop)
}

/// Removes every link of `owner`. No such link is no error.
///
/// # Errors
/// The daemon refuses it or cannot be reached.
pub(crate) fn remove(client: &mut Client, owner: &str) -> Result<(), RequestError> {
    client.delete(LINKS, &[("owner", owner)])
}

/// The default parent: the interface of this namespace's default route, IPv4 before IPv6, with the
/// smallest metric. `None` without a default route.
///
/// # Errors
/// The netlink request failed.
pub(crate) fn default_parent() -> netlink::Result<Option<String>> {
    let mut rtnl = Rtnl::open()?;
    let routes = rtnl.routes()?.into_iter();
    let index = routes
        .filter(|route| route.to.prefix_len() == 0 && route.table == Route::MAIN_TABLE)
        .filter(|route| route.index.is_some())
        .min_by_key(|route| (route.to.ip().is_ipv6(), route.metric.unwrap_or(0)))
        .and_then(|route| route.index);
    let link = index.map(|index| rtnl.link_by_index(index)).transpose()?.flatten();
    Ok(link.map(|link| link.name))
}
