//! Namespaces by the names that clients use, and the link that a [`Selector`] selects.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use umacvlan_engine::engine::{SubId, SubStatus};
use umacvlan_sys::netns::{Netns, NetnsId, reachable};

use super::problem::{no_device, plain};
use super::{Selector, Service};
use crate::ServiceError;
use umacvlan_api::{CALLER, Code};

/// The directory of named namespaces: ip-netns(8).
const NAMED: &str = "/run/netns";

/// Opens the namespace that a client names. `caller` is the id of the client's process.
pub(super) fn open(place: &str, caller: Option<u32>) -> Result<Netns, ServiceError> {
    let opened = match (place, caller) {
        (CALLER, Some(process)) => Netns::open(&process.to_string()),
        (CALLER, None) => {
            let why = "the namespace of the caller is unknown here: give its name";
            return Err(plain(Code::Malformed, why));
        }
        _ => match inode(place) {
            Some(inode) => return by_inode(inode, place),
            None => Netns::open(place),
        },
    };
    opened.map_err(|error| plain(Code::NoNamespace, error.to_string()))
}

/// The number in `net:[NUMBER]`, the name of a namespace without a name.
fn inode(place: &str) -> Option<u64> {
    place.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

fn by_inode(inode: u64, place: &str) -> Result<Netns, ServiceError> {
    let found = reachable().into_iter().find(|netns| netns.id().ino == inode);
    let none = || plain(Code::NoNamespace, format!("there is no network namespace {place}"));
    found.ok_or_else(none)
}

/// The present names of namespaces.
#[derive(Debug)]
pub(super) struct Names {
    home: NetnsId,
    names: HashMap<NetnsId, String>,
}

impl Names {
    pub(super) fn read(home: NetnsId) -> Self {
        let mut names = HashMap::new();
        // The directory does not exist before the first name.
        for entry in fs::read_dir(NAMED).into_iter().flatten().flatten() {
            // metadata() follows the mount; the entry's own inode is that of the file below it.
            let (Ok(file), Ok(name)) =
                (fs::metadata(entry.path()), entry.file_name().into_string())
            else {
                continue;
            };
            names.insert(NetnsId { dev: file.dev(), ino: file.ino() }, name);
        }
        Self { home, names }
    }

    /// The name of a namespace; `None` for the daemon's own.
    pub(super) fn shown(&self, id: NetnsId) -> Option<String> {
        let unnamed = || format!("net:[{}]", id.ino);
        (id != self.home).then(|| self.names.get(&id).cloned().unwrap_or_else(unnamed))
    }
}

impl Service {
    /// The number of the selected link.
    pub(super) fn find(&mut self, which: &Selector) -> Result<u64, ServiceError> {
        // The engine's events are handled in batches, so a link may have been renamed or moved since
        // its last event.
        match self.find_known(which) {
            Ok(id) if self.is_where_seen(id) => Ok(id),
            _ => {
                self.refresh_moved()?;
                self.find_known(which)
            }
        }
    }

    /// Whether the interface of a link has the name and the namespace that were seen last.
    fn is_where_seen(&self, id: u64) -> bool {
        let now = self.engine.sub(SubId(id));
        let seen = self.links.get(&id).map(|link| &link.seen);
        now.ok().zip(seen).is_some_and(|(now, seen)| is_same_place(&now, seen))
    }

    /// Reads the links again that were renamed or moved since they were seen.
    fn refresh_moved(&mut self) -> Result<(), ServiceError> {
        let parents = self.engine.status()?;
        for now in parents.iter().flat_map(|parent| &parent.subs) {
            let id = now.number.0;
            if self.links.get(&id).is_some_and(|link| !is_same_place(now, &link.seen)) {
                // A state that cannot be written is written later.
                let _ = self.refresh(id);
            }
        }
        Ok(())
    }

    fn find_known(&self, which: &Selector) -> Result<u64, ServiceError> {
        let name = which.name.as_str();
        let candidates = self.links.iter().map(|(&id, link)| Candidate {
            id,
            netns: link.seen.netns,
            has_name: link.seen.name == name,
            was_given_name: link.given_name == name,
        });
        let candidates: Vec<_> =
            candidates.filter(|link| link.has_name || link.was_given_name).collect();
        if let Some(place) = &which.netns {
            let netns = open(place, which.caller)?.id();
            return within(&candidates, netns).ok_or_else(|| {
                no_device(name, format!("{name} is not a umacvlan link in {place}"))
            });
        }
        // A client that has ended has no namespace to prefer.
        let caller = which.caller.and_then(|process| Netns::open(&process.to_string()).ok());
        match choose(&candidates, caller.map(|netns| netns.id()), self.home) {
            Choice::One(id) => Ok(id),
            Choice::None => Err(no_device(name, self.no_such_link(name, &candidates))),
            Choice::Many => Err(no_device(name, self.ambiguous(name, &candidates))),
        }
    }

    /// Where the links are that were given this name, and how each is chosen.
    fn ambiguous(&self, name: &str, candidates: &[Candidate]) -> String {
        let names = Names::read(self.home);
        let place = |link: &Candidate| {
            let called = &self.links.get(&link.id)?.seen.name;
            Some((names.shown(link.netns)?, called.as_str()))
        };
        let given = candidates.iter().filter(|link| link.was_given_name);
        let places: Vec<_> = given.filter_map(place).collect();
        let ways = ways_to_choose(name, &places);
        format!("{name} is the name of links in several namespaces: choose one with {ways}")
    }

    fn no_such_link(&self, name: &str, candidates: &[Candidate]) -> String {
        let places = Names::read(self.home);
        let elsewhere = candidates.iter().find_map(|link| places.shown(link.netns));
        match elsewhere {
            Some(place) => format!(
                "{name} is not a umacvlan link here: its user calls a link in {place} so; choose it \
                 with -n {place}"
            ),
            None => {
                format!("{name} is not a umacvlan link: `umacvlan link show` lists them all")
            }
        }
    }
}

fn is_same_place(now: &SubStatus, seen: &SubStatus) -> bool {
    (&now.name, now.netns) == (&seen.name, seen.netns)
}

/// The words that choose a link of this name in each of these namespaces, where it may be called something
/// else by now. Of many, some.
fn ways_to_choose(name: &str, places: &[(String, &str)]) -> String {
    let way = |(place, called): &(String, &str)| match *called == name {
        true => format!("-n {place}"),
        false => format!("-n {place} as {called}"),
    };
    let mut ways: Vec<String> = places.iter().take(SHOWN_PLACES).map(way).collect();
    if let Some(more) = places.len().checked_sub(SHOWN_PLACES).filter(|&more| more > 0) {
        ways.push(format!("{more} more, which `umacvlan link show` lists"));
    }
    ways.join(", ")
}

/// How many namespaces a message lists.
const SHOWN_PLACES: usize = 8;

/// A link to which a name may refer.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    id: u64,
    netns: NetnsId,
    /// Its interface has the name now.
    has_name: bool,
    /// Its owner gave it the name.
    was_given_name: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Choice {
    None,
    One(u64),
    Many,
}

/// The link whose interface has the name in that namespace.
fn within(candidates: &[Candidate], netns: NetnsId) -> Option<u64> {
    candidates.iter().find(|link| link.has_name && link.netns == netns).map(|link| link.id)
}

/// The link to choose: the one that has the name in the caller's namespace, else the one that has it
/// in the daemon's, else the only one that was given the name. What a link is called in another
/// namespace does not count, because the user of that namespace chooses it.
fn choose(candidates: &[Candidate], caller: Option<NetnsId>, home: NetnsId) -> Choice {
    let near = caller.and_then(|caller| within(candidates, caller));
    if let Some(id) = near.or_else(|| within(candidates, home)) {
        return Choice::One(id);
    }
    let given: Vec<_> = candidates.iter().filter(|link| link.was_given_name).collect();
    match given[..] {
        [] => Choice::None,
        [link] => Choice::One(link.id),
        _ => Choice::Many,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: NetnsId = NetnsId { dev: 4, ino: 1 };
    const BLUE: NetnsId = NetnsId { dev: 4, ino: 2 };
    const RED: NetnsId = NetnsId { dev: 4, ino: 3 };

    /// A link that still has the name that it was given.
    fn plain(id: u64, netns: NetnsId) -> Candidate {
        Candidate { id, netns, has_name: true, was_given_name: true }
    }

    #[test]
    fn a_link_of_the_caller_is_preferred_to_one_of_the_daemon() {
        let all = [plain(1, BLUE), plain(2, HOME), plain(3, RED)];
        assert_eq!(choose(&all, Some(RED), HOME), Choice::One(3));
        assert_eq!(choose(&all, None, HOME), Choice::One(2));
        assert_eq!(choose(&all[..1], Some(RED), HOME), Choice::One(1));
        assert_eq!(choose(&all[..1], None, HOME), Choice::One(1));
    }

    #[test]
    fn an_ambiguous_name_selects_no_link() {
        assert_eq!(choose(&[plain(1, BLUE), plain(3, RED)], None, HOME), Choice::Many);
        assert_eq!(choose(&[], Some(BLUE), HOME), Choice::None);
    }

    #[test]
    fn an_ambiguous_name_has_a_word_for_each_of_its_links() {
        let place = |netns: &str, called| (netns.to_owned(), called);
        let two = [place("blue", "eth0"), place("net:[7]", "web")];
        assert_eq!(ways_to_choose("eth0", &two), "-n blue, -n net:[7] as web");
        let many: Vec<_> = (0..10).map(|number| place(&format!("n{number}"), "eth0")).collect();
        let ways = ways_to_choose("eth0", &many);
        assert!(ways.ends_with(", -n n7, 2 more, which `umacvlan link show` lists"), "{ways}");
    }

    #[test]
    fn a_name_that_a_user_has_chosen_counts_in_his_namespace_only() {
        let stolen = Candidate { was_given_name: false, ..plain(1, BLUE) };
        assert_eq!(choose(&[stolen], Some(HOME), HOME), Choice::None);
        assert_eq!(choose(&[stolen], None, HOME), Choice::None);
        assert_eq!(choose(&[stolen], Some(BLUE), HOME), Choice::One(1));
        // Its owner finds the other one, whatever both are called by now.
        let renamed = Candidate { has_name: false, ..plain(2, RED) };
        for all in [[stolen, renamed], [renamed, stolen]] {
            assert_eq!(choose(&all, Some(HOME), HOME), Choice::One(2));
        }
        assert_eq!(within(&[renamed], RED), None);
    }

    #[test]
    fn a_namespace_is_shown_by_name_or_inode() {
        let names = Names { home: HOME, names: HashMap::from([(BLUE, "blue".to_owned())]) };
        assert_eq!(names.shown(BLUE).as_deref(), Some("blue"));
        assert_eq!(names.shown(RED).as_deref(), Some("net:[3]"));
        assert_eq!(names.shown(HOME), None);
    }

    #[test]
    fn an_unknown_caller_has_no_namespace() {
        assert_eq!(open(CALLER, None).unwrap_err().0.code, Code::Malformed);
        assert_eq!(open("umv-no-such", None).unwrap_err().0.code, Code::NoNamespace);
        let mine = open(CALLER, Some(std::process::id())).unwrap();
        assert_eq!(mine.id(), Netns::current().unwrap().id());
        let shown = format!("net:[{}]", mine.id().ino);
        assert_eq!(open(&shown, None).unwrap().id(), mine.id());
        assert_eq!(open("net:[1]", None).unwrap_err().0.code, Code::NoNamespace);
    }
}
