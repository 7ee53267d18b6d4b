//! `"ipam": {"type": "umacvlan-dhcp"}`: the daemon gets the address, and the plugin waits for it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use umacvlan_api::{Dhcp, LinkView};
use umacvlan_client::Client;

use super::Invocation;
use super::args::Args;
use super::check_gc::changed;
use super::config::netlink_error;
use super::error::{CONFIG, CniError, LATER};
use super::result::{AddResult, Dns, Ip, Route, RouteDetails};
use crate::container_link::{ContainerLink, Lease, NoLease, assigned, wait_for_lease};

/// The type of `ipam` that is no plugin.
pub(super) const IPAM: &str = "umacvlan-dhcp";

/// The key with the time to wait for an address, in seconds.
const TIMEOUT: &str = "timeout";

/// Its default: a server that looks by ping whether an address is free takes a few seconds.
const TIMEOUT_DEFAULT: u64 = 20;

/// The most of it: runtimes give up after two minutes.
const TIMEOUT_MAX: u64 = 100;

/// How a DHCP server is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Server {
    timeout: Duration,
}

impl Server {
    /// Reads the keys of `ipam` beside its type.
    ///
    /// # Errors
    /// One is unknown, or its value is invalid.
    pub(super) fn read(keys: &BTreeMap<String, Value>) -> Result<Self, CniError> {
        if let Some(key) = keys.keys().find(|key| *key != TIMEOUT) {
            let msg = format!("ipam {IPAM}: unknown key {key:?}: {TIMEOUT} is the only one");
            return Err(CniError::new(CONFIG, msg));
        }
        let seconds = match keys.get(TIMEOUT) {
            None | Some(Value::Null) => Some(TIMEOUT_DEFAULT),
            Some(value) => value.as_u64().filter(|seconds| (1..=TIMEOUT_MAX).contains(seconds)),
        };
        let wrong = || {
            let given = keys.get(TIMEOUT).cloned().unwrap_or_default();
            let msg =
                format!("ipam {IPAM}: {TIMEOUT} {given}: expected 1 to {TIMEOUT_MAX} seconds");
            CniError::new(CONFIG, msg)
        };
        Ok(Self { timeout: Duration::from_secs(seconds.ok_or_else(wrong)?) })
    }

    /// Sets a link up and waits until it has an address.
    ///
    /// # Errors
    /// No server has given one in time.
    pub(super) fn wait(
        self,
        invocation: &Invocation<'_>,
        client: &mut Client,
        interface: &mut ContainerLink<'_>,
    ) -> Result<AddResult, CniError> {
        let netns = &invocation.request.netns;
        let lease = wait_for_lease(client, interface, netns, self.timeout).map_err(error)?;
        Ok(result(&lease))
    }
}

fn error(error: NoLease) -> CniError {
    match error {
        NoLease::Request(failure) => failure.into(),
        NoLease::Interface(failure) => netlink_error(failure),
        late @ NoLease::Late { .. } => CniError::new(LATER, late),
    }
}

/// What `ADD` returns.
fn result(lease: &Lease) -> AddResult {
    let routes = lease.routes.iter().map(|route| Route {
        dst: route.to,
        gw: route.via,
        details: RouteDetails::default(),
    });
    AddResult {
        ips: vec![Ip { address: lease.address, gateway: lease.gateway, interface: None }],
        routes: routes.collect(),
        dns: Dns {
            nameservers: lease.dns.iter().map(ToString::to_string).collect(),
            domain: lease.domain.clone().unwrap_or_default(),
            ..Dns::default()
        },
        ..AddResult::default()
    }
}

/// Who a link is to servers: the interface of a pod, as often as the pod is made again; without
/// a pod its MAC address, because the id of a container is another one each time.
pub(super) fn identity(network: &str, args: &Args, ifname: &str) -> Dhcp {
    let Args { pod_namespace, pod_name, .. } = args;
    let is_pod = !pod_namespace.is_empty() && !pod_name.is_empty();
    let client_id = || short(format!("{network}/{pod_namespace}/{pod_name}/{ifname}"));
    Dhcp { client_id: is_pod.then(client_id), hostname: None }
}

/// A client identifier that is too long ends with a hash of the whole.
fn short(whole: String) -> String {
    if whole.len() <= Dhcp::MAX {
        return whole;
    }
    let hash = format!(":{:016x}", fnv1a(whole.as_bytes()));
    let mut kept = whole;
    // Names of pods and networks are ASCII; a variable of the environment may be anything.
    kept.truncate(kept.floor_char_boundary(Dhcp::MAX - hash.len()));
    kept + &hash
}

/// The 64-bit hash FNV-1a (draft-eastlake-fnv), which no release may change.
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// `CHECK`: whether a link has an address from a server now.
///
/// # Errors
/// It has none.
pub(super) fn check(link: &LinkView) -> Result<(), CniError> {
    let ifname = &link.ifname;
    match &link.umacvlan.dhcp {
        None => changed(format!("interface {ifname} does not get its address by DHCP")),
        Some(dhcp) if assigned(dhcp).is_none() => {
            let (state, why) = (&dhcp.state, dhcp.trouble.as_deref().unwrap_or("no lease"));
            changed(format!("interface {ifname} has no address by DHCP, state {state}: {why}"))
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn client_id(pod: &str) -> Option<String> {
        let pod_namespace = "shop".to_owned();
        let args = Args { pod_namespace, pod_name: pod.to_owned(), ..Args::default() };
        identity("lan", &args, "net1").client_id
    }

    #[test]
    fn a_pod_is_the_same_client_each_time_and_others_are_their_mac_address() {
        assert_eq!(client_id("web-0").unwrap(), "lan/shop/web-0/net1");
        assert_eq!(client_id(""), None);
        let [one, other] = ["0", "1"].map(|end| client_id(&("w".repeat(200) + end)).unwrap());
        assert_ne!(one, other);
        assert_eq!((one.len(), one.starts_with("lan/shop/www")), (Dhcp::MAX, true));
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8, "the test vector of the draft");
        let strange = Dhcp { client_id: client_id(&"ä".repeat(100)), hostname: None };
        assert_eq!(strange.fault(), None);
    }

    #[test]
    fn wrong_keys_are_refused() {
        let read = |keys: Value| Server::read(&serde_json::from_value(keys).unwrap());
        assert_eq!(read(json!({})).unwrap().timeout.as_secs(), TIMEOUT_DEFAULT);
        assert_eq!(read(json!({"timeout": 7})).unwrap().timeout.as_secs(), 7);
        for (keys, why) in [
            (json!({"routes": []}), "unknown key \"routes\""),
            (json!({"timeout": 0}), "timeout 0: expected 1 to 100 seconds"),
            (json!({"timeout": 101}), "timeout 101: expected"),
            (json!({"timeout": "7s"}), "timeout \"7s\": expected"),
        ] {
            let error = read(keys).unwrap_err();
            assert_eq!(error.code, CONFIG);
            assert!(error.msg.contains(why), "{error:?}");
        }
    }
}
