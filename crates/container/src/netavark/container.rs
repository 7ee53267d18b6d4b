//! `setup` and `teardown`: creates the link of a container, and removes it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use umacvlan_core::MacAddr;
use umacvlan_netlink::{Route, Rtnl, set_sysctl};
use umacvlan_sys::netns::Netns;

use super::dhcp;
use super::network::{Address, Interface, Ipam, Request, Status};
use super::options::Options;
use super::routes;
use crate::container_link::{self, ContainerLink, Lease, wait_for_lease};
use umacvlan_api::{HostAccess, LinkSpec};
use umacvlan_client::{Absent, Client, ConnectError, RequestError};
use umacvlan_text::output::print_stderr;

/// The default parent is the interface of the default route, as for Podman's macvlan.
const NO_PARENT: &str =
    "the host has no default route to take the parent from: name one, -o parent=eth0";

/// The configuration of a container's link, complete before anything is created.
pub(super) struct LinkSetup<'a> {
    name: &'a str,
    addresses: Vec<Address>,
    /// Routes out of the link.
    routes: Vec<Route>,
    /// Routes whose next hop is reached through another interface of the container.
    others: Vec<Route>,
}

/// Creates the link in the namespace at `netns`, with its addresses and routes. After a failure the
/// link is removed.
///
/// # Errors
/// The first failure.
pub(super) fn setup(socket: &Path, netns: &Path, request: &Request) -> Result<Status> {
    let options = Options::read(request.network.options.as_ref())?;
    request.network.check_dhcp(&options)?;
    let setup = LinkSetup::read(request, &options)?;
    let dhcp_timeout = options.dhcp_timeout;
    let netns_path = netns_path(netns)?;
    let namespace = Netns::open(&netns_path)?;
    let spec = link_spec(request, options, &setup.addresses, &netns_path)?;
    if request.port_mappings.as_ref().is_some_and(|ports| !ports.is_empty()) {
        print_stderr("published ports are ignored: the container has its own address");
    }

    let mut client = Client::connect(socket, Absent::Wait)?;
    let owner = owner(request);
    let created = match container_link::create(&mut client, setup.name, spec, &owner) {
        // Nothing was created. An interface of that name belongs to someone else.
        Err(failure @ (RequestError::Problem(_) | RequestError::Connect(_))) => {
            return Err(failure.into());
        }
        Err(failure) => Err(failure.into()),
        Ok(link) => {
            let mac = link.address.unwrap_or_default();
            match link.umacvlan.dhcp {
                Some(_) => setup.wait(&mut client, &namespace, &netns_path, dhcp_timeout),
                None => setup.configure(&namespace).map(|()| None),
            }
            .map(|lease| (mac, lease))
        }
    };
    let (mac, lease) = created.map_err(|error| roll_back(&mut client, &owner, error))?;
    Ok(match lease {
        Some(lease) => dhcp::status(setup.name, mac, lease),
        None => setup.status(mac),
    })
}

/// Removes the link and routes that `setup` has created. Anything that is gone already, the
/// namespace included, is no error.
///
/// # Errors
/// The daemon refuses it, or the interface cannot be deleted without a daemon.
pub(super) fn teardown(socket: &Path, netns: &Path, request: &Request) -> Result<()> {
    let namespace = netns_path(netns).and_then(|netns_path| Ok(Netns::open(&netns_path)?)).ok();
    if let Some(namespace) = &namespace {
        // Invalid options have created no routes.
        let setup = Options::read(request.network.options.as_ref())
            .and_then(|options| LinkSetup::read(request, &options));
        setup.iter().for_each(|setup| delete_routes(namespace, &setup.others));
    }
    match Client::connect(socket, Absent::Fail) {
        Ok(mut client) => Ok(container_link::remove(&mut client, &owner(request))?),
        // The next daemon finds that the link is gone.
        Err(ConnectError::NotRunning { .. }) => match &namespace {
            Some(namespace) => delete_link(namespace, &request.network_options.interface_name),
            None => Ok(()),
        },
        Err(error) => Err(error.into()),
    }
}

/// The absolute path of a namespace, for the daemon. `Netns` and the daemon would take a relative one
/// for a name.
fn netns_path(netns: &Path) -> Result<String> {
    let path = std::path::absolute(netns)?;
    path.into_os_string().into_string().ok().context("the path of the namespace is no text")
}

