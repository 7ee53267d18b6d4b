//! The Mann-Whitney U test: whether one set of samples tends to be above the other.
//!
//! It assumes no distribution. It is exact for few samples. From [`EXACT_MAX`] on, and with ties,
//! it uses the normal approximation with its corrections.

/// The probability that two sets as far apart as these, or further, come from the same
/// distribution. Two-sided; 1 if one is empty.
pub(super) fn probability(ours: &[f64], theirs: &[f64]) -> f64 {
    if ours.is_empty() || theirs.is_empty() {
        return 1.0;
    }
    // Pairs in which ours is above. Equal pairs count half.
    let pairs = ours.iter().flat_map(|ours| theirs.iter().map(move |theirs| (ours, theirs)));
    let above: f64 = pairs
        .map(|(ours, theirs)| match ours.total_cmp(theirs) {
            std::cmp::Ordering::Less => 0.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Greater => 1.0,
        })
        .sum();
    let ties = ties(ours, theirs);
    match ties.is_empty() && ours.len() * theirs.len() < EXACT_MAX * EXACT_MAX {
        true => exact(ours.len(), theirs.len(), above),
        false => approximate(ours.len() as f64, theirs.len() as f64, above, &ties),
    }
}

/// All orders of the samples are equally likely. Counts those with a U at least this far from the
/// middle.
fn exact(ours: usize, theirs: usize, above: f64) -> f64 {
    let ways = ways(ours, theirs);
    let middle = (ours * theirs) as f64 / 2.0;
    let far = |u: usize| (u as f64 - middle).abs() >= (above - middle).abs();
    let counted: f64 = ways.iter().enumerate().filter(|&(u, _)| far(u)).map(|(_, ways)| ways).sum();
    counted / ways.iter().sum::<f64>()
}

/// For each u, the number of orders of the samples in which u pairs have ours above.
fn ways(ours: usize, theirs: usize) -> Vec<f64> {
    // The coefficients of the Gaussian binomial, factor by factor: each of our samples multiplies
    // by (1 - q^(theirs + i)) and divides by (1 - q^i).
    let mut ways = vec![0.0; ours * theirs + 1];
    ways[0] = 1.0;
    for i in 1..=ours {
        for u in (theirs + i..ways.len()).rev() {
            ways[u] -= ways[u - theirs - i];
        }
        for u in i..ways.len() {
            ways[u] += ways[u - i];
        }
    }
    ways
}

fn approximate(ours: f64, theirs: f64, above: f64, ties: &[f64]) -> f64 {
    let all = ours + theirs;
    let tied: f64 = ties.iter().map(|count| count.powi(3) - count).sum();
    let variance = ours * theirs / 12.0 * (all + 1.0 - tied / (all * (all - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    // The continuity correction, as U is a whole number.
    let far = ((above - ours * theirs / 2.0).abs() - 0.5).max(0.0) / variance.sqrt();
    (2.0 * beyond(far)).min(1.0)
}

/// The number of equal samples, for each value that occurs more than once.
fn ties(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    let mut all = [ours, theirs].concat();
    all.sort_unstable_by(f64::total_cmp);
    let runs = all.chunk_by(|one, next| one == next);
    runs.filter(|run| run.len() > 1).map(|run| run.len() as f64).collect()
}

/// The upper tail of the normal distribution beyond this many standard deviations: Abramowitz and
/// Stegun 26.2.17, accurate to 7.5e-8.
fn beyond(deviations: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * deviations);
    let series = [1.330_274_429, -1.821_255_978, 1.781_477_937, -0.356_563_782, 0.319_381_530];
    let sum = series.into_iter().fold(0.0, |sum, coefficient| (sum + coefficient) * t);
    (-deviations * deviations / 2.0).exp() / std::f64::consts::TAU.sqrt() * sum
}

/// From the square of this many pairs on, the exact test takes too long.
const EXACT_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(found: f64, wanted: f64) -> bool {
        (found - wanted).abs() < 1e-6
    }

    #[test]
    fn the_orders_of_few_samples_are_counted() {
        assert_eq!(ways(2, 2), [1.0, 1.0, 2.0, 1.0, 1.0]);
        assert_eq!(ways(3, 4).iter().sum::<f64>(), 35.0);
    }

    #[test]
    fn separate_sets_have_the_lowest_possible_probability() {
        // 2 of the orders of 3 and 3, of 7 and 7.
        assert!(near(probability(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 2.0 / 20.0));
        let [low, high]: [Vec<f64>; 2] =
            [0, 10].map(|from| (from..from + 7).map(f64::from).collect());
        assert!(near(probability(&low, &high), 2.0 / 3432.0));
        assert!(near(probability(&high, &low), 2.0 / 3432.0));
    }

    #[test]
    fn a_set_does_not_differ_from_itself() {
        let set = [1.0, 2.0, 3.0, 4.0];
        assert!(near(probability(&set, &set), 1.0));
        assert!(near(probability(&[5.0; 9], &[5.0; 9]), 1.0));
        assert!(near(probability(&[], &set), 1.0));
    }

    #[test]
    fn the_normal_distribution_is_that_of_the_tables() {
        assert!(near(beyond(0.0), 0.5));
        assert!(near(beyond(1.96), 0.024_997_9));
    }

    proptest! {
        #[test]
        fn the_approximation_is_near_the_exact_value(
            ours in prop::collection::vec(0.0..1.0, 8..16),
            theirs in prop::collection::vec(0.2..1.2, 8..16),
        ) {
            prop_assume!(ties(&ours, &theirs).is_empty());
            let above = ours.iter().flat_map(|a| theirs.iter().map(move |b| a > b));
            let above = above.filter(|&above| above).count() as f64;
            let (n, m) = (ours.len(), theirs.len());
            let close = approximate(n as f64, m as f64, above, &[]);
            prop_assert!((exact(n, m, above) - close).abs() < 0.02);
        }

        #[test]
        fn it_is_a_probability_and_symmetric(
            ours in prop::collection::vec(0..20_u32, 0..30),
            theirs in prop::collection::vec(0..20_u32, 0..30),
        ) {
            let floats = |set: &[u32]| set.iter().copied().map(f64::from).collect::<Vec<_>>();
            let (ours, theirs) = (floats(&ours), floats(&theirs));
            let found = probability(&ours, &theirs);
            prop_assert!((0.0..=1.0).contains(&found), "{}", found);
            prop_assert!(near(found, probability(&theirs, &ours)));
        }
    }
}
