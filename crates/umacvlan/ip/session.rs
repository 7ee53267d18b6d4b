//! [`Session`]: a connection to the daemon, for one command or a batch.

use std::fs::File;
use std::io::{self, ErrorKind, Write};

use nix::libc;
use umacvlan_netlink::Rtnl;
use umacvlan_sys::netns::Netns;

use super::command::{self, Command};
use super::error::{CommandError, Device, FAILED, REFUSED, USAGE, strerror};
use super::link::{Filter, LinkCommand};
use super::options::Options;
use super::show::{self, LinkJson, Scene, Style};
use super::{monitor, parents};
use umacvlan_api::socket_path;
use umacvlan_api::{CALLER, Code, LinkChange, LinkSpec, LinkView, NewLink, Problem};
use umacvlan_client::{Absent, Client, RequestError, item_path};
use umacvlan_text::output::print_stderr;

/// Executes commands through the daemon.
#[derive(Debug)]
pub(super) struct Session {
    options: Options,
    pub(super) style: Style,
    /// Connected on first use, because errors of the parser need no daemon.
    client: Option<Client>,
    /// The namespace of `-n`.
    netns: Option<String>,
}

impl Session {
    pub(super) fn new(options: Options) -> Result<Self, CommandError> {
        let netns = options.netns.as_deref().map(daemon_netns);
        if let Some(netns) = &netns
            && let Err(error) = open(netns)
        {
            let why = error.raw_os_error().map_or_else(|| error.to_string(), strerror);
            let text = format!("Cannot open network namespace \"{netns}\": {why}");
            return Err(CommandError::new(USAGE, text));
        }
        Ok(Self { style: Style::new(&options), options, client: None, netns })
    }

    /// A session about the links in the namespace of this process, or of `-n`, only, as seen from there.
    pub(super) fn inside(options: Options) -> Self {
        let netns = options.netns.as_deref().map_or_else(|| CALLER.to_owned(), daemon_netns);
        let style = Style { inside: true, ..Style::new(&options) };
        Self { style, options, client: None, netns: Some(netns) }
    }

    pub(super) const fn options(&self) -> &Options {
        &self.options
    }

    /// Parses and executes a command line that begins with the object.
    pub(super) fn execute(&mut self, words: &[String]) -> Result<(), CommandError> {
        match command::parse(words) {
            Ok(Command::Link(command)) => self.link(command),
            Ok(Command::Monitor) => monitor::run(self),
            Ok(Command::ShowParents(name)) => parents::run(self, name.as_deref()),
            Err(error) => Err(self.after_lookups(error)),
        }
    }

