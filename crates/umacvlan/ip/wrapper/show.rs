//! `ip link show` with the links of umacvlan as macvlan links: they take the places of the TAPs that
//! the real `ip` prints.

use std::io::{self, ErrorKind, Write};

use serde_json::Value;
use umacvlan_api::LinkView;

use super::super::error::{CommandError, FAILED};
use super::super::link::Filter;
use super::super::show::{LinkJson, Scene, Style, link};
use super::Wrapper;

/// Prints the links that the words select; `own` are umacvlan's in the namespace. Returns the exit
/// status.
pub(super) fn run(
    wrapper: &Wrapper,
    filter: &Filter,
    mut own: Vec<LinkView>,
    words: &[String],
) -> Result<u8, CommandError> {
    let style = Style { inside: true, ..Style::new(&wrapper.options) };
    own.retain(|link| filter.name.as_ref().is_none_or(|name| *name == link.ifname));
    let is_up = |link: &LinkView| link.flags.iter().any(|flag| flag == "UP");
    own.retain(|link| !filter.up || is_up(link));
    if own.is_empty() {
        return wrapper.real.run(&wrapper.given, words);
    }
    // The real ip takes them for TAPs, so it does not print them.
    let macvlan_only = filter.kind.as_deref() == Some("macvlan");
    let one = filter.name.is_some() && (macvlan_only || filter.kind.is_none());
    let (printed, status) = match one {
        true => (Vec::new(), 0),
        false => wrapper.real.output(&wrapper.given, words)?,
    };
    let added = if one || macvlan_only { own.as_slice() } else { &[] };
    let text = match wrapper.options.json {
        true => json(&printed, &own, added, style)?,
        false => text(&String::from_utf8_lossy(&printed), &own, added, style),
    };
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CommandError::own(FAILED, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(status),
    }
}

/// The text of the real `ip` with the entries of `own` replaced, and then the entries of `added`.
fn text(printed: &str, own: &[LinkView], added: &[LinkView], style: Style) -> String {
    let mut all = String::new();
    let mut replaced = false;
    for line in printed.split_inclusive('\n') {
        if let Some(begins) = entry(line, own, style.brief) {
            replaced = begins.is_some();
            all.extend(begins.map(|own| link(own, style, Scene::Show)));
        }
        if !replaced {
            all.push_str(line);
        }
    }
    all.extend(added.iter().map(|own| link(own, style, Scene::Show)));
    all
}

/// For the first line of an entry: the link of `own` that it is about, if any. `None` for other lines.
fn entry<'l>(line: &str, own: &'l [LinkView], brief: bool) -> Option<Option<&'l LinkView>> {
    if brief {
        let name = line.split([' ', '@']).next()?;
        return Some(own.iter().find(|link| link.ifname == name));
    }
    let index: u32 = line.split_once(": ")?.0.parse().ok()?;
    Some(own.iter().find(|link| link.ifindex == index))
}

/// The JSON of the real `ip` with the objects of `own` replaced, and then the objects of `added`.
fn json(
    printed: &[u8],
    own: &[LinkView],
    added: &[LinkView],
    style: Style,
) -> Result<String, CommandError> {
    let failed = |error| CommandError::own(FAILED, format!("the JSON of ip is invalid: {error}"));
    let object = |link: &LinkView| serde_json::to_value(LinkJson::new(link, style)).map_err(failed);
    let mut links: Vec<Value> = match printed.trim_ascii().is_empty() {
        true => Vec::new(),
        false => serde_json::from_slice(printed).map_err(failed)?,
    };
    for entry in &mut links {
        // A brief object has no index.
        let is_it = |link: &&LinkView| match entry.get("ifindex") {
            Some(index) => index.as_u64() == Some(link.ifindex.into()),
            None => entry.get("ifname").and_then(Value::as_str) == Some(&link.ifname),
        };
        if let Some(link) = own.iter().find(is_it) {
            *entry = object(link)?;
        }
    }
    for link in added {
        links.push(object(link)?);
    }
    style.json(&links)
}
