//! [`Sources`]: names of interfaces, links and namespaces on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use umacvlan_core::{DropReason, MacvlanFlag, Mode};
use umacvlan_engine::check_suitable;
use umacvlan_netlink::Rtnl;

use super::{Candidate, FILE_WANTED, Value};
use umacvlan_api::LinkView;
use umacvlan_client::{Absent, Client};

/// The time that the daemon has for an answer.
const TIMEOUT: Duration = Duration::from_millis(200);

/// The directory of named namespaces: ip-netns(8).
const NAMED_NAMESPACES: &str = "/run/netns";

/// The sources of names; tests replace them.
pub(super) struct Sources {
    pub(super) parents: Box<dyn Fn() -> Vec<Candidate>>,
    pub(super) links: Box<dyn Fn() -> Vec<Candidate>>,
    pub(super) namespaces: Box<dyn Fn() -> Vec<Candidate>>,
}

impl Sources {
    /// The sources of this machine and of the daemon at `socket`.
    pub(super) fn machine(socket: PathBuf) -> Self {
        Self {
            parents: Box::new(parents),
            links: Box::new(move || links(&socket)),
            namespaces: Box::new(|| namespaces(Path::new(NAMED_NAMESPACES))),
        }
    }

    /// The candidates of this kind for `word`.
    pub(super) fn of(&self, value: Value, word: &str) -> Vec<Candidate> {
        match value {
            Value::Any => Vec::new(),
            Value::Dev => (self.parents)().into_iter().chain((self.links)()).collect(),
            Value::File => vec![Candidate::bare(FILE_WANTED)],
            Value::Link => (self.links)(),
            Value::Netns => (self.namespaces)(),
            Value::Parent => (self.parents)(),
            Value::Reason => DropReason::ALL.map(|reason| Candidate::bare(reason.name())).into(),
            Value::Sub => self.sub(word),
            Value::Words(words) => words.iter().map(|&word| Candidate::bare(word)).collect(),
        }
    }

    /// The next word of `NAME,WORD,...`. The first word is a new name.
    fn sub(&self, word: &str) -> Vec<Candidate> {
        let Some((done, last)) = word.rsplit_once(',') else {
            return Vec::new();
        };
        let words = match last.split_once('=') {
            Some(("mode", _)) => Mode::ALL.map(|mode| format!("mode={mode}")).to_vec(),
            Some(("netns", _)) => {
                (self.namespaces)().iter().map(|netns| format!("netns={}", netns.word)).collect()
            }
            Some(_) => Vec::new(),
            None => {
                let flags = MacvlanFlag::ALL.map(MacvlanFlag::name);
                SUB_WORDS.into_iter().chain(flags).map(str::to_owned).collect()
            }
        };
        words.into_iter().map(|word| Candidate::bare(format!("{done},{word}"))).collect()
    }
}

/// The words of `--sub` beside the flags.
const SUB_WORDS: [&str; 7] =
    ["address=", "bcqueuelen=", "down", "macaddr=", "mode=", "mtu=", "netns="];

fn parents() -> Vec<Candidate> {
    let suitable = || {
        let mut rtnl = Rtnl::open()?;
        let mut links = rtnl.links()?;
        links.retain(|link| check_suitable(&mut rtnl, link).is_ok());
        umacvlan_netlink::Result::Ok(links)
    };
    let about = |up| if up { "" } else { "down" };
    let found = suitable().unwrap_or_default().into_iter();
    found.map(|link| Candidate::new(link.name.clone(), about(link.is_up()))).collect()
}

/// The links of the daemon. A thread asks, and is abandoned if the daemon does not answer.
fn links(socket: &Path) -> Vec<Candidate> {
    let (sender, answer) = channel();
    let socket = socket.to_owned();
    let ask = move || {
        let mut client = Client::connect(&socket, Absent::Fail).ok()?;
        let links: Vec<LinkView> = client.get("/v1/links", &[]).ok()?;
        // Fails after the timeout.
        sender.send(links).ok()
    };
    if thread::Builder::new().spawn(ask).is_err() {
        return Vec::new();
    }
    let links = answer.recv_timeout(TIMEOUT).unwrap_or_default();
    links
        .into_iter()
        .map(|link| {
            let place = link.umacvlan.netns.map(|netns| format!(" in {netns}"));
            let mode = link.linkinfo.info_data.mode;
            let about = format!("{mode} on {}{}", link.umacvlan.parent, place.unwrap_or_default());
            Candidate::new(link.ifname, about)
        })
        .collect()
}

fn namespaces(place: &Path) -> Vec<Candidate> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    entries.map(|entry| Candidate::bare(entry.file_name().to_string_lossy())).collect()
}
