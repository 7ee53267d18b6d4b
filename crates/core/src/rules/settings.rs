//! [`Rules`]: the rules of a sub-interface as settings, and their words.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::{EtherType, IsolationGroup};
use crate::{Destination, Frame, MacAddr};

/// The values of one list, at most.
const MOST: usize = 256;

/// A rule, and its word in commands, configuration and JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleWord {
    /// EtherTypes that it sends and receives.
    AllowEthertype,
    /// IP addresses from which it sends.
    AllowIp,
    /// External addresses with which it exchanges frames.
    AllowMac,
    /// Its isolation group.
    Isolation,
}

impl RuleWord {
    /// Every word, in alphabetical order.
    pub const ALL: [Self; 4] =
        [Self::AllowEthertype, Self::AllowIp, Self::AllowMac, Self::Isolation];

    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllowEthertype => "allow_ethertype",
            Self::AllowIp => "allow_ip",
            Self::AllowMac => "allow_mac",
            Self::Isolation => "isolation",
        }
    }

    /// The kind of its values, for help texts.
    pub const fn value(self) -> &'static str {
        match self {
            Self::AllowEthertype => "ETHERTYPE",
            Self::AllowIp => "PREFIX",
            Self::AllowMac => "LLADDR",
            Self::Isolation => "GROUP",
        }
    }

    /// What it does, in a few words, for help texts.
    pub const fn summary(self) -> &'static str {
        match self {
            Self::AllowEthertype => "the only EtherTypes it sends and receives: ipv4, arp",
            Self::AllowIp => "the only IP addresses it sends from, also in ARP and ND",
            Self::AllowMac => "the only addresses outside it exchanges frames with",
            Self::Isolation => "apart from isolated siblings of other groups: on, off, a name",
        }
    }

    /// What a value has to be, for error messages.
    pub const fn expected(self) -> &'static str {
        match self {
            Self::AllowEthertype => "an EtherType such as ipv4, arp or 0x88b5 (0x0600 or more)",
            Self::AllowIp => "an address or a network, as in 192.0.2.7 or 2001:db8::/64",
            Self::AllowMac => "a unicast MAC address, as in 02:00:00:00:00:01",
            Self::Isolation => {
                "on, off or the name of a group: up to 15 letters, digits, \".\", \"-\" or \"_\""
            }
        }
    }

    /// True if it has several values.
    pub const fn is_list(self) -> bool {
        !matches!(self, Self::Isolation)
    }

    /// The word with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|word| word.name() == name)
    }
}

/// The rules of a sub-interface. A list without values allows everything.
///
/// ```
/// use umacvlan_core::rules::{RuleWord, Rules};
///
/// let mut rules = Rules::default();
/// rules.add(RuleWord::Isolation, "web")?;
/// rules.add(RuleWord::AllowEthertype, "ipv4")?;
/// rules.add(RuleWord::AllowEthertype, "arp")?;
/// assert_eq!(rules.to_string(), "allow_ethertype ipv4 arp isolation web");
/// # Ok::<(), umacvlan_core::rules::RuleError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Which siblings it exchanges frames with.
    pub(super) isolation: IsolationGroup,
    /// The external addresses with which it exchanges frames, sorted.
    pub(super) macs: Vec<MacAddr>,
    /// The types that it sends and receives, sorted.
    pub(super) ethertypes: Vec<EtherType>,
    /// The addresses from which it sends, as they were given.
    pub(super) ips: Vec<Destination>,
}

impl Rules {
    /// Adds a value to a list, or sets the group.
    ///
    /// # Errors
    /// It is not a value of this rule, or the list is full.
    pub fn add(&mut self, word: RuleWord, text: &str) -> Result<(), RuleError> {
        let error = |full| RuleError { word, text: text.to_owned(), full };
        let wrong = error(false);
        match word {
            RuleWord::AllowEthertype => sorted(&mut self.ethertypes, read(text, &wrong)?),
            RuleWord::AllowIp => insert(&mut self.ips, read(text, &wrong)?),
            RuleWord::AllowMac => {
                let mac: MacAddr = read(text, &wrong)?;
                if !mac.is_valid_unicast() {
                    return Err(wrong);
                }
                sorted(&mut self.macs, mac);
            }
            RuleWord::Isolation => self.isolation = read(text, &wrong)?,
        }
        let longest = self.macs.len().max(self.ethertypes.len()).max(self.ips.len());
        if longest > MOST { Err(error(true)) } else { Ok(()) }
    }

    /// Allows it to send from these addresses, beside those that it may send from by now.
    ///
    /// # Errors
    /// The list is full.
    pub fn allow_ips(&mut self, ips: impl IntoIterator<Item = IpAddr>) -> Result<(), RuleError> {
        ips.into_iter().try_for_each(|ip| self.add(RuleWord::AllowIp, &ip.to_string()))
    }

