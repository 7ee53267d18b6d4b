//! Words of `ip link add` for which umacvlan has none: the real `ip` sets them once the link is there.

use super::super::error::{CommandError, FAILED};
use super::super::keywords::{LINK, LinkWord, find};
use super::super::options::Options;
use super::super::session::Session;
use super::super::tokens::abbreviates;
use super::{Wrapper, daemon};

/// Words that `ip link set` has as well, and whether any beginning of each is accepted.
const WORDS: [(&str, bool); 11] = [
    ("addrgenmode", true),
    ("arp", false),
    ("brd", true),
    ("broadcast", true),
    ("gro_max_size", false),
    ("group", false),
    ("gso_max_segs", false),
    ("gso_max_size", false),
    ("master", true),
    ("multicast", false),
    ("vrf", false),
];

/// `link add` in two parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// The command line without these words.
    pub(super) add: Vec<String>,
    /// The words, for `link set`.
    set: Vec<String>,
    name: String,
    netns: Option<String>,
}

impl Settings {
    /// Takes the words out of a command line; `None` if there are none, or if the line is wrong.
    pub(super) fn take(words: &[String]) -> Option<Self> {
        let (begin, rest) = words.split_at_checked(2)?;
        let (mut add, mut set) = (begin.to_vec(), Vec::new());
        let (mut name, mut netns, mut up) = (None, None, false);
        let mut rest = rest.iter();
        while let Some(word) = rest.next() {
            let Some(key) = find(&LINK, word) else {
                name = Some(word);
                add.push(word.clone());
                continue;
            };
            match key {
                // After the settings, some of which count when a link comes up.
                LinkWord::Up => up = true,
                LinkWord::Down | LinkWord::Help => add.push(word.clone()),
                LinkWord::Type => {
                    add.push(word.clone());
                    add.extend(rest.by_ref().cloned());
                }
                LinkWord::Unsupported => {
                    let known = |&(full, prefix): &(&str, bool)| {
                        word == full || (prefix && abbreviates(word, full))
                    };
                    WORDS.iter().any(known).then(|| set.push(word.clone()))?;
                    set.push(rest.next()?.clone());
                }
                _ => {
                    let value = rest.next()?;
                    match key {
                        LinkWord::Dev | LinkWord::Name => name = Some(value),
                        LinkWord::Netns => netns = Some(value.clone()),
                        _ => {}
                    }
                    add.extend([word.clone(), value.clone()]);
                }
            }
        }
        let name = name.filter(|_| !set.is_empty())?.clone();
        if up {
            set.push("up".to_owned());
        }
        Some(Self { add, set, name, netns })
    }
}

/// Sets the words of a link that was made, or removes it if that fails. Returns the exit status.
pub(super) fn run(wrapper: &mut Wrapper, settings: &Settings) -> Result<u8, CommandError> {
    let Settings { set, name, netns, .. } = settings;
    let command = ["link", "set", "dev", name.as_str()].map(str::to_owned);
    let words: Vec<String> = command.into_iter().chain(set.iter().cloned()).collect();
    let status = match netns {
        None => wrapper.real.run(&wrapper.given, &words)?,
        Some(place) => {
            let there = daemon::namespace(Some(place))?;
            let real = &wrapper.real;
            let done = there.run(|| real.run(&[], &words));
            done.map_err(|error| CommandError::own(FAILED, error.to_string()))??
        }
    };
    if status != 0 {
        let socket = wrapper.session()?.options().socket.clone();
        let netns = netns.clone().or_else(|| wrapper.options.netns.clone());
        let options = Options { socket, netns, ..wrapper.options.clone() };
        let remove = ["link", "del", name.as_str()].map(str::to_owned);
        Session::inside(options).execute(&remove)?;
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::words;
    use super::*;

    #[test]
    fn words_of_the_real_ip_are_set_after_the_link_is_made() {
        for (line, add, set) in [
            (
                "link add vrrp4-2-1 link eth0 addrgenmode random type macvlan mode bridge",
                "link add vrrp4-2-1 link eth0 type macvlan mode bridge",
                "addrgenmode random",
            ),
            (
                "l a link eth0 up master br0 name vrrp4-2-1 group 7 type macvlan",
                "l a link eth0 name vrrp4-2-1 type macvlan",
                "master br0 group 7 up",
            ),
        ] {
            let taken = Settings::take(&words(line)).unwrap();
            assert_eq!((taken.add, taken.set), (words(add), words(set)), "{line}");
            assert_eq!((taken.name.as_str(), taken.netns), ("vrrp4-2-1", None));
        }
        let taken = Settings::take(&words("link add m0 netns red arp off link eth0 type macvlan"));
        assert_eq!(taken.unwrap().netns.as_deref(), Some("red"));
    }

    #[test]
    fn other_lines_are_for_the_daemon_as_they_are() {
        for line in [
            "link add m0 link eth0 up type macvlan",
            "link add m0 link eth0 index 7 type macvlan",
            "link add link eth0 group 7 type macvlan",
            "link add m0 link eth0 group",
            "link add m0 link eth0 type macvlan arp off",
            "link add",
        ] {
            assert_eq!(Settings::take(&words(line)), None, "{line}");
        }
    }
}
