//! `umacvlan __complete WORDS...`: completion of the last word.
//!
//! One completer serves all shells; the scripts in `completions/` call it. It prints one candidate per
//! line, followed by a tab and a description if there is one, or [`FILE_WANTED`]. No candidates are no
//! error.

mod clap_args;
mod grammar;
mod values;

use std::ffi::OsString;
use std::fmt::Write;
use std::process::ExitCode;

use clap::Command;

use umacvlan_text::output::Output;
use values::Sources;

/// The hidden command. It is checked first, because the words after it are not our arguments.
pub(crate) const COMPLETION_COMMAND: &str = "__complete";

/// Printed alone if the shell is to offer files.
const FILE_WANTED: &str = ":file";

/// A possible last word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    word: String,
    /// A description, or empty.
    about: String,
}

/// The kind of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// No candidates: a number, an address, a new name.
    Any,
    /// A parent or a link of the daemon.
    Dev,
    /// The path of a file.
    File,
    /// A link of the daemon.
    Link,
    /// A named network namespace.
    Netns,
    /// An interface that can be a parent.
    Parent,
    /// A drop reason.
    Reason,
    /// `NAME,WORD...` of `umacvlan run --sub`.
    Sub,
    /// One of these.
    Words(&'static [&'static str]),
}

/// Prints the candidates for the last of `words`, which begin after the name of the program.
pub(crate) fn run(command: &Command, words: &[OsString]) -> ExitCode {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let socket = umacvlan_api::socket_path(named_socket(&words).map(AsRef::as_ref));
    let mut output = Output::new();
    output.text(&complete(command, &words, &Sources::machine(socket)));
    // A failure to write has nobody to report it to.
    drop(output.finish());
    ExitCode::SUCCESS
}

fn complete(command: &Command, words: &[String], sources: &Sources) -> String {
    let Some((last, before)) = words.split_last() else {
        return String::new();
    };
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    let mut found = clap_args::candidates(command, &before, last, sources);
    if found.iter().any(|candidate| candidate.word == FILE_WANTED) {
        return format!("{FILE_WANTED}\n");
    }
    found.retain(|candidate| candidate.word.starts_with(last.as_str()));
    found.sort();
    found.dedup_by(|one, other| one.word == other.word);
    let mut text = String::new();
    for Candidate { word, about } in found {
        let gap = if about.is_empty() { "" } else { "\t" };
        let _ = writeln!(text, "{word}{gap}{about}");
    }
    text
}

/// The value of the last `--socket`.
fn named_socket(words: &[String]) -> Option<&str> {
    let at = words.iter().rposition(|word| word.starts_with("--socket"))?;
    match words[at].strip_prefix("--socket=") {
        Some(path) => Some(path),
        None => words.get(at + 1).map(String::as_str),
    }
    .filter(|path| !path.is_empty())
}

impl Candidate {
    fn new(word: impl Into<String>, about: impl Into<String>) -> Self {
        // Control characters would break the output format.
        let plain = |text: String| text.replace(|sign: char| sign.is_control(), " ");
        Self { word: plain(word.into()), about: plain(about.into()) }
    }

    fn bare(word: impl Into<String>) -> Self {
        Self::new(word, "")
    }
}

#[cfg(test)]
mod tests;
