//! [`Session`]: a conversation with the daemon, for one command or many.

use std::fs::File;
use std::io::{self, ErrorKind, Write};

use nix::libc;
use umacvlan_netlink::Rtnl;
use umacvlan_sys::netns::Netns;

use super::command::{self, Command};
use super::complaint::{Complaint, Device, FAILED, REFUSED, USAGE, strerror};
use super::link::{Filter, LinkCommand};
use super::options::Options;
use super::show::{self, LinkJson, Scene, Style};
use super::{monitor, parents};
use umacvlan_api::socket_path;
use umacvlan_api::{CALLER, Code, LinkChange, LinkSpec, LinkView, NewLink, Problem};
use umacvlan_client::{Client, RequestError, item_path};

/// The daemon as the commands of this module see it.
#[derive(Debug)]
pub(super) struct Session {
    options: Options,
    pub(super) style: Style,
    /// Connected when first needed: a mistake is told without a daemon as well.
    client: Option<Client>,
    /// The namespace of `-n`.
    netns: Option<String>,
}

impl Session {
    pub(super) fn new(options: Options) -> Result<Self, Complaint> {
        let netns = options.netns.as_deref().map(place);
        if let Some(netns) = &netns
            && let Err(error) = open(netns)
        {
            let why = error.raw_os_error().map_or_else(|| error.to_string(), strerror);
            let text = format!("Cannot open network namespace \"{netns}\": {why}");
            return Err(Complaint::new(USAGE, text));
        }
        Ok(Self { style: Style::new(&options), options, client: None, netns })
    }

    pub(super) const fn options(&self) -> &Options {
        &self.options
    }

    /// Reads a command line, from its object on, and does what it says.
    pub(super) fn obey(&mut self, words: &[String]) -> Result<(), Complaint> {
        match command::parse(words) {
            Ok(Command::Link(command)) => self.link(command),
            Ok(Command::Monitor) => monitor::run(self),
            Ok(Command::ShowParents(name)) => parents::run(self, name.as_deref()),
            Err(complaint) => Err(self.judged(complaint)),
        }
    }

