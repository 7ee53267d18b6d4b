//! Output streams: results go to standard output, messages to standard error.
//!
//! A closed pipe is no error: a command in the foreground keeps running after `| head -1` has exited.
//! Every other failure to write is reported by [`Output::finish`].

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Error};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::PrettyFormatter;

/// Standard output, as text or as one JSON object per line.
#[derive(Debug)]
pub struct Output {
    /// Text is coloured.
    pub colour: bool,
    /// The first failure to write, returned by [`Self::finish`].
    failure: Option<io::Error>,
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

impl Output {
    /// Standard output, coloured as [`colour_on`] says.
    pub fn new() -> Self {
        Self { colour: colour_on(&io::stdout()), failure: None }
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

    /// Writes `value` as JSON over many lines, indented by four spaces per level as Go programs do.
    pub fn pretty(&mut self, value: &impl Serialize) {
        let mut text = Vec::new();
        let formatter = PrettyFormatter::with_indent(b"    ");
        let mut serializer = Serializer::with_formatter(&mut text, formatter);
        match value.serialize(&mut serializer) {
            Ok(()) => self.text(&format!("{}\n", String::from_utf8_lossy(&text))),
            Err(error) => self.note(Err(error.into())),
        }
    }

    /// Ends the output.
    ///
    /// # Errors
    /// The first failure to write, except for a closed pipe.
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

/// Whether text for `stream` is coloured: it is a terminal, and `NO_COLOR` is unset or empty
/// (no-color.org).
pub fn colour_on(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes one line to standard error, prefixed with the name of the program.
pub fn print_stderr(line: &str) {
    // A failure cannot be reported anywhere.
    let _ = writeln!(io::stderr(), "umacvlan: {line}");
}

/// An error and its causes on one line. A cause whose text is in the line already is left out:
/// many errors quote their source.
pub fn one_line(error: &Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if line.contains(&text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
    }
    if line.contains(TOO_MANY_FILES) && !line.contains("ulimit") {
        line.push_str("; raise the limit with `ulimit -n`");
    }
    line.replace('\n', " ")
}

/// The text of strerror(3) for `EMFILE`. Any open can fail with it, so the advice is added here for
/// all of them.
const TOO_MANY_FILES: &str = "Too many open files";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_joined_on_one_line_without_repetition() {
        let error = Error::msg("no such file")
            .context("cannot open it: no such file")
            .context("cannot\nstart");
        assert_eq!(one_line(&error), "cannot start: cannot open it: no such file");
    }

    #[test]
    fn running_out_of_descriptors_comes_with_advice_once() {
        let error = Error::msg("Too many open files (os error 24)").context("cannot open it");
        let line = one_line(&error);
        assert!(line.ends_with("; raise the limit with `ulimit -n`"), "{line}");
        let advised = error.context("ulimit is low");
        assert_eq!(one_line(&advised).matches("ulimit").count(), 1);
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let mut output = Output::new();
        output.note(Err(io::ErrorKind::BrokenPipe.into()));
        output.finish().unwrap();
        let mut output = Output::new();
        output.note(Err(io::ErrorKind::StorageFull.into()));
        output.note(Err(io::ErrorKind::BrokenPipe.into()));
        assert!(one_line(&output.finish().unwrap_err()).contains("standard output: no storage"));
    }
}
