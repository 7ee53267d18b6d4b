//! [`SubSpec`]: a parsed `--sub`. Nothing is looked up or opened here.

use std::fmt::Display;
use std::str::FromStr;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use umacvlan_core::{MacAddr, Mode};

/// The settings of a sub-interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubSpec {
    pub(crate) name: String,
    pub(crate) address: Option<MacAddr>,
    pub(crate) bcqueuelen: Option<u32>,
    pub(crate) macaddrs: Vec<MacAddr>,
    pub(crate) mode: Mode,
    pub(crate) mtu: Option<u32>,
    /// A name, a path or the id of a process.
    pub(crate) netns: Option<String>,
    pub(crate) nodst: bool,
    pub(crate) nopromisc: bool,
    pub(crate) up: bool,
}

impl FromStr for SubSpec {
    type Err = Error;

    /// Parses a name followed by comma-separated words and `word=value` in any order.
    ///
    /// # Errors
    /// Names the sub-interface, the word, and the valid words.
    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split(',');
        let name = words.next().unwrap_or_default();
        ensure!(
            !name.is_empty() && !name.contains('='),
            "--sub {text:?} has no name: begin with one, as in --sub mac1,mode=bridge"
        );
        let mut spec = Self::named(name);
        let mut seen = Vec::new();
        for word in words {
            spec.read(word, &mut seen).with_context(|| format!("--sub {name}"))?;
        }
        ensure!(
            !spec.nopromisc || spec.mode == Mode::Passthru,
            "--sub {name}: nopromisc is for mode passthru only: leave it out, or add mode=passthru"
        );
        Ok(spec)
    }
}

impl SubSpec {
    fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            address: None,
            bcqueuelen: None,
            macaddrs: Vec::new(),
            mode: Mode::default(),
            mtu: None,
            netns: None,
            nodst: false,
            nopromisc: false,
            up: true,
        }
    }

    /// Parses one word; `seen` has the keys of the words before it.
    fn read<'w>(&mut self, word: &'w str, seen: &mut Vec<&'w str>) -> Result<()> {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word, None),
        };
        match (key, value) {
            ("address", Some(value)) => self.address = Some(parse(key, value)?),
            ("bcqueuelen", Some(value)) => self.bcqueuelen = Some(number(key, value)?),
            ("macaddr", Some(value)) => self.macaddrs.push(parse(key, value)?),
            ("mode", Some(value)) => self.mode = parse(key, value)?,
            ("mtu", Some(value)) => self.mtu = Some(number(key, value)?),
            ("netns", Some(value)) => self.netns = Some(value.to_owned()),
            ("nodst", None) => self.nodst = true,
            ("nopromisc", None) => self.nopromisc = true,
            ("down" | "up", None) => self.up = key == "up",
            ("address" | "bcqueuelen" | "macaddr" | "mode" | "mtu" | "netns", None) => {
                bail!("{key} needs a value: the words are {WORDS}")
            }
            ("down" | "nodst" | "nopromisc" | "up", Some(_)) => {
                bail!("{key} takes no value: the words are {WORDS}")
            }
            _ => bail!("{key:?} is not a word for a sub-interface: the words are {WORDS}"),
        }
        let key = if key == "down" { "up" } else { key };
        ensure!(
            key == "macaddr" || !seen.contains(&key),
            "{word:?} repeats or contradicts a word before it: leave one of them out"
        );
        seen.push(key);
        Ok(())
    }
}

fn parse<T>(key: &str, value: &str) -> Result<T>
where
    T: FromStr,
    T::Err: Display,
{
    value.parse().map_err(|why| anyhow!("{key}: {why}"))
}

fn number(key: &str, value: &str) -> Result<u32> {
    // `u32::from_str` would accept a sign.
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = digits.then(|| value.parse().ok()).flatten();
    parsed.with_context(|| format!("{key}: {value:?} is not a number from 0 to {}", u32::MAX))
}

const WORDS: &str = "address=MAC, bcqueuelen=FRAMES, down, macaddr=MAC, mode=MODE, mtu=BYTES, \
                     netns=NAMESPACE, nodst, nopromisc, up";

#[cfg(test)]
mod tests {
    use super::*;
    use umacvlan_text::output::one_line;

    fn spec(text: &str) -> SubSpec {
        text.parse().unwrap()
    }

    fn refusal(text: &str) -> String {
        one_line(&text.parse::<SubSpec>().unwrap_err())
    }

    #[test]
    fn a_name_alone_is_a_vepa_that_is_up() {
        assert_eq!(spec("mac1"), SubSpec::named("mac1"));
        assert!(spec("mac1").up && spec("mac1").mode == Mode::Vepa);
    }

    #[test]
    fn every_word_is_read_in_any_order() {
        let text = "m,down,nodst,macaddr=02:00:00:00:00:02,mtu=1400,netns=/proc/7/ns/net,\
                    bcqueuelen=0,macaddr=02:00:00:00:00:01,address=02:00:00:00:00:09,mode=source";
        let wanted = SubSpec {
            address: Some(MacAddr::new([2, 0, 0, 0, 0, 9])),
            bcqueuelen: Some(0),
            macaddrs: [2, 1].map(|last| MacAddr::new([2, 0, 0, 0, 0, last])).into(),
            mode: Mode::Source,
            mtu: Some(1400),
            netns: Some("/proc/7/ns/net".to_owned()),
            nodst: true,
            up: false,
            ..SubSpec::named("m")
        };
        assert_eq!(spec(text), wanted);
        assert!(spec("m,nopromisc,mode=passthru").nopromisc);
    }

    #[test]
    fn a_wrong_word_is_named_with_its_sub_and_the_right_ones() {
        let unknown = refusal("mac1,colour=red");
        assert!(unknown.starts_with("--sub mac1: \"colour\" is not"), "{unknown}");
        assert!(unknown.ends_with(WORDS), "{unknown}");
        for (text, start) in [
            ("mac1,mtu", "--sub mac1: mtu needs a value: "),
            ("mac1,nodst=1", "--sub mac1: nodst takes no value: "),
            ("mac1,", "--sub mac1: \"\" is not a word"),
            ("mac1,mtu=+9", "--sub mac1: mtu: \"+9\" is not a number"),
            ("mac1,mtu=4294967296", "--sub mac1: mtu: \"4294967296\" is not"),
            ("mac1,mode=Bridge", "--sub mac1: mode: \"Bridge\" is not a mode: one of"),
            ("mac1,address=02:0", "--sub mac1: address: \"02:0\" is not a MAC"),
            ("mac1,macaddr=", "--sub mac1: macaddr: \"\" is not a MAC"),
        ] {
            let line = refusal(text);
            assert!(line.starts_with(start), "{line}");
        }
    }

    #[test]
    fn a_name_comes_first() {
        for text in ["", ",mode=bridge", "mode=bridge", "name=mac1"] {
            assert!(refusal(text).contains("has no name"), "{text:?} was taken");
        }
    }

    #[test]
    fn a_word_is_given_once() {
        for text in ["m,mode=vepa,mode=vepa", "m,up,down", "m,nodst,nodst"] {
            assert!(refusal(text).contains("repeats or contradicts"), "{text:?}");
        }
    }

    #[test]
    fn nopromisc_is_for_passthru() {
        assert!(refusal("m,mode=bridge,nopromisc").contains("mode passthru only"));
    }
}
