//! `umacvlan link`, `parent` and `monitor`: commands with the grammar of iproute2's `ip`.
//!
//! There are three steps: [`command`] parses the arguments without looking at the machine,
//! [`session`] sends requests to the daemon, and [`show`] prints the answer as text or JSON. A
//! [`CommandError`] from any of them has the message and the exit status of `ip` for the same mistake.

mod addressing;
mod batch;
mod command;
mod error;
mod help;
pub(crate) mod keywords;
mod link;
mod link_args;
mod macvlan;
mod monitor;
mod options;
mod parents;
mod session;
mod show;
mod time;
mod tokens;
pub(crate) mod wrapper;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use error::CommandError;
pub(crate) use help::OBJECTS;
use options::Options;
pub(crate) use options::names as option_names;
use session::Session;
use tokens::Tokens;
pub(crate) use tokens::abbreviates;

/// Whether these arguments (without the name of the program) belong to this module: the first word is
/// none of the other `commands`, or there is no word but a batch option.
pub(crate) fn is_ip_command(arguments: &[OsString], commands: &[String]) -> bool {
    let mut words = arguments.iter().map(|word| word.to_string_lossy());
    let mut batch = false;
    while let Some(word) = words.next() {
        let Some(option) = word.strip_prefix('-') else {
            let is_object = |word: &str| !commands.iter().any(|command| command == word);
            // `help OBJECT` belongs here too.
            return is_object(&word)
                || word == "help" && words.next().is_some_and(|word| is_object(&word));
        };
        if takes_value(&word) {
            batch |= options::is_batch(option.strip_prefix('-').unwrap_or(option));
            words.next();
        }
    }
    batch
}

/// Whether this word is an option whose value is the next word.
pub(crate) fn takes_value(word: &str) -> bool {
    let option = word.strip_prefix('-').map(|option| option.strip_prefix('-').unwrap_or(option));
    option.is_some_and(options::takes_value)
}

/// Runs the command and returns its exit status.
pub(crate) fn run(arguments: &[OsString]) -> ExitCode {
    // Neither interface names nor other words can have bytes that are not UTF-8.
    let words: Vec<String> =
        arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    match execute(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error);
            ExitCode::from(error.status)
        }
    }
}

fn execute(words: &[String]) -> Result<(), CommandError> {
    let mut words = Tokens::new(words);
    let options = Options::parse(&mut words)?;
    if options.version {
        return session::print(&format!("umacvlan {}\n", env!("CARGO_PKG_VERSION")));
    }
    let batch = options.batch.clone();
    let mut session = Session::new(options)?;
    match batch {
        Some(file) => batch::run(&file, &mut session),
        None => session.execute(words.rest()),
    }
}

fn print_error(error: &CommandError) {
    // A failure cannot be reported anywhere.
    let _ = write!(io::stderr(), "{error}");
}

/// The error of the parser for a command line that begins with the object.
#[cfg(test)]
pub(crate) fn parse_error(line: &str) -> Option<String> {
    command::parse(&tests::words(line)).err().map(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of a line that has no quotes in it.
    pub(super) fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_first_word_decides_who_gets_a_command_line() {
        let meant = |line: &str| {
            let arguments: Vec<OsString> = words(line).into_iter().map(OsString::from).collect();
            is_ip_command(&arguments, &words("daemon help lab run"))
        };
        let ours = ["link", "l", "la", "-s link", "-n lab link", "--socket run l", "lnik", "-b x"];
        for line in ours.into_iter().chain(["help link"]) {
            assert!(meant(line), "{line}");
        }
        let others = ["", "lab", "run --parent x", "--socket link lab", "-h", "--help", "-V"];
        for line in others.into_iter().chain(["help", "help lab"]) {
            assert!(!meant(line), "{line}");
        }
    }
}
