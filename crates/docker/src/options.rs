//! [`Options`]: the options of `docker network create -o KEY=VALUE`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_with::{DisplayFromStr, FromInto, TryFromInto, serde_as};
use umacvlan_core::limit::{LimitWord, Limits, LimitsChange};
use umacvlan_core::options::PortKind;
use umacvlan_core::rules::{RuleWord, Rules, RulesChange};
use umacvlan_core::switch::MIN_MTU;
use umacvlan_core::{MacAddr, MacvlanFlag, MacvlanFlags, MacvlanSettings, Mode};

use super::DriverError;
use umacvlan_api::{Flags, LimitsJson, RulesJson};
use umacvlan_text::suggest::did_you_mean;

/// The key below which Docker sends the user's options.
const GENERIC: &str = "com.docker.network.generic";

/// The largest MTU of an Ethernet interface, in bytes (`ETH_MAX_MTU` of `if_ether.h`).
const MAX_MTU: u32 = 65535;

/// The key of the MTU in Docker's own drivers.
const DOCKERS_MTU: &str = "com.docker.network.driver.mtu";

/// Every key but those of the flags.
const KEYS: [&str; 13] = [
    "parent",
    "macvlan_mode",
    "mode",
    DOCKERS_MTU,
    "umacvlan.mtu",
    "umacvlan.mac",
    "umacvlan.macaddr",
    HOST,
    DHCP,
    OWN_IP,
    MACNAT,
    "umacvlan.port",
    "umacvlan.bcqueuelen",
];

/// The key of host access.
pub(crate) const HOST: &str = "umacvlan.host";

/// The key of addresses by DHCP.
pub(crate) const DHCP: &str = "umacvlan.dhcp";

/// The key of the rule that containers send only from the addresses that Docker gave them.
pub(crate) const OWN_IP: &str = "umacvlan.own_ip";

/// The key of the parent's address for all links.
const MACNAT: &str = "umacvlan.macnat";

/// The key of a flag.
fn flag_key(flag: MacvlanFlag) -> String {
    format!("umacvlan.{}", flag.name())
}

/// The key of a limit.
fn limit_key(word: &LimitWord) -> String {
    format!("umacvlan.{}", word.name)
}

/// The key of a rule.
fn rule_key(word: RuleWord) -> String {
    format!("umacvlan.{}", word.name())
}

/// Every key there is.
fn keys() -> Vec<String> {
    let limits = LimitWord::ALL.iter().map(limit_key);
    let limits = limits.chain(RuleWord::ALL.map(rule_key));
    let flags = MacvlanFlag::ALL.map(flag_key);
    let (before, after) = KEYS.split_at(KEYS.len() - 1);
    let word = |key: &&str| (*key).to_owned();
    before.iter().map(word).chain(flags).chain(limits).chain(after.iter().map(word)).collect()
}

/// What the links of a network are like.
#[serde_as]
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Options {
    /// Name of the parent, if the user has named one.
    pub parent: Option<String>,
    #[serde_as(as = "DisplayFromStr")]
    pub mode: Mode,
    pub mtu: Option<u32>,
    /// Derive MAC addresses from IP addresses, so that a container keeps its own.
    pub stable_mac: bool,
    /// Source mode: the source list of every link.
    #[serde_as(as = "Vec<DisplayFromStr>")]
    pub macaddr: Vec<MacAddr>,
    #[serde_as(as = "FromInto<Flags>")]
    #[serde(flatten)]
    pub flags: MacvlanFlags,
    pub bcqueuelen: Option<u32>,
    /// The host reaches the containers.
    #[serde(default)]
    pub host: bool,
    /// The containers get their addresses by DHCP.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dhcp: bool,
    /// The containers send only from the addresses that Docker gave them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_ip: bool,
    /// The containers send with the parent's MAC address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub macnat: bool,
    #[serde_as(as = "FromInto<LimitsJson>")]
    #[serde(default, skip_serializing_if = "LimitsJson::is_unlimited")]
    pub limits: Limits,
    #[serde_as(as = "TryFromInto<RulesJson>")]
    #[serde(default, skip_serializing_if = "RulesJson::is_open")]
    pub rules: Rules,
    /// What the interfaces are; the parent's default if absent.
    #[serde_as(as = "Option<DisplayFromStr>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortKind>,
}

