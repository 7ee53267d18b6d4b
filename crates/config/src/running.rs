//! [`running_config`]: the configuration of what runs.

use std::collections::{BTreeMap, BTreeSet};

use umacvlan_core::options::{PROGRAM_QUEUE_LEN, PortKind, ProgramKind, TAP_QUEUE_LEN};
use umacvlan_core::switch::{DEFAULT_BC_CUTOFF, DEFAULT_BC_QUEUE_LEN};
use umacvlan_core::{MacvlanSettings, Mode};

use super::{Config, LinkEntry};
use umacvlan_api::{Dhcp, HostAccess, LinkSpec, LinkView, ParentView};

/// The daemon's own namespace, for links that are moved back to it.
pub(crate) const OWN_NAMESPACE: &str = "/proc/self/ns/net";

/// The links that the configuration has made, and all parents, as they are now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// Links by entry key.
    pub links: BTreeMap<String, RunningLink>,
    /// The MTU of each attached parent.
    pub parents: BTreeMap<String, u32>,
}

/// A link as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunningLink {
    /// The name of its interface.
    pub name: String,
    /// All its settings: those that can be known are present.
    pub spec: LinkSpec,
}

impl Running {
    /// The links of these views that the configuration has made, and all parents.
    pub fn new(links: &[LinkView], parents: &[ParentView]) -> Self {
        let wished = |view: &LinkView| {
            let key = view.umacvlan.config.clone()?;
            Some((key, RunningLink { name: view.ifname.clone(), spec: spec_of(view) }))
        };
        Self {
            links: links.iter().filter_map(wished).collect(),
            parents: parents.iter().map(|view| (view.name.clone(), view.mtu)).collect(),
        }
    }
}

/// What runs, as a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedConfig {
    /// A configuration that makes the running links again, except those of `left_out`.
    pub config: Config,
    /// The id of each link and its entry key.
    pub entries: Vec<(u64, String)>,
    /// One line for each link that no file can describe, with the reason.
    pub left_out: Vec<String>,
}

impl SavedConfig {
    /// The text of the file. Lines of `left_out` are comments at its end.
    pub fn to_toml(&self) -> String {
        let mut text = self.config.to_toml();
        for line in &self.left_out {
            text.push_str(&format!("{}# {line}\n", if text.is_empty() { "" } else { "\n" }));
        }
        text
    }
}

/// A configuration that makes these links again. Tables other than links are taken from `applied`,
/// the configuration applied last, and so is the namespace of a link whose namespace has no name
/// now.
pub fn running_config(applied: &Config, links: &[LinkView], parents: &[ParentView]) -> SavedConfig {
    let running = Running::new(links, parents);
    let mut taken: BTreeSet<String> =
        links.iter().filter_map(|view| view.umacvlan.config.clone()).collect();
    let mut config = Config { links: BTreeMap::new(), ..applied.clone() };
    let (mut entries, mut left_out) = (Vec::new(), Vec::new());
    for parent in parents.iter().filter(|parent| parent.macnat) {
        if !applied.parent(&parent.name).macnat {
            config.parents.entry(parent.name.clone()).or_default().macnat = Some(true);
        }
    }
    for view in links {
        if let Some(owner) = &view.umacvlan.owner {
            let (name, owner) = (printable(&view.ifname), printable(owner));
            left_out
                .push(format!("link {name} is left out: it is made for {owner} when it is needed"));
            continue;
        }
        let key = view.umacvlan.config.clone().unwrap_or_else(|| vacant(&view.ifname, &mut taken));
        let former = applied.links.get(&key).filter(|_| view.umacvlan.config.is_some());
        let default = applied.parent(&view.umacvlan.parent).port;
        let spec = former.map(|entry| &entry.spec);
        let mut spec = minimal(spec_of(view), spec, &running, default);
        if spec.netns.as_deref().is_some_and(|place| place.starts_with("net:[")) {
            let Some(place) = former.and_then(|entry| entry.spec.netns.clone()) else {
                left_out.push(format!(
                    "link {} is left out: its namespace {} has no name under which it could be \
                     found again; `ip netns attach` gives it one",
                    printable(&key),
                    spec.netns.unwrap_or_default()
                ));
                continue;
            };
            spec.netns = Some(place);
        }
        let name = Some(view.ifname.clone()).filter(|name| *name != key);
        entries.push((view.umacvlan.id, key.clone()));
        config.links.insert(key, LinkEntry { name, spec });
    }
    SavedConfig { config, entries, left_out }
}

