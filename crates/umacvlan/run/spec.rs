//! [`SubSpec`]: a parsed `--sub`. Nothing is looked up or opened here.

use std::fmt::Display;
use std::str::FromStr;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use umacvlan_api::LinkSpec;
use umacvlan_core::MacvlanFlag;
use umacvlan_core::limit::{LimitWord, Limits, LimitsChange};
use umacvlan_core::rules::RuleWord;

/// The settings of a sub-interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubSpec {
    pub(crate) name: String,
    /// All but the parent, which is the same for all.
    pub(crate) link: LinkSpec,
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
        let (mut seen, mut limits) = (Vec::new(), LimitsChange::default());
        for word in words {
            spec.read(word, &mut seen, &mut limits).with_context(|| format!("--sub {name}"))?;
        }
        spec.link.settings.limits = limits.apply(Limits::default());
        if let Some((flag, mode)) = spec.link.settings.misplaced_flag() {
            let flag = flag.name();
            bail!("--sub {name}: {flag} is for mode {mode} only: leave it out, or add mode={mode}");
        }
        Ok(spec)
    }
}

impl SubSpec {
    fn named(name: &str) -> Self {
        let link = LinkSpec { up: Some(true), ..LinkSpec::default() };
        Self { name: name.to_owned(), link }
    }

