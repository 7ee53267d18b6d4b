//! What runs, as the configuration would say it.

use std::collections::{BTreeMap, BTreeSet};

use umacvlan_core::options::TAP_QUEUE_LEN;
use umacvlan_core::switch::{DEFAULT_BC_CUTOFF, DEFAULT_BC_QUEUE_LEN};
use umacvlan_core::{MacvlanSettings, Mode};

use super::{Config, LinkEntry};
use umacvlan_api::{LinkSpec, LinkView, ParentView};

/// The namespace of the daemon, where a link has to be told to go back there.
pub(crate) const OWN_NAMESPACE: &str = "/proc/self/ns/net";

/// The links that the configuration has made, and every parent, as they are now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// By wish.
    pub links: BTreeMap<String, Current>,
    /// The MTU of each attached parent.
    pub parents: BTreeMap<String, u32>,
}

/// A link as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Current {
    /// The name of its interface.
    pub name: String,
    /// Everything it is: nothing that can be known is absent.
    pub spec: LinkSpec,
}

impl Running {
    /// What these views show. Links that were made by request are not the configuration's.
    pub fn new(links: &[LinkView], parents: &[ParentView]) -> Self {
        let wished = |view: &LinkView| {
            let wish = view.umacvlan.config.clone()?;
            Some((wish, Current { name: view.ifname.clone(), spec: spec_of(view) }))
        };
        Self {
            links: links.iter().filter_map(wished).collect(),
            parents: parents.iter().map(|view| (view.name.clone(), view.mtu)).collect(),
        }
    }
}

/// The running configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// What would make again all that runs, except what is left out.
    pub config: Config,
    /// The entry of each link in it, by the link's id.
    pub entries: Vec<(u64, String)>,
    /// One line for each link that no file can describe, and why.
    pub left_out: Vec<String>,
}

impl Saved {
    /// The file. What is left out is in comments at its end.
    pub fn to_toml(&self) -> String {
        let mut text = self.config.to_toml();
        for line in &self.left_out {
            text.push_str(&format!("{}# {line}\n", if text.is_empty() { "" } else { "\n" }));
        }
        text
    }
}

/// The configuration that would make again what these views show. `applied` is the one that was
/// applied last: what is no matter of links is taken from there, and so is the place of a link
/// whose namespace has no name.
pub fn running_config(applied: &Config, links: &[LinkView], parents: &[ParentView]) -> Saved {
    let running = Running::new(links, parents);
    let mut taken: BTreeSet<String> =
        links.iter().filter_map(|view| view.umacvlan.config.clone()).collect();
    let mut config = Config { links: BTreeMap::new(), ..applied.clone() };
    let (mut entries, mut left_out) = (Vec::new(), Vec::new());
    for view in links {
        if let Some(owner) = &view.umacvlan.owner {
            let (name, owner) = (printable(&view.ifname), printable(owner));
            left_out
                .push(format!("link {name} is left out: it is made for {owner} when it is needed"));
            continue;
        }
        let wish = view.umacvlan.config.clone().unwrap_or_else(|| vacant(&view.ifname, &mut taken));
        let former = applied.links.get(&wish).filter(|_| view.umacvlan.config.is_some());
        let mut spec = minimal(spec_of(view), former.map(|entry| &entry.spec), &running);
        if spec.netns.as_deref().is_some_and(|place| place.starts_with("net:[")) {
            let Some(place) = former.and_then(|entry| entry.spec.netns.clone()) else {
                left_out.push(format!(
                    "link {} is left out: its namespace {} has no name under which it could be \
                     found again; `ip netns attach` gives it one",
                    printable(&wish),
                    spec.netns.unwrap_or_default()
                ));
                continue;
            };
            spec.netns = Some(place);
        }
        let name = Some(view.ifname.clone()).filter(|name| *name != wish);
        entries.push((view.umacvlan.id, wish.clone()));
        config.links.insert(wish, LinkEntry { name, spec });
    }
    Saved { config, entries, left_out }
}

/// A name for an entry that no other one has.
fn vacant(name: &str, taken: &mut BTreeSet<String>) -> String {
    let numbered = (2_u32..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    // The numbers do not end before the names that are taken do.
    let free = names.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(free.clone());
    free
}

/// A comment ends with its line, whatever a name has in it.
fn printable(name: &str) -> String {
    name.escape_debug().to_string()
}

/// Everything that the view shows.
fn spec_of(view: &LinkView) -> LinkSpec {
    let flag = |flag: &str| view.flags.iter().any(|set| set == flag);
    // The daemon shows only what can be parsed.
    let mut settings = view.linkinfo.info_data.settings().unwrap_or_default();
    settings.sources.sort_unstable();
    // Passthru has its parent's address, whatever that is.
    let address = view.address.as_deref().filter(|_| settings.mode != Mode::Passthru);
    LinkSpec {
        parent: view.umacvlan.parent.clone(),
        settings,
        address: address.and_then(|address| address.parse().ok()),
        alias: view.ifalias.clone().filter(|alias| !alias.is_empty()),
        allmulticast: flag("ALLMULTI"),
        mtu: Some(view.mtu),
        netns: view.umacvlan.netns.clone(),
        promisc: flag("PROMISC"),
        txqueuelen: Some(view.txqlen),
        up: Some(flag("UP")),
    }
}

/// `spec` without what it would be anyway, unless the file says that already.
fn minimal(spec: LinkSpec, former: Option<&LinkSpec>, running: &Running) -> LinkSpec {
    let said = |what: fn(&LinkSpec) -> bool| former.is_some_and(what);
    let parent = running.parents.get(&spec.parent).copied();
    let keep = |said: bool, default: bool| said || !default;
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
            .filter(|len| keep(said(|f| f.txqueuelen.is_some()), *len == TAP_QUEUE_LEN)),
        ..spec
    }
}
