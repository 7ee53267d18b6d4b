//! `ip link show` and `ip address show` with the links of umacvlan as macvlan links: what the real `ip`
//! prints about their interfaces is replaced.

use std::io::{self, ErrorKind, Write};

use serde_json::{Map, Value};
use umacvlan_api::LinkView;

use super::super::error::{CommandError, FAILED};
use super::super::show::{LinkJson, Scene, Style, full_name, link};
use super::super::tokens::abbreviates;
use super::Wrapper;

/// What a command shows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Selection {
    scene: Scene,
    /// Only links of this type.
    kind: Option<String>,
    /// Only this interface.
    name: Option<String>,
    /// The words without the type.
    of_any_kind: Vec<String>,
}

/// Words of `show` with a value; another word that is not one of [`FLAGS`] is the name of an interface.
const VALUED: [&str; 8] = ["group", "label", "master", "proto", "scope", "to", "type", "vrf"];

/// Words of `show` without a value.
const FLAGS: [&str; 15] = [
    "up",
    "nomaster",
    "permanent",
    "dynamic",
    "primary",
    "secondary",
    "temporary",
    "deprecated",
    "tentative",
    "dadfailed",
    "home",
    "mngtmpaddr",
    "nodad",
    "noprefixroute",
    "autojoin",
];

impl Selection {
    /// Parses a command line that begins with the object; `None` if it shows no links.
    pub(super) fn parse(words: &[String]) -> Option<Self> {
        let (object, rest) = words.split_first()?;
        let scene = match object {
            _ if abbreviates(object, "link") => Scene::Show,
            _ if abbreviates(object, "address") => Scene::Addresses,
            _ => return None,
        };
        let mut selection = Self { scene, kind: None, name: None, of_any_kind: Vec::new() };
        selection.of_any_kind.push(object.clone());
        let Some((verb, filter)) = rest.split_first() else { return Some(selection) };
        let shows = ["show", "lst", "list"].iter().any(|full| abbreviates(verb, full));
        // `ip link s` is set; addresses have no such command.
        if !shows || (scene == Scene::Show && abbreviates(verb, "set")) {
            return None;
        }
        selection.of_any_kind.push(verb.clone());
        let mut filter = filter.iter();
        while let Some(word) = filter.next() {
            let value = match word.as_str() {
                "dev" => Some(filter.next()?),
                valued if VALUED.contains(&valued) => Some(filter.next()?),
                _ => None,
            };
            if word == "type" {
                selection.kind = value.cloned();
                continue;
            }
            let flag = FLAGS.contains(&word.trim_start_matches('-'));
            if word == "dev" || (value.is_none() && !flag) {
                selection.name = value.or(Some(word)).cloned();
            }
            selection.of_any_kind.push(word.clone());
            selection.of_any_kind.extend(value.cloned());
        }
        Some(selection)
    }
}

/// Prints what the words select; `own` are umacvlan's links in the namespace. Returns the exit status.
pub(super) fn run(
    wrapper: &Wrapper,
    selection: &Selection,
    mut own: Vec<LinkView>,
    words: &[String],
) -> Result<u8, CommandError> {
    // A macvtap is no interface of its own.
    own.retain(|link| link.linkinfo.info_kind == MACVLAN);
    own.retain(|link| selection.name.as_ref().is_none_or(|name| *name == link.ifname));
    if own.is_empty() {
        return wrapper.real.run(&wrapper.given, words);
    }
    let (first, status) = wrapper.real.output(&wrapper.given, words)?;
    let mut printed = vec![first];
    // The real ip takes them for links of another type.
    let hidden = selection.kind.as_ref().is_some_and(|kind| kind != MACVLAN);
    if selection.kind.as_deref() == Some(MACVLAN) {
        for link in &own {
            let mut one = selection.of_any_kind.clone();
            if one.len() == 1 {
                one.push("show".to_owned());
            }
            if selection.name.is_none() {
                one.extend(["dev".to_owned(), link.ifname.clone()]);
            }
            printed.push(wrapper.real.output(&wrapper.given, &one)?.0);
        }
    }
    let style = Style { inside: true, ..Style::new(&wrapper.options) };
    let own = Own { links: &own, hidden, scene: selection.scene, style };
    let text = match wrapper.options.json {
        true => own.json(&printed)?,
        false => printed.iter().map(|part| own.text(&String::from_utf8_lossy(part))).collect(),
    };
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CommandError::own(FAILED, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(status),
    }
}

