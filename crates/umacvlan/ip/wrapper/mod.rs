//! `umacvlan-ip`: the command `ip`, except that links of type macvlan are umacvlan's.
//!
//! Scripts that were written for the kernel's macvlan run unchanged with it in their PATH. A command
//! about macvlan links goes to the daemon of its network namespace ([`daemon`]), which is started if
//! there is none. Links are shown together with those of the real `ip` ([`show`]). Everything else is
//! the real `ip` ([`real`]): links of umacvlan are interfaces like others, so it sets them up, moves
//! and removes them, and the daemon follows.

mod daemon;
mod real;
mod show;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use umacvlan_netlink::Rtnl;

use super::batch::Script;
use super::command::{self, Command};
use super::error::{CommandError, FAILED};
use super::link::{Filter, LinkCommand};
use super::options::{Colour, Options};
use super::print_error;
use super::session::Session;
use super::tokens::{Tokens, abbreviates};
use real::RealIp;

/// The file names of the program by which it is `ip`.
const NAMES: [&str; 2] = ["ip", "umacvlan-ip"];

/// Whether the program was started as `ip`; `program` is the first argument.
pub(crate) fn invoked_by_name(program: Option<&OsStr>) -> bool {
    let name = program.and_then(|program| Path::new(program).file_name());
    NAMES.iter().any(|&known| name == Some(OsStr::new(known)))
}

/// Runs the command of these arguments, without the name of the program, and returns its exit status.
pub(crate) fn run(arguments: &[OsString]) -> ExitCode {
    let done = RealIp::find().and_then(|real| {
        let words: Vec<String> =
            arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let mut rest = Tokens::new(&words);
        // An option that only the real ip has belongs to a command that only it has.
        let Ok(options) = Options::parse(&mut rest) else { return Err(real.become_it(arguments)) };
        let given = arguments.len() - rest.rest().len();
        let mut wrapper = Wrapper::new(real, options, &arguments[..given]);
        match wrapper.options.batch.clone() {
            Some(file) => wrapper.batch(&file, arguments),
            None if wrapper.plan(rest.rest()) == Plan::Real => {
                Err(wrapper.real.become_it(arguments))
            }
            None => wrapper.execute(rest.rest()),
        }
    });
    match done {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            print_error(&error);
            ExitCode::from(error.status)
        }
    }
}

/// Who executes a command line.
#[derive(Debug, PartialEq)]
enum Plan {
    /// The real `ip`.
    Real,
    /// The daemon, which is started if need be.
    Daemon,
    /// The daemon if the link is one of its links, else the real `ip`.
    DaemonIfOwn(String),
    /// Both.
    Show(Filter),
}

/// Executes command lines with the same options.
#[derive(Debug)]
struct Wrapper {
    real: RealIp,
    options: Options,
    /// The options as they were given, for the real `ip`.
    given: Vec<OsString>,
    session: Option<Session>,
}

impl Wrapper {
    fn new(real: RealIp, options: Options, given: &[OsString]) -> Self {
        // Without -c the real ip prints no colours.
        let colour = if options.colour == Colour::Auto { Colour::Never } else { options.colour };
        Self { real, options: Options { colour, ..options }, given: given.to_vec(), session: None }
    }

    fn plan(&self, words: &[String]) -> Plan {
        let Some((object, rest)) = words.split_first() else { return Plan::Real };
        if self.options.version || !abbreviates(object, "link") {
            return Plan::Real;
        }
        let verb = rest.first().map(String::as_str);
        match verb {
            Some(verb) if abbreviates(verb, "add") && is_macvlan(rest) => Plan::Daemon,
            Some("set" | "change") if is_macvlan(rest) => match target(words) {
                Some(name) => Plan::DaemonIfOwn(name),
                None => Plan::Real,
            },
            _ => match command::parse(words) {
                Ok(Command::Link(LinkCommand::Show(filter))) if filter.parent.is_none() => {
                    Plan::Show(filter)
                }
                _ => Plan::Real,
            },
        }
    }

    /// Executes a command line and returns the exit status; errors of the real `ip` were printed by it.
    fn execute(&mut self, words: &[String]) -> Result<u8, CommandError> {
        let filter = match self.plan(words) {
            Plan::Real => return self.real.run(&self.given, words),
            Plan::Daemon => return self.session()?.execute(words).map(|()| 0),
            Plan::DaemonIfOwn(name) => {
                return match self.running().find_map(|mut one| one.has(&name).then_some(one)) {
                    Some(mut session) => session.execute(words).map(|()| 0),
                    None => self.real.run(&self.given, words),
                };
            }
            Plan::Show(filter) => filter,
        };
        let links = self.running().filter_map(|mut session| session.links().ok()).flatten();
        show::run(self, &filter, links.collect(), words)
    }

