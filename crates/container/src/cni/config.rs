//! [`Config`]: the network configuration from the runtime.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_with::{DefaultOnNull, serde_as};
use umacvlan_core::options::PortKind;
use umacvlan_core::rules::Rules;
use umacvlan_core::{MacAddr, MacvlanFlag, MacvlanFlags, MacvlanSettings, Mode};
use umacvlan_netlink::Rtnl;

use super::args::Args;
use super::bandwidth::Bandwidth;
use super::dhcp::{self, Server};
use super::error::{CONFIG, CniError, DECODING, REFUSED, UNSUPPORTED};
use super::parsed::{Host, parsed_rules};
use super::request::{Request, check_network};
use super::result::{AddResult, Dns};
use super::version::Version;
use crate::container_link;
use umacvlan_api::{Dhcp, LimitsJson, LinkSpec, RulesJson, from_strict_json};

/// The fields of the configuration that this plugin uses. Other fields belong to other plugins or the
/// runtime and are ignored; `null` counts as absent.
#[serde_as]
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Config {
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default)]
    pub(super) cni_version: String,
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default)]
    pub(super) name: String,
    /// The parent; the interface of the default route if absent or empty.
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default)]
    master: String,
    /// A macvlan mode; bridge if absent or empty.
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default)]
    mode: String,
    /// In bytes; 0 means the parent's.
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default)]
    mtu: i64,
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default)]
    mac: String,
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default)]
    link_in_container: bool,
    /// In frames; 0 means the default.
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default)]
    bcqueuelen: u32,
    bclim: Option<i32>,
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default)]
    limits: LimitsJson,
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default)]
    rules: RulesJson,
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default)]
    macaddr: Vec<String>,
    #[serde(flatten, deserialize_with = "flags")]
    flags: MacvlanFlags,
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default)]
    promisc: bool,
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default)]
    allmulticast: bool,
    /// The parent's links send with the parent's MAC address.
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default)]
    macnat: bool,
    txqueuelen: Option<u32>,
    /// Whether the host reaches the container, or the host's own addresses for that.
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default)]
    pub(super) host: Host,
    /// Whether the container sends only from the addresses of the IPAM plugin.
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default, rename = "own_ip")]
    pub(super) own_ip: bool,
    /// What the interface is: `tap`, `veth` or `auto`; the parent's default if absent or empty.
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default)]
    port: String,
    /// The daemon's socket.
    pub(super) socket: Option<PathBuf>,
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default)]
    ipam: Ipam,
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default)]
    pub(super) dns: Dns,
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default)]
    runtime_config: RuntimeConfig,
    prev_result: Option<Value>,
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default, rename = "cni.dev/valid-attachments")]
    pub(super) valid: Vec<Attachment>,
}

#[serde_as]
#[derive(Clone, Debug, Default, Deserialize)]
struct Ipam {
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default, rename = "type")]
    kind: String,
    /// The keys of the plugin.
    #[serde(flatten)]
    keys: BTreeMap<String, Value>,
}

#[serde_as]
#[derive(Clone, Debug, Default, Deserialize)]
struct RuntimeConfig {
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default)]
    mac: String,
    #[serde_as(as = "DefaultOnNull")]
    #[serde(default)]
    bandwidth: Bandwidth,
}

/// An attachment that the runtime knows.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Attachment {
    #[serde(rename = "containerID")]
    pub(super) container: String,
    pub(super) ifname: String,
}

/// Reads the flags among the keys of a configuration, each a boolean.
fn flags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MacvlanFlags, D::Error> {
    let mut keys = BTreeMap::<String, Value>::deserialize(deserializer)?;
    let mut flags = MacvlanFlags::default();
    for flag in MacvlanFlag::ALL {
        let on = Option::<bool>::deserialize(keys.remove(flag.name()).unwrap_or_default());
        flags = flags.with(flag, on.map_err(D::Error::custom)?.unwrap_or_default());
    }
    Ok(flags)
}

impl Config {
    /// Parses a configuration.
    ///
    /// # Errors
    /// It is malformed, or the name of the network is missing or invalid.
    pub(super) fn read(text: &[u8]) -> Result<Self, CniError> {
        let config: Self = from_strict_json(text).map_err(|error| {
            CniError::new(DECODING, format!("error unmarshall network config: {error}"))
        })?;
        check_network(&config.name)?;
        Ok(config)
    }

    /// The version of the specification.
    ///
    /// # Errors
    /// As [`Version::read`].
    pub(super) fn version(&self) -> Result<Version, CniError> {
        Version::read(&self.cni_version)
    }

    /// The `cniVersion` for results and errors.
    pub(super) fn version_name(&self) -> &str {
        if self.cni_version.is_empty() { "0.1.0" } else { &self.cni_version }
    }

    /// The name of the IPAM plugin; `None` without one.
    pub(super) fn ipam(&self) -> Option<&str> {
        Some(self.ipam.kind.as_str()).filter(|kind| !kind.is_empty())
    }

    /// How the daemon is to get an address by DHCP; `None` if it is not.
    ///
    /// # Errors
    /// A key of `ipam` is unknown or has an invalid value.
    pub(super) fn dhcp(&self) -> Result<Option<Server>, CniError> {
        match self.ipam.kind == dhcp::IPAM {
            true => Server::read(&self.ipam.keys).map(Some),
            false => Ok(None),
        }
    }

