//! Arbitrary valid configurations, and a model in which plans are carried out.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use umacvlan_core::limit::{LimitKind, Limits};
use umacvlan_core::options::{Backend, PollMode, PortIo, PortKind};
use umacvlan_core::rules::{RuleWord, Rules};
use umacvlan_core::{MacAddr, MacvlanFlag, MacvlanSettings, Mode, Semantics};

use super::super::running::OWN_NAMESPACE;
use super::super::*;
use umacvlan_api::{Dhcp, HostAccess, LinkChange};

/// A valid configuration.
pub(super) fn config() -> impl Strategy<Value = Config> {
    let settings = || {
        let cpus = option::of(btree_set(0_usize..4, 0..4).prop_map(Vec::from_iter));
        let word = |words: &'static [&'static str]| option::of(select(words));
        let io = word(&["auto", "plain", "uring"]);
        let switches = any::<(Option<bool>, Option<bool>, Option<bool>)>();
        let port = option::of(select(&PortKind::ALL[..]));
        let workers = option::of(1..=4_usize);
        let backend = option::of(select(&Backend::ALL[..]));
        (backend, workers, cpus, option::of(select(&PollMode::ALL[..])), switches, (io, port))
            .prop_map(|(backend, workers, cpus, poll, (kernel, coalesce, macnat), (io, port))| {
                Settings {
                    port,
                    coalesce,
                    macnat,
                    workers,
                    backend,
                    cpus,
                    poll,
                    semantics: kernel.map(|kernel| match kernel {
                        true => Semantics::Kernel7_3,
                        false => Semantics::Documented,
                    }),
                    io: io.map(|word| match word {
                        "auto" => PortIo::Auto,
                        "plain" => PortIo::Plain,
                        _ => PortIo::Uring,
                    }),
                }
            })
    };
    let parents =
        btree_map(select(&["p", "q", "eth0.10"][..]).prop_map(str::to_owned), settings(), 0..3);
    let links = btree_map(
        select(&["a", "b", "c", "d", "e", "f"][..]).prop_map(str::to_owned),
        entry(),
        0..6,
    );
    let whole = (daemon(), docker(), settings(), parents, links);
    whole.prop_map(|(daemon, docker, engine, parents, links)| {
        let mut config = Config { daemon, docker, engine, parents, links };
        mend(&mut config);
        config
    })
}

fn daemon() -> impl Strategy<Value = DaemonConfig> {
    let path = || option::of("/[a-z \"'\\\\#é]{0,8}");
    let group = || option::of("[a-z0-9]{1,5}");
    let log = option::of(select(&["info", "warn,umacvlan=trace"][..]));
    (path(), path(), group(), group(), log, any::<bool>()).prop_map(
        |(socket, state, group, admin_group, log, remove)| DaemonConfig {
            socket,
            state,
            group,
            admin_group,
            log: log.map(str::to_owned),
            on_exit: if remove { OnExit::Remove } else { OnExit::Keep },
        },
    )
}

fn docker() -> impl Strategy<Value = Option<DockerConfig>> {
    let path = || option::of("/[a-z]{0,8}");
    option::of((path(), path()).prop_map(|(socket, state)| DockerConfig { socket, state }))
}

/// Limits made of a number: none, equal ones or different ones.
fn limits(number: Option<u32>) -> Limits {
    let number = u64::from(number.unwrap_or(0));
    let limits = Limits::default().with(LimitKind::TxRate, number % 3 * 1_000_000);
    limits.with(LimitKind::RxRate, number % 2 * 1_000_000).with(LimitKind::RxPps, number % 5)
}

/// Rules that fit the mode, made of a number: none, or some.
fn rules(mode: Mode, number: Option<u32>) -> Rules {
    let mut rules = Rules::default();
    for (bit, word, text) in [
        (1, RuleWord::Isolation, "web"),
        (2, RuleWord::AllowMac, "02:00:00:00:00:07"),
        (4, RuleWord::AllowIp, "fd00::/64"),
        (4, RuleWord::AllowIp, "10.0.0.1"),
        (8, RuleWord::AllowEthertype, "arp"),
    ] {
        let fits = mode != Mode::Source || word == RuleWord::AllowIp;
        if fits && number.unwrap_or(0) & bit != 0 {
            rules.add(word, text).unwrap();
        }
    }
    rules
}