const MACVLAN: &str = "macvlan";

/// What replaces the entries of own links.
#[derive(Clone, Copy, Debug)]
struct Own<'l> {
    links: &'l [LinkView],
    /// They are not shown at all.
    hidden: bool,
    scene: Scene,
    style: Style,
}

impl<'l> Own<'l> {
    /// The text of the real `ip` with the entries of own links replaced.
    fn text(self, printed: &str) -> String {
        let mut all = String::new();
        let mut replaced = false;
        for line in printed.split_inclusive('\n') {
            if let Some(begins) = self.entry(line) {
                replaced = begins.is_some();
                if let Some(own) = begins.filter(|_| !self.hidden) {
                    all.push_str(&self.head(own, line));
                }
            } else if line.starts_with("    inet") {
                // An address, after the lines about the link.
                replaced = self.hidden && replaced;
            }
            if !replaced {
                all.push_str(line);
            }
        }
        all
    }

    /// What is printed about a link in the place of `line` and those that follow it.
    fn head(self, own: &LinkView, line: &str) -> String {
        if self.style.brief && self.scene == Scene::Addresses {
            let name = line.find([' ', '@']).unwrap_or(line.len());
            let rest = line.get(name.max(NAME_COLUMN)..).unwrap_or_default();
            return format!("{:NAME_COLUMN$}{rest}", full_name(own, self.style));
        }
        link(own, self.style, self.scene)
    }

    /// For the first line of an entry: the own link that it is about, if any. `None` for other lines.
    fn entry(self, line: &str) -> Option<Option<&'l LinkView>> {
        if self.style.brief {
            let name = line.split([' ', '@']).next()?;
            return Some(self.links.iter().find(|link| link.ifname == name));
        }
        let (index, rest) = line.split_once(": ")?;
        let index: u32 = index.parse().ok()?;
        // With -o an address has a line of its own, in which no colon follows the name.
        let about_link = rest.split_once(": <").is_some_and(|(name, _)| !name.contains(' '));
        let replaced = about_link || self.hidden;
        Some(self.links.iter().find(|link| replaced && link.ifindex == index))
    }

    /// The JSON of the real `ip`, of one run or several, with the objects of own links replaced.
    fn json(self, printed: &[Vec<u8>]) -> Result<String, CommandError> {
        let mut links: Vec<Value> = Vec::new();
        for part in printed.iter().filter(|part| !part.trim_ascii().is_empty()) {
            let part: Vec<Value> = serde_json::from_slice(part).map_err(invalid)?;
            links.extend(part);
        }
        let mut all = Vec::new();
        for entry in links {
            match self.links.iter().find(|link| is_about(&entry, link)) {
                Some(_) if self.hidden => {}
                Some(link) => all.push(self.object(link, entry)?),
                None => all.push(entry),
            }
        }
        self.style.json(&all)
    }

    /// The object of an own link in the place of `printed`.
    fn object(self, link: &LinkView, printed: Value) -> Result<Value, CommandError> {
        let own = serde_json::to_value(LinkJson::new(link, self.style)).map_err(invalid)?;
        let (Value::Object(mut own), Value::Object(printed)) = (own, printed) else {
            return Err(CommandError::own(
                FAILED,
                "the JSON of ip is invalid: no object".to_owned(),
            ));
        };
        if self.scene != Scene::Addresses {
            return Ok(Value::Object(own));
        }
        if self.style.brief {
            let parent = |(name, _): &(String, Value)| name.starts_with("link");
            let named: Map<String, Value> = own.into_iter().filter(parent).collect();
            return Ok(named.into_iter().chain(printed).collect());
        }
        for of_links_only in ["linkmode", "inet6_addr_gen_mode"] {
            own.remove(of_links_only);
        }
        own.extend(printed.into_iter().filter(|(name, _)| name == "addr_info"));
        Ok(Value::Object(own))
    }
}

/// The width of the name in brief lines.
const NAME_COLUMN: usize = 16;

/// Whether an object is about a link. A brief one has no index.
fn is_about(entry: &Value, link: &LinkView) -> bool {
    match entry.get("ifindex") {
        Some(index) => index.as_u64() == Some(link.ifindex.into()),
        None => entry.get("ifname").and_then(Value::as_str) == Some(&link.ifname),
    }
}

fn invalid(error: serde_json::Error) -> CommandError {
    CommandError::own(FAILED, format!("the JSON of ip is invalid: {error}"))
}
