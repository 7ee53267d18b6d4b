//! [`Summary`] and [`Ratio`]: medians of samples and their confidence intervals.
//!
//! No normal distribution is assumed: times on a busy machine have a long tail. The intervals are
//! percentile bootstrap intervals. The seed decides the random numbers, so the same samples give
//! the same figures on every machine. One sample has no interval, and a few have only a range.

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::shared::stats::median;

/// Summary statistics of a point's samples.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub median: f64,
    /// Median of the absolute deviations from the median.
    pub mad: f64,
    /// The lower end of the interval; without one, the median.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// What `low` and `high` are. Reports of older versions lack it: see [`Interval::of`].
    #[serde(default)]
    pub interval: Interval,
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
    /// The lower end of its interval (paired bootstrap); without one, the value.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// What `low` and `high` are. Reports of older versions lack it: see [`Interval::of`].
    #[serde(default)]
    pub interval: Interval,
}

/// What the two ends beside a median are.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Interval {
    /// A 95 % confidence interval of the median.
    Confidence,
    /// Nothing: there are fewer than two samples.
    #[default]
    None,
    /// The lowest and the highest of too few samples for a confidence interval.
    Range,
}

impl Interval {
    /// The kind that so many samples have.
    pub(crate) const fn of(count: usize) -> Self {
        match count {
            0 | 1 => Self::None,
            2..ENOUGH => Self::Range,
            _ => Self::Confidence,
        }
    }

    /// The two ends, unless there are none.
    pub(crate) fn ends(self, low: f64, high: f64) -> Option<(f64, f64)> {
        (self != Self::None).then_some((low, high))
    }

    /// The interval in words, with these ends.
    pub(crate) fn words(self, ends: &str) -> String {
        match self {
            Self::Confidence => ends.to_owned(),
            Self::None => "n/a".to_owned(),
            Self::Range => format!("range {ends}"),
        }
    }
}

impl Summary {
    /// The ends of the interval, unless there is none.
    pub(crate) fn ends(&self) -> Option<(f64, f64)> {
        self.interval.ends(self.low, self.high)
    }

    /// The width of the confidence interval as a part of the median; `None` with fewer samples.
    fn width(&self) -> Option<f64> {
        let known = self.interval == Interval::Confidence && self.median != 0.0;
        known.then(|| (self.high - self.low) / self.median.abs())
    }
}

impl Ratio {
    /// The ends of the interval, unless there is none.
    pub(crate) fn ends(&self) -> Option<(f64, f64)> {
        self.interval.ends(self.low, self.high)
    }
}

/// True if these samples have a confidence interval that is at most this part of their median wide.
/// So are samples that are all zero.
pub(crate) fn is_narrow(samples: &[f64], width: f64, seed: u64) -> bool {
    let summary = summarise(samples, seed);
    let is_zero = samples.len() >= ENOUGH && summary.low == 0.0 && summary.high == 0.0;
    is_zero || summary.width().is_some_and(|found| found <= width)
}

/// The summary of these samples. Without samples, all figures are 0.
pub(crate) fn summarise(samples: &[f64], seed: u64) -> Summary {
    let Some(middle) = median(samples) else {
        return Summary::default();
    };
    let deviations: Vec<f64> = samples.iter().map(|sample| (sample - middle).abs()).collect();
    let mad = median(&deviations).unwrap_or_default();
    let kind = Interval::of(samples.len());
    let (low, high) = match kind {
        Interval::Confidence => bootstrap(samples.len(), seed, |indexes| {
            median(&indexes.iter().map(|&index| samples[index]).collect::<Vec<_>>())
        }),
        Interval::None | Interval::Range => range(samples),
    }
    .unwrap_or((middle, middle));
    let outliers = outliers(&deviations, mad);
    Summary { median: middle, mad, low, high, interval: kind, outliers }
}