impl Options {
    /// The macvlan settings of the links.
    pub(crate) fn settings(&self) -> MacvlanSettings {
        MacvlanSettings {
            mode: self.mode,
            flags: self.flags,
            bcqueuelen: self.bcqueuelen,
            bclim: None,
            limits: self.limits,
            rules: self.rules.clone(),
            sources: self.macaddr.clone(),
        }
    }

    /// Reads the user's among the options of a network.
    ///
    /// # Errors A key or a value is invalid; the message is for the user.
    pub(crate) fn read(all: &Map<String, Value>) -> Result<Self, DriverError> {
        let mut given = Given(words(all.get(GENERIC))?);
        let mode = given.mode()?;
        let options = Self {
            parent: given.take("parent").filter(|parent| !parent.is_empty()),
            mode,
            mtu: given.mtu()?,
            stable_mac: given.choice("umacvlan.mac", &[("random", false), ("stable", true)])?,
            macaddr: given.source_list()?,
            flags: given.flags()?,
            bcqueuelen: given.number("umacvlan.bcqueuelen", 0, u32::MAX)?,
            host: given.choice(HOST, YES_NO)?,
            dhcp: given.choice(DHCP, YES_NO)?,
            own_ip: given.choice(OWN_IP, YES_NO)?,
            macnat: given.choice(MACNAT, YES_NO)?,
            limits: given.limits()?,
            rules: given.rules()?,
            port: given.choice("umacvlan.port", PORTS)?,
        };
        match given.0.keys().next() {
            None => options.agree(),
            Some(key) => {
                let keys = keys();
                let known: Vec<&str> = keys.iter().map(String::as_str).collect();
                Err(DriverError::new(format!(
                    "unknown option {key:?}, expected one of {}{}",
                    known.join(", "),
                    did_you_mean(key, &known)
                )))
            }
        }
    }

    /// Checks options that belong to one mode only.
    fn agree(self) -> Result<Self, DriverError> {
        let only = |key: &str, owner: Mode| {
            let mode = self.mode;
            Err(DriverError::new(format!("{key} is for macvlan_mode={owner}, and this is {mode}")))
        };
        if let Some((flag, owner)) = self.settings().misplaced_flag() {
            return only(&flag_key(flag), owner);
        }
        if self.dhcp && self.host {
            return Err(DriverError::new(format!(
                "{HOST} and {DHCP}: the host's routes need addresses that Docker knows: choose one"
            )));
        }
        if self.dhcp && self.own_ip {
            return Err(DriverError::new(format!(
                "{OWN_IP} and {DHCP}: an address by DHCP may change: choose one"
            )));
        }
        if self.macnat && self.mode == Mode::Passthru {
            return Err(DriverError::new(format!(
                "{MACNAT} is not for macvlan_mode=passthru, which takes the parent's address"
            )));
        }
        match () {
            () if !self.macaddr.is_empty() && self.mode != Mode::Source => {
                only("umacvlan.macaddr", Mode::Source)
            }
            () => Ok(self),
        }
    }
}

const YES_NO: &[(&str, bool)] = &[("no", false), ("yes", true), ("false", false), ("true", true)];

/// Without a word it is the parent's default.
const PORTS: &[(&str, Option<PortKind>)] = &[
    ("", None),
    ("tap", Some(PortKind::Tap)),
    ("veth", Some(PortKind::Veth)),
    ("auto", Some(PortKind::Auto)),
];

const SWITCH: &[(&str, bool)] = &[("false", false), ("true", true)];

/// The options that were not read yet.
struct Given(BTreeMap<String, String>);

