//! What is done with the addresses that a container gets, as the configuration says.

use std::net::IpAddr;

use umacvlan_core::Mode;

use super::config::Config;
use super::error::{CONFIG, CniError};
use super::parsed::Host;

impl Config {
    /// Whether the container sends only from the addresses of the IPAM plugin.
    ///
    /// # Errors
    /// There is no IPAM plugin, or an address from it may change.
    pub(super) fn own_ip(&self) -> Result<bool, CniError> {
        if self.own_ip && (self.ipam().is_none() || self.dhcp()?.is_some()) {
            let msg = "invalid own_ip: it needs addresses that stay: name an ipam, not DHCP";
            return Err(CniError::new(CONFIG, msg));
        }
        Ok(self.own_ip)
    }

    /// The host's own addresses if it is to reach the container, none for derived ones; `None` if it
    /// is not.
    ///
    /// # Errors
    /// The mode does not allow it, or there is no IPAM plugin.
    pub(super) fn host(&self) -> Result<Option<Vec<IpAddr>>, CniError> {
        let from = match &self.host {
            Host::Switch(false) => return Ok(None),
            Host::Switch(true) => Vec::new(),
            Host::Addresses(from) => from.clone(),
        };
        let mode = self.mode()?;
        if !matches!(mode, Mode::Bridge | Mode::Vepa) {
            let msg = format!("invalid host: it is for modes bridge and vepa, and this is {mode}");
            return Err(CniError::new(CONFIG, msg));
        }
        if self.ipam().is_none() {
            let msg = "invalid host: the host needs addresses to reach: name an ipam";
            return Err(CniError::new(CONFIG, msg));
        }
        if self.dhcp()?.is_some() {
            let msg = "invalid host: an address by DHCP may change: name an ipam of another type";
            return Err(CniError::new(CONFIG, msg));
        }
        Ok(Some(from))
    }
}