    /// Parses one word; `seen` has the keys of the words before it.
    fn read<'w>(
        &mut self,
        word: &'w str,
        seen: &mut Vec<&'w str>,
        limits: &mut LimitsChange,
    ) -> Result<()> {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word, None),
        };
        let link = &mut self.link;
        let limit = LimitWord::named(key).is_ok();
        let flag = MacvlanFlag::ALL.into_iter().find(|flag| flag.name() == key);
        match (key, value, flag) {
            ("address", Some(value), _) => link.address = Some(parse(key, value)?),
            ("bcqueuelen", Some(value), _) => {
                link.settings.bcqueuelen = Some(number(key, value)?);
            }
            (_, Some(value), _) if limit => limits.set(key, value)?,
            (_, None, _) if limit => bail!("{key} needs a value: the words are {}", known_words()),
            (_, Some(value), _) if let Some(word) = RuleWord::named(key) => {
                link.settings.rules.add(word, value)?;
            }
            ("macaddr", Some(value), _) => link.settings.sources.push(parse(key, value)?),
            ("mode", Some(value), _) => link.settings.mode = parse(key, value)?,
            ("mtu", Some(value), _) => link.mtu = Some(number(key, value)?),
            ("netns", Some(value), _) => link.netns = Some(value.to_owned()),
            ("down" | "up", None, _) => link.up = Some(key == "up"),
            (_, None, Some(flag)) => link.settings.flags = link.settings.flags.with(flag, true),
            (_, None, _) if RuleWord::named(key).is_some() => {
                bail!("{key} needs a value: the words are {}", known_words())
            }
            ("address" | "bcqueuelen" | "macaddr" | "mode" | "mtu" | "netns", None, _) => {
                bail!("{key} needs a value: the words are {}", known_words())
            }
            ("down" | "up", Some(_), _) | (_, Some(_), Some(_)) => {
                bail!("{key} takes no value: the words are {}", known_words())
            }
            ("port", ..) => {
                let kind = value.unwrap_or("veth");
                bail!("port is an option of run, for all its sub-interfaces: --port {kind}")
            }
            _ => {
                bail!("{key:?} is not a word for a sub-interface: the words are {}", known_words())
            }
        }
        let list = key == "macaddr" || RuleWord::named(key).is_some_and(RuleWord::is_list);
        let key = if key == "down" { "up" } else { key };
        ensure!(
            list || !seen.contains(&key),
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

/// Every word, for messages.
fn known_words() -> String {
    let limits = LimitWord::ALL.map(|word| format!("{}={}", word.name, word.value)).join(", ");
    let flags = MacvlanFlag::ALL.map(MacvlanFlag::name).join(", ");
    let rules = RuleWord::ALL.map(|word| format!("{}={}", word.name(), word.value())).join(", ");
    format!("{WORDS}, {flags}, {limits}, {rules}, up")
}

/// All but the flags, limits and rules, and what follows them in the alphabet.
const WORDS: &str = "address=MAC, bcqueuelen=FRAMES, down, macaddr=MAC, mode=MODE, mtu=BYTES, \
                     netns=NAMESPACE";

#[cfg(test)]
mod tests {
    use umacvlan_core::{MacAddr, MacvlanFlags, MacvlanSettings, Mode};

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
        let link = spec("mac1").link;
        assert_eq!((link.up, link.settings.mode), (Some(true), Mode::Vepa));
    }

    #[test]
    fn every_word_is_read_in_any_order() {
        let text = "m,down,nodst,macaddr=02:00:00:00:00:02,mtu=1400,netns=/proc/7/ns/net,\
                    bcqueuelen=0,macaddr=02:00:00:00:00:01,address=02:00:00:00:00:09,mode=source";
        let wanted = LinkSpec {
            settings: MacvlanSettings {
                mode: Mode::Source,
                flags: MacvlanFlags::default().with(MacvlanFlag::Nodst, true),
                bcqueuelen: Some(0),
                bclim: None,
                limits: Limits::default(),
                rules: Default::default(),
                sources: [2, 1].map(|last| MacAddr::new([2, 0, 0, 0, 0, last])).into(),
            },
            address: Some(MacAddr::new([2, 0, 0, 0, 0, 9])),
            mtu: Some(1400),
            netns: Some("/proc/7/ns/net".to_owned()),
            up: Some(false),
            ..LinkSpec::default()
        };
        assert_eq!(spec(text), SubSpec { name: "m".to_owned(), link: wanted });
        let limited =
            spec("m,rate=100mbit,rx_rate=1gbit,burst=64kb,bcrate=100").link.settings.limits;
        assert_eq!(limited.to_string(), "bcrate 100 burst 64kb rx_rate 1gbit tx_rate 100mbit");
        let ruled = spec("m,isolation=web,allow_ethertype=arp,allow_ethertype=ipv4");
        let expected = "allow_ethertype ipv4 arp isolation web";
        assert_eq!(ruled.link.settings.rules.to_string(), expected);
        let flags = spec("m,nopromisc,mode=passthru").link.settings.flags;
        assert!(flags.iter().eq([MacvlanFlag::Nopromisc]));
    }

    #[test]
    fn a_wrong_word_is_named_with_its_sub_and_the_right_ones() {
        let unknown = refusal("mac1,colour=red");
        assert!(unknown.starts_with("--sub mac1: \"colour\" is not"), "{unknown}");
        assert!(unknown.ends_with(&known_words()), "{unknown}");
        for (text, start) in [
            ("mac1,mtu", "--sub mac1: mtu needs a value: "),
            ("mac1,nodst=1", "--sub mac1: nodst takes no value: "),
            ("mac1,", "--sub mac1: \"\" is not a word"),
            ("mac1,mtu=+9", "--sub mac1: mtu: \"+9\" is not a number"),
            ("mac1,mtu=4294967296", "--sub mac1: mtu: \"4294967296\" is not"),
            ("mac1,mode=Bridge", "--sub mac1: mode: \"Bridge\" is not a mode: one of"),
            ("mac1,address=02:0", "--sub mac1: address: \"02:0\" is not a MAC"),
            ("mac1,isolation", "--sub mac1: isolation needs a value: "),
            ("mac1,allow_ip=web", "--sub mac1: allow_ip: \"web\" is not an address"),
            ("mac1,macaddr=", "--sub mac1: macaddr: \"\" is not a MAC"),
            (
                "mac1,port=veth",
                "--sub mac1: port is an option of run, for all its sub-interfaces: --port veth",
            ),
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
