//! [`Addressing`]: the words that are about IP addresses of a link, behind its type. They are those of the
//! configuration.

use nix::libc;
use umacvlan_api::{Dhcp, HostAccess};

use super::error::{CommandError, FAILED};

/// The words that were given.
#[derive(Debug, Default)]
pub(super) struct Addressing {
    pub(super) dhcp: Option<bool>,
    pub(super) client_id: Option<String>,
    pub(super) hostname: Option<String>,
    /// `Some` with nothing to reach: no longer.
    host: Option<HostAccess>,
    from: Vec<std::net::IpAddr>,
}

impl Addressing {
    /// Parses what the host reaches the link by: addresses and networks with commas between them, or `off`.
    pub(super) fn host(&mut self, value: &str) -> Result<(), CommandError> {
        let host = self.host.get_or_insert_default();
        if value == "off" {
            return Ok(());
        }
        for word in value.split(',') {
            let expected = "addresses or networks with commas between them, or \"off\"";
            let to = word.parse().map_err(|_| CommandError::must_be("host", expected, word))?;
            host.to.push(to);
        }
        Ok(())
    }

    /// Parses the host's own addresses, with commas between them.
    pub(super) fn host_address(&mut self, value: &str) -> Result<(), CommandError> {
        for word in value.split(',') {
            let expected = "IP addresses with commas between them";
            let from = word.parse();
            self.from
                .push(from.map_err(|_| CommandError::must_be("host_address", expected, word))?);
        }
        Ok(())
    }

    /// How the host is to reach the link; `None` if no word says so.
    ///
    /// # Errors
    /// The host has addresses and nothing to reach, or several of one family.
    pub(super) fn host_access(&self) -> Result<Option<HostAccess>, CommandError> {
        let to = self.host.clone().unwrap_or_default().to;
        let access = HostAccess { to, from: self.from.clone() };
        match access.fault() {
            Some(fault) => Err(CommandError::own(FAILED, fault)),
            None => Ok(self.host.as_ref().map(|_| access)),
        }
    }

    /// Who a new link is to DHCP servers, if it asks them.
    ///
    /// # Errors
    /// It does not ask them, or they cannot be told this.
    pub(super) fn new_dhcp(&self) -> Result<Option<Dhcp>, CommandError> {
        let who = Dhcp { client_id: self.client_id.clone(), hostname: self.hostname.clone() };
        if !self.dhcp.unwrap_or_default() {
            return match who == Dhcp::default() {
                true => Ok(None),
                false => {
                    let text = "dhcp_client_id and dhcp_hostname are for a link with dhcp on";
                    Err(CommandError::own(FAILED, text))
                }
            };
        }
        who.fault().map_or(Ok(Some(who)), |why| Err(CommandError::own(FAILED, why)))
    }

    /// Refuses to change how a link that exists gets its addresses.
    ///
    /// # Errors
    /// A word is about DHCP.
    pub(super) fn check_unchanged_dhcp(&self) -> Result<(), CommandError> {
        let given = self.dhcp.is_some() || self.client_id.is_some() || self.hostname.is_some();
        let hint =
            "a link that is there does not begin or end to use DHCP: delete it and make it again";
        match given {
            true => Err(CommandError::kernel(libc::EOPNOTSUPP).hint(hint)),
            false => Ok(()),
        }
    }
}
