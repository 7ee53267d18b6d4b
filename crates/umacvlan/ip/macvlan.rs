//! [`Macvlan`]: the options after `type macvlan`.

use nix::libc;
use umacvlan_core::{MacAddr, MacvlanFlag, MacvlanFlags, MacvlanSettings, Mode};

use super::error::{CommandError, FAILED};
use super::help;
use super::keywords::{MACVLAN, MacvlanWord, begins_macvlan_keyword, find};
use super::tokens::{Tokens, link_address, mac_address, number};
use umacvlan_api::{LinkSpec, MacaddrChange, MacaddrOp, MacvlanChange};

/// The options that were given.
#[derive(Debug, Default)]
pub(super) struct Macvlan {
    mode: Option<Mode>,
    /// Those of the kernel.
    flags: Option<MacvlanFlags>,
    spoofchk: Option<bool>,
    macaddr: Option<MacaddrChange>,
    bcqueuelen: Option<u32>,
    bclim: Option<i32>,
}

impl Macvlan {
    pub(super) fn parse(mut words: Tokens<'_>) -> Result<Self, CommandError> {
        let mut macvlan = Self::default();
        while let Some(word) = words.next() {
            match find(&MACVLAN, word) {
                Some(MacvlanWord::Bclim) => macvlan.bclim = Some(bclim(words.value()?)?),
                Some(MacvlanWord::Bcqueuelen) => {
                    macvlan.bcqueuelen = Some(bcqueuelen(words.value()?)?);
                }
                Some(MacvlanWord::Flag) => macvlan.flag(words.value()?)?,
                Some(MacvlanWord::Help) => {
                    return Err(CommandError::new(FAILED, help::macvlan()));
                }
                Some(MacvlanWord::Macaddr) => macvlan.macaddr = Some(macaddr(&mut words)?),
                Some(MacvlanWord::Mode) => macvlan.mode = Some(mode(words.value()?)?),
                Some(MacvlanWord::Setting(MacvlanFlag::Spoofchk)) => {
                    macvlan.spoofchk = Some(is_on(&mut words));
                }
                Some(MacvlanWord::Setting(flag)) => macvlan.flag(flag.name())?,
                None => return Err(unknown(word)),
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

    /// Adds the options to the request for a new link.
    pub(super) fn fill(self, spec: &mut LinkSpec) -> Result<(), CommandError> {
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
            sources: list.map(|change| change.addresses).unwrap_or_default(),
        };
        Ok(())
    }

    /// The change of an existing link.
    pub(super) fn change(self) -> MacvlanChange {
        let Self { mode, flags, spoofchk, macaddr, bcqueuelen, bclim } = self;
        MacvlanChange { mode, flags, spoofchk, bcqueuelen, bclim, macaddr }
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

const MODES: &str = "\"private\", \"vepa\", \"bridge\", \"passthru\" or \"source\"";

pub(super) const NOT_YET: &str =
    "macvtap is not served yet: type macvlan makes an interface, and ip link a kernel macvtap";
