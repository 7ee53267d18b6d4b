//! [`Macvlan`]: the options after `type macvlan`.

use nix::libc;
use nix::unistd::{Group, User};
use umacvlan_core::limit::{LimitWord, Limits, LimitsChange};
use umacvlan_core::options::{LinkPort, PortKind, ProgramKind};
use umacvlan_core::rules::{RuleOp, RuleWord, Rules, RulesChange};
use umacvlan_core::{MacAddr, MacvlanFlag, MacvlanFlags, MacvlanSettings, Mode};

use super::addressing::Addressing;
use super::error::{CommandError, FAILED};
use super::help;
use super::keywords::{
    INTERFACES, MACVLAN, MacvlanWord, PORT, PortWord, begins_macvlan_keyword, find,
    macvlan_keywords,
};
use super::tokens::{Tokens, link_address, mac_address, number};
use umacvlan_api::{HostAccess, LinkKind, LinkSpec, MacaddrChange, MacaddrOp, MacvlanChange};
use umacvlan_text::suggest::did_you_mean;

/// The options that were given.
#[derive(Debug, Default)]
pub(super) struct Macvlan {
    mode: Option<Mode>,
    /// Those of the kernel.
    flags: Option<MacvlanFlags>,
    spoofchk: Option<bool>,
    macnat: Option<bool>,
    macaddr: Option<MacaddrChange>,
    bcqueuelen: Option<u32>,
    bclim: Option<i32>,
    limits: LimitsChange,
    rules: RulesChange,
    addressing: Addressing,
    port: Option<LinkPort>,
    client: Option<String>,
    dev: Option<String>,
    user: Option<u32>,
    group: Option<u32>,
}

impl Macvlan {
    /// Parses the options after this type.
    pub(super) fn parse(kind: LinkKind, mut words: Tokens<'_>) -> Result<Self, CommandError> {
        let mut macvlan = Self::default();
        while let Some(word) = words.next() {
            let port = match kind {
                LinkKind::Macvlan => find(&INTERFACES, word),
                LinkKind::Macvtap => find(&PORT, word),
            };
            if let Some(key) = port {
                macvlan.port_word(kind, key, words.value()?)?;
                if macvlan.port == Some(DEV) && macvlan.dev.is_none() {
                    macvlan.dev = Some(words.value()?.to_owned());
                }
                continue;
            }
            match find(&MACVLAN, word) {
                Some(MacvlanWord::Bclim) => macvlan.bclim = Some(bclim(words.value()?)?),
                Some(MacvlanWord::Bcqueuelen) => {
                    macvlan.bcqueuelen = Some(bcqueuelen(words.value()?)?);
                }
                Some(MacvlanWord::Dhcp) => macvlan.addressing.dhcp = Some(is_on(&mut words)),
                Some(MacvlanWord::DhcpClientId) => {
                    macvlan.addressing.client_id = Some(words.value()?.to_owned());
                }
                Some(MacvlanWord::DhcpHostname) => {
                    macvlan.addressing.hostname = Some(words.value()?.to_owned());
                }
                Some(MacvlanWord::Host) => macvlan.addressing.host(words.value()?)?,
                Some(MacvlanWord::HostAddress) => {
                    macvlan.addressing.host_address(words.value()?)?;
                }
                Some(MacvlanWord::Flag) => macvlan.flag(words.value()?)?,
                Some(MacvlanWord::Help) => {
                    return Err(CommandError::new(FAILED, help::macvlan()));
                }
                Some(MacvlanWord::Limit(word)) => macvlan.limit(word, words.value()?)?,
                Some(MacvlanWord::Rule(word)) => rule(&mut macvlan.rules, word, &mut words)?,
                Some(MacvlanWord::Macnat) => macvlan.macnat = Some(is_on(&mut words)),
                Some(MacvlanWord::Macaddr) => macvlan.macaddr = Some(macaddr(&mut words)?),
                Some(MacvlanWord::Mode) => macvlan.mode = Some(mode(words.value()?)?),
                Some(MacvlanWord::Setting(MacvlanFlag::Spoofchk)) => {
                    macvlan.spoofchk = Some(is_on(&mut words));
                }
                Some(MacvlanWord::Setting(flag)) => macvlan.flag(flag.name())?,
                None => return Err(unknown(word).hint_of(likely(word))),
            }
        }
        let set = macvlan.flags.unwrap_or_default().iter();
        let required = set.filter_map(|flag| Some((flag, flag.required_mode()?)));
        let mut misplaced = required.filter(|(_, mode)| macvlan.mode != Some(*mode));
        if let Some((flag, mode)) = misplaced.next() {
            let text = format!("macvlan: {} flag only valid in {mode} mode", flag.name());
            return Err(CommandError::new(FAILED, format!("{text}\n{}", help::macvlan())));
        }
        Ok(macvlan)
    }

