//! [`LinkArgs`]: the arguments of `link add`, `link set` and `link del`, which share one grammar.

use nix::libc;

use super::error::{CommandError, Device, FAILED, REFUSED, USAGE};
use super::help;
use super::keywords::{LINK, LinkWord, Verb, find, macvlan_keywords};
use super::link::LinkCommand;
use super::macvlan::Macvlan;
use super::tokens::{Tokens, known_name, link_address, mac_address, new_name, number};
use umacvlan_api::{LinkChange, LinkKind, LinkSpec};

/// Parsed arguments, before they become a request.
#[derive(Debug, Default)]
pub(super) struct LinkArgs<'a> {
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
    /// The words after `type KIND`.
    options: Option<Tokens<'a>>,
}

impl<'a> LinkArgs<'a> {
    pub(super) fn parse(verb: Verb, mut words: Tokens<'a>) -> Result<Self, CommandError> {
        let mut args = Self::default();
        while let Some(word) = words.next() {
            match find(&LINK, word) {
                Some(LinkWord::Up) => args.up = Some(true),
                Some(LinkWord::Down) => args.up = Some(false),
                Some(LinkWord::Help) => return Err(help::link_usage()),
                Some(LinkWord::Unsupported) => {
                    return Err(unsupported(word).after(&args.links(verb)));
                }
                Some(LinkWord::Link) if verb != Verb::Add => {
                    return Err(CommandError::unsupported(word).after(&args.links(verb)));
                }
                Some(LinkWord::Type) => {
                    args.kind = Some(words.value()?);
                    args.options = Some(words);
                    break;
                }
                Some(LinkWord::Dev) => args.device(words.value()?)?,
                Some(key) => args.value(key, word, words.value()?)?,
                None => args.device(word)?,
            }
        }
        Ok(args)
    }

    fn device(&mut self, name: &'a str) -> Result<(), CommandError> {
        if self.device.is_some() {
            let error = CommandError::garbage(name);
            return Err(match macvlan_keywords().contains(&name) {
                true => error.hint(format!("\"{name}\" belongs behind \"type macvlan\"")),
                false => error,
            });
        }
        self.device = Some(known_name(name)?);
        Ok(())
    }

    fn value(&mut self, key: LinkWord, word: &str, value: &'a str) -> Result<(), CommandError> {
        match key {
            LinkWord::Address => self.address = Some(link_address(value)?),
            LinkWord::Alias if value.len() > MAX_ALIAS => {
                return Err(CommandError::wrong(value, "alias too long"));
            }
            LinkWord::Alias => self.alias = Some(value),
            LinkWord::Allmulticast => self.allmulticast = Some(switch(word, value)?),
            LinkWord::Link => self.parent = Some(value),
            LinkWord::Mtu => once(&mut self.mtu, "mtu", value, quantity("mtu", value)?)?,
            LinkWord::Name => once(&mut self.name, "name", value, new_name("name", value)?)?,
            LinkWord::Netns => once(&mut self.netns, "netns", value, value)?,
            LinkWord::Promisc => self.promisc = Some(switch(word, value)?),
            LinkWord::Txqueuelen => {
                once(&mut self.txqueuelen, "txqueuelen", value, quantity("txqueuelen", value)?)?;
            }
            LinkWord::Dev
            | LinkWord::Down
            | LinkWord::Help
            | LinkWord::Type
            | LinkWord::Unsupported
            | LinkWord::Up => {}
        }
        Ok(())
    }

    /// The devices that `ip` looks up before it parses the options of the kind.
    fn links(&self, verb: Verb) -> Vec<Device> {
        match verb {
            Verb::Add => self.parent.map(|name| Device::Parent(name.to_owned())),
            _ => self.device.or(self.name).map(|name| Device::Link(name.to_owned())),
        }
        .into_iter()
        .collect()
    }

