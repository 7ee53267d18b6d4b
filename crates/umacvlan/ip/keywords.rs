//! The keywords of `link`: one table for the parser and for completion.
//!
//! iproute2 wants some keywords whole and takes any beginning of others; of these the first match in
//! the order of its source wins.

use umacvlan_core::MacvlanFlag;
use umacvlan_core::limit::LimitWord;
use umacvlan_core::rules::RuleWord;

use super::tokens::abbreviates;

/// A command of `link`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Delete,
    Set,
    Show,
}

/// The kind of value after a keyword, for completion.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operand {
    /// A number, an address, a new name.
    Any,
    /// A new name with `add`, else an existing link.
    Device,
    Netns,
    Parent,
    /// One of these.
    Words(&'static [&'static str]),
}

/// A keyword, its meaning for the parser, and when completion offers it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keyword<M: 'static> {
    name: &'static str,
    meaning: M,
    /// Any beginning of it is accepted.
    prefix: bool,
    /// The value after it, if it takes one.
    operand: Option<Operand>,
    /// The commands for which completion offers it.
    offered: &'static [Verb],
}

/// The meaning of a keyword of `add`, `set` and `del`.
#[derive(Clone, Copy, Debug)]
pub(super) enum LinkWord {
    Address,
    Alias,
    Allmulticast,
    Dev,
    Down,
    Help,
    Link,
    Mtu,
    Name,
    Netns,
    Promisc,
    Txqueuelen,
    Type,
    /// A keyword of `ip link` that macvlan links do not need, or that `ip` handles as well.
    Unsupported,
    Up,
}

/// The meaning of a keyword after `type macvlan`.
#[derive(Clone, Copy, Debug)]
pub(super) enum MacvlanWord {
    Bclim,
    Bcqueuelen,
    Dhcp,
    DhcpClientId,
    DhcpHostname,
    Flag,
    Help,
    Host,
    HostAddress,
    /// A limit.
    Limit(&'static LimitWord),
    Macaddr,
    Macnat,
    Mode,
    /// A rule.
    Rule(RuleWord),
    /// The name of a flag.
    Setting(MacvlanFlag),
}

/// The meaning of a keyword after `type macvtap` that a macvlan does not have. They are words of ours.
#[derive(Clone, Copy, Debug)]
pub(super) enum PortWord {
    Client,
    Group,
    Port,
    User,
}

/// The meaning of a keyword of `show`.
#[derive(Clone, Copy, Debug)]
pub(super) enum FilterWord {
    Dev,
    Help,
    Parent,
    Type,
    Unsupported,
    Up,
}

/// The meaning of `word` in `table`.
pub(super) fn find<M: Copy>(table: &[Keyword<M>], word: &str) -> Option<M> {
    let whole = || table.iter().find(|keyword| !keyword.prefix && keyword.name == word);
    let prefix = || table.iter().find(|keyword| keyword.prefix && abbreviates(word, keyword.name));
    whole().or_else(prefix).map(|keyword| keyword.meaning)
}

/// Whether `word` is a keyword after `type macvlan` or a beginning of one.
pub(super) fn begins_macvlan_keyword(word: &str) -> bool {
    MACVLAN.iter().any(|keyword| abbreviates(word, keyword.name)) || find(&PORT, word).is_some()
}

/// The keywords after `type macvlan`.
pub(super) fn macvlan_keywords() -> Vec<&'static str> {
    let ports = INTERFACES.iter().map(|keyword| keyword.name);
    MACVLAN.iter().map(|keyword| keyword.name).chain(ports).collect()
}

/// The keywords that completion offers for a command, with their values.
pub(crate) fn offered(verb: Verb) -> Vec<(&'static str, Option<Operand>)> {
    match verb {
        Verb::Add | Verb::Delete | Verb::Set => offered_in(&LINK, verb),
        Verb::Show => offered_in(&FILTER, verb),
    }
}

