//! [`Driver`]: networks and endpoints, and Docker's calls on them.
//!
//! Each call is idempotent: Docker repeats a call that failed for half a minute, and a daemon that
//! was killed meanwhile may have carried it out or not. An unknown network or endpoint counts as
//! deleted. Docker repeats a call that was under way without its body, so it cannot be answered;
//! what it has left behind is removed by [`reconcile`](Driver::reconcile).

mod cleanup;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use umacvlan_core::MacAddr;
use umacvlan_core::mac::name_hash;
use umacvlan_sys::tap::Tap;

use super::DriverError;
use super::endpoint::{Endpoint, EndpointSpec, OWNER, Stage};
use super::network::Network;
use super::protocol::{
    CreateEndpointRequest, CreateEndpointResponse, CreateNetworkRequest, EndpointRequest,
    InfoResponse, Interface, InterfaceName, JoinResponse, NetworkRequest,
};
use umacvlan_api::{Code, Problem};
use umacvlan_daemon::{Durability, RecordStore, Reservation, Service};

/// The name of an interface in its container, before a number: as of Docker's own drivers.
const IN_CONTAINER: &str = "eth";

/// The option with the ports that are to be published.
const PORTS: &str = "com.docker.network.portmap";

const NETWORK: &str = "network-";
const ENDPOINT: &str = "endpoint-";

/// Bytes of the largest file of an endpoint: ids of 64 digits and some addresses.
const ENDPOINT_BYTES: usize = 2048;

/// The consequence of a damaged file.
const LOST: &str = "A network it was about is unknown from here on: delete it in Docker, and \
                    create it again";

/// All networks and endpoints.
#[derive(Debug)]
pub struct Driver {
    files: RecordStore,
    networks: BTreeMap<String, Network>,
    endpoints: BTreeMap<String, Endpoint>,
    /// Parents that the driver has made itself, by network. They end with the daemon, and the next
    /// one makes them again; links wait for that as for any parent.
    parents: BTreeMap<String, Tap>,
    /// Since when a link waits for Docker in the daemon's namespace, by owner.
    waiting: BTreeMap<String, Instant>,
}

