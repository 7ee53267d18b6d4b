//! `ADD` and `DEL`: creates an attachment, and removes it.

use umacvlan_core::rules::RulesChange;
use umacvlan_netlink::Rtnl;
use umacvlan_sys::netns::Netns;

use super::Invocation;
use super::config::netlink_error;
use super::error::{CONFIG, CniError, NAMESPACE};
use super::ipam::Ipam;
use super::parsed::rule_error;
use super::result::{AddResult, Dns, Interface};
use super::version::Version;
use crate::container_link::{self, ContainerLink};
use umacvlan_api::{HostAccess, LinkChange, LinkView, MacvlanChange};
use umacvlan_client::{Absent, Client, ConnectError, RequestError};

/// `ADD`: creates the link with its addresses and routes.
///
/// # Errors
/// The first failure; everything created before it is removed.
pub(super) fn add(invocation: &Invocation<'_>) -> Result<AddResult, CniError> {
    let Invocation { request, config, .. } = invocation;
    let ipam = invocation.ipam()?;
    if config.ipam().is_none() && config.version()? < Version::LISTS {
        let advice = "a result of this version has addresses: name an ipam, or use 0.3.0 or later";
        let msg = "cannot convert: no valid IP addresses";
        return Err(CniError::new(CONFIG, msg).with_details(advice));
    }
    let spec = config.spec(request)?;
    config.host()?;
    config.own_ip()?;
    let netns = container_netns(invocation)?;
    let mut client = Client::connect(&invocation.socket, Absent::Wait)?;
    let created = container_link::create(&mut client, &request.ifname, spec, &invocation.owner());
    let done = match created {
        // Nothing was created. An interface of that name belongs to someone else.
        Err(failure @ (RequestError::Connect(_) | RequestError::Problem(_))) => {
            return Err(failure.into());
        }
        Err(failure) => Err(failure.into()),
        Ok(link) => configure(invocation, &mut client, &netns, &link, ipam.as_ref()),
    };
    done.inspect_err(|_| {
        // The first error is returned. A link that remains is removed by DEL or GC.
        let _ = container_link::remove(&mut client, &invocation.owner());
    })
}

/// Configures a new link and returns the result of `ADD`.
fn configure(
    invocation: &Invocation<'_>,
    client: &mut Client,
    netns: &Netns,
    link: &LinkView,
    ipam: Option<&Ipam<'_>>,
) -> Result<AddResult, CniError> {
    let ifname = &invocation.request.ifname;
    // This fails if the daemon has resolved the path to another namespace.
    let mut interface = ContainerLink::find(netns, ifname).map_err(netlink_error)?;
    let assigned = match invocation.config.dhcp()? {
        Some(server) => server.wait(invocation, client, &mut interface),
        None => assign_addresses(&mut interface, ipam),
    };
    let done =
        assigned.and_then(|result| use_addresses(invocation, client, &result).map(|()| result));
    if let (Err(_), Some(ipam)) = (&done, ipam) {
        // The first error is returned.
        let _ = ipam.exec("DEL");
    }
    let mut result = done?;
    result.interfaces = vec![Interface {
        name: ifname.clone(),
        mac: link.address.clone(),
        mtu: Some(link.mtu),
        sandbox: Some(invocation.request.netns.clone()),
    }];
    result.ips.iter_mut().for_each(|ip| ip.interface = Some(0));
    if invocation.config.dns != Dns::default() || ipam.is_some() {
        result.dns = invocation.config.dns.clone();
    }
    Ok(result)
}

/// Has the host reach the addresses of the container, and the container send from no others, as far as
/// the configuration says so.
fn use_addresses(
    invocation: &Invocation<'_>,
    client: &mut Client,
    result: &AddResult,
) -> Result<(), CniError> {
    let Invocation { request, config, .. } = invocation;
    let own = || result.ips.iter().map(|ip| ip.address.ip());
    let to: Vec<_> = own().map(Into::into).collect();
    let mut change = LinkChange::default();
    if config.own_ip()? {
        if to.is_empty() {
            let msg = "invalid own_ip: the IPAM plugin has given no address to send from";
            return Err(CniError::new(CONFIG, msg));
        }
        let mut rules = config.rules()?;
        rules.allow_ips(own()).map_err(rule_error)?;
        let rules = Some(RulesChange::exactly(&rules));
        change.macvlan = Some(MacvlanChange { rules, ..MacvlanChange::default() });
    }
    if let Some(from) = config.host()?.filter(|_| !to.is_empty()) {
        change.host = Some(HostAccess { to, from });
    }
    match change == LinkChange::default() {
        true => Ok(()),
        false => Ok(container_link::change(client, &request.ifname, &request.netns, &change)?),
    }
}