    fn port_word(
        &mut self,
        kind: LinkKind,
        key: PortWord,
        value: &str,
    ) -> Result<(), CommandError> {
        match key {
            PortWord::Port => self.port = Some(port(kind, value)?),
            PortWord::Client => self.client = Some(value.to_owned()),
            PortWord::User => self.user = Some(user(value)?),
            PortWord::Group => self.group = Some(group(value)?),
        }
        Ok(())
    }

    fn limit(&mut self, word: &LimitWord, value: &str) -> Result<(), CommandError> {
        self.limits
            .set(word.name, value)
            .map_err(|_| CommandError::must_be(word.name, word.expected(), value))
    }

    fn flag(&mut self, word: &str) -> Result<(), CommandError> {
        let set = self.flags.get_or_insert_default();
        match MacvlanFlag::KERNEL.into_iter().find(|flag| flag.name() == word) {
            Some(flag) => *set = set.with(flag, true),
            // A flag option replaces earlier ones; `null` sets none.
            None if word == "null" => {}
            None => {
                let kernel = MacvlanFlag::KERNEL.into_iter().rev();
                let names = kernel.map(|flag| format!("\"{}\"", flag.name()));
                let choice = format!("{} or \"null\"", names.collect::<Vec<_>>().join(", "));
                return Err(CommandError::must_be("flag", &choice, word));
            }
        }
        Ok(())
    }

    /// Adds the options to the request for a new link of this type.
    pub(super) fn fill(self, kind: LinkKind, spec: &mut LinkSpec) -> Result<(), CommandError> {
        let program = LinkPort::Program(ProgramKind::VhostUser);
        let port = self.port.or_else(|| (kind == LinkKind::Macvtap).then_some(program));
        spec.set_port(port);
        spec.macnat = self.macnat.unwrap_or_default();
        (spec.user, spec.group, spec.client) = (self.user, self.group, self.client);
        spec.dev = self.dev;
        spec.dhcp = self.addressing.new_dhcp()?;
        spec.host = self.addressing.host_access()?.unwrap_or_default();
        let mode = self.mode.unwrap_or_default();
        if self.macaddr.is_some() && mode != Mode::Source {
            return Err(CommandError::kernel(libc::EINVAL)
                .hint("macaddr is for mode source, the only one with a list of stations"));
        }
        // A new link has no list to delete from.
        let list = self.macaddr.filter(|change| change.op != MacaddrOp::Del);
        spec.settings = MacvlanSettings {
            mode,
            flags: self
                .flags
                .unwrap_or_default()
                .with(MacvlanFlag::Spoofchk, self.spoofchk.unwrap_or_default()),
            bcqueuelen: self.bcqueuelen,
            bclim: self.bclim,
            limits: self.limits.apply(Limits::default()),
            rules: self
                .rules
                .apply(Rules::default())
                .map_err(|error| CommandError::own(FAILED, error.to_string()))?,
            sources: list.map(|change| change.addresses).unwrap_or_default(),
        };
        Ok(())
    }

