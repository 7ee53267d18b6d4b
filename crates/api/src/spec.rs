//! Settings of a new link, and changes of a link.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_with::{DisplayFromStr, FromInto, TryFromInto, serde_as, skip_serializing_none};
use umacvlan_core::limit::{Limits, LimitsChange};
use umacvlan_core::options::{LinkPort, PortKind, ProgramKind};
use umacvlan_core::rules::{Rules, RulesChange};
use umacvlan_core::{Destination, MacAddr, MacvlanFlags, MacvlanSettings, Mode};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

pub use crate::macaddr::{MacaddrChange, MacaddrOp};

use crate::flags::is_off;
use crate::{Dhcp, Flags, HostAccess, KernelFlags, LimitsJson, RulesJson};

/// What a new link is to be: an entry of the configuration, and the body of a request.
///
/// In JSON every setting is a key of its own, in the words of `ip link add`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(try_from = "LinkSpecJson", into = "LinkSpecJson")]
pub struct LinkSpec {
    /// Name of the parent, in the daemon's namespace.
    pub parent: String,
    /// Its macvlan settings.
    pub settings: MacvlanSettings,
    /// Its address; a random one if absent. Passthru takes the parent's.
    pub address: Option<MacAddr>,
    /// Alias, as set by `ip link set alias`.
    pub alias: Option<String>,
    /// It receives every multicast group.
    pub allmulticast: bool,
    /// It gets its IPv4 address by DHCP; not if absent.
    pub dhcp: Option<Dhcp>,
    /// How the host reaches it.
    pub host: HostAccess,
    /// Its parent's links send with the parent's MAC address; the parent is attached so if this is its
    /// first link, and the link is refused if it is attached and they do not.
    pub macnat: bool,
    /// Its MTU in bytes; the parent's if absent.
    pub mtu: Option<u32>,
    /// Namespace in which the link is made: a name, a path or a process id; `@caller` for the
    /// client's own; the daemon's if absent.
    pub netns: Option<String>,
    /// What its interface is; the parent's default if absent. The key of this and of `port` is `port`.
    pub interface: Option<PortKind>,
    /// How the program at its far end connects; `None` if that is an interface.
    pub port: Option<ProgramKind>,
    /// The socket at which the program listens, to which the daemon connects; if absent the daemon listens.
    pub client: Option<String>,
    /// The interface that the program has open, if that is how it is reached.
    pub dev: Option<String>,
    /// The user id of the socket's file or the TAP, if its far end is a program; the daemon's if absent.
    pub user: Option<u32>,
    /// The group id of that file or TAP, whose members may connect; no group may if absent.
    pub group: Option<u32>,
    /// It receives every multicast group, and its parent every frame.
    pub promisc: bool,
    /// The length of its TX queue, in frames.
    pub txqueuelen: Option<u32>,
    /// Set the link up. If absent, a request leaves it down, and the configuration sets it up.
    pub up: Option<bool>,
}

