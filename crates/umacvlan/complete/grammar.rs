//! What may follow what in `umacvlan link`, `parent` and `monitor`, which read words as `ip` does.

use umacvlan_core::MacvlanFlag;

use super::values::Sources;
use super::{Candidate, Value};

/// A word, and what it wants after it; `None`: nothing.
#[derive(Clone, Copy)]
struct Keyword(&'static str, Option<Value>);

/// One command: the words it knows, and what a word that it does not know may be.
struct Verb {
    names: &'static [&'static str],
    keywords: &'static [Keyword],
    /// Those it knows after a type.
    typed: &'static [Keyword],
    bare: Option<Value>,
}

/// The objects that are read in this way, each with its commands.
const OBJECTS: [(&str, &[Verb]); 3] = [("link", &LINK), ("monitor", &MONITOR), ("parent", &PARENT)];

const LINK: [Verb; 5] = [
    Verb { names: &["add"], keywords: &ADD, typed: &MACVLAN, bare: Some(Value::Any) },
    Verb { names: &["delete"], keywords: &DELETE, typed: &[], bare: Some(Value::Link) },
    Verb { names: &["set", "change"], keywords: &SET, typed: &MACVLAN, bare: Some(Value::Link) },
    Verb { names: &["show", "list"], keywords: &SHOW, typed: &SHOW, bare: Some(Value::Link) },
    Verb { names: &["help"], keywords: &[], typed: &[], bare: None },
];

const PARENT: [Verb; 2] = [
    Verb { names: &["show", "list"], keywords: &[], typed: &[], bare: Some(Value::Parent) },
    Verb { names: &["help"], keywords: &[], typed: &[], bare: None },
];

const MONITOR: [Verb; 2] = [
    Verb { names: &["all", "link"], keywords: &[], typed: &[], bare: None },
    Verb { names: &["help"], keywords: &[], typed: &[], bare: None },
];

const ADD: [Keyword; 9] = [
    Keyword("address", Some(Value::Any)),
    Keyword("dev", Some(Value::Any)),
    Keyword("link", Some(Value::Parent)),
    Keyword("mtu", Some(Value::Any)),
    Keyword("name", Some(Value::Any)),
    Keyword("netns", Some(Value::Netns)),
    Keyword("txqueuelen", Some(Value::Any)),
    TYPE,
    Keyword("up", None),
];

const DELETE: [Keyword; 2] = [Keyword("dev", Some(Value::Link)), TYPE];

const SET: [Keyword; 12] = [
    Keyword("address", Some(Value::Any)),
    Keyword("alias", Some(Value::Any)),
    Keyword("allmulticast", Some(ON_OFF)),
    Keyword("dev", Some(Value::Link)),
    Keyword("down", None),
    Keyword("mtu", Some(Value::Any)),
    Keyword("name", Some(Value::Any)),
    Keyword("netns", Some(Value::Netns)),
    Keyword("promisc", Some(ON_OFF)),
    Keyword("txqueuelen", Some(Value::Any)),
    TYPE,
    Keyword("up", None),
];

const SHOW: [Keyword; 4] = [
    Keyword("dev", Some(Value::Link)),
    Keyword("parent", Some(Value::Parent)),
    TYPE,
    Keyword("up", None),
];

const TYPE: Keyword = Keyword("type", Some(Value::Words(&["macvlan", "macvtap"])));
const ON_OFF: Value = Value::Words(&["off", "on"]);

/// What follows the type: the settings with a value, then the flags.
const MACVLAN: [Keyword; 5 + FLAGS] = {
    let mut keywords = [Keyword("flag", Some(Value::Words(&FLAG_WORDS))); 5 + FLAGS];
    keywords[0] = Keyword("bclim", Some(Value::Any));
    keywords[1] = Keyword("bcqueuelen", Some(Value::Any));
    keywords[3] = Keyword(MACADDR, Some(Value::Words(&["add", "del", "flush", "set"])));
    keywords[4] = Keyword("mode", Some(Value::Words(&MODES)));
    let mut at = 0;
    while at < FLAGS {
        keywords[5 + at] = Keyword(FLAG_WORDS[at], None);
        at += 1;
    }
    keywords
};

const FLAGS: usize = MacvlanFlag::ALL.len();
const MODES: [&str; 5] = ["bridge", "passthru", "private", "source", "vepa"];

