//! [`Summary`] and [`Ratio`]: medians of samples and their confidence intervals.
//!
//! No normal distribution is assumed: times on a busy machine have a long tail. The intervals are
//! percentile bootstrap intervals. The seed decides the random numbers, so the same samples give
//! the same figures on every machine.

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::shared::stats::median;

/// Summary statistics of a point's samples.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub median: f64,
    /// Median of the absolute deviations from the median.
    pub mad: f64,
    /// The lower end of the 95 % interval of the median (bootstrap).
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Indexes in `samples` of the outliers, which all figures include.
    pub outliers: Vec<usize>,
}

/// The ratio of our samples to a peer's, measured in the same rounds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Ratio {
    /// The peer, as in its key.
    pub to: String,
    /// Median of the ratios of all rounds.
    pub value: f64,
    /// The lower end of its 95 % interval (paired bootstrap).
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The summary of these samples. Without samples, all figures are 0.
pub(crate) fn summarise(samples: &[f64], seed: u64) -> Summary {
    let Some(middle) = median(samples) else {
        return Summary::default();
    };
    let deviations: Vec<f64> = samples.iter().map(|sample| (sample - middle).abs()).collect();
    let mad = median(&deviations).unwrap_or_default();
    let (low, high) = interval(samples.len(), seed, |indexes| {
        median(&indexes.iter().map(|&index| samples[index]).collect::<Vec<_>>())
    })
    .unwrap_or((middle, middle));
    Summary { median: middle, mad, low, high, outliers: outliers(&deviations, mad) }
}

/// The ratio of `ours` to `theirs`, sample by sample: both were measured in the same rounds. Rounds
/// that one side lacks, or in which theirs is not above zero, are skipped. `None` if no round is
/// left.
pub(crate) fn ratio(to: &str, ours: &[f64], theirs: &[f64], seed: u64) -> Option<Ratio> {
    let pairs = ours.iter().zip(theirs).filter(|&(_, &theirs)| theirs > 0.0);
    let quotients: Vec<f64> = pairs.map(|(ours, theirs)| ours / theirs).collect();
    let summary = summarise(&quotients, seed);
    let Summary { median, low, high, .. } = summary;
    let to = to.to_owned();
    (!quotients.is_empty()).then_some(Ratio { to, value: median, low, high })
}

/// The 95 % bootstrap interval of `statistic` over `count` values. `statistic` gets the indexes of
/// `count` values that were drawn with replacement.
pub(crate) fn interval(
    count: usize,
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> Option<f64>,
) -> Option<(f64, f64)> {
    let mut random = Rng::with_seed(seed);
    let mut indexes = vec![0; count];
    let draws = (0..DRAWS).filter_map(|_| {
        indexes.fill_with(|| random.usize(..count));
        statistic(&indexes)
    });
    percentiles(draws.collect())
}

/// The 2.5th and the 97.5th percentile of these draws.
pub(crate) fn percentiles(mut draws: Vec<f64>) -> Option<(f64, f64)> {
    draws.sort_unstable_by(f64::total_cmp);
    let outside = draws.len() / 40;
    Some((*draws.get(outside)?, *draws.get(draws.len().checked_sub(1 + outside)?)?))
}

/// Indexes of the samples whose modified z-score is above [`FAR`]. If more than half of the samples
/// are equal, the score is undefined and there are no outliers.
fn outliers(deviations: &[f64], mad: f64) -> Vec<usize> {
    let far = |&(_, &deviation): &(usize, &f64)| NORMAL * deviation > FAR * mad;
    if mad == 0.0 {
        return Vec::new();
    }
    deviations.iter().enumerate().filter(far).map(|(index, _)| index).collect()
}

/// Draws of a bootstrap. With 2000, the ends of an interval vary by about 1 % of its width between
/// seeds.
pub(crate) const DRAWS: usize = 2000;

/// A modified z-score above this is an outlier (Iglewicz and Hoaglin, 1993).
const FAR: f64 = 3.5;

/// The 0.75 quantile of the normal distribution, which scales a MAD to a standard deviation.
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
    fn no_samples_give_an_empty_summary() {
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
        // 95 % of 200, less the bias of a percentile interval of 15 samples and some chance.
        assert!((180..=200).contains(&inside), "{inside}");
    }

    #[test]
    fn a_slow_round_does_not_change_the_ratio() {
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
        fn the_interval_contains_the_median_in_any_order(
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
