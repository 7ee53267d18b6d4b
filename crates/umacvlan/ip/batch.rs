//! `-batch FILE`: many commands over one connection.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use super::error::{CommandError, FAILED, USAGE, strerror};
use super::print_error;
use super::session::Session;

/// Executes the lines of `file`; `-` is standard input.
pub(super) fn run(file: &str, session: &mut Session) -> Result<(), CommandError> {
    let mut script = Script::open(file)?;
    let mut failed = false;
    while let Some(words) = script.command()? {
        let Err(error) = session.execute(&words) else { continue };
        // As with `ip`, a syntax error ends the batch, even with `-force`.
        if error.status == USAGE {
            return Err(error);
        }
        print_error(&error);
        failed = true;
        let text = script.failure(file);
        if !session.options().force {
            return Err(CommandError::new(FAILED, text));
        }
        print_error(&CommandError::new(FAILED, text));
    }
    // Each error was printed when it occurred.
    if failed { Err(CommandError::new(FAILED, "")) } else { Ok(()) }
}

fn open(file: &str) -> Result<Box<dyn BufRead>, CommandError> {
    if file == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    File::open(file).map(|file| Box::new(BufReader::new(file)) as Box<dyn BufRead>).map_err(|e| {
        let why = e.raw_os_error().map_or_else(|| e.to_string(), strerror);
        CommandError::new(FAILED, format!("Cannot open file \"{file}\" for reading: {why}"))
    })
}

/// Reads commands, one per line.
pub(super) struct Script<R> {
    input: R,
    /// The number of the last line that was read.
    line: usize,
}

impl Script<Box<dyn BufRead>> {
    /// The commands of `file`; `-` is standard input.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn open(file: &str) -> Result<Self, CommandError> {
        open(file).map(Self::new)
    }
}

impl<R: BufRead> Script<R> {
    /// What is said after the error of the last command.
    pub(super) fn failure(&self, file: &str) -> String {
        format!("Command failed {file}:{}", self.line)
    }

    const fn new(input: R) -> Self {
        Self { input, line: 0 }
    }

    /// The words of the next line that is not empty.
    pub(super) fn command(&mut self) -> Result<Option<Vec<String>>, CommandError> {
        let mut line = String::new();
        while self.read(&mut line)? {
            let words = split(&line)?;
            if !words.is_empty() {
                return Ok(Some(words));
            }
            line.clear();
        }
        Ok(None)
    }

    /// Reads a line; one that ends in a backslash continues on the next. `#` begins a comment, in
    /// quotes as well. Returns false at the end.
    fn read(&mut self, line: &mut String) -> Result<bool, CommandError> {
        let begin = self.line;
        loop {
            let mut more = Vec::new();
            let unreadable = |error| CommandError::own(FAILED, format!("cannot read it: {error}"));
            if self.input.read_until(b'\n', &mut more).map_err(unreadable)? == 0 {
                return Ok(self.line > begin);
            }
            self.line += 1;
            let more = String::from_utf8_lossy(&more);
            let code = more.split('#').next().unwrap_or_default();
            match code.strip_suffix("\\\n") {
                Some(code) => line.push_str(code),
                _ => {
                    line.push_str(code);
                    return Ok(true);
                }
            }
        }
    }
}

/// The words of a line. A word that begins with a quote ends at the next quote of its kind.
fn split(line: &str) -> Result<Vec<String>, CommandError> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = if first == '"' || first == '\'' {
            let unended = || CommandError::new(FAILED, "Unterminated quoted string");
            rest[1..].split_once(first).ok_or_else(unended)?
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            rest.split_at(end)
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command with the number of its last line.
    fn commands(text: &str) -> Vec<(Vec<String>, usize)> {
        let mut script = Script::new(text.as_bytes());
        let mut all = Vec::new();
        while let Some(words) = script.command().unwrap() {
            all.push((words, script.line));
        }
        all
    }

    fn only(text: &str) -> Vec<String> {
        let mut all = commands(text);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0).0
    }

    #[test]
    fn comments_and_empty_lines_are_skipped() {
        let all = commands("# one\n\n   # two\n \t\nlink show # three\nlink show m#four\r\nlink");
        let lines: Vec<usize> = all.iter().map(|(_, line)| *line).collect();
        assert_eq!(lines, [5, 6, 7]);
        assert_eq!(all[1].0, ["link", "show", "m"]);
        assert_eq!(commands(""), []);
    }

    #[test]
    fn a_backslash_at_the_end_joins_the_next_line() {
        assert_eq!(commands("link set \\\n m1\\\n up\nlink\n").len(), 2);
        assert_eq!(
            commands("link set \\\n m1 up\n"),
            [(vec!["link", "set", "m1", "up"], 2)]
                .map(|(words, line)| (words.into_iter().map(str::to_owned).collect(), line))
        );
        // Not in a comment.
        assert_eq!(commands("# no \\\n link\n")[0].1, 2);
        assert_eq!(only("link \\"), ["link", "\\"]);
    }

    #[test]
    fn quotes_hold_words_together_where_they_begin_one() {
        assert_eq!(only("set alias \"a b\""), ["set", "alias", "a b"]);
        assert_eq!(only("alias 'a \"b' ''"), ["alias", "a \"b", ""]);
        assert_eq!(only("alias x'y z'"), ["alias", "x'y", "z'"]);
        assert_eq!(only("'y z'x"), ["y z", "x"]);
        assert_eq!(only("a\\ b"), ["a\\", "b"]);
        for line in ["alias \"a", "alias \"x # y\""] {
            let error = Script::new(line.as_bytes()).command().unwrap_err();
            assert_eq!(error.text, "Unterminated quoted string");
        }
    }
}
