//! [`MacvlanSettings`]: the settings that make an interface a macvlan.

use super::config::Mode;
use crate::MacAddr;
use crate::limit::Limits;
use crate::rules::Rules;

/// The length of the broadcast queue that a sub-interface requests by default, in frames
/// (`MACVLAN_DEFAULT_BC_QUEUE_LEN` in the kernel's `drivers/net/macvlan.c`).
pub const DEFAULT_BC_QUEUE_LEN: u32 = 1000;

/// The default `bclim` of a parent (`port->bc_cutoff` in `macvlan_port_create`).
pub const DEFAULT_BC_CUTOFF: i32 = 1;

/// The settings of a sub-interface that `ip link add ... type macvlan` takes.
///
/// They are the attributes `IFLA_MACVLAN_*` of the kernel (`if_link.h`), under the words of
/// ip-link(8), and [`Default`] has the kernel's defaults (`macvlan_common_newlink`). Settings
/// that every interface has, such as address, MTU and state, are not part of it.
///
/// # Adding a setting
/// Every layer embeds this struct instead of naming the settings one by one: the switch
/// ([`SubConfig`](super::SubConfig)), the engine's options, changes and status, the daemon and the
/// API. A boolean setting is a [`MacvlanFlag`], and the link grammar with its help, completion,
/// TOML, `--sub`, Docker options, the state record, the diff of two configurations and the text
/// output handle flags in a loop over [`MacvlanFlag::ALL`]. So a new boolean takes
///
/// 1. this file: the variant with its name, mode and summary;
/// 2. the rule in the switch that reads it;
/// 3. the API's file of requests, where it is a documented field, with its conversions;
/// 4. the API's object with the shape of `ip -j link show`, which omits what is off.
///
/// A setting with a value is a field here and a line in each parser and printer.
///
/// This crate derives no JSON: requests, state records and `ip -j link show` have different keys
/// and orders, which must not change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MacvlanSettings {
    /// How it deals with siblings and the wire (`IFLA_MACVLAN_MODE`).
    pub mode: Mode,
    /// The boolean settings (`IFLA_MACVLAN_FLAGS`).
    pub flags: MacvlanFlags,
    /// Requested length of the broadcast queue, in frames (`IFLA_MACVLAN_BC_QUEUE_LEN`); the
    /// longest request on a parent applies. `None` is [`DEFAULT_BC_QUEUE_LEN`].
    pub bcqueuelen: Option<u32>,
    /// A limit of the whole parent: frames for a group that more than this many sub-interfaces
    /// joined take the broadcast queue (`IFLA_MACVLAN_BC_CUTOFF`). `None` leaves it as it is, at
    /// first [`DEFAULT_BC_CUTOFF`].
    pub bclim: Option<i32>,
    /// How much it sends and receives at most. The kernel's macvlan has no such setting.
    pub limits: Limits,
    /// What it exchanges frames with, and from where it sends. The kernel's macvlan has no such
    /// setting.
    pub rules: Rules,
    /// Source mode: the source addresses whose frames it receives (`IFLA_MACVLAN_MACADDR_DATA`).
    pub sources: Vec<MacAddr>,
}

impl MacvlanSettings {
    /// The kernel's defaults, with this mode.
    pub fn new(mode: Mode) -> Self {
        Self { mode, ..Self::default() }
    }

    /// The length of the broadcast queue that these settings request, in frames.
    pub fn bc_queue_len(&self) -> u32 {
        self.bcqueuelen.unwrap_or(DEFAULT_BC_QUEUE_LEN)
    }

    /// A flag that is on although it [requires](MacvlanFlag::required_mode) another mode, and that
    /// mode.
    pub fn misplaced_flag(&self) -> Option<(MacvlanFlag, Mode)> {
        let required = |flag: MacvlanFlag| Some((flag, flag.required_mode()?));
        self.flags.iter().filter_map(required).find(|&(_, mode)| mode != self.mode)
    }
}

/// A boolean setting of a sub-interface, off by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MacvlanFlag {
    /// Source mode: frames from a listed source address go to source sub-interfaces and nowhere
    /// else (`MACVLAN_FLAG_NODST`).
    Nodst,
    /// Passthru mode: the parent's promiscuous setting is left alone (`MACVLAN_FLAG_NOPROMISC`).
    Nopromisc,
    /// Frames that it sends from another address than its own are dropped. The kernel's macvlan has no
    /// such setting; the word is that of SR-IOV (`ip link set ... vf N spoofchk on`).
    Spoofchk,
}