    /// The requested mode.
    ///
    /// # Errors
    /// The mode is unknown.
    pub(super) fn mode(&self) -> Result<Mode, CniError> {
        if self.mode.is_empty() {
            return Ok(Mode::Bridge);
        }
        let unknown = |_| {
            let msg = format!("unknown macvlan mode: {:?}", self.mode);
            let all = "there are bridge, passthru, private, source and vepa";
            CniError::new(CONFIG, msg).with_details(all)
        };
        self.mode.parse().map_err(unknown)
    }

    /// The requested kind of interface.
    ///
    /// # Errors
    /// It is unknown.
    fn port(&self) -> Result<Option<PortKind>, CniError> {
        let unknown = |_| {
            let msg = format!("unknown port: {:?}", self.port);
            CniError::new(CONFIG, msg).with_details("there are tap, veth and auto")
        };
        match self.port.as_str() {
            "" => Ok(None),
            word => word.parse().map(Some).map_err(unknown),
        }
    }

    /// The name of the parent.
    ///
    /// # Errors
    /// None is named and there is no default route.
    pub(super) fn master(&self) -> Result<String, CniError> {
        if self.link_in_container {
            let msg = "unsupported field linkInContainer: true: the daemon serves parents of its \
                       own namespace only; name such a one as master";
            return Err(CniError::new(UNSUPPORTED, msg));
        }
        if self.master.is_empty() { default_master() } else { Ok(self.master.clone()) }
    }

    /// The previous result.
    ///
    /// # Errors
    /// It is missing or malformed.
    pub(super) fn prev_result(&self) -> Result<AddResult, CniError> {
        let missing = || CniError::new(CONFIG, "required prevResult missing");
        AddResult::read(self.prev_result.clone().ok_or_else(missing)?)
    }

    /// Whether there is a previous result.
    pub(super) fn has_prev_result(&self) -> bool {
        self.prev_result.is_some()
    }

    /// The link to request from the daemon.
    ///
    /// # Errors
    /// The first invalid field.
    pub(super) fn spec(&self, request: &Request) -> Result<LinkSpec, CniError> {
        let parent = self.master()?;
        let mtu = self.mtu_on(&parent)?;
        let sources = self.macaddr.iter().map(|text| mac(text));
        Ok(LinkSpec {
            address: self.address(&request.args)?,
            allmulticast: self.allmulticast,
            dhcp: self.dhcp()?.map(|_| self.dhcp_identity(request)).transpose()?,
            settings: MacvlanSettings {
                mode: self.mode()?,
                flags: self.flags,
                bcqueuelen: Some(self.bcqueuelen).filter(|&frames| frames != 0),
                bclim: self.bclim,
                rules: self.rules()?,
                limits: self.runtime_config.bandwidth.over(self.limits.clone().into())?,
                sources: sources.collect::<Result<_, _>>()?,
            },
            macnat: self.macnat,
            mtu,
            netns: Some(request.netns.clone()),
            promisc: self.promisc,
            txqueuelen: self.txqueuelen,
            interface: self.port()?,
            parent,
            ..LinkSpec::default()
        })
    }

    /// What the link exchanges frames with.
    ///
    /// # Errors
    /// A value is not one of its rule.
    pub(super) fn rules(&self) -> Result<Rules, CniError> {
        parsed_rules(&self.rules)
    }

    /// Who the link is to DHCP servers.
    fn dhcp_identity(&self, request: &Request) -> Result<Dhcp, CniError> {
        Ok(dhcp::identity(&self.name, &Args::read(&request.args)?, &request.ifname))
    }

    /// The requested address: from the runtime, else `CNI_ARGS`, else the configuration.
    pub(super) fn address(&self, args: &str) -> Result<Option<MacAddr>, CniError> {
        let given = [self.runtime_config.mac.clone(), Args::read(args)?.mac, self.mac.clone()];
        let given = given.into_iter().find(|text| !text.is_empty());
        given.map(|text| mac(&text)).transpose()
    }

    /// The requested MTU. The daemon checks a parent that does not exist here: it may be a VLAN
    /// without an interface.
    fn mtu_on(&self, parent: &str) -> Result<Option<u32>, CniError> {
        let parent = Rtnl::open().and_then(|mut rtnl| rtnl.link(parent)).map_err(netlink_error)?;
        let most = parent.map(|link| link.mtu);
        let mtu = u32::try_from(self.mtu).ok();
        match (mtu, most) {
            (Some(0), _) => Ok(None),
            (Some(mtu), None) => Ok(Some(mtu)),
            (Some(mtu), Some(most)) if mtu <= most => Ok(Some(mtu)),
            _ => {
                let most = most.unwrap_or(u32::MAX);
                let msg = format!("invalid MTU {}, must be [0, master MTU({most})]", self.mtu);
                Err(CniError::new(CONFIG, msg))
            }
        }
    }
}

/// A netlink error as a CNI error.
pub(super) fn netlink_error(error: impl Into<anyhow::Error>) -> CniError {
    CniError::new(REFUSED, umacvlan_text::output::one_line(&error.into()))
}

/// The interface of the default route.
fn default_master() -> Result<String, CniError> {
    container_link::default_parent().map_err(netlink_error)?.ok_or_else(|| {
        let advice = "name the parent as master";
        CniError::new(CONFIG, "no default route interface found").with_details(advice)
    })
}

fn mac(text: &str) -> Result<MacAddr, CniError> {
    let wrong = |error| format!("invalid args {text} for MAC addr: {error}");
    text.parse().map_err(|error| CniError::new(CONFIG, wrong(error)))
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
