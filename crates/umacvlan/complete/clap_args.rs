//! Completion of clap's commands from clap's own definitions.

use clap::{Arg, ArgAction, Command};

use super::values::Sources;
use super::{Candidate, Value, grammar};
use crate::ip;

/// The candidates for the last word after the words `before` it.
pub(super) fn candidates(
    command: &Command,
    before: &[&str],
    last: &str,
    sources: &Sources,
) -> Vec<Candidate> {
    let mut command = command;
    let mut path = 0;
    let mut bare = 0;
    let mut words = before.iter().enumerate();
    while let Some((at, &word)) = words.next() {
        if let Some(value) = wanted(command, word, path == 0) {
            match words.next() {
                Some(_) => continue,
                None => return sources.of_arg(value, last),
            }
        }
        if word.starts_with('-') {
            continue;
        }
        if path == 0
            && let Some(found) = grammar::candidates(word, &before[at + 1..], last, sources)
        {
            return found;
        }
        match command.find_subcommand(word) {
            Some(next) => (command, path, bare) = (next, path + 1, 0),
            // An unknown command.
            None if command.has_subcommands() => return Vec::new(),
            None => bare += 1,
        }
    }
    if let Some((option, value)) = last.split_once('=')
        && let Some(wanted) = wanted(command, option, false)
    {
        let found = sources.of_arg(wanted, value).into_iter();
        return found
            .map(|candidate| {
                Candidate::new(format!("{option}={}", candidate.word), candidate.about)
            })
            .collect();
    }
    next(command, path == 0, bare, last, sources)
}

/// The value of an option: an argument of clap, or a known kind.
enum Wanted<'c> {
    Arg(&'c Arg),
    Value(Value),
}

/// The value that follows `word`, if it is an option with a value.
fn wanted<'c>(command: &'c Command, word: &str, top: bool) -> Option<Wanted<'c>> {
    if top && ip::takes_value(word) {
        let netns = word.trim_start_matches('-').starts_with('n');
        return Some(Wanted::Value(if netns { Value::Netns } else { Value::File }));
    }
    let named = |arg: &&Arg| {
        let long = word.strip_prefix("--");
        long.is_some() && arg.get_long() == long
            || word.len() == 2 && arg.get_short().is_some_and(|short| word == format!("-{short}"))
    };
    let arg = command.get_arguments().find(named)?;
    let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    takes.then_some(Wanted::Arg(arg))
}

/// The candidates for a word that is no value of an option.
fn next(
    command: &Command,
    top: bool,
    bare: usize,
    last: &str,
    sources: &Sources,
) -> Vec<Candidate> {
    if last.starts_with('-') {
        let mut found: Vec<_> = command.get_arguments().filter_map(option).collect();
        if top {
            found.extend(ip::option_names().map(|name| Candidate::bare(format!("-{name}"))));
        }
        return found;
    }
    let visible = command.get_subcommands().filter(|command| !command.is_hide_set());
    let mut found: Vec<_> = visible
        .map(|command| Candidate::new(command.get_name(), about(command.get_about())))
        .collect();
    if top {
        found.extend(grammar::objects());
    }
    let many = |arg: &&Arg| matches!(arg.get_action(), ArgAction::Append);
    let arg = command.get_positionals().nth(bare);
    let arg = arg.or_else(|| command.get_positionals().find(many));
    found.extend(arg.into_iter().flat_map(|arg| sources.of_arg(Wanted::Arg(arg), last)));
    found
}

fn option(arg: &Arg) -> Option<Candidate> {
    let long = arg.get_long().filter(|_| !arg.is_hide_set())?;
    Some(Candidate::new(format!("--{long}"), about(arg.get_help())))
}

/// The first line of a help text.
fn about(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

impl Sources {
    fn of_arg(&self, wanted: Wanted<'_>, word: &str) -> Vec<Candidate> {
        let arg = match wanted {
            Wanted::Arg(arg) => arg,
            Wanted::Value(value) => return self.of(value, word),
        };
        let possible = arg.get_possible_values();
        if !possible.is_empty() {
            let shown = possible.iter().filter(|value| !value.is_hide_set());
            return shown
                .map(|value| Candidate::new(value.get_name(), about(value.get_help())))
                .collect();
        }
        let name = arg.get_value_names().and_then(|names| names.first());
        self.of(name.map_or(Value::Any, |name| kind(name)), word)
    }
}

/// The kind of a value by its name in the help.
fn kind(value_name: &str) -> Value {
    match value_name {
        "DIR" | "FILE" | "PATH" => Value::File,
        "INTERFACE" | "PARENT" => Value::Parent,
        "PARENT|LINK" => Value::Dev,
        "REASON" => Value::Reason,
        "LINK" => Value::Link,
        "MODE" => Value::Words(&["bridge", "passthru", "private", "source", "vepa"]),
        "NAME[,WORD...]" => Value::Sub,
        "NETNS" => Value::Netns,
        "WHOSE" => Value::Words(&["documented", "kernel"]),
        _ => Value::Any,
    }
}