impl Driver {
    /// Opens the directory and reads the networks and endpoints of a former daemon.
    ///
    /// # Errors The directory cannot be made or read, or another daemon uses it.
    pub fn open(dir: &Path) -> Result<Self> {
        let files = RecordStore::open(dir, LOST)?;
        let names = files.names().with_context(|| format!("{}", dir.display()))?;
        let json = |kind: &'static str| {
            let names = names.iter();
            names.filter(move |name| name.starts_with(kind) && name.ends_with(".json"))
        };
        let networks = json(NETWORK).filter_map(|name| files.read::<Network>(name));
        let endpoints = json(ENDPOINT).filter_map(|name| files.read::<Endpoint>(name));
        Ok(Self {
            networks: networks.map(|network| (network.id.clone(), network)).collect(),
            endpoints: endpoints.map(|endpoint| (endpoint.spec.id.clone(), endpoint)).collect(),
            files,
            parents: BTreeMap::new(),
            waiting: BTreeMap::new(),
        })
    }

    /// Makes the driver's own parents, before links are re-adopted that wait for them.
    pub fn make_parents(&mut self, service: &mut Service) {
        let own: Vec<Network> =
            self.networks.values().filter(|network| network.own_parent).cloned().collect();
        for network in own {
            if let Err(refused) = self.make_parent(&network, service) {
                tracing::error!("docker: network {} has no parent: {refused}", network.id);
            }
        }
    }

    /// `NetworkDriver.CreateNetwork`.
    ///
    /// # Errors An option is invalid, the parent cannot be used, or another network excludes this
    /// one.
    pub(crate) fn create_network(
        &mut self,
        service: &mut Service,
        request: &CreateNetworkRequest,
    ) -> Result<(), DriverError> {
        let network = Network::read(request)?;
        if self.networks.get(&network.id) == Some(&network) {
            return Ok(());
        }
        if !network.own_parent {
            network.check_parent(service)?;
        }
        network.check_host(service)?;
        self.networks.values().try_for_each(|other| network.check_beside(other))?;
        if network.own_parent {
            self.make_parent(&network, service)?;
        }
        if let Err(error) =
            self.files.write(&network_file(&network.id), &network, Durability::Synced)
        {
            self.parents.remove(&network.id);
            return Err(not_written("the network", &error));
        }
        tracing::info!(
            "docker: network {} made: parent {}, mode {}",
            network.id,
            network.parent,
            network.options.mode
        );
        self.networks.insert(network.id.clone(), network);
        Ok(())
    }

    /// `NetworkDriver.DeleteNetwork`: removes a network and its endpoints.
    ///
    /// # Errors A link cannot be removed.
    pub(crate) fn delete_network(
        &mut self,
        service: &mut Service,
        request: &NetworkRequest,
    ) -> Result<(), DriverError> {
        let id = &request.network;
        if !self.networks.contains_key(id) {
            return Ok(());
        }
        let specs = self.endpoints.values().map(|endpoint| &endpoint.spec);
        let left: Vec<String> =
            specs.filter(|end| end.network == *id).map(|end| end.id.clone()).collect();
        self.check_removable()?;
        left.iter().try_for_each(|endpoint| self.remove_endpoint(service, endpoint))?;
        self.files.remove(&network_file(id));
        self.networks.remove(id);
        // The interface goes with its descriptor.
        self.parents.remove(id);
        tracing::info!("docker: network {id} deleted");
        Ok(())
    }

    /// `NetworkDriver.CreateEndpoint`: makes the link.
    ///
    /// # Errors The network is unknown, a value is invalid, or the link cannot be made.
    pub(crate) fn create_endpoint(
        &mut self,
        service: &mut Service,
        request: &CreateEndpointRequest,
    ) -> Result<CreateEndpointResponse, DriverError> {
        let network = self.network(&request.network)?.clone();
        let spec = EndpointSpec::read(request)?;
        // Checked before the link is made, so that a refusal leaves nothing behind.
        network.gateway(&spec.id, spec.ipv4)?;
        network.gateway(&spec.id, spec.ipv6)?;
        spec.check_hostname(&network)?;
        let ports = request.options.get(PORTS).and_then(Value::as_array);
        if ports.is_some_and(|ports| !ports.is_empty()) {
            tracing::warn!(
                "docker: endpoint {}: published ports are ignored, since a link has addresses of \
                 its own on its parent's network: its ports are reached there",
                spec.id
            );
        }
        let room = self.reserve_endpoint(&spec.id)?;
        let former = self.endpoints.get(&spec.id).filter(|former| former.spec == spec).cloned();
        if former.is_none() {
            // An endpoint of the same id with other values was given up by Docker.
            self.remove_endpoint(service, &spec.id)?;
        }
        let mac = self.ensure_link(service, &network, &spec, former.map(|former| former.mac))?;
        let (id, settled) = (spec.id.clone(), spec.mac.is_some());
        let endpoint = Endpoint { spec, mac, stage: Stage::Created };
        if let Err(refused) = self.save_endpoint(room, endpoint) {
            self.remove_endpoint(service, &id)?;
            return Err(refused);
        }
        let mac = if settled { String::new() } else { mac.to_string() };
        Ok(CreateEndpointResponse { interface: Interface { mac, ..Interface::default() } })
    }

    /// `NetworkDriver.DeleteEndpoint`: removes the link.
    ///
    /// # Errors The link cannot be removed.
    pub(crate) fn delete_endpoint(
        &mut self,
        service: &mut Service,
        request: &EndpointRequest,
    ) -> Result<(), DriverError> {
        self.remove_endpoint(service, &request.endpoint)
    }

    /// `NetworkDriver.Join`: tells Docker which interface to move into the container.
    ///
    /// # Errors The network or the endpoint is unknown, or the link cannot be made again.
    pub(crate) fn join(
        &mut self,
        service: &mut Service,
        request: &EndpointRequest,
    ) -> Result<JoinResponse, DriverError> {
        let network = self.network(&request.network)?.clone();
        let Endpoint { spec, mac, .. } = self.endpoint(request)?.clone();
        let gateway = network.gateway(&spec.id, spec.ipv4)?;
        let gateway_ipv6 = network.gateway(&spec.id, spec.ipv6)?;
        let room = self.reserve_endpoint(&spec.id)?;
        let mac = self.ensure_link(service, &network, &spec, Some(mac))?;
        let source = spec.link();
        self.save_endpoint(room, Endpoint { spec, mac, stage: Stage::Joined })?;
        Ok(JoinResponse {
            name: InterfaceName { source, prefix: IN_CONTAINER },
            gateway: gateway.map(|gateway| gateway.to_string()),
            gateway_ipv6: gateway_ipv6.map(|gateway| gateway.to_string()),
            no_gateway_service: true,
        })
    }

    /// `NetworkDriver.Leave`: Docker moves the interface back and calls
    /// [`delete_endpoint`](Self::delete_endpoint) next.
    ///
    /// # Errors The state cannot be written.
    pub(crate) fn leave(
        &mut self,
        service: &mut Service,
        request: &EndpointRequest,
    ) -> Result<(), DriverError> {
        match self.endpoints.get(&request.endpoint).cloned() {
            Some(endpoint) => {
                // An address by DHCP is given back from where it is.
                service.release_owned(&endpoint.spec.owner());
                let room = self.reserve_endpoint(&endpoint.spec.id)?;
                self.save_endpoint(room, Endpoint { stage: Stage::Left, ..endpoint })
            }
            None => Ok(()),
        }
    }

    /// `NetworkDriver.EndpointOperInfo`: values for `docker inspect`.
    ///
    /// # Errors The endpoint is unknown.
    pub(crate) fn info(
        &mut self,
        service: &mut Service,
        request: &EndpointRequest,
    ) -> Result<InfoResponse, DriverError> {
        let endpoint = self.endpoint(request)?;
        let mut info = InfoResponse::default();
        if let Some(link) = service.link_of_owner(&endpoint.spec.owner())? {
            let counters = serde_json::to_value(&link.umacvlan.counters).unwrap_or_default();
            info.value = BTreeMap::from([
                ("parent", json!(link.umacvlan.parent)),
                ("macvlan_mode", json!(link.linkinfo.info_data.mode)),
                ("mtu", json!(link.mtu)),
                ("com.docker.network.endpoint.macaddress", json!(link.address)),
                ("umacvlan.counters", counters),
            ]);
        }
        Ok(info)
    }

    /// The address of the link of an endpoint, which must not be in use elsewhere; makes the link if
    /// it does not exist, with the address `former` if it had one before.
    fn ensure_link(
        &self,
        service: &mut Service,
        network: &Network,
        spec: &EndpointSpec,
        former: Option<MacAddr>,
    ) -> Result<MacAddr, DriverError> {
        let link = match service.link_of_owner(&spec.owner())? {
            Some(link) => {
                service.check_owned_addresses(&spec.owner())?;
                link
            }
            None => service
                .add_link(&spec.new_link(network, former)?, None)
                .map_err(|error| no_parent(network, error.0))?,
        };
        // A link always has an address.
        Ok(link.address.and_then(|mac| mac.parse().ok()).unwrap_or_default())
    }

    /// Takes the room for an endpoint in its file, before its link is made.
    fn reserve_endpoint(&self, id: &str) -> Result<Reservation, DriverError> {
        let room = self.files.reserve(&endpoint_file(id), ENDPOINT_BYTES, Durability::UntilBoot);
        room.map_err(|error| not_written("the endpoint", &error))
    }

    /// Refuses what needs the removal of a file, where that is not possible.
    fn check_removable(&self) -> Result<(), DriverError> {
        self.files.check_removable().map_err(|error| not_written("the change", &error))
    }

    /// Writes an endpoint to its file. From now on its link may wait for Docker.
    fn save_endpoint(&mut self, room: Reservation, endpoint: Endpoint) -> Result<(), DriverError> {
        let written = room.write(&endpoint);
        written.map_err(|error| not_written("the endpoint", &error))?;
        self.waiting.insert(endpoint.spec.owner(), Instant::now());
        self.endpoints.insert(endpoint.spec.id.clone(), endpoint);
        Ok(())
    }

    /// Removes an endpoint and its link. The link is found by its owner tag, so a lost file does
    /// not matter.
    fn remove_endpoint(&mut self, service: &mut Service, id: &str) -> Result<(), DriverError> {
        if self.endpoints.contains_key(id) {
            self.check_removable()?;
        }
        service.remove_owned(&format!("{OWNER}{id}"))?;
        self.forget(id);
        Ok(())
    }

    fn forget(&mut self, id: &str) {
        if self.endpoints.remove(id).is_some() {
            self.files.remove(&endpoint_file(id));
        }
        self.waiting.remove(&format!("{OWNER}{id}"));
    }

    /// Makes a parent without a wire, for a network without `parent`.
    fn make_parent(&mut self, network: &Network, service: &mut Service) -> Result<(), DriverError> {
        if self.parents.contains_key(&network.id) {
            return Ok(());
        }
        let name = &network.parent;
        let cannot =
            |why: String| DriverError::new(format!("cannot make the parent {name}: {why}"));
        let tap = Tap::create_without_rx(name).map_err(|error| cannot(error.to_string()))?;
        tap.set_mac(own_mac(&network.id)).map_err(|error| cannot(error.to_string()))?;
        let link = service.interface_named(name)?;
        let link = link.ok_or_else(|| cannot("it has gone again".to_owned()))?;
        service.bring_up_dummy(&link, network.options.mtu)?;
        self.parents.insert(network.id.clone(), tap);
        Ok(())
    }

    fn network(&self, id: &str) -> Result<&Network, DriverError> {
        self.networks.get(id).ok_or_else(|| {
            let shown: String = id.chars().take(128).collect();
            DriverError::new(format!(
                "network {shown} is not known to umacvlan: its state is lost, delete the network \
                 and create it again"
            ))
        })
    }

    fn endpoint(&self, request: &EndpointRequest) -> Result<&Endpoint, DriverError> {
        self.endpoints.get(&request.endpoint).ok_or_else(|| {
            let shown: String = request.endpoint.chars().take(128).collect();
            let why =
                format!("endpoint {shown} is not known to umacvlan: start its container again");
            DriverError::new(why)
        })
    }
}