/// The keywords that completion offers after the type `kind`.
pub(crate) fn offered_after_type(verb: Verb, kind: &str) -> Vec<(&'static str, Option<Operand>)> {
    match verb {
        Verb::Add | Verb::Delete | Verb::Set => {
            let mut words = offered_in(&MACVLAN, verb);
            words.extend(match kind {
                "macvtap" => offered_in(&PORT, verb),
                _ => offered_in(&INTERFACES, verb),
            });
            words
        }
        Verb::Show => offered(verb),
    }
}

fn offered_in<M>(table: &[Keyword<M>], verb: Verb) -> Vec<(&'static str, Option<Operand>)> {
    let offered = table.iter().filter(|keyword| keyword.offered.contains(&verb));
    offered.map(|keyword| (keyword.name, keyword.operand)).collect()
}

impl<M> Keyword<M> {
    /// A keyword that has to be typed whole.
    const fn whole(name: &'static str, meaning: M) -> Self {
        Self { name, meaning, prefix: false, operand: None, offered: &[] }
    }

    /// A keyword of which any beginning is accepted.
    const fn prefix(name: &'static str, meaning: M) -> Self {
        Self { name, meaning, prefix: true, operand: None, offered: &[] }
    }
}

impl<M: Copy> Keyword<M> {
    /// Completion offers it for these commands.
    const fn offered(self, offered: &'static [Verb]) -> Self {
        Self { offered, ..self }
    }

    /// It takes a value.
    const fn takes(self, operand: Operand) -> Self {
        Self { operand: Some(operand), ..self }
    }
}

const ADD: &[Verb] = &[Verb::Add];
const SET: &[Verb] = &[Verb::Set];
const ADD_SET: &[Verb] = &[Verb::Add, Verb::Set];
const ALL: &[Verb] = &[Verb::Add, Verb::Delete, Verb::Set];
const SHOW: &[Verb] = &[Verb::Show];

const ON_OFF: Operand = Operand::Words(&["off", "on"]);
const TYPES: Operand = Operand::Words(&["macvlan", "macvtap"]);
/// What is done to a list.
const EDITS: Operand = Operand::Words(&["add", "del", "flush", "set"]);
const MODES: Operand = Operand::Words(&["bridge", "passthru", "private", "source", "vepa"]);