/// The words after `flag`.
const FLAG_WORDS: [&str; FLAGS + 1] = {
    let mut words = ["null"; FLAGS + 1];
    let mut at = 0;
    while at < FLAGS {
        words[at] = MacvlanFlag::ALL[at].name();
        at += 1;
    }
    words
};

/// The one keyword that wants more than one word: what to do, and with which addresses.
const MACADDR: &str = "macaddr";

/// Names of the objects, with a few words about each.
pub(super) fn objects() -> impl Iterator<Item = Candidate> {
    let about = ["links, as of `ip link`", "what happens, as it happens", "parents of links"];
    OBJECTS.iter().zip(about).map(|((name, _), about)| Candidate::new(*name, about))
}

/// What the last word may be after `object` and the words `before` it; `None` if that is no
/// object which reads words in this way. Objects and commands may be abbreviated.
pub(super) fn candidates(
    object: &str,
    before: &[&str],
    last: &str,
    sources: &Sources,
) -> Option<Vec<Candidate>> {
    let (_, verbs) = OBJECTS.iter().find(|(name, _)| abbreviates(object, name))?;
    let Some((verb, rest)) = before.split_first() else {
        let names = verbs.iter().flat_map(|verb| verb.names);
        return Some(names.map(|&name| Candidate::bare(name)).collect());
    };
    let known = |candidate: &&Verb| candidate.names.iter().any(|name| abbreviates(verb, name));
    let verb = verbs.iter().find(known)?;
    Some(after(verb, rest, last, sources))
}

fn abbreviates(word: &str, name: &str) -> bool {
    !word.is_empty() && name.starts_with(word)
}

/// Reads the words that are there, and says what may come next.
fn after(verb: &Verb, words: &[&str], last: &str, sources: &Sources) -> Vec<Candidate> {
    let mut keywords = verb.keywords;
    let mut bare = verb.bare;
    let mut used: Vec<&str> = Vec::new();
    let mut wanted: Option<(&str, Value)> = None;
    for &word in words {
        match wanted.take() {
            Some(("type", _)) => (keywords, bare) = (verb.typed, None),
            Some((MACADDR, _)) => bare = Some(Value::Any),
            Some(("dev" | "name", _)) => bare = None,
            Some(_) => {}
            None => match keywords.iter().find(|keyword| keyword.0 == word) {
                Some(&Keyword(name, value)) => {
                    used.push(name);
                    wanted = value.map(|value| (name, value));
                }
                // A list of addresses goes on until a keyword comes.
                None if used.last() == Some(&MACADDR) => {}
                None => bare = None,
            },
        }
    }
    if let Some((_, value)) = wanted {
        return sources.of(value, last);
    }
    // A name is given once: bare, after `dev`, and of a new link after `name`.
    let named = bare.is_none();
    let naming = |word| word == "dev" || word == "name" && verb.names == ["add"];
    let unused = keywords.iter().filter(|Keyword(word, _)| !used.contains(word));
    let unused = unused.filter(|Keyword(word, _)| !(named && naming(*word)));
    let mut found: Vec<_> = unused.map(|keyword| Candidate::bare(keyword.0)).collect();
    found.extend(bare.into_iter().flat_map(|value| sources.of(value, last)));
    found
}

/// Every keyword in a whole command, for the test that the parser takes it.
#[cfg(test)]
pub(super) fn commands() -> Vec<String> {
    let commands = |begun: &'static str, keywords: &'static [Keyword]| {
        keywords.iter().map(move |Keyword(name, value)| {
            let value = match (*name, value) {
                ("address", _) => "02:00:00:00:00:01",
                (MACADDR, _) => "add 02:00:00:00:00:01",
                ("alias" | "dev" | "link" | "name" | "netns" | "parent", _) => "some",
                (_, Some(Value::Words(words))) => words[0],
                (_, Some(_)) => "100",
                (_, None) => "",
            };
            format!("{begun} {name} {value}").trim_end().to_owned()
        })
    };
    let add =
        commands("link add link p0 m1 type macvlan", &MACVLAN).chain(commands("link add", &ADD));
    let set = commands("link set", &SET).chain(commands("link set m1 type macvlan", &MACVLAN));
    let show = commands("link show", &SHOW).chain(commands("link del", &DELETE[..1]));
    add.chain(set).chain(show).collect()
}