    /// The values of a rule as text; none where it allows everything.
    pub fn values(&self, word: RuleWord) -> Vec<String> {
        match word {
            RuleWord::AllowEthertype => texts(&self.ethertypes),
            RuleWord::AllowIp => texts(&self.ips),
            RuleWord::AllowMac => texts(&self.macs),
            RuleWord::Isolation if self.isolation == IsolationGroup::Off => Vec::new(),
            RuleWord::Isolation => texts(&[self.isolation]),
        }
    }

    /// The rules that do not allow everything, with their values, in alphabetical order.
    pub fn words(&self) -> impl Iterator<Item = (RuleWord, Vec<String>)> {
        let all = RuleWord::ALL.into_iter().map(|word| (word, self.values(word)));
        all.filter(|(_, values)| !values.is_empty())
    }

    /// True when everything is allowed.
    pub fn is_empty(&self) -> bool {
        !self.restricts_receiving() && self.ips.is_empty()
    }

    /// True when there is a rule about what it receives; all of them are about what it sends, too.
    pub fn restricts_receiving(&self) -> bool {
        self.isolation != IsolationGroup::Off
            || !self.macs.is_empty()
            || !self.ethertypes.is_empty()
    }

    /// Its isolation group.
    pub const fn isolation(&self) -> IsolationGroup {
        self.isolation
    }

    /// Whether it exchanges frames with an address that no sibling has.
    pub fn allows_mac(&self, mac: MacAddr) -> bool {
        self.macs.is_empty() || self.macs.binary_search(&mac).is_ok()
    }

    /// The first of these types that it does not exchange.
    pub(crate) fn refused_type(&self, types: [EtherType; 2]) -> Option<EtherType> {
        let refused = |kind: &EtherType| self.ethertypes.binary_search(kind).is_err();
        types.into_iter().filter(|_| !self.ethertypes.is_empty()).find(refused)
    }

    /// Whether it may send this frame by the IP addresses that the frame says are the sender's.
    pub(crate) fn allows_source_ip(&self, frame: Frame<'_>) -> bool {
        self.ips.is_empty() || super::source_ip::is_allowed(&self.ips, frame)
    }
}

impl fmt::Display for Rules {
    /// The words and values, as they are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (word, values)) in self.words().enumerate() {
            let space = if number == 0 { "" } else { " " };
            write!(f, "{space}{} {}", word.name(), values.join(" "))?;
        }
        Ok(())
    }
}

fn read<T: FromStr>(text: &str, wrong: &RuleError) -> Result<T, RuleError> {
    text.parse().map_err(|_| wrong.clone())
}

fn insert<T: PartialEq>(list: &mut Vec<T>, value: T) {
    if !list.contains(&value) {
        list.push(value);
    }
}

fn sorted<T: Ord>(list: &mut Vec<T>, value: T) {
    if let Err(place) = list.binary_search(&value) {
        list.insert(place, value);
    }
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

/// A value that is not one of its rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    word: RuleWord,
    text: String,
    /// The list has no room for it.
    full: bool,
}

impl RuleError {
    /// What was expected, without the word.
    pub fn expected(&self) -> String {
        match self.full {
            true => format!("{MOST} values at most"),
            false => self.word.expected().to_owned(),
        }
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { word, text, full } = self;
        match full {
            true => write!(f, "{}: no room for {text:?}: {MOST} values at most", word.name()),
            false => write!(f, "{}: {text:?} is not {}", word.name(), word.expected()),
        }
    }
}

impl std::error::Error for RuleError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_without_repetition_and_bounded() {
        let mut rules = Rules::default();
        for text in ["02:00:00:00:00:02", "02:00:00:00:00:01", "02:00:00:00:00:02"] {
            rules.add(RuleWord::AllowMac, text).unwrap();
        }
        assert_eq!(rules.to_string(), "allow_mac 02:00:00:00:00:01 02:00:00:00:00:02");
        let full = Rules::default();
        let full = (0..=MOST).try_fold(full, |mut rules, last| {
            rules.add(RuleWord::AllowIp, &format!("fd00::{last:x}")).map(|()| rules)
        });
        assert!(full.unwrap_err().to_string().ends_with("256 values at most"));
    }

    #[test]
    fn wrong_values_are_refused_with_what_was_expected() {
        for (word, text) in [
            (RuleWord::AllowMac, "01:00:5e:00:00:01"),
            (RuleWord::AllowMac, "00:00:00:00:00:00"),
            (RuleWord::AllowMac, "02:00"),
            (RuleWord::AllowEthertype, "ipx"),
            (RuleWord::AllowIp, "10.0.0.0/33"),
            (RuleWord::Isolation, "a b"),
        ] {
            let error = Rules::default().add(word, text).unwrap_err().to_string();
            assert_eq!(error, format!("{}: {text:?} is not {}", word.name(), word.expected()));
        }
    }

    #[test]
    fn words_are_in_alphabetical_order() {
        assert!(RuleWord::ALL.map(RuleWord::name).is_sorted_by(|a, b| a < b));
        for word in RuleWord::ALL {
            assert_eq!(RuleWord::named(word.name()), Some(word));
        }
    }
}