/// Keywords of `add`, `set` and `del`.
pub(super) const LINK: [Keyword<LinkWord>; 46] = [
    Keyword::whole("allmulticast", LinkWord::Allmulticast).takes(ON_OFF).offered(SET),
    Keyword::whole("arp", LinkWord::Unsupported),
    Keyword::whole("carrier", LinkWord::Unsupported),
    Keyword::whole("dev", LinkWord::Dev).takes(Operand::Device).offered(ALL),
    Keyword::whole("down", LinkWord::Down).offered(SET),
    Keyword::whole("gro_max_size", LinkWord::Unsupported),
    Keyword::whole("group", LinkWord::Unsupported),
    Keyword::whole("gso_max_segs", LinkWord::Unsupported),
    Keyword::whole("gso_max_size", LinkWord::Unsupported),
    Keyword::whole("index", LinkWord::Unsupported),
    Keyword::whole("mode", LinkWord::Unsupported),
    Keyword::whole("mtu", LinkWord::Mtu).takes(Operand::Any).offered(ADD_SET),
    Keyword::whole("multicast", LinkWord::Unsupported),
    Keyword::whole("name", LinkWord::Name).takes(Operand::Any).offered(ADD_SET),
    Keyword::whole("netns", LinkWord::Netns).takes(Operand::Netns).offered(ADD_SET),
    Keyword::whole("parentdev", LinkWord::Unsupported),
    Keyword::whole("promisc", LinkWord::Promisc).takes(ON_OFF).offered(SET),
    Keyword::whole("protodown", LinkWord::Unsupported),
    Keyword::whole("protodown_reason", LinkWord::Unsupported),
    Keyword::whole("qlen", LinkWord::Txqueuelen),
    Keyword::whole("state", LinkWord::Unsupported),
    Keyword::whole("trailers", LinkWord::Unsupported),
    Keyword::whole("up", LinkWord::Up).offered(ADD_SET),
    Keyword::whole("vf", LinkWord::Unsupported),
    Keyword::whole("vrf", LinkWord::Unsupported),
    Keyword::whole("xdp", LinkWord::Unsupported),
    Keyword::whole("xdpdrv", LinkWord::Unsupported),
    Keyword::whole("xdpgeneric", LinkWord::Unsupported),
    Keyword::whole("xdpoffload", LinkWord::Unsupported),
    Keyword::prefix("link", LinkWord::Link).takes(Operand::Parent).offered(ADD),
    Keyword::prefix("address", LinkWord::Address).takes(Operand::Any).offered(ADD_SET),
    Keyword::prefix("broadcast", LinkWord::Unsupported),
    Keyword::prefix("brd", LinkWord::Unsupported),
    Keyword::prefix("txqueuelen", LinkWord::Txqueuelen).takes(Operand::Any).offered(ADD_SET),
    Keyword::prefix("txqlen", LinkWord::Txqueuelen),
    Keyword::prefix("master", LinkWord::Unsupported),
    Keyword::prefix("nomaster", LinkWord::Unsupported),
    Keyword::prefix("dynamic", LinkWord::Unsupported),
    Keyword::prefix("type", LinkWord::Type).takes(TYPES).offered(ALL),
    Keyword::prefix("alias", LinkWord::Alias).takes(Operand::Any).offered(SET),
    Keyword::prefix("numtxqueues", LinkWord::Unsupported),
    Keyword::prefix("numrxqueues", LinkWord::Unsupported),
    Keyword::prefix("addrgenmode", LinkWord::Unsupported),
    Keyword::prefix("link-netnsid", LinkWord::Unsupported),
    Keyword::prefix("link-netns", LinkWord::Unsupported),
    Keyword::prefix("help", LinkWord::Help),
];

/// Keywords after `type macvlan`. Of two flags with one beginning the later one of
/// [`MacvlanFlag::ALL`] wins: for `ip`, `no` is nopromisc.
pub(super) const MACVLAN: [Keyword<MacvlanWord>; WORDS] = {
    let bclim = Keyword::whole("bclim", MacvlanWord::Bclim).takes(Operand::Any).offered(ADD_SET);
    let mut table = [bclim; WORDS];
    table[1] = Keyword::prefix("mode", MacvlanWord::Mode).takes(MODES).offered(ADD_SET);
    table[2] = Keyword::prefix("flag", MacvlanWord::Flag)
        .takes(Operand::Words(&FLAG_WORDS))
        .offered(ADD_SET);
    table[3] = Keyword::prefix(MACADDR, MacvlanWord::Macaddr).takes(EDITS).offered(ADD_SET);
    table[4] =
        Keyword::prefix("bcqueuelen", MacvlanWord::Bcqueuelen).takes(Operand::Any).offered(ADD_SET);
    table[5] = Keyword::prefix("help", MacvlanWord::Help);
    table[6] = Keyword::whole("macnat", MacvlanWord::Macnat).takes(ON_OFF).offered(ADD);
    table[7] = Keyword::whole("dhcp", MacvlanWord::Dhcp).takes(ON_OFF).offered(ADD);
    table[8] = Keyword::whole("dhcp_client_id", MacvlanWord::DhcpClientId)
        .takes(Operand::Any)
        .offered(ADD);
    table[9] =
        Keyword::whole("dhcp_hostname", MacvlanWord::DhcpHostname).takes(Operand::Any).offered(ADD);
    table[10] = Keyword::whole("host", MacvlanWord::Host).takes(Operand::Any).offered(ADD_SET);
    table[11] = Keyword::whole("host_address", MacvlanWord::HostAddress)
        .takes(Operand::Any)
        .offered(ADD_SET);
    let mut at = 0;
    while at < FLAGS {
        let flag = MacvlanFlag::ALL[FLAGS - 1 - at];
        table[FIXED + at] =
            Keyword::prefix(flag.name(), MacvlanWord::Setting(flag)).offered(ADD_SET);
        at += 1;
    }
    let mut at = 0;
    while at < LIMITS.len() {
        let word = &LIMITS[at];
        table[FIXED + FLAGS + at] = Keyword::whole(word.name, MacvlanWord::Limit(word))
            .takes(Operand::Any)
            .offered(ADD_SET);
        at += 1;
    }
    let mut at = 0;
    while at < RuleWord::ALL.len() {
        let word = RuleWord::ALL[at];
        let operand = if word.is_list() { EDITS } else { Operand::Words(&["off", "on"]) };
        table[FIXED + FLAGS + LIMITS.len() + at] =
            Keyword::whole(word.name(), MacvlanWord::Rule(word)).takes(operand).offered(ADD_SET);
        at += 1;
    }
    table
};