impl MacvlanFlag {
    /// Every flag, in alphabetical order.
    pub const ALL: [Self; 3] = [Self::Nodst, Self::Nopromisc, Self::Spoofchk];

    /// Those of the kernel's macvlan, in alphabetical order.
    pub const KERNEL: [Self; 2] = [Self::Nodst, Self::Nopromisc];

    /// The word for it in commands, configuration and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nodst => "nodst",
            Self::Nopromisc => "nopromisc",
            Self::Spoofchk => "spoofchk",
        }
    }

    /// The only mode in which it has an effect; `None` if it has one in every mode.
    pub const fn mode(self) -> Option<Mode> {
        match self {
            Self::Nodst => Some(Mode::Source),
            Self::Nopromisc => Some(Mode::Passthru),
            Self::Spoofchk => None,
        }
    }

    /// The only mode in which commands and configuration accept the flag, as `ip link` does. `None`
    /// for a flag that they accept in every mode.
    pub const fn required_mode(self) -> Option<Mode> {
        match self {
            Self::Nodst | Self::Spoofchk => None,
            Self::Nopromisc => Some(Mode::Passthru),
        }
    }

    /// What the flag does, in a few words, for help texts.
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Nodst => "source: frames from listed addresses go to source links only",
            Self::Nopromisc => "passthru: leave the parent's promiscuous setting alone",
            Self::Spoofchk => "drop what it sends from an address that is not its own",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The boolean settings that are on.
///
/// ```
/// use umacvlan_core::{MacvlanFlag, MacvlanFlags};
///
/// let flags = MacvlanFlags::default().with(MacvlanFlag::Nodst, true);
/// assert!(flags.contains(MacvlanFlag::Nodst) && !flags.contains(MacvlanFlag::Nopromisc));
/// assert_eq!(flags.iter().map(MacvlanFlag::name).collect::<Vec<_>>(), ["nodst"]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MacvlanFlags(u8);

impl MacvlanFlags {
    /// True when this flag is on.
    pub const fn contains(self, flag: MacvlanFlag) -> bool {
        self.0 & flag.bit() != 0
    }

    /// The same flags, with this one on or off.
    #[must_use]
    pub const fn with(self, flag: MacvlanFlag, on: bool) -> Self {
        if on { Self(self.0 | flag.bit()) } else { Self(self.0 & !flag.bit()) }
    }

    /// The flags that are on, in the order of [`MacvlanFlag::ALL`].
    pub fn iter(self) -> impl DoubleEndedIterator<Item = MacvlanFlag> {
        MacvlanFlag::ALL.into_iter().filter(move |&flag| self.contains(flag))
    }
}

impl FromIterator<MacvlanFlag> for MacvlanFlags {
    fn from_iter<T: IntoIterator<Item = MacvlanFlag>>(flags: T) -> Self {
        flags.into_iter().fold(Self::default(), |set, flag| set.with(flag, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_kernels() {
        let settings = MacvlanSettings::default();
        assert_eq!((settings.mode, settings.bc_queue_len()), (Mode::Vepa, 1000));
        assert_eq!(settings.flags.iter().next(), None);
        assert_eq!(settings.bclim, None);
    }

    #[test]
    fn each_flag_is_switched_without_the_others() {
        for flag in MacvlanFlag::ALL {
            let all: MacvlanFlags = MacvlanFlag::ALL.into_iter().collect();
            let others = all.with(flag, false);
            assert!(all.contains(flag) && !others.contains(flag));
            assert_eq!(others.iter().count(), MacvlanFlag::ALL.len() - 1);
            assert_eq!(others.with(flag, true), all);
        }
    }

    #[test]
    fn a_flag_that_requires_another_mode_is_misplaced() {
        let with = |mode, flag| MacvlanSettings {
            flags: MacvlanFlags::default().with(flag, true),
            ..MacvlanSettings::new(mode)
        };
        let bridge = with(Mode::Bridge, MacvlanFlag::Nopromisc);
        assert_eq!(bridge.misplaced_flag(), Some((MacvlanFlag::Nopromisc, Mode::Passthru)));
        assert_eq!(with(Mode::Passthru, MacvlanFlag::Nopromisc).misplaced_flag(), None);
        assert_eq!(with(Mode::Bridge, MacvlanFlag::Nodst).misplaced_flag(), None);
    }

    #[test]
    fn flags_are_in_alphabetical_order() {
        assert!(MacvlanFlag::ALL.map(MacvlanFlag::name).is_sorted_by(|a, b| a < b));
    }
}