/// What a new link is to be: an entry of the configuration, and the body of a request. The words
/// are those of `ip link add`.
#[serde_as]
#[skip_serializing_none]
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename = "LinkSpec")]
struct LinkSpecJson {
    /// The parent's name, in the daemon's namespace.
    parent: String,
    /// Its address; a random one if absent. Passthru takes the parent's.
    #[serde_as(as = "Option<DisplayFromStr>")]
    #[schema(value_type = Option<String>)]
    address: Option<MacAddr>,
    /// Text for people, as of `ip link set alias`.
    alias: Option<String>,
    /// It listens to every group.
    #[serde(default)]
    allmulticast: bool,
    /// It gets its IPv4 address, and routes, from a DHCP server, whenever it is up.
    #[serde(default, skip_serializing_if = "is_off")]
    dhcp: bool,
    /// The DHCP client identifier; its MAC address if absent.
    dhcp_client_id: Option<String>,
    /// The name that DHCP servers get to know.
    dhcp_hostname: Option<String>,
    /// Its IP addresses, or networks, that the host reaches through a link of its own.
    #[serde_as(as = "Vec<DisplayFromStr>")]
    #[schema(value_type = Vec<String>)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    host: Vec<Destination>,
    /// The host's IP addresses on that link; derived from those of the parent if absent.
    #[schema(value_type = Vec<String>)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    host_address: Vec<IpAddr>,
    /// The port-wide limit above which a group takes the broadcast queue.
    bclim: Option<i32>,
    /// Requested length of the broadcast queue, in frames.
    bcqueuelen: Option<u32>,
    /// Source mode: the source addresses whose frames it receives.
    #[serde_as(as = "Vec<DisplayFromStr>")]
    #[schema(value_type = Vec<String>)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    macaddr: Vec<MacAddr>,
    /// How much it sends and receives at most.
    #[serde_as(as = "FromInto<LimitsJson>")]
    #[schema(value_type = LimitsJson)]
    #[serde(default, skip_serializing_if = "LimitsJson::is_unlimited")]
    limits: Limits,
    /// What it exchanges frames with, and from where it sends.
    #[serde_as(as = "TryFromInto<RulesJson>")]
    #[schema(value_type = RulesJson)]
    #[serde(default, skip_serializing_if = "RulesJson::is_open")]
    rules: Rules,
    /// Its parent's links send with the parent's MAC address (MAC-NAT); the parent is attached so if this
    /// is its first link.
    #[serde(default, skip_serializing_if = "is_off")]
    macnat: bool,
    /// Its mode; vepa, as for the kernel, if absent.
    #[serde_as(as = "DisplayFromStr")]
    #[schema(value_type = String)]
    #[serde(default)]
    mode: Mode,
    /// Its MTU in bytes; the parent's if absent.
    mtu: Option<u32>,
    /// The namespace it is made in: a name, a path or the id of a process; `@caller` for the
    /// client's own; the daemon's if absent.
    netns: Option<String>,
    /// Source mode: frames from the addresses of its list go to no other link.
    #[serde(default)]
    nodst: bool,
    /// Passthru: leave the parent's promiscuous setting alone.
    #[serde(default)]
    nopromisc: bool,
    /// `tap`: its interface is a TAP; `veth`: one end of a veth pair, whose plain unicast the kernel
    /// forwards; `auto`: that where it can be, else a TAP; the parent's default if absent. `stream` and
    /// `vhost-user`: there is no interface, but a program that connects to the Unix stream socket
    /// `NAME.sock` in the directory `ports` beside the daemon's socket. `program-tap`: the daemon makes a
    /// persistent TAP with the name of the link, which the program opens. `dev`: the program is behind the
    /// interface `dev`. The link is a macvtap with these four.
    #[serde_as(as = "Option<DisplayFromStr>")]
    #[schema(value_type = Option<String>)]
    port: Option<LinkPort>,
    /// It listens to every group, and its parent to everything.
    #[serde(default)]
    promisc: bool,
    /// The path of the socket at which the program listens: the daemon connects, instead of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    /// The interface behind which the program is, with port `dev`: a TAP that it has open, or one end of a
    /// veth pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dev: Option<String>,
    /// The group id of a program's TAP, or of the file of its socket, whose members may connect; no group may if
    /// absent.
    group: Option<u32>,
    /// Drop frames that it sends from another address than its own.
    #[serde(default, skip_serializing_if = "is_off")]
    spoofchk: bool,
    /// Frames that may wait for the engine.
    txqueuelen: Option<u32>,
    /// Set it up; if absent a request does not, and the configuration does.
    up: Option<bool>,
    /// The user id of a program's TAP, or of the file of its socket; the daemon's if absent.
    user: Option<u32>,
}

impl TryFrom<LinkSpecJson> for LinkSpec {
    type Error = &'static str;

    fn try_from(json: LinkSpecJson) -> Result<Self, Self::Error> {
        if !json.dhcp && (json.dhcp_client_id.is_some() || json.dhcp_hostname.is_some()) {
            return Err("dhcp_client_id and dhcp_hostname are for a link with dhcp: true");
        }
        let LinkSpecJson { bclim, bcqueuelen, limits, rules, macaddr, mode, .. } = json;
        let LinkSpecJson { nodst, nopromisc, spoofchk, .. } = json;
        let flags = Flags { nodst, nopromisc, spoofchk }.into();
        let mut spec = Self {
            parent: json.parent,
            settings: MacvlanSettings {
                mode,
                flags,
                bcqueuelen,
                bclim,
                limits,
                rules,
                sources: macaddr,
            },
            address: json.address,
            alias: json.alias,
            allmulticast: json.allmulticast,
            dhcp: json
                .dhcp
                .then_some(Dhcp { client_id: json.dhcp_client_id, hostname: json.dhcp_hostname }),
            host: HostAccess { to: json.host, from: json.host_address },
            macnat: json.macnat,
            mtu: json.mtu,
            netns: json.netns,
            interface: None,
            port: None,
            client: json.client,
            dev: json.dev,
            user: json.user,
            group: json.group,
            promisc: json.promisc,
            txqueuelen: json.txqueuelen,
            up: json.up,
        };
        spec.set_port(json.port);
        Ok(spec)
    }
}