/// Configures a link with the addresses of the IPAM plugin, if there is one.
fn assign_addresses(
    interface: &mut ContainerLink<'_>,
    ipam: Option<&Ipam<'_>>,
) -> Result<AddResult, CniError> {
    let result = ipam.map_or_else(|| Ok(AddResult::default()), Ipam::add)?;
    let (addresses, routes) = result.addresses_and_routes();
    // A tentative IPv6 address cannot reach its gateway.
    let wait_for_dad = result.ips.iter().any(|ip| ip.gateway.is_some_and(|via| via.is_ipv6()));
    interface.configure(&addresses, &routes, wait_for_dad).map_err(netlink_error)?;
    Ok(result)
}

/// `DEL`: releases the addresses and removes the link; each is tried even if the other fails.
///
/// # Errors
/// The first failure.
pub(super) fn del(invocation: &Invocation<'_>) -> Result<(), CniError> {
    let addresses = invocation.ipam().and_then(|ipam| ipam.map_or(Ok(()), |ipam| ipam.exec("DEL")));
    let link = match Client::connect(&invocation.socket, Absent::Fail) {
        Ok(mut client) => {
            container_link::remove(&mut client, &invocation.owner()).map_err(CniError::from)
        }
        // The next daemon finds that the interface is gone.
        Err(ConnectError::NotRunning { .. }) => del_without_daemon(invocation),
        Err(error) => Err(error.into()),
    };
    addresses.and(link)
}

/// Removes the interface without a daemon, if the namespace still exists and the interface in it is
/// the one that `ADD` created.
fn del_without_daemon(invocation: &Invocation<'_>) -> Result<(), CniError> {
    let Invocation { request, config, .. } = invocation;
    let Some(netns) = Some(&request.netns).filter(|at| !at.is_empty()).and_then(|at| open(at).ok())
    else {
        return Ok(());
    };
    let mut rtnl = Rtnl::open_in(&netns).map_err(netlink_error)?;
    let link = rtnl
        .link(&request.ifname)
        .map_err(netlink_error)?
        .map(|link| (link.is_own_persistent_tap(), link))
        .filter(|(is_tap, link)| *is_tap || link.kind.as_deref() == Some("veth"));
    let Some((is_tap, link)) = link else {
        return Ok(());
    };
    let known = if config.has_prev_result() { Some(config.prev_result()?) } else { None };
    let mac = known.as_ref().and_then(|known| known.interface(invocation)?.mac.clone());
    // A veth pair may be anybody's.
    let same = link.mac.zip(mac).map_or(is_tap, |(has, had)| has.to_string() == had);
    if same { rtnl.delete(link.index).map_err(netlink_error) } else { Ok(()) }
}

/// Opens the container's namespace.
///
/// # Errors
/// It does not exist, or it is the runtime's own without `CNI_NETNS_OVERRIDE`.
pub(super) fn container_netns(invocation: &Invocation<'_>) -> Result<Netns, CniError> {
    let path = &invocation.request.netns;
    let failed =
        |error| CniError::new(NAMESPACE, format!("failed to open netns {path:?}: {error}"));
    let netns = open(path).map_err(failed)?;
    let own = Netns::current().map_err(failed)?.id();
    if netns.id() == own && !invocation.request.allow_own_netns {
        let msg = "plugin's netns and netns from CNI_NETNS should not be the same";
        return Err(CniError::new(NAMESPACE, msg));
    }
    Ok(netns)
}

/// Opens a namespace by its path. `Netns::open` would also take a name or a process.
fn open(path: &str) -> std::io::Result<Netns> {
    let whole = std::path::absolute(path)?;
    Netns::open(&whole.to_string_lossy())
}