/// A missing parent is reported with the words of Docker's macvlan driver.
fn no_parent(network: &Network, problem: Problem) -> DriverError {
    match problem {
        Problem { code: Code::NoDevice, device: Some(device), .. } if device == network.parent => {
            DriverError::new(format!(
                "the requested parent interface {device} was not found on the Docker host"
            ))
        }
        problem => problem.into(),
    }
}

fn not_written(what: &str, error: &std::io::Error) -> DriverError {
    DriverError::new(format!("{what} cannot be saved: {error}; make room in the state directory"))
}

/// The address of a parent that the driver makes: the same each time.
fn own_mac(id: &str) -> MacAddr {
    let [a, b, c, d, e, f, ..] = name_hash(id).to_be_bytes();
    MacAddr::new([a & 0xfc | 2, b, c, d, e, f])
}

fn network_file(id: &str) -> String {
    format!("{NETWORK}{id}.json")
}

fn endpoint_file(id: &str) -> String {
    format!("{ENDPOINT}{id}.json")
}

#[cfg(test)]
mod tests {
    use super::own_mac;

    #[test]
    fn a_parent_of_our_own_has_the_same_address_each_time() {
        let (one, other) = (own_mac("4d0d13f744e3"), own_mac("b0979787dcb7"));
        assert!(one.is_valid_unicast() && one.is_locally_administered() && one != other);
        assert_eq!(one, own_mac("4d0d13f744e3"));
    }
}