    /// How the host is to reach the link from now on; `None` if that stays.
    pub(super) fn host_change(&self) -> Result<Option<HostAccess>, CommandError> {
        self.addressing.check_unchanged_dhcp()?;
        self.addressing.host_access()
    }

    /// The change of an existing link of this type.
    pub(super) fn change(self, kind: LinkKind) -> Result<MacvlanChange, CommandError> {
        let Self { mode, flags, spoofchk, macaddr, bcqueuelen, bclim, limits, rules, .. } = self;
        let Self { port, client, user, group, macnat, .. } = self;
        if port.is_some() || client.is_some() || user.is_some() || group.is_some() {
            let hint = "the port of a link cannot be changed: delete it and make it again";
            return Err(CommandError::kernel(libc::EOPNOTSUPP).hint(hint));
        }
        if macnat.is_some() {
            let hint =
                "macnat is of the parent and all its links: it is given with the first of them";
            return Err(CommandError::kernel(libc::EOPNOTSUPP).hint(hint));
        }
        // A daemon of an older version has macvlans only.
        let kind = Some(kind).filter(|&kind| kind == LinkKind::Macvtap);
        let limits = Some(limits).filter(|limits| !limits.is_empty());
        let rules = Some(rules).filter(|rules| !rules.is_empty());
        Ok(MacvlanChange { mode, flags, spoofchk, limits, rules, bcqueuelen, bclim, macaddr, kind })
    }
}

/// Whether a setting that is no flag of the kernel's is switched on: `on`, `off`, as for SR-IOV, or
/// nothing may follow.
fn is_on(words: &mut Tokens<'_>) -> bool {
    match words.peek() {
        Some(word @ ("on" | "off")) => {
            words.next();
            word == "on"
        }
        _ => true,
    }
}

fn port(kind: LinkKind, word: &str) -> Result<LinkPort, CommandError> {
    let port = match (kind, word) {
        (LinkKind::Macvtap, "tap") => Some(LinkPort::Program(ProgramKind::Tap)),
        _ => word.parse().ok(),
    };
    match (kind, port) {
        (LinkKind::Macvtap, Some(LinkPort::Program(_)))
        | (LinkKind::Macvlan, Some(LinkPort::Interface(_))) => port,
        _ => None,
    }
    .ok_or_else(|| match kind {
        LinkKind::Macvtap => {
            let choice = "\"vhost-user\", \"stream\", \"dgram\", \"tap\" or \"dev NAME\"";
            CommandError::must_be("port", choice, word)
        }
        LinkKind::Macvlan => {
            let names = PortKind::ALL.map(|kind| format!("\"{}\"", kind.name()));
            let [tap, veth, auto] = names;
            CommandError::must_be("port", &format!("{tap}, {veth} or {auto}"), word)
        }
    })
}

/// The id of a user, by name or number.
fn user(word: &str) -> Result<u32, CommandError> {
    let named = || User::from_name(word).ok().flatten().map(|user| user.uid.as_raw());
    let id = word.parse().ok().or_else(named);
    id.ok_or_else(|| CommandError::wrong(word, "there is no user of that name"))
}

/// The id of a group, by name or number.
fn group(word: &str) -> Result<u32, CommandError> {
    let named = || Group::from_name(word).ok().flatten().map(|group| group.gid.as_raw());
    let id = word.parse().ok().or_else(named);
    id.ok_or_else(|| CommandError::wrong(word, "there is no group of that name"))
}

fn mode(word: &str) -> Result<Mode, CommandError> {
    word.parse().map_err(|_| CommandError::must_be("mode", MODES, word))
}