impl Given {
    fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }

    /// The mode, by Docker's key or Podman's.
    fn mode(&mut self) -> Result<Mode, DriverError> {
        let (dockers, podmans) = (self.take("macvlan_mode"), self.take("mode"));
        let word = match (dockers, podmans) {
            (Some(one), Some(other)) if one != other => {
                let why = format!("macvlan_mode={one} and mode={other} are not the same: give one");
                return Err(DriverError::new(why));
            }
            (one, other) => one.or(other).unwrap_or_default(),
        };
        let wrong = || {
            DriverError::new(format!(
                "requested macvlan mode '{word}' is not valid, 'bridge' mode is the macvlan \
                 driver default"
            ))
        };
        match word.as_str() {
            "" => Ok(Mode::Bridge),
            word => word.parse().map_err(|_| wrong()),
        }
    }

    fn mtu(&mut self) -> Result<Option<u32>, DriverError> {
        let dockers = self.number(DOCKERS_MTU, MIN_MTU, MAX_MTU)?;
        Ok(self.number("umacvlan.mtu", MIN_MTU, MAX_MTU)?.or(dockers))
    }

    fn number(&mut self, key: &str, least: u32, most: u32) -> Result<Option<u32>, DriverError> {
        let Some(word) = self.take(key) else { return Ok(None) };
        let number = word.parse().ok().filter(|number| (least..=most).contains(number));
        let wrong = || {
            DriverError::new(format!(
                "{key}={word}: expected a whole number from {least} to {most}"
            ))
        };
        number.map(Some).ok_or_else(wrong)
    }

    /// One of these words; the first one if the key is absent.
    fn choice<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Result<T, DriverError> {
        let word = self.take(key);
        let word = word.as_deref().unwrap_or(words[0].0);
        let found = words.iter().find(|(known, _)| *known == word);
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let known = words.iter().map(|(known, _)| *known).filter(|known| !known.is_empty());
            let known: Vec<&str> = known.collect();
            DriverError::new(format!("{key}={word}: expected one of {}", known.join(", ")))
        })
    }

    fn flags(&mut self) -> Result<MacvlanFlags, DriverError> {
        let mut flags = MacvlanFlags::default();
        for flag in MacvlanFlag::ALL {
            flags = flags.with(flag, self.choice(&flag_key(flag), SWITCH)?);
        }
        Ok(flags)
    }

    fn limits(&mut self) -> Result<Limits, DriverError> {
        let mut change = LimitsChange::default();
        for word in LimitWord::ALL {
            let key = limit_key(&word);
            if let Some(value) = self.take(&key) {
                let wrong =
                    |_| DriverError::new(format!("{key}={value}: expected {}", word.expected()));
                change.set(word.name, &value).map_err(wrong)?;
            }
        }
        let limits = change.apply(Limits::default());
        match limits.lone_burst() {
            None => Ok(limits),
            Some((burst, rate)) => Err(DriverError::new(format!(
                "umacvlan.{burst} is what may pass above umacvlan.{rate}, and there is none: add one"
            ))),
        }
    }

    fn rules(&mut self) -> Result<Rules, DriverError> {
        let mut change = RulesChange::default();
        for word in RuleWord::ALL {
            let key = rule_key(word);
            if let Some(value) = self.take(&key) {
                change.set(word, &value).map_err(|error| {
                    DriverError::new(format!("{key}={value}: expected {}", error.expected()))
                })?;
            }
        }
        change.apply(Rules::default()).map_err(|error| DriverError::new(error.to_string()))
    }

    fn source_list(&mut self) -> Result<Vec<MacAddr>, DriverError> {
        let key = "umacvlan.macaddr";
        let Some(words) = self.take(key) else { return Ok(Vec::new()) };
        let unicast = |word: &str| {
            let address =
                word.trim().parse().ok().filter(|address: &MacAddr| address.is_valid_unicast());
            address.ok_or_else(|| {
                DriverError::new(format!(
                    "{key}: {word:?} is not a unicast MAC address: expected a list of unicast \
                     addresses, separated by commas"
                ))
            })
        };
        words.split(',').map(unicast).collect()
    }
}

