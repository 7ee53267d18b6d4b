//! The changes of one link, one setting per step.

use umacvlan_core::limit::LimitsChange;
use umacvlan_core::options::PortKind;
use umacvlan_core::rules::{Rules, RulesChange};
use umacvlan_core::switch::{DEFAULT_BC_CUTOFF, DEFAULT_BC_QUEUE_LEN};
use umacvlan_core::{MacvlanFlag, MacvlanFlags, MacvlanSettings, Mode, ifname};

use super::super::running::{OWN_NAMESPACE, queue_len};

use super::super::{LinkEntry, RunningLink};
use super::step::Step;
use umacvlan_api::{HostAccess, LinkChange, LinkSpec, MacaddrChange, MacaddrOp, MacvlanChange};

/// The order of changes among those of all links: a change that frees a resource comes before one
/// that may need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Down,
    Address,
    Other,
    Up,
}

/// The link that `entry` makes, with the parent's MTU if that is known.
pub(in super::super) fn made(entry: &LinkEntry, key: &str, parent_mtu: Option<u32>) -> RunningLink {
    let spec = entry.spec.clone();
    let name = entry.interface_name(key).to_owned();
    let MacvlanSettings { bcqueuelen, bclim, .. } = spec.settings;
    let spec = LinkSpec {
        settings: MacvlanSettings {
            bcqueuelen: bcqueuelen.or(Some(DEFAULT_BC_QUEUE_LEN)),
            bclim: bclim.or(Some(DEFAULT_BC_CUTOFF)),
            ..spec.settings
        },
        mtu: spec.mtu.or(parent_mtu),
        txqueuelen: spec.txqueuelen.or_else(|| Some(queue_len(spec.port))),
        // The default of the parent counts when a link is made.
        interface: spec.interface.or_else(|| spec.port.is_none().then_some(PortKind::Tap)),
        ..spec
    };
    RunningLink { name, spec }
}

/// Whether the link must be removed and made again to become what is wanted.
pub(super) fn is_another(now: &RunningLink, before: &RunningLink, wanted: &RunningLink) -> bool {
    let owner = |link: &RunningLink| link.spec.settings.mode == Mode::Passthru;
    let moved = wanted.spec.parent != before.spec.parent && wanted.spec.parent != now.spec.parent;
    let port = |link: &RunningLink| {
        let LinkSpec { user, group, client, dev, .. } = &link.spec;
        (link.spec.link_port(), *user, *group, client.clone(), dev.clone())
    };
    let program = |link: &RunningLink| link.spec.port.is_some().then(|| link.name.clone());
    moved
        || (owner(wanted) != owner(before) && owner(wanted) != owner(now))
        || (port(wanted) != port(before) && port(wanted) != port(now))
        || (wanted.spec.dhcp != before.spec.dhcp && wanted.spec.dhcp != now.spec.dhcp)
        // The name of a program's link is that of its socket or its TAP.
        || (program(wanted) != program(before) && program(wanted) != program(now))
}

/// The steps from `now` to each value that differs between `before` and `wanted`; other values stay
/// as they are now.
pub(super) fn changes(
    key: &str,
    now: &RunningLink,
    before: &RunningLink,
    wanted: &RunningLink,
) -> Vec<(Rank, Step)> {
    let mut steps = Steps { key, steps: Vec::new() };
    let hosts = [now, before, wanted].map(|link| &link.spec.host);
    // Access is for some modes only: it ends before the mode changes, and begins afterwards.
    let ends = wanted.spec.host.is_off();
    if ends {
        steps.host(hosts);
    }
    steps.macvlan([now, before, wanted].map(|link| &link.spec.settings));
    if !ends {
        steps.host(hosts);
    }
    steps.interface_attributes(&now.spec, &before.spec, &wanted.spec);
    steps.identity(now, before, wanted);
    steps.steps
}

struct Steps<'w> {
    key: &'w str,
    steps: Vec<(Rank, Step)>,
}

