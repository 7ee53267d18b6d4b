//! [`Command`]: a parsed command line. Parsing does no I/O.

use super::error::{CommandError, FAILED, USAGE};
use super::help;
use super::link::{self, LinkCommand};
use super::tokens::{Tokens, abbreviates};

/// A command of one of the objects.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    Link(LinkCommand),
    Monitor,
    /// Shows all parents, or the named one.
    ShowParents(Option<String>),
}

/// Parses a command line that begins with the object.
pub(super) fn parse(words: &[String]) -> Result<Command, CommandError> {
    let mut words = Tokens::new(words);
    let object = words.next().ok_or_else(help::usage)?;
    match object {
        _ if abbreviates(object, "link") => link::parse(words).map(Command::Link),
        _ if abbreviates(object, "parent") => parse_parent(words),
        // `m` alone is another object of `ip`.
        _ if object.len() > 1 && abbreviates(object, "monitor") => parse_monitor(words),
        _ if abbreviates(object, "help") => match words.peek() {
            Some(object) if !abbreviates(object, "help") => {
                parse(&[object.to_owned(), "help".to_owned()])
            }
            _ => Err(help::usage()),
        },
        _ => {
            let text = format!("Object \"{object}\" is unknown, try \"umacvlan help\".");
            Err(CommandError::new(FAILED, text))
        }
    }
}

fn parse_parent(mut words: Tokens<'_>) -> Result<Command, CommandError> {
    let verb = words.next().unwrap_or("show");
    match verb {
        _ if ["show", "lst", "list"].iter().any(|full| abbreviates(verb, full)) => {}
        _ if asks_for_help(verb) => return Err(help::parent_usage()),
        _ => return Err(unknown_command(verb, "parent")),
    }
    let mut name = None;
    while let Some(word) = words.next() {
        let given = if word == "dev" { words.value()? } else { word };
        if name.replace(given.to_owned()).is_some() {
            return Err(CommandError::garbage(given));
        }
    }
    Ok(Command::ShowParents(name))
}

fn parse_monitor(words: Tokens<'_>) -> Result<Command, CommandError> {
    for word in words {
        match word {
            "all" => {}
            _ if abbreviates(word, "link") => {}
            _ if asks_for_help(word) => return Err(help::monitor_usage()),
            _ => {
                let text =
                    format!("Argument \"{word}\" is unknown, try \"umacvlan monitor help\".");
                return Err(CommandError::new(USAGE, text));
            }
        }
    }
    Ok(Command::Monitor)
}

/// True for `help` as `ip` has it, and for the option that other commands have.
pub(super) fn asks_for_help(word: &str) -> bool {
    abbreviates(word, "help") || ["--help", "-h", "-help"].contains(&word)
}

pub(super) fn unknown_command(verb: &str, object: &str) -> CommandError {
    let text = format!("Command \"{verb}\" is unknown, try \"umacvlan {object} help\".");
    CommandError::new(USAGE, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::tests::words;

    fn parsed(line: &str) -> Result<Command, CommandError> {
        parse(&words(line))
    }

    fn refused(line: &str) -> (String, u8) {
        let error = parsed(line).unwrap_err();
        (error.text, error.status)
    }

    #[test]
    fn objects_may_be_abbreviated() {
        for line in ["l", "li", "lin", "link", "link sh", "link list", "link lst", "l l"] {
            assert!(matches!(parsed(line), Ok(Command::Link(LinkCommand::Show(_)))), "{line}");
        }
        for line in ["mo", "monitor", "monitor link", "monitor all", "mon l"] {
            assert_eq!(parsed(line), Ok(Command::Monitor), "{line}");
        }
        assert_eq!(parsed("p"), Ok(Command::ShowParents(None)));
        assert_eq!(parsed("parent sh eth0"), Ok(Command::ShowParents(Some("eth0".into()))));
        assert_eq!(parsed("parent show dev eth0"), parsed("parent show eth0"));
    }

    #[test]
    fn unknown_objects_commands_and_arguments_are_named() {
        for (line, text, status) in [
            ("lnik", "Object \"lnik\" is unknown, try \"umacvlan help\".", 1),
            ("links", "Object \"links\" is unknown, try \"umacvlan help\".", 1),
            ("m", "Object \"m\" is unknown, try \"umacvlan help\".", 1),
            ("parent frob", "Command \"frob\" is unknown, try \"umacvlan parent help\".", 255),
            ("monitor x", "Argument \"x\" is unknown, try \"umacvlan monitor help\".", 255),
            ("parent show a b", "Error: either \"dev\" is duplicate, or \"b\" is a garbage.", 255),
        ] {
            assert_eq!(refused(line), (text.to_owned(), status));
        }
    }

    #[test]
    fn help_is_usage_on_standard_error_as_for_ip() {
        for line in [
            "help",
            "help help",
            "help link",
            "link help",
            "link add help",
            "link set m1 help",
            "link show h",
        ] {
            let (text, status) = refused(line);
            assert!(text.starts_with("Usage: umacvlan"), "{line}: {text}");
            assert_eq!(status, 255);
        }
        assert_eq!(refused("parent help").1, 255);
        assert_eq!(refused("monitor help").1, 255);
    }
}
