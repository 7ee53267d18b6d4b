//! What a link is asked to be, and to become.

use serde::{Deserialize, Serialize};
use serde_with::{DisplayFromStr, FromInto, serde_as, skip_serializing_none};
use umacvlan_core::{MacAddr, MacvlanFlag, MacvlanFlags, MacvlanSettings, Mode};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

/// What a new link is to be: an entry of the configuration, and the body of a request.
///
/// In JSON every setting is a key of its own, in the words of `ip link add`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(from = "LinkSpecJson", into = "LinkSpecJson")]
pub struct LinkSpec {
    /// The parent's name, in the daemon's namespace.
    pub parent: String,
    /// Its macvlan settings.
    pub settings: MacvlanSettings,
    /// Its address; a random one if absent. Passthru takes the parent's.
    pub address: Option<MacAddr>,
    /// Text for people, as of `ip link set alias`.
    pub alias: Option<String>,
    /// It receives every multicast group.
    pub allmulticast: bool,
    /// Its MTU in bytes; the parent's if absent.
    pub mtu: Option<u32>,
    /// The namespace it is made in: a name, a path or the id of a process; `@caller` for the
    /// client's own; the daemon's if absent.
    pub netns: Option<String>,
    /// It receives every multicast group, and its parent every frame.
    pub promisc: bool,
    /// The length of its TX queue, in frames.
    pub txqueuelen: Option<u32>,
    /// Set it up; if absent a request does not, and the configuration does.
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
    /// The port-wide limit above which a group takes the broadcast queue.
    bclim: Option<i32>,
    /// Requested length of the broadcast queue, in frames.
    bcqueuelen: Option<u32>,
    /// Source mode: the stations it hears.
    #[serde_as(as = "Vec<DisplayFromStr>")]
    #[schema(value_type = Vec<String>)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    macaddr: Vec<MacAddr>,
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
    /// Source mode: what the stations of its list send goes to nobody else.
    #[serde(default)]
    nodst: bool,
    /// Passthru: leave the parent's promiscuous setting alone.
    #[serde(default)]
    nopromisc: bool,
    /// It listens to every group, and its parent to everything.
    #[serde(default)]
    promisc: bool,
    /// Frames that may wait for the engine.
    txqueuelen: Option<u32>,
    /// Set it up; if absent a request does not, and the configuration does.
    up: Option<bool>,
}

impl From<LinkSpecJson> for LinkSpec {
    fn from(json: LinkSpecJson) -> Self {
        let LinkSpecJson { bclim, bcqueuelen, macaddr, mode, nodst, nopromisc, .. } = json;
        let flags = Flags { nodst, nopromisc }.into();
        Self {
            parent: json.parent,
            settings: MacvlanSettings { mode, flags, bcqueuelen, bclim, sources: macaddr },
            address: json.address,
            alias: json.alias,
            allmulticast: json.allmulticast,
            mtu: json.mtu,
            netns: json.netns,
            promisc: json.promisc,
            txqueuelen: json.txqueuelen,
            up: json.up,
        }
    }
}

impl From<LinkSpec> for LinkSpecJson {
    fn from(spec: LinkSpec) -> Self {
        let MacvlanSettings { mode, flags, bcqueuelen, bclim, sources } = spec.settings;
        let Flags { nodst, nopromisc } = flags.into();
        Self {
            parent: spec.parent,
            address: spec.address,
            alias: spec.alias,
            allmulticast: spec.allmulticast,
            bclim,
            bcqueuelen,
            macaddr: sources,
            mode,
            mtu: spec.mtu,
            netns: spec.netns,
            nodst,
            nopromisc,
            promisc: spec.promisc,
            txqueuelen: spec.txqueuelen,
            up: spec.up,
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
    /// Its mode and what belongs to it.
    pub macvlan: Option<MacvlanChange>,
    /// The namespace to move to: a name, a path, the id of a process, or `@caller`.
    pub netns: Option<String>,
    /// Its address.
    #[serde_as(as = "Option<DisplayFromStr>")]
    #[schema(value_type = Option<String>)]
    pub address: Option<MacAddr>,
    /// Its MTU in bytes.
    pub mtu: Option<u32>,
    /// Frames that may wait for the engine.
    pub txqueuelen: Option<u32>,
    /// Its name.
    pub name: Option<String>,
    /// Text for people; empty for none.
    pub alias: Option<String>,
    /// It listens to every group, and its parent to everything.
    pub promisc: Option<bool>,
    /// It listens to every group.
    pub allmulticast: Option<bool>,
    /// Up or down.
    pub up: Option<bool>,
}

/// What `ip link set NAME type macvlan ...` can change, in the kernel's order.
#[serde_as]
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MacvlanChange {
    /// The mode.
    #[serde_as(as = "Option<DisplayFromStr>")]
    #[schema(value_type = Option<String>)]
    pub mode: Option<Mode>,
    /// All flags at once: those not named are cleared.
    #[serde_as(as = "Option<FromInto<Flags>>")]
    #[schema(value_type = Option<Flags>)]
    pub flags: Option<MacvlanFlags>,
    /// Requested length of the broadcast queue, in frames.
    pub bcqueuelen: Option<u32>,
    /// The port-wide limit above which a group takes the broadcast queue.
    pub bclim: Option<i32>,
    /// What to do with the source list.
    pub macaddr: Option<MacaddrChange>,
}

/// The flags of a link.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Flags {
    /// Source mode: what the stations of its list send goes to nobody else.
    #[serde(default)]
    pub nodst: bool,
    /// Passthru: leave the parent's promiscuous setting alone.
    #[serde(default)]
    pub nopromisc: bool,
}

impl From<Flags> for MacvlanFlags {
    fn from(Flags { nodst, nopromisc }: Flags) -> Self {
        Self::default().with(MacvlanFlag::Nodst, nodst).with(MacvlanFlag::Nopromisc, nopromisc)
    }
}

impl From<MacvlanFlags> for Flags {
    fn from(flags: MacvlanFlags) -> Self {
        Self {
            nodst: flags.contains(MacvlanFlag::Nodst),
            nopromisc: flags.contains(MacvlanFlag::Nopromisc),
        }
    }
}

/// What to do with a source list.
#[serde_as]
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MacaddrChange {
    /// Add or take off each of these stations, or have these and no others.
    pub op: MacaddrOp,
    /// The stations.
    #[serde_as(as = "Vec<DisplayFromStr>")]
    #[schema(value_type = Vec<String>)]
    #[serde(default)]
    pub addresses: Vec<MacAddr>,
}

/// How a source list is changed.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MacaddrOp {
    /// Add stations.
    Add,
    /// Take stations off.
    Del,
    /// Replace the list; by nothing, to flush it.
    Set,
}

#[cfg(test)]
mod tests {
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
