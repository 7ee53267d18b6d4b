//! Completion of `umacvlan link`, `parent` and `monitor`, whose grammar is iproute2's. The keywords are
//! those of the parser.

use super::values::Sources;
use super::{Candidate, Value};
use crate::ip::abbreviates;
use crate::ip::keywords::{self, MACADDR, Operand, Verb};

/// A keyword and the kind of its value, if it takes one.
struct Keyword(&'static str, Option<Value>);

/// A command of an object.
struct Command {
    names: &'static [&'static str],
    /// A command of `link`, which has keywords.
    verb: Option<Verb>,
    /// The kind of a word that is no keyword.
    bare: Option<Value>,
}

/// The objects of iproute2's grammar, each with its commands.
const OBJECTS: [(&str, &[Command]); 3] =
    [("link", &LINK), ("monitor", &MONITOR), ("parent", &PARENT)];

const LINK: [Command; 5] = [
    Command { names: &["add"], verb: Some(Verb::Add), bare: Some(Value::Any) },
    Command { names: &["delete"], verb: Some(Verb::Delete), bare: Some(Value::Link) },
    Command { names: &["set", "change"], verb: Some(Verb::Set), bare: Some(Value::Link) },
    Command { names: &["show", "list"], verb: Some(Verb::Show), bare: Some(Value::Link) },
    HELP,
];

const PARENT: [Command; 2] =
    [Command { names: &["show", "list"], verb: None, bare: Some(Value::Parent) }, HELP];

const MONITOR: [Command; 2] = [Command { names: &["all", "link"], verb: None, bare: None }, HELP];

const HELP: Command = Command { names: &["help"], verb: None, bare: None };

impl Command {
    fn keywords(&self) -> Vec<Keyword> {
        self.verb.map_or_else(Vec::new, |verb| keywords(verb, keywords::offered(verb)))
    }

    /// The keywords after `type KIND`.
    fn keywords_after_type(&self, kind: &str) -> Vec<Keyword> {
        let offered = |verb| keywords(verb, keywords::offered_after_type(verb, kind));
        self.verb.map_or_else(Vec::new, offered)
    }
}

fn keywords(verb: Verb, offered: Vec<(&'static str, Option<Operand>)>) -> Vec<Keyword> {
    let value = |operand| match operand {
        Operand::Device if verb != Verb::Add => Value::Link,
        Operand::Any | Operand::Device => Value::Any,
        Operand::Netns => Value::Netns,
        Operand::Parent => Value::Parent,
        Operand::Words(words) => Value::Words(words),
    };
    offered.into_iter().map(|(name, operand)| Keyword(name, operand.map(value))).collect()
}

/// The objects with their descriptions.
pub(super) fn objects() -> impl Iterator<Item = Candidate> {
    let about = ["links, as of `ip link`", "what happens, as it happens", "parents of links"];
    OBJECTS.iter().zip(about).map(|((name, _), about)| Candidate::new(*name, about))
}

/// The candidates for the last word after `object` and the words `before` it; `None` if `object` is
/// none of these. Objects and commands may be abbreviated.
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
    let known = |candidate: &&Command| candidate.names.iter().any(|name| abbreviates(verb, name));
    let command = verbs.iter().find(known)?;
    Some(after(command, rest, last, sources))
}

/// Reads the words of a command and returns the candidates for the next one.
fn after(command: &Command, words: &[&str], last: &str, sources: &Sources) -> Vec<Candidate> {
    let mut keywords = command.keywords();
    let mut bare = command.bare;
    let mut used: Vec<&str> = Vec::new();
    let mut wanted: Option<(&str, Value)> = None;
    for &word in words {
        match wanted.take() {
            Some(("type", _)) => (keywords, bare) = (command.keywords_after_type(word), None),
            Some((MACADDR, _)) => bare = Some(Value::Any),
            Some(("dev" | "name", _)) => bare = None,
            Some(_) => {}
            None => match keywords.iter().find(|keyword| keyword.0 == word) {
                Some(&Keyword(name, value)) => {
                    used.push(name);
                    wanted = value.map(|value| (name, value));
                }
                // A list of addresses ends at the next keyword.
                None if used.last() == Some(&MACADDR) => {}
                None => bare = None,
            },
        }
    }
    if let Some((_, value)) = wanted {
        return sources.of(value, last);
    }
    // The device is named once: bare, after `dev`, or for a new link after `name`.
    let named = bare.is_none();
    let naming = |word| word == "dev" || word == "name" && command.verb == Some(Verb::Add);
    let unused = keywords.iter().filter(|Keyword(word, _)| !used.contains(word));
    let unused = unused.filter(|Keyword(word, _)| !(named && naming(*word)));
    let mut found: Vec<_> = unused.map(|keyword| Candidate::bare(keyword.0)).collect();
    found.extend(bare.into_iter().flat_map(|value| sources.of(value, last)));
    found
}

/// Every keyword in a complete command, for the test that the parser accepts it.
#[cfg(test)]
pub(super) fn commands() -> Vec<String> {
    let commands = |begin: &'static str, keywords: Vec<Keyword>| {
        keywords.into_iter().map(move |Keyword(name, value)| {
            let value = match (name, value) {
                ("address", _) => "02:00:00:00:00:01",
                (MACADDR, _) => "add 02:00:00:00:00:01",
                ("alias" | "dev" | "link" | "name" | "netns" | "parent", _) => "some",
                (_, Some(Value::Words(words))) => words[0],
                (_, Some(_)) => "100",
                (_, None) => "",
            };
            format!("{begin} {name} {value}").trim_end().to_owned()
        })
    };
    let [add, delete, set, show, _] = &LINK;
    let mut all: Vec<String> = commands("link add", add.keywords()).collect();
    all.extend(commands("link add link p0 m1 type macvlan", add.keywords_after_type("macvlan")));
    all.extend(commands("link set", set.keywords()));
    all.extend(commands("link set m1 type macvlan", set.keywords_after_type("macvlan")));
    all.extend(commands("link show", show.keywords()));
    all.extend(commands("link del", delete.keywords()));
    all
}
