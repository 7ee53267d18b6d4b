//! `CHECK`, `STATUS` and `GC`.

use umacvlan_netlink::Route;

use super::Invocation;
use super::attachment::container_netns;
use super::config::netlink_error;
use super::dhcp;
use super::error::{CHANGED, CniError, UNAVAILABLE};
use super::result::{AddResult, Interface};
use crate::container_link::{self, ContainerLink};
use umacvlan_api::{Health, LinkView, ParentView};
use umacvlan_client::{Absent, Client};

/// `CHECK`: compares an attachment with the previous result.
///
/// # Errors
/// The first difference, or the daemon cannot be reached.
pub(super) fn check(invocation: &Invocation<'_>) -> Result<(), CniError> {
    let Invocation { request, config, .. } = invocation;
    let known = config.prev_result()?;
    if let Some(ipam) = invocation.ipam()? {
        ipam.exec("CHECK")?;
    }
    let Some(interface) = known.interface(invocation) else {
        let sandboxes = known.interfaces.iter().filter(|other| other.name == request.ifname);
        let sandbox = sandboxes.filter_map(|other| other.sandbox.as_deref()).next();
        return changed(format!(
            "sandbox in prevResult {} doesn't match configured netns: {}",
            sandbox.unwrap_or_default(),
            request.netns
        ));
    };
    let netns = container_netns(invocation)?;
    check_daemon(invocation)?;
    let mut link = ContainerLink::find(&netns, &request.ifname).map_err(netlink_error)?;
    check_mac(interface, &link)?;
    check_ip(&known, &mut link, &request.ifname)
}

/// Compares the link with the view of the daemon.
fn check_daemon(invocation: &Invocation<'_>) -> Result<(), CniError> {
    let mut client = Client::connect(&invocation.socket, Absent::Wait)?;
    let links: Vec<LinkView> = client.get("/v1/links", &[])?;
    let owner = invocation.owner();
    let link = links.iter().find(|link| link.umacvlan.owner.as_ref() == Some(&owner));
    let Some(link) = link else {
        return changed(format!("the daemon has no link for {owner}: add it again"));
    };
    check_link(invocation, link)?;
    if invocation.config.dhcp()?.is_some() {
        dhcp::check(link)?;
    }
    check_parent(invocation, link, &links)?;
    let parents: Vec<ParentView> = client.get("/v1/parents", &[])?;
    let of = &link.umacvlan.parent;
    if !parents.iter().any(|parent| parent.name == *of && parent.present) {
        return changed(format!("master {of:?} is gone: bring it back"));
    }
    Ok(())
}

fn check_link(invocation: &Invocation<'_>, link: &LinkView) -> Result<(), CniError> {
    let Invocation { request, config, .. } = invocation;
    let name = &request.ifname;
    if link.ifname != *name {
        return changed(format!("interface {name} is called {} now", link.ifname));
    }
    let (has, wanted) = (&link.linkinfo.info_data.mode, config.mode()?.to_string());
    if *has != wanted {
        return changed(format!(
            "container macvlan mode {has} does not match expected value: {wanted}"
        ));
    }
    Ok(())
}

fn check_mac(known: &Interface, link: &ContainerLink<'_>) -> Result<(), CniError> {
    let had = known.mac.as_deref().filter(|mac| !mac.is_empty());
    let has = link.mac().map(|mac| mac.to_string()).unwrap_or_default();
    match had.filter(|&had| had != has) {
        Some(had) => {
            let name = &known.name;
            changed(format!("interface {name} Mac {had} doesn't match container Mac: {has}"))
        }
        None => Ok(()),
    }
}

fn check_parent(
    invocation: &Invocation<'_>,
    link: &LinkView,
    links: &[LinkView],
) -> Result<(), CniError> {
    let name = &invocation.request.ifname;
    let master = invocation.config.master()?;
    // A link whose master is a link is on the same parent.
    let is_link =
        links.iter().any(|other| other.ifname == master && other.umacvlan.netns.is_none());
    if link.umacvlan.parent != master && !is_link {
        let parent = &link.umacvlan.parent;
        return changed(format!("interface {name} is on {parent}, not on {master}"));
    }
    Ok(())
}