    pub(super) fn client(&mut self) -> Result<&mut Client, Complaint> {
        let client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&socket_path(self.options.socket.as_deref()))
                .map_err(|error| Complaint::own(FAILED, error.to_string()))?,
        };
        Ok(self.client.insert(client))
    }

    fn link(&mut self, command: LinkCommand) -> Result<(), Complaint> {
        match command {
            LinkCommand::Add { name, spec } => self.add(name, *spec),
            LinkCommand::Delete { name } => self.delete(&name),
            LinkCommand::Set { name, change } => self.set(&name, *change),
            LinkCommand::Show(filter) => self.show(&filter),
        }
    }

    fn add(&mut self, name: Option<String>, mut spec: LinkSpec) -> Result<(), Complaint> {
        let given = spec.netns.take();
        given.as_deref().map_or(Ok(()), reachable)?;
        let netns = given.as_deref().map(place).or_else(|| self.netns.clone());
        let spec = LinkSpec { netns: Some(netns.unwrap_or_else(|| CALLER.to_owned())), ..spec };
        let client = self.client()?;
        let made = match name {
            Some(name) => post(client, name, &spec),
            None => post_nameless(client, &spec),
        };
        made.map_err(|failure| complaint(failure, spec.netns.as_deref()))
    }

    fn set(&mut self, name: &str, mut change: LinkChange) -> Result<(), Complaint> {
        let moved = change.netns.take();
        moved.as_deref().map_or(Ok(()), reachable)?;
        change.netns = moved.as_deref().map(place);
        let (path, netns) = (item_path("/v1/links", name), self.netns.clone());
        let changed = self.client()?.patch::<LinkView>(&path, &query(&netns), &change).map(drop);
        changed.map_err(|failure| not_ours(complaint(failure, moved.as_deref()), name))
    }

    fn delete(&mut self, name: &str) -> Result<(), Complaint> {
        let (path, netns) = (item_path("/v1/links", name), self.netns.clone());
        let deleted = self.client()?.delete(&path, &query(&netns));
        deleted.map_err(|failure| not_ours(complaint(failure, None), name))
    }

    fn show(&mut self, filter: &Filter) -> Result<(), Complaint> {
        let mut links = match &filter.name {
            Some(name) => vec![self.find(name).map_err(|found| absent(found, name))?],
            None => self.links()?,
        };
        if let Some(parent) = &filter.parent {
            links.retain(|link| link.umacvlan.parent == *parent);
            if links.is_empty() && !self.parent_exists(parent)? {
                return Err(Complaint::wrong(parent, "Device does not exist"));
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

    fn links(&mut self) -> Result<Vec<LinkView>, Complaint> {
        let netns = self.netns.clone();
        let links = self.client()?.get("/v1/links", &query(&netns));
        links.map_err(|failure| complaint(failure, netns.as_deref()))
    }

    fn find(&mut self, name: &str) -> Result<LinkView, Complaint> {
        let (path, netns) = (item_path("/v1/links", name), self.netns.clone());
        let found = self.client()?.get(&path, &query(&netns));
        found.map_err(|failure| complaint(failure, netns.as_deref()))
    }

    /// A complaint that `ip` comes to only if some devices are there, or that one is not.
    fn judged(&mut self, mut complaint: Complaint) -> Complaint {
        for device in std::mem::take(&mut complaint.after) {
            let (name, there) = match &device {
                Device::Link(name) => (name, self.find(name).map(|_| true)),
                Device::Parent(name) => (name, self.parent_exists(name)),
            };
            match there {
                Ok(true) => {}
                Ok(false) => return Complaint::no_device(name),
                Err(missing) if missing.no_device => return missing,
                // Nobody to ask: then the mistake is all there is to tell.
                Err(_) => {}
            }
        }
        complaint
    }

    /// True if the daemon uses it, or it is an interface here.
    fn parent_exists(&mut self, name: &str) -> Result<bool, Complaint> {
        if is_here(name) {
            return Ok(true);
        }
        let parents = parents::all(self)?;
        Ok(parents.iter().any(|parent| parent.name == name))
    }
}

fn post(client: &mut Client, name: String, spec: &LinkSpec) -> Result<(), RequestError> {
    let new = NewLink { name, owner: None, spec: spec.clone() };
    client.post::<LinkView>("/v1/links", &[], &new).map(drop)
}

/// Takes the first name that is free, as the kernel does.
fn post_nameless(client: &mut Client, spec: &LinkSpec) -> Result<(), RequestError> {
    let mut number = 0;
    loop {
        match post(client, format!("macvlan{number}"), spec) {
            Err(RequestError::Problem(Problem { errno: Some(libc::EEXIST), .. }))
                if number < MOST_NAMELESS =>
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

/// What the daemon's reason is in the words of `ip`. `netns` is the namespace that was asked for.
pub(super) fn complaint(failure: RequestError, netns: Option<&str>) -> Complaint {
    let problem = match failure {
        RequestError::Problem(problem) => problem,
        other => return Complaint::own(FAILED, other.to_string()),
    };
    let Problem { code, message, errno, kernel, device } = problem;
    let known = match (code, netns) {
        (Code::NoDevice, _) => Complaint::no_device(device.as_deref().unwrap_or_default()),
        (Code::NoNamespace, Some(netns)) if is_process(netns) => Complaint::kernel(libc::ESRCH),
        (Code::NoNamespace, Some(netns)) => Complaint::invalid("netns", netns),
        (Code::Forbidden, _) => Complaint::kernel(libc::EPERM),
        _ => match (kernel, errno) {
            (Some(words), _) => {
                Complaint::new(REFUSED, format!("Error: {}.", words.trim_end_matches('.')))
            }
            (None, Some(errno)) => Complaint::kernel(errno),
            (None, None) => Complaint::new(REFUSED, ""),
        },
    };
    known.hint(message)
}

/// Writes to standard output. That nobody reads it any more is no mistake of the command's.
pub(super) fn print(text: &str) -> Result<(), Complaint> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Complaint::own(FAILED, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// The words for a device that is to be shown, where there is none.
fn absent(complaint: Complaint, name: &str) -> Complaint {
    if complaint.no_device {
        Complaint { text: format!("Device \"{name}\" does not exist."), ..complaint }
    } else {
        complaint
    }
}

/// Says so if what is no link is another interface.
fn not_ours(complaint: Complaint, name: &str) -> Complaint {
    if complaint.no_device && is_here(name) {
        complaint.hint(format!("{name} is no link of ours: other interfaces are set with ip link"))
    } else {
        complaint
    }
}

/// True if there is an interface of this name in this process's namespace.
fn is_here(name: &str) -> bool {
    Rtnl::open().and_then(|mut rtnl| rtnl.link(name)).is_ok_and(|link| link.is_some())
}

/// Tells, as `ip` does, of a namespace that cannot be opened from here. A process may be hidden
/// from here and not from the daemon, so that is left to it.
fn reachable(netns: &str) -> Result<(), Complaint> {
    if is_process(netns) || open(&place(netns)).is_ok() {
        Ok(())
    } else {
        Err(Complaint::invalid("netns", netns))
    }
}

fn open(netns: &str) -> io::Result<()> {
    if netns.starts_with('/') {
        return File::open(netns).map(drop);
    }
    // The operating system's own error, which the words of `Netns::open` would hide.
    let named = File::open(format!("/run/netns/{netns}"));
    named.map(drop).or_else(|error| Netns::open(netns).map(drop).map_err(|_| error))
}

fn is_process(netns: &str) -> bool {
    !netns.is_empty() && netns.bytes().all(|byte| byte.is_ascii_digit())
}

/// A namespace as the daemon would name it: what is this process's own for us is not for it.
fn place(netns: &str) -> String {
    let own = ["/proc/self/", "/proc/thread-self/"];
    let rest = own.iter().find_map(|start| netns.strip_prefix(start));
    rest.map_or_else(|| netns.to_owned(), |rest| format!("/proc/{}/{rest}", std::process::id()))
}

/// How many links may be without a name that somebody chose.
const MOST_NAMELESS: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(code: Code) -> Problem {
        let device = Some("m1".to_owned());
        Problem { code, message: "why".to_owned(), errno: None, kernel: None, device }
    }

    fn told(problem: Problem, netns: Option<&str>) -> (String, u8) {
        let complaint = complaint(problem.into(), netns);
        assert_eq!(complaint.hint.as_deref(), Some("why"));
        (complaint.text, complaint.status)
    }

    #[test]
    fn problems_are_told_in_the_words_of_ip() {
        let refused = |errno, kernel: Option<&str>| {
            let kernel = kernel.map(str::to_owned);
            told(Problem { errno, kernel, ..problem(Code::Refused) }, None)
        };
        assert_eq!(refused(Some(17), None), ("RTNETLINK answers: File exists".to_owned(), 2));
        let minimum = ("Error: mtu less than device minimum.".to_owned(), 2);
        assert_eq!(refused(Some(22), Some("mtu less than device minimum")), minimum);
        let absent = ("Cannot find device \"m1\"".to_owned(), 1);
        assert_eq!(told(problem(Code::NoDevice), None), absent);
        let forbidden = ("RTNETLINK answers: Operation not permitted".to_owned(), 2);
        assert_eq!(told(problem(Code::Forbidden), None), forbidden);
    }

    #[test]
    fn an_absent_namespace_is_a_wrong_word_or_an_absent_process() {
        let named = "Error: argument \"red\" is wrong: Invalid \"netns\" value".to_owned();
        assert_eq!(told(problem(Code::NoNamespace), Some("red")), (named, 255));
        let process = "RTNETLINK answers: No such process".to_owned();
        assert_eq!(told(problem(Code::NoNamespace), Some("17")), (process, 2));
    }

    #[test]
    fn the_own_process_has_its_number_for_the_daemon() {
        let own = format!("/proc/{}/ns/net", std::process::id());
        assert_eq!(place("/proc/self/ns/net"), own);
        assert_eq!(place("/proc/thread-self/ns/net"), own);
        assert_eq!(place("red"), "red");
    }
}