    /// Executes the lines of `file` as `ip -batch` does.
    fn batch(&mut self, file: &str, arguments: &[OsString]) -> Result<u8, CommandError> {
        // Only umacvlan's own options would be lost on the way.
        self.given = real::without_batch(arguments);
        let mut script = Script::open(file)?;
        let mut status = 0;
        while let Some(words) = script.command()? {
            let failed = match self.execute(&words) {
                Ok(0) => continue,
                Ok(failed) => failed,
                Err(error) => {
                    print_error(&error);
                    error.status
                }
            };
            print_error(&CommandError::new(FAILED, script.failure(file)));
            status = FAILED.max(failed.min(FAILED));
            if !self.options.force {
                break;
            }
        }
        Ok(status)
    }

    /// The session with the daemon of the namespace, which is started if there is none.
    fn session(&mut self) -> Result<&mut Session, CommandError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => {
                let netns = daemon::namespace(self.options.netns.as_deref())?;
                self.session_at(daemon::socket(&netns, self.options.socket.as_deref())?)
            }
        };
        Ok(self.session.insert(session))
    }

    /// Sessions with all daemons. A link in this namespace may be of a daemon in another one.
    fn running(&self) -> impl Iterator<Item = Session> {
        daemon::running(self.options.socket.as_deref()).map(|socket| self.session_at(socket))
    }

    fn session_at(&self, socket: PathBuf) -> Session {
        Session::inside(Options { socket: Some(socket), ..self.options.clone() })
    }
}

/// Whether the words have `type macvlan`, and ask for no help.
fn is_macvlan(words: &[String]) -> bool {
    let kind = words.iter().position(|word| abbreviates(word, "type") && word.len() > 1);
    let macvlan = kind.and_then(|at| words.get(at + 1)).is_some_and(|kind| kind == "macvlan");
    macvlan && words.last().is_some_and(|word| word != "help")
}

/// The link that a valid command changes.
fn target(words: &[String]) -> Option<String> {
    match command::parse(words) {
        Ok(Command::Link(LinkCommand::Set { name, .. })) => Some(name),
        // The words after the type may be wrong: that is told once it is known whose link it is.
        _ => {
            let after = words.get(2)?;
            let name = if after == "dev" { words.get(3)? } else { after };
            Rtnl::open().ok()?.link(name).ok()?.map(|link| link.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::words;
    use super::*;

    fn plan(line: &str) -> Plan {
        let words = words(line);
        let mut rest = Tokens::new(&words);
        let options = Options::parse(&mut rest).unwrap();
        Wrapper::new(RealIp::at("/bin/ip".into()), options, &[]).plan(rest.rest())
    }

    #[test]
    fn the_file_name_decides() {
        for (program, invoked) in [
            ("ip", true),
            ("/usr/lib/umacvlan/ip", true),
            ("umacvlan-ip", true),
            ("umacvlan", false),
        ] {
            assert_eq!(invoked_by_name(Some(program.as_ref())), invoked, "{program}");
        }
    }

    #[test]
    fn only_macvlan_links_are_for_the_daemon() {
        for line in [
            "link add link eth0 name m0 type macvlan mode bridge",
            "-n red l a link eth0 m0 typ macvlan",
            "link add m0 link eth0 type macvlan mode sideways",
        ] {
            assert_eq!(plan(line), Plan::Daemon, "{line}");
        }
        let own = Plan::DaemonIfOwn("m0".to_owned());
        assert_eq!(plan("link set m0 type macvlan mode private"), own);
        assert_eq!(plan("link set dev m0 up type macvlan mode private"), own);
        for line in ["link", "-d l", "-s link show", "link ls up", "link show dev m0 type macvlan"]
        {
            assert!(matches!(plan(line), Plan::Show(_)), "{line}");
        }
        for line in [
            "",
            "-V",
            "addr",
            "route show",
            "link add a type veth peer name b",
            "link add link eth0 name m0 type macvtap",
            "link add type macvlan help",
            "link set m0 up",
            "link set m0 netns red",
            "link del m0",
            "link show master br0",
            "link help",
            "netns add red",
            "monitor",
        ] {
            assert_eq!(plan(line), Plan::Real, "{line}");
        }
    }
}
