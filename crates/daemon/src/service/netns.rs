//! Namespaces as clients name them, and which link a [`Selector`] means.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use umacvlan_sys::netns::{Netns, NetnsId, reachable};

use super::problem::{no_device, plain};
use super::{Selector, Service};
use crate::error::ServiceError;
use umacvlan_api::{CALLER, Code};

/// Where `ip netns add` puts names: ip-netns(8).
const NAMED: &str = "/run/netns";

/// The namespace that a client means. `caller` is the id of its process.
pub(super) fn open(place: &str, caller: Option<u32>) -> Result<Netns, ServiceError> {
    let opened = match (place, caller) {
        (CALLER, Some(process)) => Netns::open(&process.to_string()),
        (CALLER, None) => {
            let why = "the namespace of the caller cannot be known here: name it";
            return Err(plain(Code::Malformed, why));
        }
        _ => match inode(place) {
            Some(inode) => return by_inode(inode, place),
            None => Netns::open(place),
        },
    };
    opened.map_err(|error| plain(Code::NoNamespace, error.to_string()))
}

/// The number in `net:[NUMBER]`, as namespaces without a name are shown.
fn inode(place: &str) -> Option<u64> {
    place.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

fn by_inode(inode: u64, place: &str) -> Result<Netns, ServiceError> {
    let found = reachable().into_iter().find(|netns| netns.id().ino == inode);
    let none = || plain(Code::NoNamespace, format!("there is no network namespace {place}"));
    found.ok_or_else(none)
}

/// The names that namespaces have now.
#[derive(Debug)]
pub(super) struct Names {
    home: NetnsId,
    names: HashMap<NetnsId, String>,
}

impl Names {
    pub(super) fn read(home: NetnsId) -> Self {
        let mut names = HashMap::new();
        // There is no such directory before the first name.
        for entry in fs::read_dir(NAMED).into_iter().flatten().flatten() {
            // Not the entry's own: that is of the file below the mount.
            let (Ok(file), Ok(name)) =
                (fs::metadata(entry.path()), entry.file_name().into_string())
            else {
                continue;
            };
            names.insert(NetnsId { dev: file.dev(), ino: file.ino() }, name);
        }
        Self { home, names }
    }

    /// How a namespace is shown; `None` for the daemon's own.
    pub(super) fn shown(&self, id: NetnsId) -> Option<String> {
        let unnamed = || format!("net:[{}]", id.ino);
        (id != self.home).then(|| self.names.get(&id).cloned().unwrap_or_else(unnamed))
    }
}

impl Service {
    /// The link that is meant.
    pub(super) fn find(&self, which: &Selector) -> Result<u64, ServiceError> {
        let named: Vec<_> = self
            .links
            .iter()
            .filter(|(_, link)| link.seen.name == which.name)
            .map(|(&id, link)| (id, link.seen.netns))
            .collect();
        let name = &which.name;
        if let Some(place) = &which.netns {
            let id = open(place, which.caller)?.id();
            let found = named.iter().find(|(_, netns)| *netns == id);
            return found
                .map(|&(id, _)| id)
                .ok_or_else(|| no_device(name, format!("{name} is no link of ours in {place}")));
        }
        // A client that is gone by now has no namespace to prefer.
        let caller = which.caller.and_then(|process| Netns::open(&process.to_string()).ok());
        match choose(&named, caller.map(|netns| netns.id()), self.home) {
            Choice::One(id) => Ok(id),
            Choice::None => Err(no_device(
                name,
                format!("{name} is no link of ours: `umacvlan link show` lists those that are"),
            )),
            Choice::Many => Err(no_device(
                name,
                format!("{name} is the name of links in several namespaces: say which with -n"),
            )),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Choice {
    None,
    One(u64),
    Many,
}

/// Of the links with one name, each with its namespace: the caller's, the daemon's, the only one.
fn choose(named: &[(u64, NetnsId)], caller: Option<NetnsId>, home: NetnsId) -> Choice {
    let within = |netns| named.iter().find(|(_, other)| *other == netns);
    if let Some(&(id, _)) = caller.and_then(within).or_else(|| within(home)) {
        return Choice::One(id);
    }
    match named {
        [] => Choice::None,
        [(id, _)] => Choice::One(*id),
        _ => Choice::Many,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: NetnsId = NetnsId { dev: 4, ino: 1 };
    const BLUE: NetnsId = NetnsId { dev: 4, ino: 2 };
    const RED: NetnsId = NetnsId { dev: 4, ino: 3 };

    #[test]
    fn the_callers_link_comes_before_the_daemons_and_that_before_the_only_one() {
        let all = [(1, BLUE), (2, HOME), (3, RED)];
        assert_eq!(choose(&all, Some(RED), HOME), Choice::One(3));
        assert_eq!(choose(&all, None, HOME), Choice::One(2));
        assert_eq!(choose(&all[..1], Some(RED), HOME), Choice::One(1));
        assert_eq!(choose(&all[..1], None, HOME), Choice::One(1));
    }

    #[test]
    fn what_could_be_either_is_neither() {
        assert_eq!(choose(&[(1, BLUE), (3, RED)], None, HOME), Choice::Many);
        assert_eq!(choose(&[], Some(BLUE), HOME), Choice::None);
    }

    #[test]
    fn a_namespace_is_shown_by_name_or_number_and_ours_not_at_all() {
        let names = Names { home: HOME, names: HashMap::from([(BLUE, "blue".to_owned())]) };
        assert_eq!(names.shown(BLUE).as_deref(), Some("blue"));
        assert_eq!(names.shown(RED).as_deref(), Some("net:[3]"));
        assert_eq!(names.shown(HOME), None);
    }

    #[test]
    fn where_a_caller_is_not_known_it_has_no_namespace() {
        assert_eq!(open(CALLER, None).unwrap_err().0.code, Code::Malformed);
        assert_eq!(open("umv-no-such", None).unwrap_err().0.code, Code::NoNamespace);
        let mine = open(CALLER, Some(std::process::id())).unwrap();
        assert_eq!(mine.id(), Netns::current().unwrap().id());
        let shown = format!("net:[{}]", mine.id().ino);
        assert_eq!(open(&shown, None).unwrap().id(), mine.id());
        assert_eq!(open("net:[1]", None).unwrap_err().0.code, Code::NoNamespace);
    }
}
