//! [`Wish`]: the words of `link add`, `link set` and `link del`, which are the same for all three.

use nix::libc;

use super::error::{Complaint, Device, FAILED, REFUSED, USAGE};
use super::help;
use super::link::LinkCommand;
use super::macvlan::{Macvlan, NOT_YET};
use super::tokens::{Words, abbreviates, known_name, link_address, new_name, number, station};
use umacvlan_api::{LinkChange, LinkSpec};

/// Whose words are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Add,
    Delete,
    Set,
}

/// What was typed, not yet what it means.
#[derive(Debug, Default)]
pub(super) struct Wish<'a> {
    device: Option<&'a str>,
    name: Option<&'a str>,
    parent: Option<&'a str>,
    address: Option<Vec<u8>>,
    alias: Option<&'a str>,
    allmulticast: Option<bool>,
    mtu: Option<u32>,
    netns: Option<&'a str>,
    promisc: Option<bool>,
    txqueuelen: Option<u32>,
    up: Option<bool>,
    kind: Option<&'a str>,
    /// The words after the kind: its own.
    options: Option<Words<'a>>,
}

/// The words that are known.
#[derive(Clone, Copy, Debug)]
enum Word {
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
    /// A word of `ip link` for what macvlan links do not need, or `ip` does as well.
    Unserved,
    Up,
}

impl<'a> Wish<'a> {
    pub(super) fn parse(verb: Verb, mut words: Words<'a>) -> Result<Self, Complaint> {
        let mut wish = Self::default();
        while let Some(word) = words.next() {
            match meant(word) {
                Some(Word::Up) => wish.up = Some(true),
                Some(Word::Down) => wish.up = Some(false),
                Some(Word::Help) => return Err(help::link_usage()),
                Some(Word::Unserved) => {
                    return Err(Complaint::unserved(word).after(&wish.links(verb)));
                }
                Some(Word::Link) if verb != Verb::Add => {
                    return Err(Complaint::unserved(word).after(&wish.links(verb)));
                }
                Some(Word::Type) => {
                    wish.kind = Some(words.value()?);
                    wish.options = Some(words);
                    break;
                }
                Some(Word::Dev) => wish.device(words.value()?)?,
                Some(key) => wish.value(key, word, words.value()?)?,
                None => wish.device(word)?,
            }
        }
        Ok(wish)
    }

    fn device(&mut self, name: &'a str) -> Result<(), Complaint> {
        if self.device.is_some() {
            return Err(Complaint::garbage(name));
        }
        self.device = Some(known_name(name)?);
        Ok(())
    }

    fn value(&mut self, key: Word, word: &str, value: &'a str) -> Result<(), Complaint> {
        match key {
            Word::Address => self.address = Some(link_address(value)?),
            Word::Alias if value.len() > LONGEST_ALIAS => {
                return Err(Complaint::wrong(value, "alias too long"));
            }
            Word::Alias => self.alias = Some(value),
            Word::Allmulticast => self.allmulticast = Some(switch(word, value)?),
            Word::Link => self.parent = Some(value),
            Word::Mtu => once(&mut self.mtu, "mtu", value, quantity("mtu", value)?)?,
            Word::Name => once(&mut self.name, "name", value, new_name("name", value)?)?,
            Word::Netns => once(&mut self.netns, "netns", value, value)?,
            Word::Promisc => self.promisc = Some(switch(word, value)?),
            Word::Txqueuelen => {
                once(&mut self.txqueuelen, "txqueuelen", value, quantity("txqueuelen", value)?)?;
            }
            Word::Dev | Word::Down | Word::Help | Word::Type | Word::Unserved | Word::Up => {}
        }
        Ok(())
    }

    /// What `ip` looks up before it reads the options of the kind.
    fn links(&self, verb: Verb) -> Vec<Device> {
        match verb {
            Verb::Add => self.parent.map(|name| Device::Parent(name.to_owned())),
            _ => self.device.or(self.name).map(|name| Device::Link(name.to_owned())),
        }
        .into_iter()
        .collect()
    }

