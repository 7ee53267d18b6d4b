//! The commands of `link`.

use super::command::{asks_for_help, unknown_command};
use super::error::CommandError;
use super::help;
use super::keywords::{FILTER, FilterWord, Verb, find};
use super::link_args::LinkArgs;
use super::tokens::{Tokens, abbreviates};
use umacvlan_api::{LinkChange, LinkSpec};

/// A command of `link`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum LinkCommand {
    /// Without a name the link gets the first free `macvlanN`, as from the kernel.
    Add {
        name: Option<String>,
        spec: Box<LinkSpec>,
    },
    Delete {
        name: String,
    },
    Set {
        name: String,
        change: Box<LinkChange>,
    },
    Show(Filter),
}

/// Selects the links to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) name: Option<String>,
    /// Links on this parent.
    pub(super) parent: Option<String>,
    /// Links of this kind; `macvlan` is the only one.
    pub(super) kind: Option<String>,
    /// Only links that are up.
    pub(super) up: bool,
}

pub(super) fn parse(mut words: Tokens<'_>) -> Result<LinkCommand, CommandError> {
    let Some(verb) = words.next() else { return Ok(LinkCommand::Show(Filter::default())) };
    // The first match in this order wins: `s` is set.
    match verb {
        _ if abbreviates(verb, "add") => LinkArgs::parse(Verb::Add, words)?.add(),
        _ if abbreviates(verb, "set") || abbreviates(verb, "change") => {
            LinkArgs::parse(Verb::Set, words)?.set()
        }
        _ if abbreviates(verb, "replace") => Err(CommandError::unsupported("replace")),
        _ if abbreviates(verb, "delete") => LinkArgs::parse(Verb::Delete, words)?.delete(),
        _ if ["show", "lst", "list"].iter().any(|full| abbreviates(verb, full)) => {
            parse_filter(words).map(LinkCommand::Show)
        }
        _ if abbreviates(verb, "xstats") => Err(CommandError::unsupported("xstats")),
        _ if abbreviates(verb, "afstats") => Err(CommandError::unsupported("afstats")),
        _ if abbreviates(verb, "property") => Err(CommandError::unsupported("property")),
        _ if asks_for_help(verb) => Err(help::link_usage()),
        _ => Err(unknown_command(verb, "link")),
    }
}

fn parse_filter(mut words: Tokens<'_>) -> Result<Filter, CommandError> {
    let mut filter = Filter::default();
    while let Some(word) = words.next() {
        let name = match find(&FILTER, word) {
            Some(FilterWord::Up) => {
                filter.up = true;
                continue;
            }
            Some(FilterWord::Type) => {
                filter.kind = Some(words.value()?.to_owned());
                continue;
            }
            Some(FilterWord::Parent) => {
                filter.parent = Some(words.value()?.to_owned());
                continue;
            }
            Some(FilterWord::Unsupported) => return Err(CommandError::unsupported(word)),
            Some(FilterWord::Help) => return Err(help::link_usage()),
            Some(FilterWord::Dev) => words.value()?,
            None => word,
        };
        if filter.name.replace(name.to_owned()).is_some() {
            return Err(CommandError::garbage(name));
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::tests::words;

    fn filter(line: &str) -> Result<Filter, CommandError> {
        parse_filter(Tokens::new(&words(line)))
    }

    #[test]
    fn links_are_shown_by_name_parent_kind_and_state() {
        let wanted = Filter {
            name: Some("m1".into()),
            parent: Some("eth0".into()),
            kind: Some("macvlan".into()),
            up: true,
        };
        assert_eq!(filter("dev m1 parent eth0 up type macvlan"), Ok(wanted.clone()));
        assert_eq!(filter("up master eth0 type veth type macvlan m1"), Ok(wanted));
        assert_eq!(filter("dev up").unwrap().name.as_deref(), Some("up"));
    }

    #[test]
    fn a_second_name_is_garbage() {
        for line in ["a b", "dev a b", "a dev b"] {
            assert_eq!(filter(line), Err(CommandError::garbage("b")), "{line}");
        }
        for line in ["dev", "type", "up parent"] {
            assert_eq!(filter(line), Err(CommandError::incomplete()), "{line}");
        }
    }

    #[test]
    fn unsupported_commands_of_ip_differ_from_unknown_ones() {
        let parsed = |line| parse(Tokens::new(&words(line))).unwrap_err();
        assert_eq!(parsed("property add dev m1").status, 2);
        assert!(parsed("replace m1").hint.unwrap().starts_with("\"replace\" is not supported"));
        let text = "Command \"frob\" is unknown, try \"umacvlan link help\".";
        assert_eq!((parsed("frob").text.as_str(), parsed("frob").status), (text, 255));
    }
}
