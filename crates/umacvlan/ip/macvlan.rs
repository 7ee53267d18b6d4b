//! [`Macvlan`]: the words after `type macvlan`.

use nix::libc;
use umacvlan_core::{MacAddr, MacvlanFlag, MacvlanFlags, MacvlanSettings, Mode};

use super::complaint::{Complaint, FAILED};
use super::help;
use super::words::{Words, abbreviates, link_address, number, station};
use umacvlan_api::{LinkSpec, MacaddrChange, MacaddrOp, MacvlanChange};

/// What was typed; what was not is absent.
#[derive(Debug, Default)]
pub(super) struct Macvlan {
    mode: Option<Mode>,
    flags: Option<MacvlanFlags>,
    macaddr: Option<MacaddrChange>,
    bcqueuelen: Option<u32>,
    bclim: Option<i32>,
}

impl Macvlan {
    pub(super) fn parse(mut words: Words<'_>) -> Result<Self, Complaint> {
        let mut macvlan = Self::default();
        while let Some(word) = words.next() {
            // The newer word has to be whole, and comes first only then.
            match word {
                "bclim" => macvlan.bclim = Some(bclim(words.value()?)?),
                _ if abbreviates(word, "mode") => macvlan.mode = Some(mode(words.value()?)?),
                _ if abbreviates(word, "flag") => macvlan.flag(words.value()?)?,
                _ if abbreviates(word, "macaddr") => macvlan.macaddr = Some(macaddr(&mut words)?),
                _ if abbreviates(word, "bcqueuelen") => {
                    macvlan.bcqueuelen = Some(bcqueuelen(words.value()?)?);
                }
                _ if abbreviates(word, "help") => {
                    return Err(Complaint::new(FAILED, help::macvlan()));
                }
                _ => match flags().find(|flag| abbreviates(word, flag.name())) {
                    Some(flag) => macvlan.flag(flag.name())?,
                    None => return Err(unknown(word)),
                },
            }
        }
        let set = macvlan.flags.unwrap_or_default().iter();
        let required = set.filter_map(|flag| Some((flag, flag.required_mode()?)));
        for (flag, mode) in required.filter(|(_, mode)| macvlan.mode != Some(*mode)) {
            let text = format!("macvlan: {} flag only valid in {mode} mode", flag.name());
            return Err(Complaint::new(FAILED, format!("{text}\n{}", help::macvlan())));
        }
        Ok(macvlan)
    }

    fn flag(&mut self, word: &str) -> Result<(), Complaint> {
        let set = self.flags.get_or_insert_default();
        match MacvlanFlag::ALL.into_iter().find(|flag| flag.name() == word) {
            Some(flag) => *set = set.with(flag, true),
            // Any word about flags replaces those there are; this one by none.
            None if word == "null" => {}
            None => {
                let names = flags().map(|flag| format!("\"{}\"", flag.name()));
                let choice = format!("{} or \"null\"", names.collect::<Vec<_>>().join(", "));
                return Err(Complaint::must_be("flag", &choice, word));
            }
        }
        Ok(())
    }

    /// Writes it into what a new link is to be.
    pub(super) fn fill(self, spec: &mut LinkSpec) -> Result<(), Complaint> {
        let mode = self.mode.unwrap_or_default();
        if self.macaddr.is_some() && mode != Mode::Source {
            return Err(Complaint::kernel(libc::EINVAL)
                .hint("macaddr is for mode source, the only one with a list of stations"));
        }
        // Nothing can be taken off a list that is not there yet.
        let list = self.macaddr.filter(|change| change.op != MacaddrOp::Del);
        spec.settings = MacvlanSettings {
            mode,
            flags: self.flags.unwrap_or_default(),
            bcqueuelen: self.bcqueuelen,
            bclim: self.bclim,
            sources: list.map(|change| change.addresses).unwrap_or_default(),
        };
        Ok(())
    }

    /// What is to become of a link.
    pub(super) fn change(self) -> MacvlanChange {
        let Self { mode, flags, macaddr, bcqueuelen, bclim } = self;
        MacvlanChange { mode, flags, bcqueuelen, bclim, macaddr }
    }
}

/// The flags in the order in which abbreviations are tried: as of `ip`, `no` is nopromisc.
fn flags() -> impl Iterator<Item = MacvlanFlag> {
    MacvlanFlag::ALL.into_iter().rev()
}

fn mode(word: &str) -> Result<Mode, Complaint> {
    word.parse().map_err(|_| Complaint::must_be("mode", MODES, word))
}

fn macaddr(words: &mut Words<'_>) -> Result<MacaddrChange, Complaint> {
    let op = match words.value()? {
        "add" => MacaddrOp::Add,
        "del" => MacaddrOp::Del,
        "flush" => return Ok(MacaddrChange { op: MacaddrOp::Set, addresses: Vec::new() }),
        "set" => return stations(words),
        other => return Err(unknown(other)),
    };
    let word = words.value()?;
    let bytes = link_address(word)?;
    let address = station(&bytes).ok_or_else(|| {
        Complaint::own(FAILED, format!("\"{word}\" is not an address of six bytes"))
    })?;
    Ok(MacaddrChange { op, addresses: vec![address] })
}

/// As many addresses as follow, or none.
fn stations(words: &mut Words<'_>) -> Result<MacaddrChange, Complaint> {
    let mut addresses: Vec<MacAddr> = Vec::new();
    while let Some(word) = words.peek()
        && !known(word)
    {
        let bytes = link_address(word).map_err(|mut complaint| {
            complaint.text = format!("{}\n{}", complaint.text, unknown(word).text);
            complaint
        })?;
        addresses.push(station(&bytes).ok_or_else(|| unknown(word))?);
        words.next();
    }
    Ok(MacaddrChange { op: MacaddrOp::Set, addresses })
}

/// True for a word that ends a list of addresses. One of one or two letters may be a group.
fn known(word: &str) -> bool {
    let words = ["mode", "flag", "macaddr", "bcqueuelen", "bclim", "help"].into_iter();
    let mut words = words.chain(flags().map(MacvlanFlag::name));
    word.len() > 2 && words.any(|full| abbreviates(word, full))
}

fn bcqueuelen(value: &str) -> Result<u32, Complaint> {
    let number = number(value).and_then(|number| u32::try_from(number).ok());
    let choice = "a positive integer [0-4294967295]";
    number.ok_or_else(|| Complaint::must_be("bcqueuelen", choice, value))
}

fn bclim(value: &str) -> Result<i32, Complaint> {
    let number = number(value).and_then(|number| i32::try_from(number).ok());
    number.ok_or_else(|| Complaint::must_be("bclim", "an integer, -1 for no limit", value))
}

fn unknown(word: &str) -> Complaint {
    Complaint::new(FAILED, format!("macvlan: unknown option \"{word}\"?\n{}", help::macvlan()))
}

const MODES: &str = "\"private\", \"vepa\", \"bridge\", \"passthru\" or \"source\"";

pub(super) const NOT_YET: &str =
    "macvtap is not served yet: type macvlan makes an interface, and ip link a kernel macvtap";
