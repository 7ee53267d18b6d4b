//! [`Step`]: one step of a reload, and its inverse.

use std::fmt;

use super::super::running::OWN_NAMESPACE;
use super::super::serialize::link_keys;
use super::super::{LinkEntry, OnExit, ParentSettings};
use umacvlan_api::{HostAccess, LinkChange, LinkSpec};
use umacvlan_core::limit::Limits;
use umacvlan_core::rules::Rules;

/// One step. It is carried out completely or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Attach a parent, if links have not attached it already, and keep it without links.
    AttachParent {
        /// Name of the parent.
        name: String,
        /// Its settings.
        settings: ParentSettings,
    },
    /// Do not keep a parent without links: detach it if it has none.
    DetachParent {
        /// Name of the parent.
        name: String,
        /// Its settings, to attach it again.
        settings: ParentSettings,
    },
    /// Make the link of an entry.
    AddLink {
        /// Key of the entry.
        key: String,
        /// Name of the interface.
        name: String,
        /// Settings of the link.
        spec: LinkSpec,
    },
    /// Remove the link of an entry. Undoing makes it again without what its users gave it, such as
    /// IP addresses.
    RemoveLink {
        /// Key of the entry.
        key: String,
        /// Name of the interface.
        name: String,
        /// Settings as they are now, to make it again.
        spec: LinkSpec,
    },
    /// Change one setting of the link of an entry.
    ChangeLink {
        /// Key of the entry.
        key: String,
        /// The change.
        change: Box<LinkChange>,
        /// The change back to the present value.
        back: Box<LinkChange>,
    },
    /// Change the log filter; `None` is the daemon's default.
    Log {
        /// The filter now.
        from: Option<String>,
        /// The new filter.
        to: Option<String>,
    },
    /// Change what happens to the links when the daemon ends.
    OnExit {
        /// The setting now.
        from: OnExit,
        /// The new setting.
        to: OnExit,
    },
}

impl Step {
    /// The step that undoes this one.
    pub fn inverse(&self) -> Self {
        match self.clone() {
            Self::AttachParent { name, settings } => Self::DetachParent { name, settings },
            Self::DetachParent { name, settings } => Self::AttachParent { name, settings },
            Self::AddLink { key, name, spec } => Self::RemoveLink { key, name, spec },
            Self::RemoveLink { key, name, spec } => Self::AddLink { key, name, spec },
            Self::ChangeLink { key, change, back } => {
                Self::ChangeLink { key, change: back, back: change }
            }
            Self::Log { from, to } => Self::Log { from: to, to: from },
            Self::OnExit { from, to } => Self::OnExit { from: to, to: from },
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AttachParent { name, settings } => write!(f, "add parent {name}: {settings}"),
            Self::DetachParent { name, .. } => write!(f, "remove parent {name}"),
            Self::AddLink { key, name, spec } => {
                let LinkSpec { parent, settings, .. } = spec;
                let mode = settings.mode;
                write!(f, "add link {key}: parent {parent}, mode {mode}")?;
                if name != key {
                    write!(f, ", name {name}")?;
                }
                if let Some(place) = &spec.netns {
                    write!(f, ", netns {place}")?;
                }
                let entry = LinkEntry { name: None, spec: spec.clone() };
                let told = ["parent", "mode", "netns"];
                link_keys(&entry)
                    .filter(|(key, _)| !told.contains(&key.as_str()))
                    .try_for_each(|(key, value)| write!(f, ", {key} {value}"))
            }
            Self::RemoveLink { key, .. } => write!(f, "remove link {key}"),
            Self::ChangeLink { key, change, back } => {
                let ((word, to), (_, from)) = (words(change), words(back));
                write!(f, "change link {key}: {word} {from} -> {to}")
            }
            Self::Log { from, to } => {
                let told = |log: &Option<String>| log.clone().unwrap_or_else(|| "default".into());
                write!(f, "change daemon: log {} -> {}", told(from), told(to))
            }
            Self::OnExit { from, to } => {
                write!(f, "change daemon: on_exit {} -> {}", from.name(), to.name())
            }
        }
    }
}

/// The setting that a change is about, and its new value.
fn words(change: &LinkChange) -> (&'static str, String) {
    let number = |word, number: Option<u32>| number.map(|number| (word, number.to_string()));
    let switch = |word, on: Option<bool>| on.map(|on| (word, if on { "on" } else { "off" }.into()));
    let text = |text: &String| match text.as_str() {
        "" => "none".to_owned(),
        OWN_NAMESPACE => "the daemon's".to_owned(),
        other => other.to_owned(),
    };
    None.or_else(|| change.macvlan.as_ref().and_then(macvlan_words))
        .or_else(|| change.netns.as_ref().map(|place| ("netns", text(place))))
        .or_else(|| change.address.map(|address| ("address", address.to_string())))
        .or_else(|| number("mtu", change.mtu))
        .or_else(|| number("txqueuelen", change.txqueuelen))
        .or_else(|| change.name.as_ref().map(|name| ("name", text(name))))
        .or_else(|| change.alias.as_ref().map(|alias| ("alias", text(alias))))
        .or_else(|| switch("promisc", change.promisc))
        .or_else(|| switch("allmulticast", change.allmulticast))
        .or_else(|| switch("up", change.up))
        .or_else(|| change.host.as_ref().map(|host| ("host", host_words(host))))
        .unwrap_or(("nothing", String::new()))
}

fn host_words(host: &HostAccess) -> String {
    let list = |words: Vec<String>| words.join(",");
    let from = || list(host.from.iter().map(ToString::to_string).collect());
    let to = list(host.to.iter().map(ToString::to_string).collect());
    match (host.to.is_empty(), host.from.is_empty()) {
        (true, _) => "none".to_owned(),
        (false, true) => to,
        (false, false) => format!("{to} from {}", from()),
    }
}

fn macvlan_words(change: &umacvlan_api::MacvlanChange) -> Option<(&'static str, String)> {
    let list = |words: Vec<String>| {
        if words.is_empty() { "none".to_owned() } else { words.join(",") }
    };
    None.or_else(|| change.mode.map(|mode| ("mode", mode.to_string())))
        .or_else(|| {
            let flags = change.flags?.iter().map(|flag| flag.name().to_owned());
            Some(("flags", list(flags.collect())))
        })
        .or_else(|| {
            let on = change.spoofchk?;
            Some(("spoofchk", (if on { "on" } else { "off" }).to_owned()))
        })
        .or_else(|| {
            let limits = change.limits.as_ref()?.apply(Limits::default());
            let words = limits.words().map(|(word, value)| format!("{word}={value}"));
            Some(("limits", list(words.collect())))
        })
        .or_else(|| {
            let rules = change.rules.as_ref()?.apply(Rules::default()).unwrap_or_default();
            let words =
                rules.words().map(|(word, values)| format!("{}={}", word.name(), values.join(",")));
            Some(("rules", list(words.collect())))
        })
        .or_else(|| change.bcqueuelen.map(|frames| ("bcqueuelen", frames.to_string())))
        .or_else(|| change.bclim.map(|limit| ("bclim", limit.to_string())))
        .or_else(|| {
            let addresses = &change.macaddr.as_ref()?.addresses;
            Some(("macaddr", list(addresses.iter().map(ToString::to_string).collect())))
        })
}
