//! Standard input of the plugin as any bytes, for `umacvlan-fuzz`.

use super::container::LinkSetup;
use super::network::{Network, Request};
use super::options::Options;
use super::routes;

/// Reads a request of `setup` and a network of `create`, as far as this machine is not asked.
pub fn stdin(bytes: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<Request>(bytes)
        && let Ok(options) = Options::read(request.network.options.as_ref())
        && let Ok(setup) = LinkSetup::read(&request, &options)
    {
        let given = request.network_options.static_ips.as_deref().unwrap_or_default();
        assert!(setup.addresses().iter().all(|address| given.contains(&address.ipnet.ip())));
    }
    if let Ok(network) = serde_json::from_slice::<Network>(bytes) {
        // Wrong fields are errors.
        let _ = Options::read(network.options.as_ref())
            .and_then(|options| network.check_dhcp(&options));
        let _ = (network.check_subnets(), network.ipam(), routes::read(&network));
    }
}
