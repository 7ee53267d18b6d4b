//! What is measured of how cost grows with the number of sub-interfaces.

use umacvlan_core::Mode;
use umacvlan_lab::station::SUBS;
use umacvlan_lab::traffic::Sizes;

use super::PathArgs;
use super::peer::Peer;
use super::plan::{Group, Item, Measure, Size, Traffic, asked, usual_time};
use super::route::Route;
use crate::bench::progress::Progress;

/// One thing that is measured with several numbers of sub-interfaces.
struct Candidate {
    route: Route,
    measure: Measure,
    traffic: fn(Sizes) -> Traffic,
    subs: &'static [u32],
}

/// Everything that `--growth` means.
const CANDIDATES: [Candidate; 5] = [
    Candidate {
        route: Route::WireToSub,
        measure: Measure::Mrr,
        traffic: Traffic::Unicast,
        subs: &[1, 64, 1024],
    },
    Candidate {
        route: Route::SubToSub,
        measure: Measure::Mrr,
        traffic: Traffic::Unicast,
        subs: &[2, 64, 1024],
    },
    Candidate {
        route: Route::WireToSub,
        measure: Measure::Mrr,
        traffic: Traffic::Broadcast,
        subs: &[1, 4, 16, 64],
    },
    Candidate {
        route: Route::WireToSub,
        measure: Measure::Storm,
        traffic: Traffic::Unicast,
        subs: &[256],
    },
    Candidate {
        route: Route::WireToSub,
        measure: Measure::IdleCpu,
        traffic: |_| Traffic::Nothing,
        subs: &[4096],
    },
];

/// The groups that the arguments ask for: by `--growth`, or by a measure that is part of nothing
/// else.
pub(super) fn groups(args: &PathArgs, progress: &Progress) -> Vec<Group> {
    let wanted = |candidate: &&Candidate| {
        let measure = candidate.measure;
        let named = args.measure.contains(&measure) && measure.is_scaling();
        let meant = args.growth && asked(&args.measure, &measure) || named;
        meant && asked(&args.path, &candidate.route)
    };
    let mut groups = Vec::new();
    for candidate in CANDIDATES.iter().filter(wanted) {
        let modes = Mode::ALL.into_iter().filter(|mode| match args.mode.is_empty() {
            true => candidate.route.is_thorough(*mode),
            false => args.mode.contains(mode) && candidate.route.forwards(*mode),
        });
        groups.extend(modes.map(|mode| candidate.group(args, progress, mode)));
    }
    groups.retain(|group| group.items.iter().all(|item| !item.peers.is_empty()));
    groups.retain(|group| !group.subs.is_empty());
    groups
}

impl Candidate {
    fn group(&self, args: &PathArgs, progress: &Progress, mode: Mode) -> Group {
        let Self { route, measure, traffic, .. } = *self;
        let size = args.size.first().copied().unwrap_or(Size::SMALLEST);
        let peer = |peer: &Peer| match (measure, peer) {
            // Only of the engine one can say what it takes when there is nothing to do.
            (Measure::IdleCpu, peer) => peer.is_ours(),
            (_, Peer::Baseline) => traffic(size.0) == Traffic::Unicast(size.0),
            _ => true,
        };
        let peers = crowded(args).filter(|it| it.supports(route, mode)).filter(peer).collect();
        let (trials, quick) = (if measure == Measure::IdleCpu { 3 } else { 7 }, progress.quick);
        let item = Item {
            measure,
            traffic: traffic(size.0),
            peers,
            trials: progress.trials(if quick { 3 } else { trials }),
            time: args.time.map_or_else(|| usual_time(measure, quick), super::duration),
        };
        // A crowd of a thousand takes longer to come than a quick run has.
        let usual = self.subs.iter().copied().filter(|subs| !quick || *subs <= QUICK_MAX);
        let subs = match args.subs.is_empty() {
            true => usual.collect(),
            false => numbers(args, route, mode),
        };
        Group { route, mode, subs, items: vec![item] }
    }
}

/// How many sub-interfaces there are to be on this route, in order.
pub(super) fn numbers(args: &PathArgs, route: Route, mode: Mode) -> Vec<u32> {
    if mode == Mode::Passthru {
        return vec![1];
    }
    let least = if route.is_between_subs() { 2 } else { 1 };
    let mut numbers: Vec<u32> = match args.subs.is_empty() {
        true => vec![SUBS.into()],
        false => args.subs.iter().map(|subs| (*subs).max(least)).collect(),
    };
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Who is measured with a crowd: those who are asked for, else the engine and the kernel.
fn crowded(args: &PathArgs) -> impl Iterator<Item = Peer> {
    let usual = args.peer.is_empty();
    Peer::ALL.into_iter().filter(move |peer| match usual {
        true => matches!(peer, Peer::Umacvlan | Peer::Kernel),
        false => args.peer.contains(peer),
    })
}

/// The largest number of sub-interfaces in a quick run.
const QUICK_MAX: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> PathArgs {
        PathArgs { growth: true, ..PathArgs::default() }
    }

    #[test]
    fn growth_is_all_of_it_and_a_measure_of_its_own_is_that_alone() {
        let progress = Progress::new(1, None, false);
        assert_eq!(groups(&args(), &progress).len(), CANDIDATES.len());
        let measure = vec![Measure::Storm, Measure::Mrr];
        let found = groups(&PathArgs { measure, ..PathArgs::default() }, &progress);
        let [Group { route: Route::WireToSub, mode: Mode::Bridge, subs, items }] = &found[..]
        else {
            panic!("{found:?}");
        };
        assert_eq!((&subs[..], items[0].measure), (&[256][..], Measure::Storm));
        assert_eq!(items[0].peers, [Peer::Umacvlan, Peer::Kernel]);
        assert!(groups(&PathArgs::default(), &progress).is_empty());
    }

    #[test]
    fn a_quick_run_has_no_large_crowd_unless_it_is_asked_for() {
        let progress = Progress::new(1, None, true);
        let most = |args| groups(&args, &progress).iter().flat_map(|g| g.subs.clone()).max();
        assert_eq!(most(args()), Some(256));
        assert_eq!(most(PathArgs { subs: vec![2000], ..args() }), Some(2000));
    }

    #[test]
    fn a_path_between_two_sub_interfaces_has_two() {
        let args = PathArgs { subs: vec![8, 1, 2], ..PathArgs::default() };
        assert_eq!(numbers(&args, Route::SubToSub, Mode::Bridge), [2, 8]);
        assert_eq!(numbers(&args, Route::SubToWire, Mode::Bridge), [1, 2, 8]);
        assert_eq!(numbers(&args, Route::SubToWire, Mode::Passthru), [1]);
    }
}