    fn target(&self) -> Result<&'a str, Complaint> {
        self.device.or(self.name).ok_or_else(|| {
            Complaint::new(USAGE, "Not enough information: \"dev\" argument is required.")
        })
    }

    pub(super) fn add(self) -> Result<LinkCommand, Complaint> {
        let after = self.links(Verb::Add);
        if self.device.is_some() && self.name.is_some() {
            let text = "both \"name\" and \"dev\" cannot be used when creating devices.";
            return Err(Complaint::new(USAGE, text));
        }
        let spec = self.spec().map_err(|complaint| complaint.after(&after))?;
        let name = self.device.or(self.name).map(str::to_owned);
        Ok(LinkCommand::Add { name, spec: Box::new(spec) })
    }

    /// What the new link is to be; the complaints come after those about devices.
    fn spec(&self) -> Result<LinkSpec, Complaint> {
        let Some(kind) = self.kind else {
            let text = "Not enough information: \"type\" argument is required";
            return Err(Complaint::new(FAILED, text));
        };
        if let Some(name) = self.device
            && new_name("name", name).is_err()
        {
            return Err(Complaint::new(REFUSED, "Error: Attribute failed policy validation.")
                .hint(format!("the name of an interface has at most 15 bytes: {name}")));
        }
        if kind != "macvlan" {
            let hint = if kind == "macvtap" { NOT_YET } else { MACVLAN_ONLY };
            return Err(Complaint::new(REFUSED, "Error: Unknown device type.").hint(hint));
        }
        let macvlan = self.macvlan()?;
        let invalid = |hint| Complaint::kernel(libc::EINVAL).hint(hint);
        let parent = self.parent.ok_or_else(|| invalid(NO_PARENT))?;
        let address = self.address.as_deref().map(|bytes| station(bytes).ok_or(SIX_BYTES));
        let mut spec = LinkSpec {
            parent: parent.to_owned(),
            address: address.transpose().map_err(invalid)?,
            alias: self.alias.filter(|alias| !alias.is_empty()).map(str::to_owned),
            allmulticast: self.allmulticast.unwrap_or_default(),
            mtu: self.mtu,
            netns: self.netns.map(str::to_owned),
            promisc: self.promisc.unwrap_or_default(),
            txqueuelen: self.txqueuelen,
            up: self.up,
            ..LinkSpec::default()
        };
        macvlan.fill(&mut spec)?;
        Ok(spec)
    }

    pub(super) fn set(self) -> Result<LinkCommand, Complaint> {
        let name = self.target()?;
        let after = self.links(Verb::Set);
        let change = self.change(name).map_err(|complaint| complaint.after(&after))?;
        Ok(LinkCommand::Set { name: name.to_owned(), change: Box::new(change) })
    }

    /// What is to become of the link `name`; the complaints come after those about devices.
    fn change(&self, name: &str) -> Result<LinkChange, Complaint> {
        let macvlan = match self.kind {
            Some("macvlan") => Some(self.macvlan()?.change()),
            Some(_) if self.options.as_ref().is_some_and(|options| !options.is_empty()) => {
                return Err(Complaint::kernel(libc::EOPNOTSUPP).hint(MACVLAN_ONLY));
            }
            _ => None,
        };
        let address = self.address.as_deref().map(|bytes| {
            let text = format!("Invalid address length {} - must be 6 bytes", bytes.len());
            station(bytes).ok_or_else(|| Complaint::new(FAILED, text))
        });
        Ok(LinkChange {
            macvlan,
            netns: self.netns.map(str::to_owned),
            address: address.transpose()?,
            mtu: self.mtu,
            txqueuelen: self.txqueuelen,
            // What it is called already is no new name.
            name: self.name.filter(|&new| new != name).map(str::to_owned),
            alias: self.alias.map(str::to_owned),
            promisc: self.promisc,
            allmulticast: self.allmulticast,
            up: self.up,
        })
    }

    pub(super) fn delete(self) -> Result<LinkCommand, Complaint> {
        let name = self.target()?.to_owned();
        if self.kind == Some("macvlan") {
            // They change nothing, but wrong ones are told.
            self.macvlan().map_err(|complaint| complaint.after(&self.links(Verb::Delete)))?;
        }
        Ok(LinkCommand::Delete { name })
    }

    fn macvlan(&self) -> Result<Macvlan, Complaint> {
        Macvlan::parse(self.options.clone().unwrap_or_else(|| Words::new(&[])))
    }
}