/// The ratio of `ours` to `theirs`, sample by sample: both were measured in the same rounds. Rounds
/// that one side lacks, or in which theirs is not above zero, are skipped. `None` if no round is
/// left.
pub(crate) fn ratio(to: &str, ours: &[f64], theirs: &[f64], seed: u64) -> Option<Ratio> {
    let pairs = ours.iter().zip(theirs).filter(|&(_, &theirs)| theirs > 0.0);
    let quotients: Vec<f64> = pairs.map(|(ours, theirs)| ours / theirs).collect();
    let summary = summarise(&quotients, seed);
    let Summary { median, low, high, interval, .. } = summary;
    let to = to.to_owned();
    (!quotients.is_empty()).then_some(Ratio { to, value: median, low, high, interval })
}

/// The lowest and the highest of these samples; `None` without any.
pub(crate) fn range(samples: &[f64]) -> Option<(f64, f64)> {
    let lowest = samples.iter().copied().min_by(f64::total_cmp)?;
    Some((lowest, samples.iter().copied().max_by(f64::total_cmp)?))
}

/// The 95 % bootstrap interval of `statistic` over `count` values. `statistic` gets the indexes of
/// `count` values that were drawn with replacement.
fn bootstrap(
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
/// are equal, the score is undefined and there are no outliers; nor are there any among fewer than
/// [`ENOUGH`], where the distance of the second sample decides what is far.
fn outliers(deviations: &[f64], mad: f64) -> Vec<usize> {
    let far = |&(_, &deviation): &(usize, &f64)| NORMAL * deviation > FAR * mad;
    if mad == 0.0 || deviations.len() < ENOUGH {
        return Vec::new();
    }
    deviations.iter().enumerate().filter(far).map(|(index, _)| index).collect()
}

/// The least number of samples that has a 95 % interval of its median: the true median lies between
/// the lowest and the highest of five with 94 % (1 - 2 / 2^5), so that no narrower interval can
/// have 95 %.
const ENOUGH: usize = 6;

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
    fn one_sample_has_no_interval() {
        let summary = summarise(&[5.0], 1);
        assert_eq!((summary.median, summary.mad), (5.0, 0.0));
        assert_eq!((summary.interval, summary.ends()), (Interval::None, None));
        assert!(summary.outliers.is_empty());
        let ratio = ratio("kernel", &[82.0], &[100.0], 1).unwrap();
        assert_eq!((ratio.value, ratio.ends()), (0.82, None));
        assert_eq!(ratio.interval.words("0.82 to 0.82"), "n/a");
    }

    #[test]
    fn three_samples_have_a_range_and_no_outlier() {
        let summary = summarise(&[10.0, 1000.0, 10.1], 1);
        assert_eq!((summary.interval, summary.ends()), (Interval::Range, Some((10.0, 1000.0))));
        assert_eq!(summary.outliers, [0; 0]);
        assert_eq!(summary.interval.words("10 to 1000"), "range 10 to 1000");
        let ratio = ratio("kernel", &[1.0, 3.0], &[1.0, 1.0], 1).unwrap();
        assert_eq!((ratio.interval, ratio.ends()), (Interval::Range, Some((1.0, 3.0))));
    }

    #[test]
    fn six_samples_are_the_fewest_with_a_confidence_interval() {
        assert_eq!(summarise(&noisy(10.0, 1, 5), 1).interval, Interval::Range);
        assert_eq!(summarise(&noisy(10.0, 1, 6), 1).interval, Interval::Confidence);
    }

    #[test]
    fn an_interval_is_narrow_relative_to_its_median() {
        let samples = noisy(10.0, 1, 15);
        let Summary { median, low, high, .. } = summarise(&samples, 1);
        let width = (high - low) / median;
        assert!(is_narrow(&samples, 1.01 * width, 1) && !is_narrow(&samples, 0.99 * width, 1));
        assert!(!is_narrow(&samples[..3], 100.0, 1), "a range is no confidence interval");
        assert!(is_narrow(&[0.0; 7], 0.01, 1) && !is_narrow(&[0.0; 3], 0.01, 1));
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
