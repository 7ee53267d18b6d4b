//! Where results and complaints go: results to standard output, complaints to standard error.
//!
//! Nothing here panics when nobody reads. What runs in the foreground goes on running after
//! `| head -1` has seen enough, and only an output that fails for another reason is an error.

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Error};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::PrettyFormatter;

/// Standard output, for people or as one JSON object a line.
#[derive(Debug)]
pub struct Output {
    /// True if people's text may have colour.
    pub colour: bool,
    /// The first failure to write, told at the end.
    failure: Option<io::Error>,
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

impl Output {
    pub fn new() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: io::stdout().is_terminal() && !refused, failure: None }
    }

    /// Writes `text` as it is.
    pub fn text(&mut self, text: &str) {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(text.as_bytes());
        self.note(written.and_then(|()| stdout.flush()));
    }

    /// Writes `value` as JSON on a line of its own.
    pub fn json(&mut self, value: &impl Serialize) {
        match serde_json::to_string(value) {
            Ok(line) => self.text(&format!("{line}\n")),
            Err(error) => self.note(Err(error.into())),
        }
    }

    /// Writes `value` as JSON on many lines, each level four spaces in, as Go's programs do.
    pub fn pretty(&mut self, value: &impl Serialize) {
        let mut text = Vec::new();
        let formatter = PrettyFormatter::with_indent(b"    ");
        let mut serializer = Serializer::with_formatter(&mut text, formatter);
        match value.serialize(&mut serializer) {
            Ok(()) => self.text(&format!("{}\n", String::from_utf8_lossy(&text))),
            Err(error) => self.note(Err(error.into())),
        }
    }

    /// The end of the output.
    ///
    /// # Errors
    /// Something could not be written, though somebody was there to read it.
    pub fn finish(self) -> Result<(), Error> {
        self.failure.map_or(Ok(()), Err).context("cannot write to standard output")
    }

    fn note(&mut self, written: io::Result<()>) {
        if let Err(error) = written
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            self.failure.get_or_insert(error);
        }
    }
}

/// Writes one line to standard error, with the name of the program before it.
pub fn complain(line: &str) {
    // Where this fails there is nobody left to tell.
    let _ = writeln!(io::stderr(), "umacvlan: {line}");
}

/// An error and its causes on one line. A cause whose words are in the line already is left out:
/// many an error quotes its source.
pub fn one_line(error: &Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let words = cause.to_string();
        if line.contains(&words) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&words);
    }
    if line.contains(DESCRIPTORS_GONE) && !line.contains("ulimit") {
        line.push_str("; raise the limit with `ulimit -n`");
    }
    line.replace('\n', " ")
}

/// What strerror(3) says of `EMFILE`. It can come from wherever something is opened, so the advice
/// is given here for all of them.
const DESCRIPTORS_GONE: &str = "Too many open files";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_follow_on_one_line_and_none_twice() {
        let error = Error::msg("no such file")
            .context("cannot open it: no such file")
            .context("cannot\nstart");
        assert_eq!(one_line(&error), "cannot start: cannot open it: no such file");
    }

    #[test]
    fn want_of_descriptors_comes_with_advice_once() {
        let error = Error::msg("Too many open files (os error 24)").context("cannot open it");
        let line = one_line(&error);
        assert!(line.ends_with("; raise the limit with `ulimit -n`"), "{line}");
        let advised = error.context("ulimit is low");
        assert_eq!(one_line(&advised).matches("ulimit").count(), 1);
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let mut output = Output::new();
        output.note(Err(io::ErrorKind::BrokenPipe.into()));
        output.finish().unwrap();
        let mut output = Output::new();
        output.note(Err(io::ErrorKind::StorageFull.into()));
        output.note(Err(io::ErrorKind::BrokenPipe.into()));
        assert!(one_line(&output.finish().unwrap_err()).contains("standard output: no storage"));
    }
}
