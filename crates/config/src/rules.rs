//! What the entries of a file may not say together.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use umacvlan_core::Mode;

use super::mistake::Mistake;
use super::parse::Placed;
use super::table::toml_key;

/// Checks every link by itself and beside the others.
pub(super) fn check(links: &[Placed], mistakes: &mut Vec<Mistake>) {
    for link in links {
        check_alone(link, mistakes);
    }
    check_owners(links, mistakes);
    check_addresses(links, mistakes);
    check_names(links, mistakes);
}

/// What belongs to one mode only, and lists that repeat themselves.
fn check_alone(link: &Placed, mistakes: &mut Vec<Mistake>) {
    let (spec, spans) = (&link.entry.spec, &link.spans);
    let mut wrong = |key: &str, message: String| {
        mistakes.push(Mistake { span: spans.of(key), message });
    };
    // Of a mode that is wrong itself, nothing more can be said.
    if let Some(mode) = link.mode {
        let only = |what, owner| {
            format!("{what} is for mode {owner}, and this is {mode}: expected both or neither")
        };
        if let Some((flag, owner)) = spec.settings.misplaced_flag() {
            wrong(flag.name(), only(flag.name(), owner));
        }
        if !link.macaddr.is_empty() && mode != Mode::Source {
            wrong("macaddr", only("macaddr", Mode::Source));
        }
        if spec.address.is_some() && mode == Mode::Passthru {
            let text = "mode passthru has the address of its parent, expected no address here";
            wrong("address", text.to_owned());
        }
    }
    let mut seen = BTreeSet::new();
    for station in &link.macaddr {
        if !seen.insert(station.get_ref()) {
            let message =
                format!("macaddr: {} is given twice, expected each once", station.get_ref());
            mistakes.push(Mistake { span: station.span(), message });
        }
    }
}

/// A passthru link has its parent to itself.
fn check_owners(links: &[Placed], mistakes: &mut Vec<Mistake>) {
    let mut by_parent: BTreeMap<&str, Vec<&Placed>> = BTreeMap::new();
    for link in links.iter().filter(|link| !link.entry.spec.parent.is_empty()) {
        by_parent.entry(&link.entry.spec.parent).or_default().push(link);
    }
    for (parent, links) in by_parent {
        for owner in links.iter().filter(|link| link.entry.spec.settings.mode == Mode::Passthru) {
            let Some(other) = links.iter().find(|other| other.wish != owner.wish) else { break };
            let message = format!(
                "mode passthru needs {parent} to itself, and [link.{}] is on it too: expected no \
                 other link there, or another mode",
                toml_key(&other.wish)
            );
            mistakes.push(Mistake { span: owner.spans.of("mode"), message });
        }
    }
}

/// Two links that are up on one parent have two addresses.
fn check_addresses(links: &[Placed], mistakes: &mut Vec<Mistake>) {
    let mut owners = BTreeMap::new();
    for link in links {
        let spec = &link.entry.spec;
        let counts = spec.up != Some(false) && !spec.parent.is_empty();
        let Some(address) = spec.address.filter(|_| counts) else { continue };
        match owners.entry((&spec.parent, address)) {
            Entry::Vacant(vacant) => _ = vacant.insert(&link.wish),
            Entry::Occupied(owner) => {
                let message = format!(
                    "{address} is the address of [link.{}] too, on the same parent {}: expected \
                     an address of its own",
                    toml_key(owner.get()),
                    spec.parent
                );
                mistakes.push(Mistake { span: link.spans.of("address"), message });
            }
        }
    }
}

/// Two interfaces in one namespace have two names.
fn check_names(links: &[Placed], mistakes: &mut Vec<Mistake>) {
    let mut owners = BTreeMap::new();
    for link in links {
        let name = link.entry.interface(&link.wish);
        match owners.entry((link.entry.spec.netns.as_deref(), name)) {
            Entry::Vacant(vacant) => _ = vacant.insert(&link.wish),
            Entry::Occupied(owner) => {
                let message = format!(
                    "{name} is the name of [link.{}] too, in the same namespace: expected a name \
                     of its own",
                    toml_key(owner.get())
                );
                mistakes.push(Mistake { span: link.spans.of("name"), message });
            }
        }
    }
}
