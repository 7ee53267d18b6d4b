//! Measurements of how cost grows with the number of sub-interfaces (`--growth`).

use umacvlan_core::Mode;
use umacvlan_lab::station::SUBS;
use umacvlan_lab::traffic::Sizes;

use super::PathArgs;
use super::peer::Peer;
use super::plan::{Group, Item, Measure, Size, Traffic, is_requested, usual_time};
use super::route::Route;
use crate::bench::progress::Progress;

/// One measurement with several numbers of sub-interfaces.
struct Candidate {
    route: Route,
    measure: Measure,
    traffic: fn(Sizes) -> Traffic,
    subs: &'static [u32],
}

/// All measurements of `--growth`.
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

/// The groups that the arguments request, by `--growth` or by a measure that only it has.
pub(super) fn groups(args: &PathArgs, progress: &Progress) -> Vec<Group> {
    let wanted = |candidate: &&Candidate| {
        let measure = candidate.measure;
        let named = args.measure.contains(&measure) && measure.is_scaling();
        let meant = args.growth && is_requested(&args.measure, &measure) || named;
        meant && is_requested(&args.path, &candidate.route)
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
            // Only the engine's idle CPU time can be attributed.
            (Measure::IdleCpu, peer) => peer.is_ours(),
            (_, Peer::Baseline) => traffic(size.0) == Traffic::Unicast(size.0),
            _ => true,
        };
        let peers = peers(args).filter(|it| it.supports(route, mode)).filter(peer).collect();
        let (trials, quick) = (if measure == Measure::IdleCpu { 3 } else { 7 }, progress.quick);
        let item = Item {
            measure,
            traffic: traffic(size.0),
            peers,
            trials: progress.trials(if quick { 3 } else { trials }),
            time: args.time.map_or_else(|| usual_time(measure, quick), super::duration),
        };
        // Creating a thousand sub-interfaces takes longer than a quick run may.
        let usual = self.subs.iter().copied().filter(|subs| !quick || *subs <= QUICK_MAX);
        let subs = match args.subs.is_empty() {
            true => usual.collect(),
            false => numbers(args, route, mode),
        };
        Group { route, mode, subs, items: vec![item] }
    }
}

/// The numbers of sub-interfaces to measure on this route, ascending.
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

/// The peers measured with many sub-interfaces: the requested ones, or the engine and the kernel.
pub(super) fn peers(args: &PathArgs) -> impl Iterator<Item = Peer> {
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
    fn growth_has_all_candidates_and_a_measure_of_its_own_only_one() {
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
    fn a_quick_run_has_many_sub_interfaces_only_on_request() {
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