    pub(super) fn client(&mut self) -> Result<&mut Client, CommandError> {
        let client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&socket_path(self.options.socket.as_deref()), Absent::Wait)
                .map_err(|error| CommandError::own(FAILED, error.to_string()))?,
        };
        Ok(self.client.insert(client))
    }

    fn link(&mut self, command: LinkCommand) -> Result<(), CommandError> {
        match command {
            LinkCommand::Add { name, spec } => self.add(name, *spec),
            LinkCommand::Delete { name } => self.delete(&name),
            LinkCommand::Set { name, change } => self.set(&name, *change),
            LinkCommand::Show(filter) => self.show(&filter),
        }
    }

    fn add(&mut self, name: Option<String>, mut spec: LinkSpec) -> Result<(), CommandError> {
        let given = spec.netns.take();
        given.as_deref().map_or(Ok(()), reachable)?;
        let netns = given.as_deref().map(daemon_netns).or_else(|| self.netns.clone());
        // A program is in no network namespace: the daemon refuses one that was given.
        let own = spec.port.is_none().then(|| CALLER.to_owned());
        let spec = LinkSpec { netns: netns.or(own), ..spec };
        let client = self.client()?;
        let made = match name {
            Some(name) => post(client, name, &spec),
            None => post_unnamed(client, &spec),
        };
        let link = made.map_err(|failure| command_error(failure, spec.netns.as_deref()))?;
        if let Some(conflict) = &link.umacvlan.conflict {
            print_stderr(&format!("{} cannot come up yet: {conflict}", link.ifname));
        }
        Ok(())
    }

    fn set(&mut self, name: &str, mut change: LinkChange) -> Result<(), CommandError> {
        let moved = change.netns.take();
        moved.as_deref().map_or(Ok(()), reachable)?;
        change.netns = moved.as_deref().map(daemon_netns);
        let (path, netns) = (item_path("/v1/links", name), self.netns.clone());
        let changed = self.client()?.patch::<LinkView>(&path, &query(&netns), &change).map(drop);
        changed.map_err(|failure| not_ours(command_error(failure, moved.as_deref()), name))
    }

    fn delete(&mut self, name: &str) -> Result<(), CommandError> {
        let (path, netns) = (item_path("/v1/links", name), self.netns.clone());
        let deleted = self.client()?.delete(&path, &query(&netns));
        deleted.map_err(|failure| not_ours(command_error(failure, None), name))
    }

    fn show(&mut self, filter: &Filter) -> Result<(), CommandError> {
        let mut links = match &filter.name {
            Some(name) => vec![self.find(name).map_err(|found| absent(found, name))?],
            None => self.links()?,
        };
        if let Some(parent) = &filter.parent {
            links.retain(|link| link.umacvlan.parent == *parent);
            if links.is_empty() && !self.parent_exists(parent)? {
                return Err(CommandError::wrong(parent, "Device does not exist"));
            }
        }
        links.retain(|link| {
            let up = link.flags.iter().any(|flag| flag == "UP");
            let kind = filter.kind.as_ref().is_none_or(|kind| *kind == link.linkinfo.info_kind);
            kind && (up || !filter.up)
        });
        let style = self.style;
        if self.options.json {
            let links: Vec<_> = links.iter().map(|link| LinkJson::new(link, style)).collect();
            return print(&style.json(&links)?);
        }
        print(&links.iter().map(|link| show::link(link, style, Scene::Show)).collect::<String>())
    }

    /// Whether there is a link of this name.
    pub(super) fn has(&mut self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    pub(super) fn links(&mut self) -> Result<Vec<LinkView>, CommandError> {
        let netns = self.netns.clone();
        let links = self.client()?.get("/v1/links", &query(&netns));
        links.map_err(|failure| command_error(failure, netns.as_deref()))
    }

    fn find(&mut self, name: &str) -> Result<LinkView, CommandError> {
        let (path, netns) = (item_path("/v1/links", name), self.netns.clone());
        let found = self.client()?.get(&path, &query(&netns));
        found.map_err(|failure| command_error(failure, netns.as_deref()))
    }

    /// Looks up the devices that `ip` looks up before it reports `error`; a missing one is reported
    /// instead.
    fn after_lookups(&mut self, mut error: CommandError) -> CommandError {
        for device in std::mem::take(&mut error.after) {
            let (name, there) = match &device {
                Device::Link(name) => (name, self.find(name).map(|_| true)),
                Device::Parent(name) => (name, self.parent_exists(name)),
            };
            match there {
                Ok(true) => {}
                Ok(false) => return CommandError::no_device(name),
                Err(missing) if missing.no_device => return missing,
                // The daemon cannot be reached, so only `error` is known.
                Err(_) => {}
            }
        }
        error
    }

    /// Whether the daemon has this parent or this namespace has an interface of this name.
    fn parent_exists(&mut self, name: &str) -> Result<bool, CommandError> {
        if interface_exists(name) {
            return Ok(true);
        }
        let parents = parents::all(self)?;
        Ok(parents.iter().any(|parent| parent.name == name))
    }
}

fn post(client: &mut Client, name: String, spec: &LinkSpec) -> Result<LinkView, RequestError> {
    let new = NewLink { name, owner: None, spec: spec.clone() };
    client.post("/v1/links", &[], &new)
}

/// Creates a link with the first free name `macvlanN` or `macvtapN`, as the kernel does.
fn post_unnamed(client: &mut Client, spec: &LinkSpec) -> Result<LinkView, RequestError> {
    let mut number = 0;
    let stem = if spec.port.is_some() { "macvtap" } else { "macvlan" };
    loop {
        match post(client, format!("{stem}{number}"), spec) {
            Err(RequestError::Problem(Problem { errno: Some(libc::EEXIST), .. }))
                if number < MAX_UNNAMED =>
            {
                number += 1;
            }
            made => return made,
        }
    }
}

fn query(netns: &Option<String>) -> Vec<(&str, &str)> {
    netns.iter().map(|netns| ("netns", netns.as_str())).collect()
}

/// A failure of the daemon as an error of `ip`. `netns` is the requested namespace.
pub(super) fn command_error(failure: RequestError, netns: Option<&str>) -> CommandError {
    let problem = match failure {
        RequestError::Problem(problem) => problem,
        other => return CommandError::own(FAILED, other.to_string()),
    };
    let Problem { code, message, errno, kernel, device } = problem;
    let known = match (code, netns) {
        (Code::NoDevice, _) => CommandError::no_device(device.as_deref().unwrap_or_default()),
        (Code::NoNamespace, Some(netns)) if is_process(netns) => CommandError::kernel(libc::ESRCH),
        (Code::NoNamespace, Some(netns)) => CommandError::invalid("netns", netns),
        (Code::Forbidden, _) => CommandError::kernel(libc::EPERM),
        _ => match (kernel, errno) {
            (Some(words), _) => {
                CommandError::new(REFUSED, format!("Error: {}.", words.trim_end_matches('.')))
            }
            (None, Some(errno)) => CommandError::kernel(errno),
            (None, None) => CommandError::new(REFUSED, ""),
        },
    };
    known.hint(message)
}

