//! [`Diagnostics`]: errors and warnings about a file, each with its place.

use std::fmt;
use std::io;
use std::ops::Range;

use serde::Serialize;

use umacvlan_api::{Code, Problem};

/// Columns of a line that are shown; of a longer line, those around the error.
const SHOWN: usize = 120;

/// An error or a warning, and the bytes of the file that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Diagnostic {
    pub(super) span: Range<usize>,
    /// What is wrong, and what was expected.
    pub(super) message: String,
}

/// All errors, or all warnings, about a file, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    file: String,
    found: Vec<LocatedDiagnostic>,
}

/// A diagnostic as `umacvlan config check --json` prints it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct DiagnosticView<'m> {
    line: usize,
    column: usize,
    message: &'m str,
}

/// A diagnostic with its line and column, counted in characters from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LocatedDiagnostic {
    line: usize,
    column: usize,
    message: String,
    /// The line, or the part of it that is shown.
    text: String,
    /// Characters of `text` before the error, and characters in error.
    before: usize,
    width: usize,
}

impl Diagnostics {
    pub(super) fn new(file: &str, text: &str, mut found: Vec<Diagnostic>) -> Self {
        found.sort_by_key(|diagnostic| diagnostic.span.start);
        found.dedup();
        // Counting goes on from the previous diagnostic, so that each line is counted once.
        let (mut line, mut counted) = (1, 0);
        let placed = |diagnostic: Diagnostic| {
            let start = floor(text, diagnostic.span.start);
            line += text.get(counted..start).unwrap_or_default().matches('\n').count();
            counted = start;
            LocatedDiagnostic::new(text, line, diagnostic)
        };
        let found = found.into_iter().map(placed).collect();
        Self { file: file.to_owned(), found }
    }

    /// No diagnostics for this file.
    pub fn empty(file: &str) -> Self {
        Self { file: file.to_owned(), found: Vec::new() }
    }

    /// Each with its line and column.
    pub fn located(&self) -> impl Iterator<Item = DiagnosticView<'_>> {
        self.found.iter().map(|LocatedDiagnostic { line, column, message, .. }| DiagnosticView {
            line: *line,
            column: *column,
            message,
        })
    }

    /// The number of diagnostics.
    pub(super) const fn len(&self) -> usize {
        self.found.len()
    }

    /// One line each: `FILE:LINE:COLUMN: what is wrong, what was expected`.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.found.iter().map(|LocatedDiagnostic { line, column, message, .. }| {
            format!("{}:{line}:{column}: {message}", self.file)
        })
    }

    /// One line: the first diagnostic, how many more there are, and the command that shows them.
    pub fn one_line(&self) -> String {
        let first = self.lines().next().unwrap_or_default();
        match self.len() {
            0 | 1 => first,
            many => format!(
                "{first} (and {} more: `umacvlan config check {}` shows all)",
                many - 1,
                self.file
            ),
        }
    }
}

impl fmt::Display for Diagnostics {
    /// Each with its line of the file and carets below the error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gutter = self.found.iter().map(|placed| placed.line.to_string().len()).max();
        let gutter = gutter.unwrap_or_default();
        for (LocatedDiagnostic { line, text, before, width, .. }, told) in
            self.found.iter().zip(self.lines())
        {
            let (nothing, carets) = ("", "^".repeat(*width));
            writeln!(f, "{told}")?;
            writeln!(f, " {nothing:gutter$} |")?;
            writeln!(f, " {line:gutter$} | {text}")?;
            writeln!(f, " {nothing:gutter$} | {nothing:before$}{carets}")?;
        }
        Ok(())
    }
}

impl LocatedDiagnostic {
    fn new(text: &str, number: usize, Diagnostic { span, message }: Diagnostic) -> Self {
        let start = floor(text, span.start);
        let before = text.get(..start).unwrap_or_default();
        let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = text.get(begin..).unwrap_or_default().lines().next().unwrap_or_default();
        let at = text.get(begin..start).unwrap_or_default().chars().count();
        let end = floor(text, span.end.clamp(start, begin + line.len().max(start - begin)));
        let width = text.get(start..end).unwrap_or_default().chars().count().max(1);
        let skipped = if at < SHOWN { 0 } else { at - SHOWN / 2 };
        // Control characters could move the cursor of the terminal.
        let plain = |sign: char| match sign {
            '\t' => ' ',
            _ if sign.is_control() => char::REPLACEMENT_CHARACTER,
            _ => sign,
        };
        Self {
            line: number,
            column: at + 1,
            message,
            text: line.chars().skip(skipped).take(SHOWN).map(plain).collect(),
            before: at - skipped,
            width: width.min(SHOWN - (at - skipped)),
        }
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or_default()
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the configuration {file}: {source}")]
    Read {
        /// Path of the file.
        file: String,
        /// Error of the system call.
        source: io::Error,
    },
    /// The file has errors.
    #[error("{}", .0.one_line())]
    Wrong(Diagnostics),
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        Self {
            code: Code::Config,
            message: error.to_string(),
            errno: None,
            kernel: None,
            device: None,
        }
    }
}
