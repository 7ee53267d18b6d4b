//! [`Options`]: the options of `podman network create --opt`, a superset of those of Podman's macvlan.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use umacvlan_core::limit::{LimitWord, Limits, LimitsChange};
use umacvlan_core::options::PortKind;
use umacvlan_core::rules::{RuleWord, Rules, RulesChange};
use umacvlan_core::{MacvlanFlag, MacvlanFlags, MacvlanSettings, Mode};

use umacvlan_text::suggest::did_you_mean;

/// Every option by its name.
const NAMES: [&str; 14] = [
    "bclim",
    "dhcp_timeout",
    "host",
    "macaddr",
    "macnat",
    "metric",
    "mode",
    "mtu",
    "no_default_route",
    "nodst",
    "own_ip",
    "parent",
    "port",
    "spoofchk",
];

/// The metric of default routes, as of Podman's own drivers (podman-network-create(1), `metric`).
const METRIC: u32 = 100;

/// The time to wait for an address by DHCP, and the most of it, in seconds.
const DHCP_TIMEOUT: u64 = 20;
const DHCP_TIMEOUT_MAX: u64 = 100;

/// The options of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) settings: MacvlanSettings,
    /// How long to wait for an address by DHCP.
    pub(super) dhcp_timeout: Duration,
    /// The host reaches the containers: from these addresses, or derived ones if there are none.
    pub(super) host: Option<Vec<IpAddr>>,
    /// The containers send with the parent's MAC address.
    pub(super) macnat: bool,
    /// Of the default routes.
    pub(super) metric: u32,
    /// In bytes; the parent's if absent.
    pub(super) mtu: Option<u32>,
    pub(super) no_default_route: bool,
    /// The container sends only from the addresses that Podman gave it.
    pub(super) own_ip: bool,
    /// What the interface is; the parent's default if absent.
    pub(super) port: Option<PortKind>,
}

impl Options {
    /// Parses the options.
    ///
    /// # Errors
    /// The first option that is unknown or has an invalid value.
    pub(super) fn read(given: Option<&BTreeMap<String, String>>) -> Result<Self> {
        let none = BTreeMap::new();
        let given = given.unwrap_or(&none);
        let known = |name: &str| {
            NAMES.contains(&name)
                || LimitWord::named(name).is_ok()
                || RuleWord::named(name).is_some()
        };
        if let Some(unknown) = given.keys().find(|name| !known(name)) {
            bail!("unsupported network option \"{unknown}\"{}", hint(unknown));
        }
        let macaddr = given.get("macaddr").map(String::as_str).unwrap_or_default();
        let macaddr = macaddr.split(',').map(str::trim).filter(|text| !text.is_empty());
        let nodst = value(given, "nodst")?.unwrap_or(false);
        let options = Self {
            settings: MacvlanSettings {
                mode: mode(given.get("mode").map(String::as_str).unwrap_or_default())?,
                flags: MacvlanFlags::default()
                    .with(MacvlanFlag::Nodst, nodst)
                    .with(MacvlanFlag::Spoofchk, value(given, "spoofchk")?.unwrap_or(false)),
                bcqueuelen: None,
                bclim: value(given, "bclim")?,
                limits: limits(given)?,
                rules: rules(given)?,
                sources: macaddr.map(|text| parsed("macaddr", text)).collect::<Result<_>>()?,
            },
            dhcp_timeout: dhcp_timeout(given)?,
            host: host(given.get("host").map(String::as_str).unwrap_or_default())?,
            macnat: value(given, "macnat")?.unwrap_or(false),
            metric: value(given, "metric")?.unwrap_or(METRIC),
            mtu: value(given, "mtu")?.filter(|&mtu| mtu != 0),
            no_default_route: value(given, "no_default_route")?.unwrap_or(false),
            own_ip: value(given, "own_ip")?.unwrap_or(false),
            port: value(given, "port")?,
        };
        let MacvlanSettings { mode, sources, .. } = &options.settings;
        if *mode != Mode::Source && (nodst || !sources.is_empty()) {
            bail!("network options macaddr and nodst are for mode source only");
        }
        if options.macnat && *mode == Mode::Passthru {
            bail!(
                "network option macnat is not for mode passthru, which takes the parent's address"
            );
        }
        if options.host.is_some() && !matches!(mode, Mode::Bridge | Mode::Vepa) {
            bail!("network option host is for modes bridge and vepa, and this is {mode}");
        }
        Ok(options)
    }
}

fn limits(given: &BTreeMap<String, String>) -> Result<Limits> {
    let mut change = LimitsChange::default();
    for word in LimitWord::ALL {
        if let Some(text) = given.get(word.name) {
            change.set(word.name, text).map_err(|error| anyhow!("network option {error}"))?;
        }
    }
    let limits = change.apply(Limits::default());
    if let Some((burst, rate)) = limits.lone_burst() {
        bail!("network option {burst} is what may pass above {rate}, and there is none: add one");
    }
    Ok(limits)
}

/// Parses the time to wait for an address.
fn dhcp_timeout(given: &BTreeMap<String, String>) -> Result<Duration> {
    let seconds = value(given, "dhcp_timeout")?.unwrap_or(DHCP_TIMEOUT);
    if !(1..=DHCP_TIMEOUT_MAX).contains(&seconds) {
        bail!(
            "network option dhcp_timeout \"{seconds}\": expected 1 to {DHCP_TIMEOUT_MAX} seconds"
        );
    }
    Ok(Duration::from_secs(seconds))
}