/// Writes to standard output; a closed pipe is no error.
pub(super) fn print(text: &str) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CommandError::own(FAILED, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// The error of `show` for a missing device.
fn absent(error: CommandError, name: &str) -> CommandError {
    if error.no_device {
        CommandError { text: format!("Device \"{name}\" does not exist."), ..error }
    } else {
        error
    }
}

/// Adds a hint if the name is that of another interface.
fn not_ours(error: CommandError, name: &str) -> CommandError {
    if error.no_device && interface_exists(name) {
        error.hint(format!("{name} is not a umacvlan link: change other interfaces with ip link"))
    } else {
        error
    }
}

/// Whether this process's namespace has an interface of this name.
fn interface_exists(name: &str) -> bool {
    Rtnl::open().and_then(|mut rtnl| rtnl.link(name)).is_ok_and(|link| link.is_some())
}

/// Checks, as `ip` does, that a namespace can be opened. The daemon checks the id of a process, which
/// may be hidden from this one.
fn reachable(netns: &str) -> Result<(), CommandError> {
    if is_process(netns) || open(&daemon_netns(netns)).is_ok() {
        Ok(())
    } else {
        Err(CommandError::invalid("netns", netns))
    }
}

fn open(netns: &str) -> io::Result<()> {
    // A namespace without a name, as it is shown: only the daemon looks for it.
    if netns.starts_with("net:[") {
        return Ok(());
    }
    if netns.starts_with('/') {
        return File::open(netns).map(drop);
    }
    // The error of the system call, which `Netns::open` does not return.
    let named = File::open(format!("/run/netns/{netns}"));
    named.map(drop).or_else(|error| Netns::open(netns).map(drop).map_err(|_| error))
}

fn is_process(netns: &str) -> bool {
    !netns.is_empty() && netns.bytes().all(|byte| byte.is_ascii_digit())
}

/// A namespace as the daemon can find it: `/proc/self` is another process there.
fn daemon_netns(netns: &str) -> String {
    let own = ["/proc/self/", "/proc/thread-self/"];
    let rest = own.iter().find_map(|start| netns.strip_prefix(start));
    rest.map_or_else(|| netns.to_owned(), |rest| format!("/proc/{}/{rest}", std::process::id()))
}

/// The number of names `macvlanN` that are tried.
const MAX_UNNAMED: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(code: Code) -> Problem {
        let device = Some("m1".to_owned());
        Problem { code, message: "why".to_owned(), errno: None, kernel: None, device }
    }

    fn error_of(problem: Problem, netns: Option<&str>) -> (String, u8) {
        let error = command_error(problem.into(), netns);
        assert_eq!(error.hint.as_deref(), Some("why"));
        (error.text, error.status)
    }

    #[test]
    fn problems_have_the_messages_of_ip() {
        let refused = |errno, kernel: Option<&str>| {
            let kernel = kernel.map(str::to_owned);
            error_of(Problem { errno, kernel, ..problem(Code::Refused) }, None)
        };
        assert_eq!(refused(Some(17), None), ("RTNETLINK answers: File exists".to_owned(), 2));
        let minimum = ("Error: mtu less than device minimum.".to_owned(), 2);
        assert_eq!(refused(Some(22), Some("mtu less than device minimum")), minimum);
        let absent = ("Cannot find device \"m1\"".to_owned(), 1);
        assert_eq!(error_of(problem(Code::NoDevice), None), absent);
        let forbidden = ("RTNETLINK answers: Operation not permitted".to_owned(), 2);
        assert_eq!(error_of(problem(Code::Forbidden), None), forbidden);
    }

    #[test]
    fn a_missing_namespace_is_an_invalid_value_or_a_missing_process() {
        let named = "Error: argument \"red\" is wrong: Invalid \"netns\" value".to_owned();
        assert_eq!(error_of(problem(Code::NoNamespace), Some("red")), (named, 255));
        let process = "RTNETLINK answers: No such process".to_owned();
        assert_eq!(error_of(problem(Code::NoNamespace), Some("17")), (process, 2));
    }

    #[test]
    fn proc_self_becomes_the_process_id_for_the_daemon() {
        let own = format!("/proc/{}/ns/net", std::process::id());
        assert_eq!(daemon_netns("/proc/self/ns/net"), own);
        assert_eq!(daemon_netns("/proc/thread-self/ns/net"), own);
        assert_eq!(daemon_netns("red"), "red");
    }
}