fn check_ip(known: &AddResult, link: &mut ContainerLink<'_>, ifname: &str) -> Result<(), CniError> {
    let has = link.addresses().map_err(netlink_error)?;
    let (addresses, routes) = known.addresses_and_routes();
    let own = known.ips.iter().zip(addresses).filter(|(ip, _)| known.belongs(ip, ifname));
    for (_, address) in own {
        if !has.contains(&address) {
            return changed(format!("failed to match addr {address} on interface {ifname}"));
        }
    }
    let all = link.all_routes().map_err(netlink_error)?;
    match routes.iter().find(|route| !all.iter().any(|other| is_same_route(route, other))) {
        Some(lost) => changed(format!("expected route {} not found in the namespace", lost.to)),
        None => Ok(()),
    }
}

/// The answer of `CHECK` that something is not what it was.
pub(super) fn changed<T>(msg: String) -> Result<T, CniError> {
    Err(CniError::new(CHANGED, msg))
}

/// Whether the kernel's route `has` is the requested one; a metric that was not requested may have
/// any value.
fn is_same_route(wanted: &Route, has: &Route) -> bool {
    wanted.to.network() == has.to
        && wanted.via == has.via
        && wanted.table == has.table
        && wanted.metric.is_none_or(|metric| has.metric == Some(metric))
}

/// `STATUS`: whether `ADD` can succeed.
///
/// # Errors
/// The daemon or the IPAM plugin is not ready.
pub(super) fn status(invocation: &Invocation<'_>) -> Result<(), CniError> {
    let unavailable = |error: String| CniError::new(UNAVAILABLE, error);
    let mut client = Client::connect(&invocation.socket, Absent::Fail)
        .map_err(|error| unavailable(error.to_string()))?;
    client.get::<Health>("/healthz", &[]).map_err(|error| unavailable(error.to_string()))?;
    invocation.ipam()?.map_or(Ok(()), |ipam| ipam.exec("STATUS"))
}

/// `GC`: removes every link of this network that is not among the valid attachments. It continues
/// after a failure.
///
/// # Errors
/// The first failure.
pub(super) fn gc(invocation: &Invocation<'_>) -> Result<(), CniError> {
    let addresses = invocation.ipam().and_then(|ipam| ipam.map_or(Ok(()), |ipam| ipam.exec("GC")));
    let mut client = Client::connect(&invocation.socket, Absent::Fail)?;
    let links: Vec<LinkView> = client.get("/v1/links", &[])?;
    let valid: Vec<String> = invocation
        .config
        .valid
        .iter()
        .map(|valid| invocation.owner_of(&valid.container, &valid.ifname))
        .collect();
    let network = invocation.network_prefix();
    let owners = links.into_iter().filter_map(|link| link.umacvlan.owner);
    let stale = owners.filter(|owner| owner.starts_with(&network) && !valid.contains(owner));
    let removed =
        stale.map(|owner| container_link::remove(&mut client, &owner).map_err(CniError::from));
    let removed: Vec<_> = removed.collect();
    removed.into_iter().fold(addresses, Result::and)
}

impl AddResult {
    /// The interface of this invocation.
    pub(super) fn interface(&self, invocation: &Invocation<'_>) -> Option<&Interface> {
        let request = invocation.request;
        self.interfaces.iter().find(|interface| {
            interface.name == request.ifname && interface.sandbox.as_ref() == Some(&request.netns)
        })
    }

    /// Whether an address belongs to the interface `name`, or to no interface in particular.
    fn belongs(&self, ip: &super::result::Ip, name: &str) -> bool {
        let index = ip.interface.and_then(|index| usize::try_from(index).ok());
        let interface = index.and_then(|index| self.interfaces.get(index));
        interface.is_none_or(|interface| interface.name == name)
    }
}
