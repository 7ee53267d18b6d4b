//! `umacvlan-ip`: the command `ip`, except that links of type macvlan are umacvlan's.
//!
//! Scripts that were written for the kernel's macvlan run unchanged with it in their PATH. A command
//! about macvlan links goes to the daemon of its network namespace ([`daemon`]), which is started if
//! there is none. Links are shown together with those of the real `ip` ([`show`]), and removed at once
//! ([`delete`]). Everything else is the real `ip` ([`real`]): links of umacvlan are interfaces like others,
//! so it sets them up and moves them, and the daemon follows; what umacvlan has no word for it sets after
//! the link was made ([`settings`]).

mod daemon;
mod delete;
mod real;
mod settings;
mod show;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use umacvlan_netlink::Rtnl;

use super::batch::Script;
use super::command::{self, Command};
use super::error::{CommandError, FAILED};
use super::link::LinkCommand;
use super::options::{Colour, Options, takes_value};
use super::print_error;
use super::session::Session;
use super::tokens::{Tokens, abbreviates};
use real::RealIp;
use settings::Settings;
use show::Selection;

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
        let (ours, given) = before_object(&words);
        let mut ours = Tokens::new(&ours);
        // An option that only the real ip has belongs to a command that only it has.
        let Ok(options) = Options::parse(&mut ours) else { return Err(real.become_it(arguments)) };
        let (given, rest) = (&arguments[..given], &words[given..]);
        let mut wrapper = Wrapper::new(real, options, given);
        match wrapper.options.batch.clone() {
            Some(file) => wrapper.batch(&file, arguments),
            None if wrapper.plan(rest) == Plan::Real => Err(wrapper.real.become_it(arguments)),
            None => wrapper.execute(rest),
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

/// The options before the object without the family of addresses, which umacvlan does not have, and the
/// number of all words before the object.
fn before_object(words: &[String]) -> (Vec<String>, usize) {
    let mut ours = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at)
        && let Some(option) = word.strip_prefix('-')
    {
        at += 1;
        let name = option.strip_prefix('-').unwrap_or(option);
        let family = name == "f" || (name.len() > 1 && abbreviates(name, "family"));
        let valued = family || takes_value(name);
        let value = words.get(at).filter(|_| valued).cloned();
        at += usize::from(value.is_some());
        if !family && !["0", "4", "6"].contains(&name) {
            ours.push(word.clone());
            ours.extend(value);
        }
        if word == "--" {
            break;
        }
    }
    (ours, at)
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
    /// The same, which may remove the parent of links.
    Delete(String),
    /// The daemon, and then the real `ip`.
    AddAndSet(Settings),
    /// Both.
    Show(Selection),
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
        if self.options.version {
            return Plan::Real;
        }
        if let Some(selection) = Selection::parse(words) {
            return Plan::Show(selection);
        }
        let Some((object, rest)) = words.split_first() else { return Plan::Real };
        let Some(verb) = rest.first().filter(|_| abbreviates(object, "link")) else {
            return Plan::Real;
        };
        match verb.as_str() {
            verb if abbreviates(verb, "add") && is_macvlan(rest) => {
                Settings::take(words).map_or(Plan::Daemon, Plan::AddAndSet)
            }
            "set" | "change" if is_macvlan(rest) => {
                target(words).map_or(Plan::Real, Plan::DaemonIfOwn)
            }
            verb if abbreviates(verb, "delete") => match command::parse(words) {
                Ok(Command::Link(LinkCommand::Delete { name })) => Plan::Delete(name),
                _ => Plan::Real,
            },
            _ => Plan::Real,
        }
    }

    /// Executes a command line and returns the exit status; errors of the real `ip` were printed by it.
    fn execute(&mut self, words: &[String]) -> Result<u8, CommandError> {
        match self.plan(words) {
            Plan::Real => self.real.run(&self.given, words),
            Plan::Daemon => self.session()?.execute(words).map(|()| 0),
            Plan::DaemonIfOwn(name) => match self.owner(&name) {
                Some(mut session) => session.execute(words).map(|()| 0),
                None => self.real.run(&self.given, words),
            },
            Plan::Delete(name) => match self.owner(&name) {
                Some(mut session) => session.execute(words).map(|()| 0),
                None => delete::run(self, words),
            },
            Plan::AddAndSet(settings) => {
                self.session()?.execute(&settings.add)?;
                settings::run(self, &settings)
            }
            Plan::Show(selection) => {
                let links = self.running().filter_map(|mut session| session.links().ok());
                let links = links.flatten().collect();
                show::run(self, &selection, links, words)
            }
        }
    }

    /// The session with the daemon that has the link of this name here, if one has.
    fn owner(&self, name: &str) -> Option<Session> {
        self.running().find_map(|mut one| one.has(name).then_some(one))
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
        let (ours, given) = before_object(&words);
        let options = Options::parse(&mut Tokens::new(&ours)).unwrap();
        Wrapper::new(RealIp::at("/bin/ip".into()), options, &[]).plan(&words[given..])
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
        for line in [
            "link",
            "-d l",
            "-s link show",
            "link ls up",
            "link show dev m0 type macvlan",
            "link show master br0",
            "addr",
            "-4 a s m0",
            "-family inet6 address show dev m0 scope link",
        ] {
            assert!(matches!(plan(line), Plan::Show(_)), "{line}");
        }
        for line in ["link del m0", "l d dev m0 type macvlan"] {
            assert_eq!(plan(line), Plan::Delete("m0".to_owned()), "{line}");
        }
        for line in [
            "",
            "-V",
            "addr add 10.9.0.1/24 dev m0",
            "link s m0 up",
            "route show",
            "link add a type veth peer name b",
            "link add link eth0 name m0 type macvtap",
            "link add type macvlan help",
            "link set m0 up",
            "link set m0 netns red",
            "link del group 7",
            "link help",
            "netns add red",
            "monitor",
        ] {
            assert_eq!(plan(line), Plan::Real, "{line}");
        }
    }
}
