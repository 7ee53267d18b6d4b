//! What stands beside a point of ours, other than the kernel.

use super::points::Found;
use crate::bench::summary::ratio;

/// Quotients of this one and others of the same item and the same rounds, by name.
pub(super) fn beside(found: &Found, all: &[Found], seed: u64) -> Vec<(String, f64)> {
    let quotient = |name: &str, other: Option<&Found>| {
        let ratio = ratio(name, &found.values, &other?.values, seed)?;
        Some((name.to_owned(), ratio.value))
    };
    let measure = |other: &&Found| other.first.measure == found.first.measure;
    let fewest = all.iter().filter(measure).filter(|other| other.peer == found.peer);
    let fewest = fewest.min_by_key(|other| other.subs).filter(|other| other.subs < found.subs);
    let is_stormy = found.first.measure == "latency-storm";
    let calm = all.iter().find(|other| {
        let same = (other.peer, other.subs) == (found.peer, found.subs);
        is_stormy && same && other.first.measure == "latency-calm"
    });
    let floor = all
        .iter()
        .filter(measure)
        .find(|other| Some(other.peer) == found.peer.floor() && other.subs == found.subs);
    let quotients = [quotient("ratio.calm", calm), quotient("ratio.fewest", fewest)];
    let of_floor = floor.and_then(|floor| ratio("floor", &found.values, &floor.values, seed));
    let of_floor = of_floor.map(|ratio| {
        [("", ratio.value), (".low", ratio.low), (".high", ratio.high)]
            .map(|(end, value)| (format!("ratio.floor{end}"), value))
    });
    quotients.into_iter().flatten().chain(of_floor.into_iter().flatten()).collect()
}