    fn target(&self) -> Result<&'a str, CommandError> {
        self.device.or(self.name).ok_or_else(|| {
            CommandError::new(USAGE, "Not enough information: \"dev\" argument is required.")
        })
    }

    pub(super) fn add(self) -> Result<LinkCommand, CommandError> {
        let after = self.links(Verb::Add);
        if self.device.is_some() && self.name.is_some() {
            let text = "both \"name\" and \"dev\" cannot be used when creating devices.";
            return Err(CommandError::new(USAGE, text));
        }
        let spec = self.spec().map_err(|error| error.after(&after))?;
        let name = self.device.or(self.name).map(str::to_owned);
        Ok(LinkCommand::Add { name, spec: Box::new(spec) })
    }

    /// The request for a new link. `ip` reports these errors after those about devices.
    fn spec(&self) -> Result<LinkSpec, CommandError> {
        let Some(kind) = self.kind else {
            let text = "Not enough information: \"type\" argument is required";
            return Err(CommandError::new(FAILED, text));
        };
        if let Some(name) = self.device
            && new_name("name", name).is_err()
        {
            return Err(CommandError::new(REFUSED, "Error: Attribute failed policy validation.")
                .hint(format!("the name of an interface has at most 15 bytes: {name}")));
        }
        let Some(kind) = link_kind(kind) else {
            let unknown = CommandError::new(REFUSED, "Error: Unknown device type.");
            return Err(unknown.hint(MACVLAN_ONLY));
        };
        let macvlan = self.macvlan(kind)?;
        let invalid = |hint| CommandError::kernel(libc::EINVAL).hint(hint);
        let parent = self.parent.ok_or_else(|| invalid(NO_PARENT))?;
        let address = self.address.as_deref().map(|bytes| mac_address(bytes).ok_or(SIX_BYTES));
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
        macvlan.fill(kind, &mut spec)?;
        Ok(spec)
    }

    pub(super) fn set(self) -> Result<LinkCommand, CommandError> {
        let name = self.target()?;
        let after = self.links(Verb::Set);
        let change = self.change(name).map_err(|error| error.after(&after))?;
        Ok(LinkCommand::Set { name: name.to_owned(), change: Box::new(change) })
    }

    /// The change of the link `name`. `ip` reports these errors after those about devices.
    fn change(&self, name: &str) -> Result<LinkChange, CommandError> {
        let mut host = None;
        let macvlan = match self.kind.map(link_kind) {
            Some(Some(kind)) => {
                let macvlan = self.macvlan(kind)?;
                host = macvlan.host_change()?;
                Some(macvlan.change(kind)?)
            }
            Some(None) if self.options.as_ref().is_some_and(|options| !options.is_empty()) => {
                return Err(CommandError::kernel(libc::EOPNOTSUPP).hint(MACVLAN_ONLY));
            }
            _ => None,
        };
        let address = self.address.as_deref().map(|bytes| {
            let text = format!("Invalid address length {} - must be 6 bytes", bytes.len());
            mac_address(bytes).ok_or_else(|| CommandError::new(FAILED, text))
        });
        Ok(LinkChange {
            host,
            macvlan,
            netns: self.netns.map(str::to_owned),
            address: address.transpose()?,
            mtu: self.mtu,
            txqueuelen: self.txqueuelen,
            // The present name is no change.
            name: self.name.filter(|&new| new != name).map(str::to_owned),
            alias: self.alias.map(str::to_owned),
            promisc: self.promisc,
            allmulticast: self.allmulticast,
            up: self.up,
        })
    }

    pub(super) fn delete(self) -> Result<LinkCommand, CommandError> {
        let name = self.target()?.to_owned();
        if let Some(kind) = self.kind.and_then(link_kind) {
            // The options have no effect, but `ip` reports invalid ones.
            self.macvlan(kind).map_err(|error| error.after(&self.links(Verb::Delete)))?;
        }
        Ok(LinkCommand::Delete { name })
    }

    fn macvlan(&self, kind: LinkKind) -> Result<Macvlan, CommandError> {
        Macvlan::parse(kind, self.options.clone().unwrap_or_else(|| Tokens::new(&[])))
    }
}

/// The type of links of that name.
fn link_kind(name: &str) -> Option<LinkKind> {
    match name {
        "macvlan" => Some(LinkKind::Macvlan),
        "macvtap" => Some(LinkKind::Macvtap),
        _ => None,
    }
}

fn once<T>(slot: &mut Option<T>, key: &str, typed: &str, value: T) -> Result<(), CommandError> {
    slot.replace(value).map_or(Ok(()), |_| Err(CommandError::duplicate(key, typed)))
}

fn switch(key: &str, value: &str) -> Result<bool, CommandError> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(CommandError::must_be(key, "\"on\" or \"off\"", value)),
    }
}

/// A number that `ip` parses with a sign and the kernel takes without one. The kernel calls a negative
/// MTU too small, so it becomes 0.
fn quantity(key: &str, value: &str) -> Result<u32, CommandError> {
    let number = number(value).and_then(|number| i32::try_from(number).ok());
    let number = number.ok_or_else(|| CommandError::invalid(key, value))?;
    Ok(if key == "mtu" { u32::try_from(number).unwrap_or(0) } else { number.cast_unsigned() })
}

/// `IFALIASZ` of linux/if.h without the terminating zero.
const MAX_ALIAS: usize = 255;

const MACVLAN_ONLY: &str =
    "makes macvlan and macvtap links and no others: for those there is ip link";
const NO_PARENT: &str =
    "a macvlan is made on a parent: umacvlan link add link PARENT NAME type macvlan";
const SIX_BYTES: &str = "the address of an interface has six bytes, as 02:00:5e:10:00:01";

/// The error for a word of `ip link` that is not supported. Some of them are options of macvlan as well,
/// behind the type.
fn unsupported(word: &str) -> CommandError {
    match macvlan_keywords().contains(&word) {
        true => CommandError::kernel(libc::EOPNOTSUPP)
            .hint(format!("\"{word}\" goes behind the type: type macvlan {word} ...")),
        false => CommandError::unsupported(word),
    }
}

// The path is also right for umacvlan-fuzz, which includes this file.
#[cfg(test)]
#[path = "link_args/tests.rs"]
mod tests;
