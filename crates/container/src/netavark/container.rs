//! `setup` and `teardown`: a container gets its link, and gives it back.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use umacvlan_core::MacAddr;
use umacvlan_netlink::{Route, Rtnl, set_sysctl};
use umacvlan_sys::netns::Netns;

use super::network::{Address, Interface, Ipam, Request, Status};
use super::options::Options;
use super::routes;
use crate::container_link::{self, Inside};
use umacvlan_api::LinkSpec;
use umacvlan_client::{Client, ConnectError, Failure};
use umacvlan_text::output::complain;

/// Why there is no parent where none is named: as Podman's macvlan, that of the default route is
/// taken.
const NO_PARENT: &str =
    "the host has no default route to take the parent from: name one, -o parent=eth0";

/// What the namespace of a container gets, in full, before anything of it is made.
struct Wish<'a> {
    name: &'a str,
    addresses: Vec<Address>,
    /// Routes out of the link.
    routes: Vec<Route>,
    /// Routes whose next hop is reached through another interface of the container.
    others: Vec<Route>,
}

/// Makes the link in the namespace at `netns`, with its addresses and routes. If one of them
/// cannot be had, nothing is left of it.
///
/// # Errors
/// What could not be done.
pub(super) fn setup(socket: &Path, netns: &Path, request: &Request) -> Result<Status> {
    let options = Options::read(request.network.options.as_ref())?;
    let wish = Wish::read(request, &options)?;
    let place = place(netns)?;
    let namespace = Netns::open(&place)?;
    let spec = spec(request, options, &place)?;
    if request.port_mappings.as_ref().is_some_and(|ports| !ports.is_empty()) {
        complain("published ports are ignored: the container has an address of its own");
    }

    let mut client = Client::connect(socket)?;
    let owner = owner(request);
    let made = match container_link::make(&mut client, wish.name, spec, &owner) {
        // There may be something of that name, but it is not ours to remove.
        Err(failure @ (Failure::Problem(_) | Failure::Connect(_))) => return Err(failure.into()),
        Err(failure) => Err(failure.into()),
        Ok(link) => wish.furnish(&namespace).map(|()| link),
    };
    let link = made.map_err(|error| undo(&mut client, &owner, error))?;
    let mac_address = link.address.unwrap_or_default();
    let interface = Interface { mac_address, subnets: wish.addresses };
    let interfaces = BTreeMap::from([(wish.name.to_owned(), interface)]);
    Ok(Status { dns_search_domains: [], dns_server_ips: [], interfaces })
}

/// Takes from the namespace at `netns` what `setup` has put there. What is gone already, the
/// namespace included, is no error.
///
/// # Errors
/// The daemon is there and does not do it.
pub(super) fn teardown(socket: &Path, netns: &Path, request: &Request) -> Result<()> {
    let namespace = place(netns).and_then(|place| Ok(Netns::open(&place)?)).ok();
    if let Some(namespace) = &namespace {
        // What cannot be read was never made.
        let wish = Options::read(request.network.options.as_ref())
            .and_then(|options| Wish::read(request, &options));
        wish.iter().for_each(|wish| without(namespace, &wish.others));
    }
    match Client::connect(socket) {
        Ok(mut client) => Ok(container_link::remove(&mut client, &owner(request))?),
        // The next daemon will see that the link is gone, and forget it.
        Err(ConnectError::Nobody { .. }) => match &namespace {
            Some(namespace) => delete(namespace, &request.network_options.interface_name),
            None => Ok(()),
        },
        Err(error) => Err(error.into()),
    }
}

/// The path of a namespace as the daemon can use it. Only a path is one here: `Netns` and the daemon
/// know other names, too.
fn place(netns: &Path) -> Result<String> {
    let path = std::path::absolute(netns)?;
    path.into_os_string().into_string().ok().context("the path of the namespace is no text")
}

/// By what the daemon knows whose a link is.
fn owner(request: &Request) -> String {
    let Request { container_id, network, network_options, .. } = request;
    format!("netavark/{container_id}/{}/{}", network.id, network_options.interface_name)
}

fn spec(request: &Request, options: Options, place: &str) -> Result<LinkSpec> {
    let parent = match &request.network.network_interface {
        Some(parent) if !parent.is_empty() => parent.clone(),
        _ => container_link::default_parent()?.context(NO_PARENT)?,
    };
    let mac = request.network_options.static_mac.as_deref().filter(|mac| !mac.is_empty());
    let address =
        mac.map(|mac| mac.parse::<MacAddr>().with_context(|| format!("MAC address {mac}")));
    Ok(LinkSpec {
        parent,
        address: address.transpose()?,
        settings: options.settings,
        mtu: options.mtu,
        netns: Some(place.to_owned()),
        ..LinkSpec::default()
    })
}

/// Removes a link that could not be completed, and returns why.
fn undo(client: &mut Client, owner: &str, why: anyhow::Error) -> anyhow::Error {
    match container_link::remove(client, owner) {
        Ok(()) => why,
        Err(failure) => why.context(format!("and the link could not be removed ({failure})")),
    }
}

/// Deletes an interface that no daemon can remove, if it is one of ours.
fn delete(namespace: &Netns, name: &str) -> Result<()> {
    let mut rtnl = Rtnl::open_in(namespace)?;
    match rtnl.link(name)? {
        Some(link) if link.is_kept_tap() => Ok(rtnl.delete(link.index)?),
        _ => Ok(()),
    }
}

/// Takes routes away, those that are there.
fn without(namespace: &Netns, routes: &[Route]) {
    if let Ok(mut rtnl) = Rtnl::open_in(namespace) {
        routes.iter().for_each(|route| drop(rtnl.del_route(route)));
    }
}

impl<'a> Wish<'a> {
    fn read(request: &'a Request, options: &Options) -> Result<Self> {
        let Request { network, network_options, .. } = request;
        let name = network_options.interface_name.as_str();
        ensure!(!name.is_empty(), "no name for the interface in the container is given");
        let addresses = network.addresses(network_options)?;
        let mut routes = Vec::new();
        if !options.no_default_route {
            routes = routes::defaults(&addresses, options.metric);
        }
        let mut others = Vec::new();
        if network.ipam()? != Some(Ipam::None) {
            let near = |route: &Route| {
                let via = route.via.iter();
                via.flat_map(|via| network.subnets().iter().filter(|at| at.holds(*via))).count() > 0
            };
            let (own, foreign) = routes::read(network)?.into_iter().partition(near);
            routes.extend::<Vec<_>>(own);
            others = foreign;
        }
        Ok(Self { name, addresses, routes, others })
    }

    /// Gives the link what it is to have.
    fn furnish(&self, namespace: &Netns) -> Result<()> {
        // Addresses are Podman's to give, not a router's. There is no such file without IPv6.
        let _ = set_sysctl(namespace, &format!("ipv6/conf/{}/autoconf", self.name), "0");
        let addresses: Vec<_> = self.addresses.iter().map(|address| address.ipnet).collect();
        Inside::find(namespace, self.name)?.set_up(&addresses, &self.routes, false)?;
        let mut rtnl = Rtnl::open_in(namespace)?;
        for (done, route) in self.others.iter().enumerate() {
            if let Err(error) = rtnl.add_route(route) {
                // They do not go with the link.
                without(namespace, &self.others[..done]);
                return Err(error.into());
            }
        }
        Ok(())
    }
}