/// Keywords that stand in the table one by one.
const FIXED: usize = 12;

const WORDS: usize = FIXED + FLAGS + LIMITS.len() + RuleWord::ALL.len();

/// What `port` may be after `type macvlan`, where it is the only keyword in addition to those of `ip`.
pub(super) const INTERFACES: [Keyword<PortWord>; 1] = [Keyword::whole("port", PortWord::Port)
    .takes(Operand::Words(&["auto", "tap", "veth"]))
    .offered(ADD)];

/// Keywords after `type macvtap` in addition to those of a macvlan. `user` and `group` are those of
/// `ip tuntap`.
pub(super) const PORT: [Keyword<PortWord>; 4] = [
    Keyword::whole("port", PortWord::Port)
        .takes(Operand::Words(&["stream", "dgram", "vhost-user", "tap", "dev"]))
        .offered(ADD),
    Keyword::whole("client", PortWord::Client).takes(Operand::Any).offered(ADD),
    Keyword::whole("user", PortWord::User).takes(Operand::Any).offered(ADD),
    Keyword::whole("group", PortWord::Group).takes(Operand::Any).offered(ADD),
];

const FLAGS: usize = MacvlanFlag::ALL.len();

static LIMITS: [LimitWord; LimitWord::ALL.len()] = LimitWord::ALL;

/// The values of `flag`, which are those of `ip`.
const FLAG_WORDS: [&str; MacvlanFlag::KERNEL.len() + 1] = {
    let mut words = ["null"; MacvlanFlag::KERNEL.len() + 1];
    let mut at = 0;
    while at < MacvlanFlag::KERNEL.len() {
        words[at] = MacvlanFlag::KERNEL[at].name();
        at += 1;
    }
    words
};

/// The only keyword with more than one value: an operation, and addresses.
pub(crate) const MACADDR: &str = "macaddr";

/// Keywords of `show`. `link` and `master` are other names of `parent`: what is above a macvlan is
/// its link, and a macvlan has no master.
pub(super) const FILTER: [Keyword<FilterWord>; 10] = [
    Keyword::whole("up", FilterWord::Up).offered(SHOW),
    Keyword::whole("type", FilterWord::Type).takes(TYPES).offered(SHOW),
    Keyword::whole("link", FilterWord::Parent),
    Keyword::whole("master", FilterWord::Parent),
    Keyword::whole("parent", FilterWord::Parent).takes(Operand::Parent).offered(SHOW),
    Keyword::whole("group", FilterWord::Unsupported),
    Keyword::whole("nomaster", FilterWord::Unsupported),
    Keyword::whole("vrf", FilterWord::Unsupported),
    Keyword::whole("dev", FilterWord::Dev).takes(Operand::Device).offered(SHOW),
    Keyword::prefix("help", FilterWord::Help),
];