fn meant(word: &str) -> Option<Word> {
    let whole = WHOLE.iter().find(|(full, _)| word == *full);
    let begun = || BEGUN.iter().find(|(full, _)| abbreviates(word, full));
    whole.or_else(begun).map(|&(_, meant)| meant)
}

fn once<T>(slot: &mut Option<T>, key: &str, typed: &str, value: T) -> Result<(), Complaint> {
    slot.replace(value).map_or(Ok(()), |_| Err(Complaint::duplicate(key, typed)))
}

fn switch(key: &str, value: &str) -> Result<bool, Complaint> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(Complaint::must_be(key, "\"on\" or \"off\"", value)),
    }
}

/// A number that `ip` reads with a sign and the kernel without one. For an MTU a negative one is
/// too small, not too large, so it is none at all.
fn quantity(key: &str, value: &str) -> Result<u32, Complaint> {
    let number = number(value).and_then(|number| i32::try_from(number).ok());
    let number = number.ok_or_else(|| Complaint::invalid(key, value))?;
    Ok(if key == "mtu" { u32::try_from(number).unwrap_or(0) } else { number.cast_unsigned() })
}

/// Words that have to be typed whole.
const WHOLE: [(&str, Word); 29] = [
    ("allmulticast", Word::Allmulticast),
    ("arp", Word::Unserved),
    ("carrier", Word::Unserved),
    ("dev", Word::Dev),
    ("down", Word::Down),
    ("gro_max_size", Word::Unserved),
    ("group", Word::Unserved),
    ("gso_max_segs", Word::Unserved),
    ("gso_max_size", Word::Unserved),
    ("index", Word::Unserved),
    ("mode", Word::Unserved),
    ("mtu", Word::Mtu),
    ("multicast", Word::Unserved),
    ("name", Word::Name),
    ("netns", Word::Netns),
    ("parentdev", Word::Unserved),
    ("promisc", Word::Promisc),
    ("protodown", Word::Unserved),
    ("protodown_reason", Word::Unserved),
    ("qlen", Word::Txqueuelen),
    ("state", Word::Unserved),
    ("trailers", Word::Unserved),
    ("up", Word::Up),
    ("vf", Word::Unserved),
    ("vrf", Word::Unserved),
    ("xdp", Word::Unserved),
    ("xdpdrv", Word::Unserved),
    ("xdpgeneric", Word::Unserved),
    ("xdpoffload", Word::Unserved),
];

/// Words of which the beginning is enough, in this order: the first one is meant.
const BEGUN: [(&str, Word); 17] = [
    ("link", Word::Link),
    ("address", Word::Address),
    ("broadcast", Word::Unserved),
    ("brd", Word::Unserved),
    ("txqueuelen", Word::Txqueuelen),
    ("txqlen", Word::Txqueuelen),
    ("master", Word::Unserved),
    ("nomaster", Word::Unserved),
    ("dynamic", Word::Unserved),
    ("type", Word::Type),
    ("alias", Word::Alias),
    ("numtxqueues", Word::Unserved),
    ("numrxqueues", Word::Unserved),
    ("addrgenmode", Word::Unserved),
    ("link-netnsid", Word::Unserved),
    ("link-netns", Word::Unserved),
    ("help", Word::Help),
];

/// `IFALIASZ` of linux/if.h, less the zero behind it.
const LONGEST_ALIAS: usize = 255;

const MACVLAN_ONLY: &str = "makes macvlan links and no others: for those there is ip link";
const NO_PARENT: &str =
    "a macvlan is made on a parent: umacvlan link add link PARENT NAME type macvlan";
const SIX_BYTES: &str = "the address of an interface has six bytes, as 02:00:5e:10:00:01";

#[cfg(test)]
mod tests;