fn rules(given: &BTreeMap<String, String>) -> Result<Rules> {
    let mut change = RulesChange::default();
    let named = RuleWord::ALL.into_iter().filter_map(|word| Some((word, given.get(word.name())?)));
    for (word, text) in named {
        change.set(word, text).map_err(|error| anyhow!("network option {error}"))?;
    }
    Ok(change.apply(Rules::default())?)
}

/// Parses the mode; the default is bridge, as for Podman's macvlan.
fn mode(word: &str) -> Result<Mode> {
    if word.is_empty() { Ok(Mode::Bridge) } else { parsed("mode", word) }
}

/// Parses `host`: yes or no, or the host's own addresses.
fn host(word: &str) -> Result<Option<Vec<IpAddr>>> {
    match word {
        "" | "no" | "false" => Ok(None),
        "yes" | "true" => Ok(Some(Vec::new())),
        list => {
            let read = |text: &str| {
                text.trim().parse().map_err(|_| {
                    anyhow!(
                        "network option host \"{list}\": expected yes, no or addresses of the \
                         host, separated by commas"
                    )
                })
            };
            list.split(',').map(read).collect::<Result<_>>().map(Some)
        }
    }
}

fn value<T: FromStr<Err: std::fmt::Display>>(
    given: &BTreeMap<String, String>,
    name: &str,
) -> Result<Option<T>> {
    given.get(name).map(|text| parsed(name, text)).transpose()
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Result<T> {
    text.parse().map_err(|error| anyhow!("network option {name} \"{text}\": {error}"))
}

fn hint(name: &str) -> String {
    match name {
        "vlan" => "; a VLAN is named with the parent: parent=eth0.10".to_owned(),
        _ => {
            let limits = LimitWord::ALL.map(|word| word.name);
            let rules = RuleWord::ALL.map(RuleWord::name);
            did_you_mean(name, &[&NAMES[..], &limits, &rules].concat())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[(&str, &str)]) -> Result<Options, String> {
        let given = given.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Options::read(Some(&given.collect())).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_podmans_macvlan() {
        let options = Options::read(None).unwrap();
        assert_eq!((options.settings.mode, options.metric, options.mtu), (Mode::Bridge, 100, None));
        assert!(!options.no_default_route && options.settings.bclim.is_none());
        assert_eq!(read(&[("mtu", "0"), ("mode", ""), ("macaddr", "")]), Ok(options));
    }

    #[test]
    fn each_option_is_parsed() {
        let options = read(&[
            ("bclim", "-1"),
            ("rate", "10mbit"),
            ("allow_ip", "192.0.2.7,fd00::/64"),
            ("macaddr", "02:00:00:00:00:01,02:00:00:00:00:02"),
            ("metric", "200"),
            ("mode", "source"),
            ("mtu", "1400"),
            ("port", "veth"),
            ("no_default_route", "true"),
            ("nodst", "true"),
            ("parent", "eth0"),
        ])
        .unwrap();
        assert_eq!(
            (options.settings.bclim, options.metric, options.mtu),
            (Some(-1), 200, Some(1400))
        );
        let given = read(&[("host", "10.1.0.9, fd00::9")]).unwrap().host;
        assert_eq!(given.map(|from| from.len()), Some(2));
        assert_eq!(read(&[("host", "yes")]).unwrap().host, Some(Vec::new()));
        assert_eq!(read(&[("host", "no")]).unwrap().host, None);
        assert_eq!(options.settings.limits.to_string(), "rate 10mbit");
        assert_eq!(options.settings.rules.to_string(), "allow_ip 192.0.2.7 fd00::/64");
        let settings = &options.settings;
        assert!(settings.mode == Mode::Source && settings.sources.len() == 2);
        assert!(options.no_default_route && settings.flags.contains(MacvlanFlag::Nodst));
    }

    #[test]
    fn the_documentation_has_every_option() {
        let document = include_str!("../../../../docs/podman.md");
        for name in NAMES {
            assert!(document.contains(&format!("-o {name}=")), "{name}");
        }
    }

    #[test]
    fn host_access_is_refused_in_modes_without_siblings() {
        for mode in ["passthru", "private", "source"] {
            let error = read(&[("host", "yes"), ("mode", mode)]).unwrap_err().to_string();
            assert!(error.contains(&format!("bridge and vepa, and this is {mode}")), "{error}");
        }
    }

    #[test]
    fn unknown_options_and_invalid_values_are_refused_with_a_hint() {
        for (given, complaint) in [
            (("mod", "bridge"), "option \"mod\"; did you mean \"mode\"?"),
            (("vlan", "10"), "parent=eth0.10"),
            (("isolate", "true"), "unsupported network option \"isolate\""),
            (("mode", "bride"), "\"bride\" is not a mode: one of bridge, passthru"),
            (
                ("port", "wire"),
                "network option port \"wire\": \"wire\" is no kind of port: expected tap",
            ),
            (("mtu", "big"), "network option mtu \"big\": invalid digit"),
            (("mtu", "-1"), "network option mtu"),
            (("dhcp_timeout", "0"), "network option dhcp_timeout \"0\": expected 1 to 100"),
            (("metric", "4294967296"), "network option metric"),
            (("no_default_route", "yes"), "network option no_default_route \"yes\""),
            (("macaddr", "02:00"), "network option macaddr \"02:00\""),
            (("nodst", "true"), "mode source only"),
            (("host", "10.1.0.0/24"), "network option host \"10.1.0.0/24\": expected yes, no or"),
        ] {
            let error = read(&[given]).unwrap_err();
            assert!(error.contains(complaint), "{given:?}: {error}");
        }
    }
}