fn entry() -> impl Strategy<Value = LinkEntry> {
    let mac = || (1_u8..6).prop_map(|last| MacAddr::new([2, 0, 0, 0, 0, last]));
    let flags = vec(any::<bool>(), 3 + MacvlanFlag::ALL.len());
    let numbers = (
        option::of(68_u32..=1500),
        option::of(any::<u32>()),
        option::of(any::<u32>()),
        option::of(any::<i32>()),
    );
    let place = option::of(select(&["blue", "/proc/7/ns/net", "4711"][..]));
    let words = (select(&["p", "q"][..]), place, option::of("[ -~é]{1,9}"), any::<bool>());
    let host = (any::<bool>(), any::<bool>());
    (words, select(&Mode::ALL[..]), mac(), btree_set(mac(), 0..3), flags, numbers, host).prop_map(
        |((parent, netns, alias, named), mode, address, macaddr, flags, numbers, host)| LinkEntry {
            // `mend`, which knows the key, replaces an empty name.
            name: named.then(String::new),
            spec: LinkSpec {
                parent: parent.to_owned(),
                address: Some(address),
                alias,
                host: match host.0 {
                    false => HostAccess::default(),
                    true => HostAccess {
                        to: ["10.1.0.5", "fd00::/64"].map(|to| to.parse().unwrap()).into(),
                        from: host.1.then(|| "10.1.0.9".parse().unwrap()).into_iter().collect(),
                    },
                },
                allmulticast: flags[0],
                dhcp: host.1.then(|| Dhcp {
                    client_id: host.0.then(|| "lan/web".to_owned()),
                    hostname: Some("web".to_owned()),
                }),
                promisc: flags[1],
                up: Some(flags[2]),
                settings: MacvlanSettings {
                    mode,
                    flags: MacvlanFlag::ALL
                        .into_iter()
                        .zip(&flags[3..])
                        .filter_map(|(flag, on)| on.then_some(flag))
                        .collect(),
                    bcqueuelen: numbers.2,
                    bclim: numbers.3,
                    limits: limits(numbers.1),
                    rules: rules(mode, numbers.2),
                    sources: macaddr.into_iter().collect(),
                },
                mtu: numbers.0,
                txqueuelen: numbers.1,
                netns: netns.map(str::to_owned),
                ..LinkSpec::default()
            },
        },
    )
}

/// Makes a configuration valid.
fn mend(config: &mut Config) {
    let parents: Vec<String> = config.links.values().map(|e| e.spec.parent.clone()).collect();
    let mut taken = Vec::new();
    for (at, (key, entry)) in (1_u8..).zip(config.links.iter_mut()) {
        let spec = &mut entry.spec;
        entry.name = entry.name.take().map(|_| format!("eth-{key}"));
        if parents.iter().filter(|parent| **parent == spec.parent).count() > 1
            && spec.settings.mode == Mode::Passthru
        {
            spec.settings.mode = Mode::Bridge;
        }
        while let Some((flag, _)) = spec.settings.misplaced_flag() {
            spec.settings.flags = spec.settings.flags.with(flag, false);
        }
        if !matches!(spec.settings.mode, Mode::Bridge | Mode::Vepa) {
            spec.host = HostAccess::default();
        }
        if spec.settings.mode != Mode::Source {
            spec.settings.sources.clear();
        }
        if spec.settings.mode == Mode::Passthru {
            spec.address = None;
        }
        if taken.contains(&spec.address) {
            spec.address = Some(MacAddr::new([2, 0, 0, 0, 1, at]));
        }
        taken.extend(spec.address.map(Some));
    }
}

