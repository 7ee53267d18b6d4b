//! [`Dhcp`] and [`DhcpView`]: who a link is to DHCP servers, and what it has of them.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use utoipa::ToSchema;

/// Who a link is to DHCP servers. From its JSON the daemon knows it again after a restart.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Dhcp {
    /// The client identifier; its MAC address if absent.
    pub client_id: Option<String>,
    /// The name that servers get to know, for DNS for example.
    pub hostname: Option<String>,
}

impl Dhcp {
    /// The longest client identifier and the longest name, in bytes, as far as every server takes them.
    pub const MAX: usize = 63;

    /// Why servers cannot be told this; `None` if they can.
    pub fn fault(&self) -> Option<String> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
        let hostname = self.hostname.as_ref();
        if let Some(name) = hostname.filter(|name| name.is_empty() || !name.bytes().all(is_name)) {
            return Some(format!(
                "DHCP hostname {name:?}: expected letters, digits, hyphens and dots"
            ));
        }
        let named = [("client identifier", &self.client_id), ("hostname", &self.hostname)];
        named.into_iter().find_map(|(what, text)| {
            let len = text.as_ref().map_or(1, String::len);
            let most = Self::MAX;
            (len == 0 || len > most)
                .then(|| format!("DHCP {what} of {len} bytes: expected 1 to {most}"))
        })
    }
}

/// What a link has by DHCP.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DhcpLease)]
pub struct DhcpView {
    /// `down` while the link is down, `selecting`, `requesting`, `confirming`, `bound`, `renewing` or
    /// `rebinding` (RFC 2131, figure 5), or `released`.
    pub state: String,
    /// The client identifier, if one was given.
    pub client_id: Option<String>,
    /// The name that servers get to know, if one was given.
    pub hostname: Option<String>,
    /// Its address with the prefix length; absent while it has none.
    pub address: Option<String>,
    /// The identifier of the server.
    pub server: Option<String>,
    /// The routers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routers: Vec<String>,
    /// Name servers, which are the business of whoever manages `resolv.conf` there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// The domain of the network.
    pub domain: Option<String>,
    /// Seconds until the lease ends; absent without one, and for one that never ends.
    pub expires: Option<u64>,
    /// Why it has no address, or what of the lease could not be done.
    pub trouble: Option<String>,
}