/// The user's options as text. The docker command sends text only; other clients of Docker's API
/// may send other values.
fn words(options: Option<&Value>) -> Result<BTreeMap<String, String>, DriverError> {
    let options = match options {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(options)) => options,
        Some(_) => return Err(DriverError::new(format!("{GENERIC} is no object"))),
    };
    let word = |(key, value): (&String, &Value)| match value {
        Value::String(word) => Ok((key.clone(), word.clone())),
        Value::Bool(_) | Value::Number(_) => Ok((key.clone(), value.to_string())),
        _ => Err(DriverError::new(format!("option {key}: expected text"))),
    };
    options.iter().map(word).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(options: Value) -> Result<Options, String> {
        let Value::Object(all) = json!({ GENERIC: options, "com.docker.network.x": 1 }) else {
            unreachable!("it is an object")
        };
        Options::read(&all).map_err(|refused| refused.to_string())
    }

    #[test]
    fn without_options_links_are_in_bridge_mode_and_have_no_parent() {
        for nothing in [json!({}), json!(null), json!({"macvlan_mode": "", "parent": ""})] {
            let options = read(nothing).unwrap();
            assert_eq!((options.mode, options.parent, options.mtu), (Mode::Bridge, None, None));
        }
    }

    #[test]
    fn every_mode_has_its_word_under_either_key() {
        for mode in Mode::ALL {
            for key in ["macvlan_mode", "mode"] {
                assert_eq!(read(json!({ key: mode.name() })).unwrap().mode, mode);
            }
        }
        let both = json!({"macvlan_mode": "vepa", "mode": "private"});
        assert!(read(both).unwrap_err().contains("not the same"));
        assert_eq!(
            read(json!({"macvlan_mode": "foo"})).unwrap_err(),
            "requested macvlan mode 'foo' is not valid, 'bridge' mode is the macvlan driver default"
        );
    }

    #[test]
    fn our_own_options_are_read() {
        let options = read(json!({
            "parent": "eth0", "mode": "source", "umacvlan.mtu": "1400", "umacvlan.mac": "stable",
            "umacvlan.macaddr": "02:00:00:00:00:01,02:00:00:00:00:02", "umacvlan.nodst": true,
            "umacvlan.bcqueuelen": 7, "umacvlan.host": "yes",
        }))
        .unwrap();
        assert_eq!((options.mtu, options.bcqueuelen), (Some(1400), Some(7)));
        assert_eq!(options.macaddr.len(), 2);
        assert!(options.stable_mac && options.host);
        assert!(options.flags.iter().eq([MacvlanFlag::Nodst]));
        let limited = json!({"umacvlan.rate": "100mbit", "umacvlan.rx_pps": 1000});
        let limits = read(limited).unwrap().settings().limits;
        assert_eq!(limits.to_string(), "rate 100mbit rx_pps 1000");
        let ruled = json!({"umacvlan.isolation": "on", "umacvlan.allow_ethertype": "ipv4, arp"});
        let rules = read(ruled).unwrap().settings().rules;
        assert_eq!(rules.to_string(), "allow_ethertype ipv4 arp isolation on");
        assert_eq!(read(json!({ DOCKERS_MTU: "1450" })).unwrap().mtu, Some(1450));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_was_expected() {
        for (options, words) in [
            (json!({"parnet": "eth0"}), "did you mean \"parent\"?"),
            (json!({"umacvlan.mut": "1400"}), "did you mean \"umacvlan.mtu\"?"),
            (json!({"colour": "red"}), "unknown option \"colour\", expected one of parent, "),
            (json!({"umacvlan.mtu": "67"}), "from 68 to 65535"),
            (json!({"umacvlan.mtu": "big"}), "umacvlan.mtu=big"),
            (json!({"umacvlan.rate": "fast"}), "umacvlan.rate=fast: expected a rate up to"),
            (json!({"umacvlan.burst": "64kb"}), "umacvlan.rx_burst is what may pass above"),
            (json!({"umacvlan.allow_mac": "x"}), "umacvlan.allow_mac=x: expected a unicast MAC"),
            (json!({"umacvlan.rat": "1mbit"}), "did you mean \"umacvlan.rate\"?"),
            (json!({"umacvlan.port": "wire"}), "expected one of tap, veth, auto"),
            (json!({"umacvlan.mac": "fixed"}), "expected one of random, stable"),
            (json!({"umacvlan.host": "10.1.0.9"}), "expected one of no, yes, false, true"),
            (json!({"umacvlan.nodst": "yes"}), "expected one of false, true"),
            (json!({"mode": "source", "umacvlan.macaddr": "01:00:5e:00:00:01"}), "unicast"),
            (json!({"umacvlan.macaddr": "02:00:00:00:00:01"}), "is for macvlan_mode=source"),
            (json!({"umacvlan.nopromisc": "true"}), "is for macvlan_mode=passthru"),
            (json!({"parent": ["eth0"]}), "option parent: expected text"),
            (json!("parent=eth0"), "is no object"),
        ] {
            let refused = read(options.clone()).unwrap_err();
            assert!(refused.contains(words), "{options}: {refused}");
        }
    }
}