/// Carries out a step on the model, by the rules of the daemon.
pub(super) fn act(running: &mut Running, step: &Step) {
    match step {
        Step::AddLink { key, name, spec } => {
            let entry = LinkEntry { name: Some(name.clone()), spec: spec.clone() };
            let mut made = plan::made(&entry, key, Some(1500));
            made.spec.netns = made.spec.netns.filter(|place| place != OWN_NAMESPACE);
            let owner = |mode| mode == Mode::Passthru;
            for other in running.links.values() {
                let shared = other.spec.parent == spec.parent;
                assert!(
                    !(shared && (owner(other.spec.settings.mode) || owner(spec.settings.mode))),
                    "{key} and {} on one parent, which one of them owns",
                    other.name
                );
                assert_ne!(other.name, *name);
            }
            check_address(running, key, &made.spec);
            assert!(running.links.insert(key.clone(), made).is_none(), "{key} is there");
        }
        Step::RemoveLink { key, .. } => {
            running.links.remove(key).unwrap();
        }
        Step::ChangeLink { key, change, .. } => {
            let mut now = running.links[key].clone();
            become_changed(&mut now, change);
            check_address(running, key, &now.spec);
            running.links.insert(key.clone(), now);
        }
        _ => {}
    }
}

fn check_address(running: &Running, key: &str, spec: &LinkSpec) {
    for (other, now) in running.links.iter().filter(|(other, _)| *other != key) {
        let same = now.spec.parent == spec.parent && now.spec.address == spec.address;
        let up = now.spec.up == Some(true) && spec.up == Some(true);
        assert!(!(same && up && spec.address.is_some()), "{key} and {other} have one address");
    }
}

fn become_changed(now: &mut RunningLink, change: &LinkChange) {
    let change = change.clone();
    let spec = &mut now.spec;
    let settings = &mut spec.settings;
    if let Some(macvlan) = change.macvlan {
        if let Some(mode) = macvlan.mode {
            let siblings = matches!(mode, Mode::Bridge | Mode::Vepa);
            assert!(spec.host.is_off() || siblings, "the host would lose its access");
            assert_eq!(mode == Mode::Passthru, settings.mode == Mode::Passthru);
            assert!(
                settings.mode != Mode::Source || settings.sources.is_empty(),
                "its list is lost"
            );
            settings.mode = mode;
        }
        for flag in MacvlanFlag::ALL {
            let set = match flag {
                MacvlanFlag::Spoofchk => macvlan.spoofchk,
                _ => macvlan.flags.map(|flags| flags.contains(flag)),
            };
            settings.flags =
                settings.flags.with(flag, set.unwrap_or_else(|| settings.flags.contains(flag)));
        }
        if let Some(macaddr) = macvlan.macaddr {
            assert_eq!(settings.mode, Mode::Source, "only a source link has a list");
            settings.sources = macaddr.addresses;
        }
        settings.bcqueuelen = macvlan.bcqueuelen.or(settings.bcqueuelen);
        settings.bclim = macvlan.bclim.or(settings.bclim);
        if let Some(limits) = macvlan.limits {
            settings.limits = limits.apply(settings.limits);
        }
        if let Some(rules) = &macvlan.rules {
            settings.rules = rules.apply(std::mem::take(&mut settings.rules)).unwrap();
        }
    }
    if let Some(place) = change.netns {
        spec.netns = Some(place).filter(|place| place != OWN_NAMESPACE);
        spec.up = Some(false);
    }
    if let Some(alias) = change.alias {
        spec.alias = Some(alias).filter(|alias| !alias.is_empty());
    }
    now.name = change.name.unwrap_or_else(|| now.name.clone());
    spec.address = change.address.or(spec.address);
    spec.mtu = change.mtu.or(spec.mtu);
    spec.txqueuelen = change.txqueuelen.or(spec.txqueuelen);
    spec.promisc = change.promisc.unwrap_or(spec.promisc);
    spec.allmulticast = change.allmulticast.unwrap_or(spec.allmulticast);
    spec.up = change.up.or(spec.up);
    if let Some(host) = change.host {
        assert!(host.is_off() || matches!(spec.settings.mode, Mode::Bridge | Mode::Vepa));
        spec.host = host;
    }
}