/// The owner tag of the link.
fn owner(request: &Request) -> String {
    let Request { container_id, network, network_options, .. } = request;
    format!("netavark/{container_id}/{}/{}", network.id, network_options.interface_name)
}

fn link_spec(
    request: &Request,
    options: Options,
    addresses: &[Address],
    netns_path: &str,
) -> Result<LinkSpec> {
    let own = || addresses.iter().map(|address| address.ipnet.ip());
    let to: Vec<_> = own().map(Into::into).collect();
    let mut settings = options.settings;
    if options.own_ip {
        ensure!(
            !to.is_empty(),
            "network option own_ip: Podman gives this container no address that stays: leave the \
             option out, or use the ipam driver host-local"
        );
        settings.rules.allow_ips(own())?;
    }
    let host = options.host.filter(|_| !to.is_empty());
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
        dhcp: request.network.dhcp()?,
        settings,
        host: host.map(|from| HostAccess { to, from }).unwrap_or_default(),
        macnat: options.macnat,
        mtu: options.mtu,
        interface: options.port,
        netns: Some(netns_path.to_owned()),
        ..LinkSpec::default()
    })
}

/// Removes a link that could not be configured, and returns the error.
fn roll_back(client: &mut Client, owner: &str, why: anyhow::Error) -> anyhow::Error {
    match container_link::remove(client, owner) {
        Ok(()) => why,
        Err(failure) => why.context(format!("and the link could not be removed ({failure})")),
    }
}

/// Deletes an interface without a daemon, if it is one of ours.
fn delete_link(namespace: &Netns, name: &str) -> Result<()> {
    let mut rtnl = Rtnl::open_in(namespace)?;
    match rtnl.link(name)? {
        Some(link) if link.is_own_persistent_tap() => Ok(rtnl.delete(link.index)?),
        _ => Ok(()),
    }
}

/// Deletes routes, ignoring missing ones.
fn delete_routes(namespace: &Netns, routes: &[Route]) {
    if let Ok(mut rtnl) = Rtnl::open_in(namespace) {
        routes.iter().for_each(|route| drop(rtnl.del_route(route)));
    }
}

impl<'a> LinkSetup<'a> {
    pub(super) fn read(request: &'a Request, options: &Options) -> Result<Self> {
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
                via.flat_map(|via| network.subnets().iter().filter(|at| at.contains(*via))).count()
                    > 0
            };
            let (own, foreign) = routes::read(network)?.into_iter().partition(near);
            routes.extend::<Vec<_>>(own);
            others = foreign;
        }
        Ok(Self { name, addresses, routes, others })
    }

    /// The addresses of the link.
    #[cfg(feature = "fuzzing")]
    pub(super) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The answer to `setup`.
    fn status(self, mac_address: String) -> Status {
        let interface = Interface { mac_address, subnets: self.addresses };
        let interfaces = BTreeMap::from([(self.name.to_owned(), interface)]);
        Status { dns_search_domains: Vec::new(), dns_server_ips: Vec::new(), interfaces }
    }

    /// Waits until the link has what a DHCP server gives, and adds the static routes.
    fn wait(
        &self,
        client: &mut Client,
        namespace: &Netns,
        netns_path: &str,
        limit: Duration,
    ) -> Result<Option<Lease>> {
        let mut interface = ContainerLink::find(namespace, self.name)?;
        let lease = wait_for_lease(client, &mut interface, netns_path, limit)?;
        self.add_other_routes(namespace)?;
        Ok(Some(lease))
    }

    /// Configures the link and adds the other routes.
    fn configure(&self, namespace: &Netns) -> Result<()> {
        // Podman assigns the addresses, so the kernel must not. Without IPv6 the file is missing.
        let _ = set_sysctl(namespace, &format!("ipv6/conf/{}/autoconf", self.name), "0");
        let addresses: Vec<_> = self.addresses.iter().map(|address| address.ipnet).collect();
        ContainerLink::find(namespace, self.name)?.configure(&addresses, &self.routes, false)?;
        self.add_other_routes(namespace)
    }

    /// Adds the routes of which the kernel finds the interface by their next hop.
    fn add_other_routes(&self, namespace: &Netns) -> Result<()> {
        let mut rtnl = Rtnl::open_in(namespace)?;
        for (done, route) in self.others.iter().enumerate() {
            if let Err(error) = rtnl.add_route(route) {
                // The kernel does not remove them with the link.
                delete_routes(namespace, &self.others[..done]);
                return Err(error.into());
            }
        }
        Ok(())
    }
}
