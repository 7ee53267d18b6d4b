//! What stands beside a point of ours, other than the kernel.

use super::peer::Peer;
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
    let floor = all.iter().filter(measure).find(|other| {
        found.peer.is_ours() && other.peer == Peer::Floor && other.subs == found.subs
    });
    let quotients = [
        quotient("ratio.calm", calm),
        quotient("ratio.fewest", fewest),
        quotient("ratio.floor", floor),
    ];
    quotients.into_iter().flatten().collect()
}
