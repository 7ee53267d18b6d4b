//! [`Route`]: the sender and the receiver of a path.

use std::fmt;

use clap::ValueEnum;
use umacvlan_core::{Mode, Semantics};
use umacvlan_engine::running_kernel;
use umacvlan_lab::oracle::{Setup, expected};
use umacvlan_lab::reach::Probe;
use umacvlan_lab::station::Member;

/// The sender and the receiver of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Route {
    /// From a station on the wire to a sub-interface
    WireToSub,
    /// From a sub-interface to a station on the wire
    SubToWire,
    /// From a sub-interface to another on the same parent
    SubToSub,
    /// The same, through a hairpin switch
    Hairpin,
}

impl Route {
    pub(super) const ALL: [Self; 4] =
        [Self::WireToSub, Self::SubToWire, Self::SubToSub, Self::Hairpin];

    pub(super) const fn from(self) -> Member {
        match self {
            Self::WireToSub => Member::External,
            _ => Member::Sub(1),
        }
    }

    pub(super) const fn to(self) -> Member {
        match self {
            Self::WireToSub => Member::Sub(1),
            Self::SubToWire => Member::External,
            Self::SubToSub | Self::Hairpin => Member::Sub(2),
        }
    }

    /// True if there are sub-interfaces at both ends.
    pub(super) const fn is_between_subs(self) -> bool {
        matches!(self, Self::SubToSub | Self::Hairpin)
    }

    /// True if this mode forwards on the route. A local route must work without a hairpin switch,
    /// and the hairpin route only with it.
    pub(super) fn forwards(self, mode: Mode) -> bool {
        // The documented rules, which both implementations fulfil, so that they are comparable.
        let setup = |hairpin| Setup {
            mode,
            hairpin,
            semantics: Semantics::Documented,
            running: running_kernel(),
        };
        let reached = |hairpin| {
            expected(setup(hairpin), Probe::Unicast, self.from(), self.to()) == Some(true)
        };
        match self {
            Self::Hairpin => reached(true) && !reached(false),
            _ => reached(false),
        }
    }

    /// True for the mode that is measured in full on this route.
    pub(super) fn is_thorough(self, mode: Mode) -> bool {
        mode == if self == Self::Hairpin { Mode::Vepa } else { Mode::Bridge }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::WireToSub => "wire-to-sub",
            Self::SubToWire => "sub-to-wire",
            Self::SubToSub => "sub-to-sub",
            Self::Hairpin => "hairpin",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_modes_that_are_forwarded_are_measured() {
        let forwarded =
            |route: Route| Mode::ALL.into_iter().filter(move |mode| route.forwards(*mode));
        assert!(forwarded(Route::WireToSub).eq(Mode::ALL));
        assert!(forwarded(Route::SubToWire).eq(Mode::ALL));
        assert!(forwarded(Route::SubToSub).eq([Mode::Bridge]));
        assert!(forwarded(Route::Hairpin).eq([Mode::Source, Mode::Vepa]));
    }
}
