//! Ratios of a point to others than the kernel's.

use super::points::PeerReadings;
use crate::bench::summary::ratio;

/// The ratios of these readings to others of the same item and rounds, by name: to the calm trial,
/// to the fewest sub-interfaces, and to the baseline.
pub(super) fn ratios(found: &PeerReadings, all: &[PeerReadings], seed: u64) -> Vec<(String, f64)> {
    let quotient = |name: &str, other: Option<&PeerReadings>| {
        let ratio = ratio(name, &found.values, &other?.values, seed)?;
        Some((name.to_owned(), ratio.value))
    };
    let measure = |other: &&PeerReadings| other.first.measure == found.first.measure;
    let fewest = all.iter().filter(measure).filter(|other| other.peer == found.peer);
    let fewest = fewest.min_by_key(|other| other.subs).filter(|other| other.subs < found.subs);
    let is_stormy = found.first.measure == "latency-storm";
    let calm = all.iter().find(|other| {
        let same = (other.peer, other.subs) == (found.peer, found.subs);
        is_stormy && same && other.first.measure == "latency-calm"
    });
    let baseline = all
        .iter()
        .filter(measure)
        .find(|other| Some(other.peer) == found.peer.baseline() && other.subs == found.subs);
    let quotients = [quotient("ratio.calm", calm), quotient("ratio.fewest", fewest)];
    let of_baseline =
        baseline.and_then(|baseline| ratio("floor", &found.values, &baseline.values, seed));
    let of_baseline = of_baseline.map(|ratio| {
        let ends = ratio.ends().map(|(low, high)| [(".low", low), (".high", high)]);
        let all = ends.into_iter().flatten().chain([("", ratio.value)]);
        all.map(|(end, value)| (format!("ratio.floor{end}"), value)).collect::<Vec<_>>()
    });
    quotients.into_iter().flatten().chain(of_baseline.into_iter().flatten()).collect()
}