impl Steps<'_> {
    /// Adds a step if the file has another value now and the link does not have it yet. `change`
    /// makes the change to a value.
    fn field<T: PartialEq>(
        &mut self,
        rank: Rank,
        [now, before, wanted]: [&T; 3],
        change: impl Fn(&T) -> LinkChange,
    ) {
        if wanted != before && wanted != now {
            self.push(rank, change(wanted), change(now));
        }
    }

    fn push(&mut self, rank: Rank, change: LinkChange, back: LinkChange) {
        let key = self.key.to_owned();
        let step = Step::ChangeLink { key, change: Box::new(change), back: Box::new(back) };
        self.steps.push((rank, step));
    }

    fn host(&mut self, hosts: [&HostAccess; 3]) {
        self.field(Rank::Other, hosts, |host| LinkChange {
            host: Some(host.clone()),
            ..LinkChange::default()
        });
    }

    fn rules(&mut self, rules: [&Rules; 3]) {
        self.field(Rank::Other, rules, |rules| {
            let rules = Some(RulesChange::exactly(rules));
            let macvlan = MacvlanChange { rules, ..MacvlanChange::default() };
            LinkChange { macvlan: Some(macvlan), ..LinkChange::default() }
        });
    }

    fn macvlan(&mut self, [now, before, wanted]: [&MacvlanSettings; 3]) {
        let of = |macvlan| LinkChange { macvlan: Some(macvlan), ..LinkChange::default() };
        let mode = |mode: &Mode| of(MacvlanChange { mode: Some(*mode), ..Default::default() });
        let list = |addresses: &Vec<_>| {
            let macaddr = MacaddrChange { op: MacaddrOp::Set, addresses: addresses.clone() };
            of(MacvlanChange { macaddr: Some(macaddr), ..Default::default() })
        };
        let modes = [&now.mode, &before.mode, &wanted.mode];
        let lists = [&now.sources, &before.sources, &wanted.sources];
        let rules = [&now.rules, &before.rules, &wanted.rules];
        // Mode source excludes some rules.
        if wanted.mode == Mode::Source {
            self.rules(rules);
        }
        // A list is lost with the mode: it is taken off first, so that undoing brings it back.
        if wanted.mode != before.mode && wanted.mode != Mode::Source && !now.sources.is_empty() {
            self.push(Rank::Other, list(&Vec::new()), list(&now.sources));
            self.field(Rank::Other, modes, mode);
        } else {
            self.field(Rank::Other, modes, mode);
            self.field(Rank::Other, lists, list);
        }
        if wanted.mode != Mode::Source {
            self.rules(rules);
        }
        // A change has all flags of the kernel's: those that the file says nothing new about stay as they are.
        let pick = |flag: MacvlanFlag| {
            let [now, before, wanted] = [now, before, wanted].map(|it| it.flags.contains(flag));
            if wanted == before { now } else { wanted }
        };
        let flags: MacvlanFlags =
            MacvlanFlag::KERNEL.into_iter().filter(|&flag| pick(flag)).collect();
        let present: MacvlanFlags =
            MacvlanFlag::KERNEL.into_iter().filter(|&flag| now.flags.contains(flag)).collect();
        self.field(Rank::Other, [&present, &present, &flags], |&flags| {
            of(MacvlanChange { flags: Some(flags), ..Default::default() })
        });
        let checks = [now, before, wanted].map(|it| it.flags.contains(MacvlanFlag::Spoofchk));
        self.field(Rank::Other, checks.each_ref(), |&on| {
            of(MacvlanChange { spoofchk: Some(on), ..Default::default() })
        });
        let limits = [&now.limits, &before.limits, &wanted.limits];
        self.field(Rank::Other, limits, |&limits| {
            let limits = Some(LimitsChange::exactly(limits));
            of(MacvlanChange { limits, ..Default::default() })
        });
        let lengths = [&now.bcqueuelen, &before.bcqueuelen, &wanted.bcqueuelen];
        self.field(Rank::Other, lengths, |&bcqueuelen| {
            of(MacvlanChange { bcqueuelen, ..Default::default() })
        });
        let limits = [&now.bclim, &before.bclim, &wanted.bclim];
        self.field(Rank::Other, limits, |&bclim| of(MacvlanChange { bclim, ..Default::default() }));
    }

    fn interface_attributes(&mut self, now: &LinkSpec, before: &LinkSpec, wanted: &LinkSpec) {
        let nothing = LinkChange::default;
        // Without an address in the file, the link keeps the one it has.
        if wanted.address.is_some() {
            let addresses = [&now.address, &before.address, &wanted.address];
            self.field(Rank::Address, addresses, |&address| LinkChange { address, ..nothing() });
        }
        if wanted.mtu.is_some() {
            let mtus = [&now.mtu, &before.mtu, &wanted.mtu];
            self.field(Rank::Other, mtus, |&mtu| LinkChange { mtu, ..nothing() });
        }
        let lengths = [&now.txqueuelen, &before.txqueuelen, &wanted.txqueuelen];
        self.field(Rank::Other, lengths, |&txqueuelen| LinkChange { txqueuelen, ..nothing() });
        self.field(Rank::Other, [&now.alias, &before.alias, &wanted.alias], |alias| LinkChange {
            alias: Some(alias.clone().unwrap_or_default()),
            ..nothing()
        });
        self.field(Rank::Other, [&now.promisc, &before.promisc, &wanted.promisc], |&promisc| {
            LinkChange { promisc: Some(promisc), ..nothing() }
        });
        let all = [&now.allmulticast, &before.allmulticast, &wanted.allmulticast];
        self.field(Rank::Other, all, |&on| LinkChange { allmulticast: Some(on), ..nothing() });
    }

    /// The namespace, the name, and up or down. Moving sets an interface down, and older kernels
    /// do not rename one that is up; so it is set down before, which can be undone, and up again
    /// afterwards.
    fn identity(&mut self, now: &RunningLink, before: &RunningLink, wanted: &RunningLink) {
        let state = |up| LinkChange { up: Some(up), ..LinkChange::default() };
        let is_up = |link: &RunningLink| link.spec.up.unwrap_or(true);
        let stays = is_up(wanted) == is_up(before);
        let up = if stays { is_up(now) } else { is_up(wanted) };
        let places = [now, before, wanted].map(|link| place(link.spec.netns.as_deref()));
        let [from, was, to] = &places;
        let moves = to != was && to != from;
        let renames = wanted.name != before.name && wanted.name != now.name;
        if is_up(now) && (moves || renames || !up) {
            self.push(Rank::Down, state(false), state(true));
        }
        // The old name may be taken in the new namespace, and the new name in the old one; nobody
        // else uses the entry key.
        let between = moves && renames && ifname::check(self.key).is_ok();
        let between = if between { self.key } else { &now.name };
        self.rename(&now.name, between);
        self.field(Rank::Other, [from, was, to], |place| LinkChange {
            netns: Some(place.clone()),
            ..LinkChange::default()
        });
        self.rename(between, if renames { &wanted.name } else { &now.name });
        if up && (moves || renames || !is_up(now)) {
            self.push(Rank::Up, state(true), state(false));
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        let name = |name: &str| LinkChange { name: Some(name.to_owned()), ..LinkChange::default() };
        if from != to {
            self.push(Rank::Other, name(to), name(from));
        }
    }
}

/// A namespace by a name that can be compared with others.
fn place(netns: Option<&str>) -> String {
    let place = netns.unwrap_or(OWN_NAMESPACE);
    let named = ["/run/netns/", "/var/run/netns/"].iter().find_map(|dir| place.strip_prefix(dir));
    named.unwrap_or(place).to_owned()
}