fn macaddr(words: &mut Tokens<'_>) -> Result<MacaddrChange, CommandError> {
    let op = match words.value()? {
        "add" => MacaddrOp::Add,
        "del" => MacaddrOp::Del,
        "flush" => return Ok(MacaddrChange { op: MacaddrOp::Set, addresses: Vec::new() }),
        "set" => return mac_addresses(words),
        other => return Err(unknown(other)),
    };
    let word = words.value()?;
    let bytes = link_address(word)?;
    let address = mac_address(&bytes).ok_or_else(|| {
        CommandError::own(FAILED, format!("\"{word}\" is not an address of six bytes"))
    })?;
    Ok(MacaddrChange { op, addresses: vec![address] })
}

/// Parses what follows the word of a rule: a group, or what is done to its list.
fn rule(
    rules: &mut RulesChange,
    word: RuleWord,
    words: &mut Tokens<'_>,
) -> Result<(), CommandError> {
    let first = words.value()?;
    let (op, values) = match first {
        _ if !word.is_list() => (RuleOp::Set, vec![first]),
        "flush" => (RuleOp::Set, Vec::new()),
        "add" => (RuleOp::Add, vec![words.value()?]),
        "del" => (RuleOp::Del, vec![words.value()?]),
        "set" => {
            let mut values = Vec::new();
            while let Some(value) = words.peek()
                && !ends_address_list(value)
            {
                values.push(value);
                words.next();
            }
            (RuleOp::Set, values)
        }
        _ => {
            let choice = "\"add\", \"del\", \"set\" or \"flush\"";
            return Err(CommandError::must_be(word.name(), choice, first));
        }
    };
    for value in &values {
        Rules::default()
            .add(word, value)
            .map_err(|_| CommandError::must_be(word.name(), word.expected(), value))?;
    }
    rules.edit(word, op, values).map_err(|error| CommandError::own(FAILED, error.to_string()))
}

/// Parses addresses up to the next keyword; there may be none.
fn mac_addresses(words: &mut Tokens<'_>) -> Result<MacaddrChange, CommandError> {
    let mut addresses: Vec<MacAddr> = Vec::new();
    while let Some(word) = words.peek()
        && !ends_address_list(word)
    {
        let bytes = link_address(word).map_err(|mut error| {
            error.text = format!("{}\n{}", error.text, unknown(word).text);
            error
        })?;
        addresses.push(mac_address(&bytes).ok_or_else(|| unknown(word))?);
        words.next();
    }
    Ok(MacaddrChange { op: MacaddrOp::Set, addresses })
}

/// Whether a word ends a list of addresses. One or two letters may be a group of an address.
fn ends_address_list(word: &str) -> bool {
    word.len() > 2 && begins_macvlan_keyword(word)
}

fn bcqueuelen(value: &str) -> Result<u32, CommandError> {
    let number = number(value).and_then(|number| u32::try_from(number).ok());
    let choice = "a positive integer [0-4294967295]";
    number.ok_or_else(|| CommandError::must_be("bcqueuelen", choice, value))
}

fn bclim(value: &str) -> Result<i32, CommandError> {
    let number = number(value).and_then(|number| i32::try_from(number).ok());
    number.ok_or_else(|| CommandError::must_be("bclim", "an integer, -1 for no limit", value))
}

fn unknown(word: &str) -> CommandError {
    CommandError::new(FAILED, format!("macvlan: unknown option \"{word}\"?\n{}", help::macvlan()))
}

/// The keyword that was meant by a word that is none.
fn likely(word: &str) -> Option<String> {
    // What others call it.
    if word == "limit" {
        return Some("did you mean \"rate\"?".to_owned());
    }
    let guess = did_you_mean(word, &macvlan_keywords());
    guess.strip_prefix("; ").map(str::to_owned)
}

/// The port of a program behind an interface that is there already; its name follows.
const DEV: LinkPort = LinkPort::Program(ProgramKind::Dev);

const MODES: &str = "\"private\", \"vepa\", \"bridge\", \"passthru\" or \"source\"";