impl From<LinkSpec> for LinkSpecJson {
    fn from(spec: LinkSpec) -> Self {
        let port = spec.link_port();
        let MacvlanSettings { mode, flags, bcqueuelen, bclim, limits, rules, sources } =
            spec.settings;
        let Flags { nodst, nopromisc, spoofchk } = flags.into();
        let dhcp = spec.dhcp.is_some();
        let Dhcp { client_id, hostname } = spec.dhcp.unwrap_or_default();
        Self {
            parent: spec.parent,
            address: spec.address,
            alias: spec.alias,
            allmulticast: spec.allmulticast,
            dhcp,
            dhcp_client_id: client_id,
            dhcp_hostname: hostname,
            host: spec.host.to,
            host_address: spec.host.from,
            bclim,
            bcqueuelen,
            limits,
            rules,
            macaddr: sources,
            macnat: spec.macnat,
            mode,
            mtu: spec.mtu,
            netns: spec.netns,
            nodst,
            nopromisc,
            port,
            promisc: spec.promisc,
            spoofchk,
            client: spec.client,
            dev: spec.dev,
            group: spec.group,
            txqueuelen: spec.txqueuelen,
            up: spec.up,
            user: spec.user,
        }
    }
}

impl PartialSchema for LinkSpec {
    fn schema() -> RefOr<Schema> {
        LinkSpecJson::schema()
    }
}

impl ToSchema for LinkSpec {}

/// What is to become of a link; what is absent stays. Steps are taken in the order of these
/// fields; the first one refused ends it, and those before it remain, as with `ip link set`.
#[serde_as]
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkChange {
    /// Macvlan settings.
    pub macvlan: Option<MacvlanChange>,
    /// Namespace to move the link to: a name, a path, a process id, or `@caller`.
    pub netns: Option<String>,
    /// MAC address.
    #[serde_as(as = "Option<DisplayFromStr>")]
    #[schema(value_type = Option<String>)]
    pub address: Option<MacAddr>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// Transmit queue length: frames that may wait for the engine.
    pub txqueuelen: Option<u32>,
    /// Name of the interface.
    pub name: Option<String>,
    /// Alias; empty to remove it.
    pub alias: Option<String>,
    /// Receive all multicast groups, and have the parent receive all frames.
    pub promisc: Option<bool>,
    /// Receive all multicast groups.
    pub allmulticast: Option<bool>,
    /// Set the link up, or down.
    pub up: Option<bool>,
    /// How the host reaches the link; without addresses in `to`, not at all any more.
    pub host: Option<HostAccess>,
}

/// Settings that `ip link set NAME type macvlan ...` can change, in the kernel's order.
#[serde_as]
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MacvlanChange {
    /// The mode.
    #[serde_as(as = "Option<DisplayFromStr>")]
    #[schema(value_type = Option<String>)]
    pub mode: Option<Mode>,
    /// All flags of the kernel's macvlan at once: those not named are cleared.
    #[serde_as(as = "Option<FromInto<KernelFlags>>")]
    #[schema(value_type = Option<KernelFlags>)]
    pub flags: Option<MacvlanFlags>,
    /// Drop frames that the link sends from another address than its own, or no longer.
    pub spoofchk: Option<bool>,
    /// How much the link sends and receives at most: those that are named change.
    #[serde_as(as = "Option<FromInto<LimitsJson>>")]
    #[schema(value_type = Option<LimitsJson>)]
    pub limits: Option<LimitsChange>,
    /// What the link exchanges frames with, and from where it sends: those that are named change.
    #[serde_as(as = "Option<FromInto<RulesJson>>")]
    #[schema(value_type = Option<RulesJson>)]
    pub rules: Option<RulesChange>,
    /// Requested length of the broadcast queue, in frames.
    pub bcqueuelen: Option<u32>,
    /// Broadcast limit of the parent: a multicast address with more receivers than this uses the
    /// broadcast queue.
    pub bclim: Option<i32>,
    /// Change of the source list.
    pub macaddr: Option<MacaddrChange>,
    /// The type that the link has to be of; if absent, either.
    pub kind: Option<LinkKind>,
}

