//! Looking whether everything is as it should be, and removing what nobody knows of.

use umacvlan_netlink::Route;

use super::Asked;
use super::attachment::container;
use super::config::refused;
use super::error::{CHANGED, CniError, UNAVAILABLE};
use super::result::{Attached, Interface};
use crate::container_link::{self, Inside};
use umacvlan_api::{Health, LinkView, ParentView};
use umacvlan_client::Client;

/// `CHECK`: whether an attachment still is what `ADD` and those after it have said.
///
/// # Errors
/// The first thing that is not, or that there is nobody to ask.
pub(super) fn check(asked: &Asked<'_>) -> Result<(), CniError> {
    let Asked { call, config, .. } = asked;
    let known = config.prev_result()?;
    if let Some(ipam) = asked.ipam()? {
        ipam.tell("CHECK")?;
    }
    let Some(interface) = known.interface(asked) else {
        let sandboxes = known.interfaces.iter().filter(|other| other.name == call.ifname);
        let sandbox = sandboxes.filter_map(|other| other.sandbox.as_deref()).next();
        return changed(format!(
            "sandbox in prevResult {} doesn't match configured netns: {}",
            sandbox.unwrap_or_default(),
            call.netns
        ));
    };
    let netns = container(asked)?;
    check_served(asked)?;
    let mut inside = Inside::find(&netns, &call.ifname).map_err(refused)?;
    check_mac(interface, &inside)?;
    check_ip(&known, &mut inside, &call.ifname)
}

/// What the daemon knows of it.
fn check_served(asked: &Asked<'_>) -> Result<(), CniError> {
    let mut client = Client::connect(&asked.socket)?;
    let links: Vec<LinkView> = client.get("/v1/links", &[])?;
    let owner = asked.owner();
    let link = links.iter().find(|link| link.umacvlan.owner.as_ref() == Some(&owner));
    let Some(link) = link else {
        return changed(format!("the daemon serves no link for {owner}: add it again"));
    };
    check_link(asked, link)?;
    check_parent(asked, link, &links)?;
    let parents: Vec<ParentView> = client.get("/v1/parents", &[])?;
    let of = &link.umacvlan.parent;
    if !parents.iter().any(|parent| parent.name == *of && parent.present) {
        return changed(format!("master {of:?} is gone: bring it back"));
    }
    Ok(())
}

fn check_link(asked: &Asked<'_>, link: &LinkView) -> Result<(), CniError> {
    let Asked { call, config, .. } = asked;
    let name = &call.ifname;
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

fn check_mac(known: &Interface, inside: &Inside<'_>) -> Result<(), CniError> {
    let had = known.mac.as_deref().filter(|mac| !mac.is_empty());
    let has = inside.mac().map(|mac| mac.to_string()).unwrap_or_default();
    match had.filter(|&had| had != has) {
        Some(had) => {
            let name = &known.name;
            changed(format!("interface {name} Mac {had} doesn't match container Mac: {has}"))
        }
        None => Ok(()),
    }
}

fn check_parent(asked: &Asked<'_>, link: &LinkView, links: &[LinkView]) -> Result<(), CniError> {
    let name = &asked.call.ifname;
    let master = asked.config.master()?;
    // A link on a link is one on the same parent.
    let is_link =
        links.iter().any(|other| other.ifname == master && other.umacvlan.netns.is_none());
    if link.umacvlan.parent != master && !is_link {
        let parent = &link.umacvlan.parent;
        return changed(format!("interface {name} is on {parent}, not on {master}"));
    }
    Ok(())
}

fn check_ip(known: &Attached, inside: &mut Inside<'_>, ifname: &str) -> Result<(), CniError> {
    let has = inside.addresses().map_err(refused)?;
    let (addresses, routes) = known.wanted();
    let own = known.ips.iter().zip(addresses).filter(|(ip, _)| known.belongs(ip, ifname));
    for (_, address) in own {
        if !has.contains(&address) {
            return changed(format!("failed to match addr {address} on interface {ifname}"));
        }
    }
    let all = inside.all_routes().map_err(refused)?;
    match routes.iter().find(|route| !all.iter().any(|other| leads_alike(route, other))) {
        Some(lost) => changed(format!("expected route {} not found in the namespace", lost.to)),
        None => Ok(()),
    }
}

fn changed<T>(msg: String) -> Result<T, CniError> {
    Err(CniError::new(CHANGED, msg))
}

/// Whether the kernel's route is the one that was asked for; what was left to the kernel may be
/// anything.
fn leads_alike(wanted: &Route, has: &Route) -> bool {
    wanted.to.network() == has.to
        && wanted.via == has.via
        && wanted.table == has.table
        && wanted.metric.is_none_or(|metric| has.metric == Some(metric))
}

/// `STATUS`: whether `ADD` can work.
///
/// # Errors
/// What is in the way.
pub(super) fn status(asked: &Asked<'_>) -> Result<(), CniError> {
    let unavailable = |error: String| CniError::new(UNAVAILABLE, error);
    let mut client =
        Client::connect(&asked.socket).map_err(|error| unavailable(error.to_string()))?;
    client.get::<Health>("/healthz", &[]).map_err(|error| unavailable(error.to_string()))?;
    asked.ipam()?.map_or(Ok(()), |ipam| ipam.tell("STATUS"))
}

/// `GC`: removes every link of this network that is not among the valid ones. What cannot be
/// removed does not keep the others.
///
/// # Errors
/// The first thing that could not be removed.
pub(super) fn gc(asked: &Asked<'_>) -> Result<(), CniError> {
    let addresses = asked.ipam().and_then(|ipam| ipam.map_or(Ok(()), |ipam| ipam.tell("GC")));
    let mut client = Client::connect(&asked.socket)?;
    let links: Vec<LinkView> = client.get("/v1/links", &[])?;
    let valid: Vec<String> = asked
        .config
        .valid
        .iter()
        .map(|valid| asked.owner_of(&valid.container, &valid.ifname))
        .collect();
    let network = asked.network();
    let owners = links.into_iter().filter_map(|link| link.umacvlan.owner);
    let stale = owners.filter(|owner| owner.starts_with(&network) && !valid.contains(owner));
    let removed =
        stale.map(|owner| container_link::remove(&mut client, &owner).map_err(CniError::from));
    let removed: Vec<_> = removed.collect();
    removed.into_iter().fold(addresses, Result::and)
}

impl Attached {
    /// The interface that was made for a call.
    pub(super) fn interface(&self, asked: &Asked<'_>) -> Option<&Interface> {
        let call = asked.call;
        self.interfaces.iter().find(|interface| {
            interface.name == call.ifname && interface.sandbox.as_ref() == Some(&call.netns)
        })
    }

    /// Whether an address is that of an interface; one that does not say is everybody's.
    fn belongs(&self, ip: &super::result::Ip, name: &str) -> bool {
        let index = ip.interface.and_then(|index| usize::try_from(index).ok());
        let interface = index.and_then(|index| self.interfaces.get(index));
        interface.is_none_or(|interface| interface.name == name)
    }
}