/// An entry key that is not taken yet, made of `name`.
fn vacant(name: &str, taken: &mut BTreeSet<String>) -> String {
    let numbered = (2_u32..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    // There are more numbers than taken names.
    let free = names.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(free.clone());
    free
}

/// The name without line breaks, for a comment.
fn printable(name: &str) -> String {
    name.escape_debug().to_string()
}

/// All settings that the view has.
fn spec_of(view: &LinkView) -> LinkSpec {
    let flag = |flag: &str| view.flags.iter().any(|set| set == flag);
    // The daemon shows only what can be parsed.
    let mut settings = view.linkinfo.info_data.settings().unwrap_or_default();
    settings.sources.sort_unstable();
    // Passthru has its parent's address, whatever that is.
    let address = view.address.as_deref().filter(|_| settings.mode != Mode::Passthru);
    let own = &view.umacvlan;
    let port = own.port.as_ref();
    LinkSpec {
        parent: view.umacvlan.parent.clone(),
        settings,
        address: address.and_then(|address| address.parse().ok()),
        alias: view.ifalias.clone().filter(|alias| !alias.is_empty()),
        allmulticast: flag("ALLMULTI"),
        dhcp: own.dhcp.as_ref().map(|dhcp| Dhcp {
            client_id: dhcp.client_id.clone(),
            hostname: dhcp.hostname.clone(),
        }),
        host: HostAccess {
            to: own.host.iter().filter_map(|to| to.parse().ok()).collect(),
            from: own.host_address.iter().filter_map(|from| from.parse().ok()).collect(),
        },
        // It is a setting of the parent in a file.
        macnat: false,
        mtu: Some(view.mtu),
        netns: view.umacvlan.netns.clone(),
        interface: match (port, &view.umacvlan.interface) {
            (None, Some(interface)) if interface.kind == PortKind::Veth.name() => {
                Some(PortKind::Veth)
            }
            (None, _) => Some(PortKind::Tap),
            (Some(_), _) => None,
        },
        port: port.and_then(|port| port.kind.parse().ok()),
        client: port.filter(|port| port.client).map(|port| port.socket.clone()),
        dev: port
            .filter(|port| port.kind == ProgramKind::Dev.name())
            .and_then(|port| port.dev.clone()),
        user: port.and_then(|port| port.user),
        group: port.and_then(|port| port.group),
        promisc: flag("PROMISC"),
        txqueuelen: Some(view.txqlen),
        up: Some(flag("UP")),
    }
}

/// The length of the TX queue of a link without a value of its own.
pub(crate) const fn queue_len(port: Option<ProgramKind>) -> u32 {
    if port.is_some() { PROGRAM_QUEUE_LEN } else { TAP_QUEUE_LEN }
}

/// `spec` without default values, except those that the file already has. `default` is the parent's for
/// the kind of port.
fn minimal(
    spec: LinkSpec,
    former: Option<&LinkSpec>,
    running: &Running,
    default: PortKind,
) -> LinkSpec {
    let said = |what: fn(&LinkSpec) -> bool| former.is_some_and(what);
    let parent = running.parents.get(&spec.parent).copied();
    let keep = |said: bool, default: bool| said || !default;
    let interface = match former.and_then(|former| former.interface) {
        Some(PortKind::Auto) => Some(PortKind::Auto),
        said => spec.interface.filter(|kind| keep(said.is_some(), *kind == default)),
    };
    let MacvlanSettings { bcqueuelen, bclim, .. } = spec.settings;
    LinkSpec {
        settings: MacvlanSettings {
            bcqueuelen: bcqueuelen.filter(|len| {
                keep(said(|f| f.settings.bcqueuelen.is_some()), *len == DEFAULT_BC_QUEUE_LEN)
            }),
            bclim: bclim.filter(|limit| {
                keep(said(|f| f.settings.bclim.is_some()), *limit == DEFAULT_BC_CUTOFF)
            }),
            ..spec.settings
        },
        mtu: spec.mtu.filter(|mtu| keep(said(|f| f.mtu.is_some()), Some(*mtu) == parent)),
        txqueuelen: spec
            .txqueuelen
            .filter(|len| keep(said(|f| f.txqueuelen.is_some()), *len == queue_len(spec.port))),
        interface,
        ..spec
    }
}
