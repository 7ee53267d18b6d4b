//! What samples come to: medians, and how far they can be trusted.
//!
//! Nothing here assumes a normal distribution: times on a busy machine have a long tail. The
//! intervals are percentile bootstrap intervals, from random numbers that the seed decides, so the
//! same samples give the same figures on every machine.

use fastrand::Rng;

use super::report::{Ratio, Summary};

/// The summary of these samples. Of none, everything is 0.
pub(crate) fn summarise(samples: &[f64], seed: u64) -> Summary {
    let Some(middle) = median(samples) else {
        return Summary::default();
    };
    let deviations: Vec<f64> = samples.iter().map(|sample| (sample - middle).abs()).collect();
    let mad = median(&deviations).unwrap_or_default();
    let (low, high) = interval(samples.len(), seed, |places| {
        median(&places.iter().map(|&place| samples[place]).collect::<Vec<_>>())
    })
    .unwrap_or((middle, middle));
    Summary { median: middle, mad, low, high, outliers: outliers(&deviations, mad) }
}

/// How many times `theirs` `ours` is, sample by sample, as they were measured in the same rounds.
/// What one of them has more of than the other is left out, and so are rounds in which theirs is
/// not above zero. None if there is no round left.
pub(crate) fn ratio(to: &str, ours: &[f64], theirs: &[f64], seed: u64) -> Option<Ratio> {
    let pairs = ours.iter().zip(theirs).filter(|&(_, &theirs)| theirs > 0.0);
    let quotients: Vec<f64> = pairs.map(|(ours, theirs)| ours / theirs).collect();
    let summary = summarise(&quotients, seed);
    let Summary { median, low, high, .. } = summary;
    let to = to.to_owned();
    (!quotients.is_empty()).then_some(Ratio { to, value: median, low, high })
}

/// The value in the middle, or between the two in the middle; none of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let half = sorted.len() / 2;
    let above = *sorted.get(half)?;
    if sorted.len() % 2 == 1 {
        return Some(above);
    }
    Some(f64::midpoint(sorted[half - 1], above))
}

/// The 95 % bootstrap interval of what `statistic` makes of `count` values. It is given the places
/// of the values that were drawn, as many as there are, with repetition.
pub(crate) fn interval(
    count: usize,
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> Option<f64>,
) -> Option<(f64, f64)> {
    let mut random = Rng::with_seed(seed);
    let mut places = vec![0; count];
    let draws = (0..DRAWS).filter_map(|_| {
        places.fill_with(|| random.usize(..count));
        statistic(&places)
    });
    percentiles(draws.collect())
}

/// The ends of the middle 95 % of these draws.
pub(crate) fn percentiles(mut draws: Vec<f64>) -> Option<(f64, f64)> {
    draws.sort_unstable_by(f64::total_cmp);
    let outside = draws.len() / 40;
    Some((*draws.get(outside)?, *draws.get(draws.len().checked_sub(1 + outside)?)?))
}

/// Places of the samples whose modified z-score is above [`FAR`]. Where more than half of the
/// samples are equal there is no measure of what is far, and nothing is flagged.
fn outliers(deviations: &[f64], mad: f64) -> Vec<usize> {
    let far = |&(_, &deviation): &(usize, &f64)| NORMAL * deviation > FAR * mad;
    if mad == 0.0 {
        return Vec::new();
    }
    deviations.iter().enumerate().filter(far).map(|(place, _)| place).collect()
}

/// Draws of a bootstrap. With 2000 the ends of an interval move by about 1 % of its width from
/// seed to seed.
pub(crate) const DRAWS: usize = 2000;

/// A modified z-score above this is an outlier (Iglewicz and Hoaglin, 1993).
const FAR: f64 = 3.5;

/// The 0.75 quantile of the normal distribution, by which a MAD becomes a standard deviation.
const NORMAL: f64 = 0.6745;

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use proptest::prelude::*;

    use super::*;

    fn noisy(middle: f64, seed: u64, count: usize) -> Vec<f64> {
        let mut random = Rng::with_seed(seed);
        (0..count).map(|_| middle + random.f64() - 0.5).collect()
    }

    #[test]
    fn of_nothing_there_is_nothing() {
        assert_eq!(summarise(&[], 1), Summary::default());
        assert_eq!(ratio("kernel", &[1.0], &[], 1), None);
        assert_eq!(ratio("kernel", &[1.0], &[0.0], 1), None);
    }

    #[test]
    fn one_sample_is_its_own_interval() {
        let Summary { median, mad, low, high, outliers } = summarise(&[5.0], 1);
        assert_eq!((median, mad, low, high), (5.0, 0.0, 5.0, 5.0));
        assert!(outliers.is_empty());
    }

    #[test]
    fn an_outlier_is_flagged_and_kept() {
        let mut samples = noisy(10.0, 3, 9);
        samples.insert(4, 100.0);
        let summary = summarise(&samples, 1);
        assert_eq!(summary.outliers, [4]);
        assert!(summary.median < 11.0 && summary.median > median(&noisy(10.0, 3, 9)).unwrap());
    }

    #[test]
    fn the_interval_holds_the_true_median_nearly_always() {
        let inside = (0..200)
            .filter(|&seed| {
                let Summary { low, high, .. } = summarise(&noisy(10.0, seed, 15), seed);
                low <= 10.0 && 10.0 <= high
            })
            .count();
        // 95 % of 200, less what a percentile interval of 15 samples lacks and chance takes.
        assert!((180..=200).contains(&inside), "{inside}");
    }

    #[test]
    fn what_slows_both_in_a_round_is_not_in_their_ratio() {
        let slow = [1.0, 0.5, 0.9, 0.2, 1.0, 0.7, 0.3];
        let theirs = slow.map(|factor| 100.0 * factor);
        let ours = slow.map(|factor| 150.0 * factor);
        let ratio = ratio("kernel", &ours, &theirs, 1).unwrap();
        assert!((ratio.low - 1.5).abs() < 1e-9 && (ratio.high - 1.5).abs() < 1e-9, "{ratio:?}");
        assert_eq!(ratio.to, "kernel");
    }

    #[test]
    fn the_seed_decides_the_interval() {
        let samples = noisy(10.0, 1, 21);
        assert_eq!(summarise(&samples, 7), summarise(&samples, 7));
    }

    proptest! {
        #[test]
        fn order_does_not_matter_to_the_median_and_the_interval_is_around_it(
            samples in prop::collection::vec(0.0..1e9, 1..40),
            seed: u64,
        ) {
            let Summary { median: middle, mad, low, high, .. } = summarise(&samples, seed);
            let mut reversed = samples.clone();
            reversed.reverse();
            prop_assert_eq!(median(&reversed), Some(middle));
            prop_assert!(low <= middle && middle <= high && mad >= 0.0);
            prop_assert!(samples.iter().any(|&sample| sample <= low));
            prop_assert!(samples.iter().any(|&sample| sample >= high));
        }
    }
}