/// The type of a link.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// Its far end is an interface.
    Macvlan,
    /// Its far end is a program.
    Macvtap,
}

#[cfg(test)]
mod tests {
    use umacvlan_core::MacvlanFlag;

    use super::*;

    #[test]
    fn the_json_of_a_spec_keeps_its_keys_and_their_order() {
        let text = r#"{"parent":"p0","address":"02:00:00:00:00:01","alias":"a","allmulticast":true,"bclim":-1,"bcqueuelen":7,"macaddr":["02:00:00:00:00:09"],"mode":"source","mtu":1400,"netns":"blue","nodst":true,"nopromisc":false,"promisc":true,"txqueuelen":9,"up":true}"#;
        let spec: LinkSpec = serde_json::from_str(text).unwrap();
        assert!(spec.settings.flags.iter().eq([MacvlanFlag::Nodst]));
        assert_eq!(serde_json::to_string(&spec).unwrap(), text);

        let least: LinkSpec = serde_json::from_str(r#"{"parent":"p0"}"#).unwrap();
        assert_eq!(least, LinkSpec { parent: "p0".to_owned(), ..LinkSpec::default() });
        let text = r#"{"parent":"p0","allmulticast":false,"mode":"vepa","nodst":false,"nopromisc":false,"promisc":false}"#;
        assert_eq!(serde_json::to_string(&least).unwrap(), text);
    }

    #[test]
    fn the_port_of_a_program_is_in_the_json_of_its_link_only() {
        let text = r#"{"parent":"p0","allmulticast":false,"mode":"bridge","nodst":false,"nopromisc":false,"port":"stream","promisc":false,"group":36,"user":107}"#;
        let spec: LinkSpec = serde_json::from_str(text).unwrap();
        assert_eq!(
            (spec.port, spec.user, spec.group),
            (Some(ProgramKind::Stream), Some(107), Some(36))
        );
        assert_eq!(serde_json::to_string(&spec).unwrap(), text);
        let unknown = serde_json::from_str::<LinkSpec>(r#"{"parent":"p0","port":"serial"}"#);
        let message = unknown.unwrap_err().to_string();
        assert!(message.contains("\"serial\" is no kind of port"), "{message}");
    }

    #[test]
    fn the_kind_of_interface_has_the_same_key() {
        for port in ["tap", "veth", "auto"] {
            let text = format!(
                r#"{{"parent":"p0","allmulticast":false,"mode":"bridge","nodst":false,"nopromisc":false,"port":"{port}","promisc":false}}"#
            );
            let spec: LinkSpec = serde_json::from_str(&text).unwrap();
            assert_eq!(spec.interface.map(PortKind::name), Some(port));
            assert_eq!(spec.port, None);
            assert_eq!(serde_json::to_string(&spec).unwrap(), text);
        }
    }

    #[test]
    fn host_access_is_in_the_json_of_a_link_that_has_it_only() {
        let text = r#"{"parent":"p0","allmulticast":false,"host":["10.1.0.5","10.1.0.64/26"],"host_address":["10.1.0.9"],"mode":"bridge","nodst":false,"nopromisc":false,"promisc":false}"#;
        let spec: LinkSpec = serde_json::from_str(text).unwrap();
        assert_eq!((spec.host.to.len(), spec.host.from.len()), (2, 1));
        assert_eq!(serde_json::to_string(&spec).unwrap(), text);
        let wrong = serde_json::from_str::<LinkSpec>(r#"{"parent":"p0","host":["web"]}"#);
        let message = wrong.unwrap_err().to_string();
        assert!(message.contains("\"web\" is not an address or a network"), "{message}");
    }

    #[test]
    fn an_unknown_key_of_a_spec_is_refused_with_the_known_ones() {
        let refused = serde_json::from_str::<LinkSpec>(r#"{"parent":"p0","colour":1}"#);
        let message = refused.unwrap_err().to_string();
        let start = "unknown field `colour`, expected one of `parent`, `address`, `alias`";
        assert!(message.starts_with(start), "{message}");
    }

    #[test]
    fn flags_are_converted_one_by_one() {
        for flag in MacvlanFlag::ALL {
            let flags = MacvlanFlags::default().with(flag, true);
            assert_eq!(MacvlanFlags::from(Flags::from(flags)), flags, "{}", flag.name());
        }
    }
}
