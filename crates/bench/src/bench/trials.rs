//! [`Trials`]: how many trials a point gets, as `--trials` and `--width` say.

use std::str::FromStr;

use super::summary::is_narrow;

/// The argument of `--trials`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrialsArg {
    /// As many as it takes.
    Auto,
    Number(u32),
}

impl FromStr for TrialsArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(number @ 1..) => Ok(Self::Number(number)),
            _ if text == "auto" => Ok(Self::Auto),
            _ => Err("trials are a number above 0, or auto".to_owned()),
        }
    }
}

/// How many trials a point gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trials {
    /// The number of trials in any case.
    pub(crate) least: u32,
    /// The number after which there are no more.
    pub(crate) most: u32,
    /// The width of the interval, as a part of the median, that ends the trials.
    width: f64,
}

impl Trials {
    /// So many trials, whatever they tell.
    pub(crate) const fn fixed(number: u32) -> Self {
        Self { least: number, most: number, width: 0.0 }
    }

    /// Trials until each interval is at most this part of its median wide.
    pub(crate) const fn until(width: f64) -> Self {
        Self { least: AUTO_LEAST, most: AUTO_MOST, width }
    }

    /// True if the number depends on the samples.
    pub(crate) const fn is_auto(self) -> bool {
        self.least < self.most
    }

    /// True if no trial follows this many: the number is reached, or all of these samples have an
    /// interval that is narrow enough.
    pub(crate) fn is_enough<'s>(
        self,
        done: u32,
        samples: impl IntoIterator<Item = &'s [f64]>,
        seed: u64,
    ) -> bool {
        done >= self.most
            || done >= self.least && samples.into_iter().all(|some| self.is_narrow(some, seed))
    }

    /// True if these samples have an interval that is narrow enough. A fixed number of trials asks
    /// for none.
    pub(crate) fn is_narrow(self, samples: &[f64], seed: u64) -> bool {
        !self.is_auto() || is_narrow(samples, self.width, seed)
    }
}

/// With fewer trials, an interval is narrow by chance too often.
const AUTO_LEAST: u32 = 7;

/// Where a machine is so unsteady that an interval stays wide, a hundred trials show that.
const AUTO_MOST: u32 = 100;

/// The width of an interval that ends the trials, in percent of its median, unless `--width` says.
pub(super) const USUAL_WIDTH: f64 = 10.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_is_a_number_or_auto() {
        assert_eq!("12".parse(), Ok(TrialsArg::Number(12)));
        assert_eq!("auto".parse(), Ok(TrialsArg::Auto));
        for wrong in ["0", "-1", "1.5", "", "automatic"] {
            assert!(wrong.parse::<TrialsArg>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fixed_number_does_not_depend_on_the_samples() {
        let wild: &[f64] = &[1.0, 100.0];
        let trials = Trials::fixed(2);
        assert!(!trials.is_enough(1, [wild], 1) && trials.is_enough(2, [wild], 1));
        assert!(trials.is_narrow(wild, 1));
    }

    #[test]
    fn trials_go_on_until_every_interval_is_narrow() {
        let steady: Vec<f64> = (0..7).map(|trial| 100.0 + f64::from(trial)).collect();
        let wild: Vec<f64> = (0..7).map(|trial| 100.0 * f64::from(trial + 1)).collect();
        let trials = Trials::until(0.1);
        assert!(trials.is_enough(7, [&steady[..]], 1));
        assert!(!trials.is_enough(6, [&steady[..6]], 1), "fewer than the least");
        assert!(!trials.is_enough(7, [&steady[..], &wild[..]], 1));
        assert!(!Trials::until(0.01).is_enough(7, [&steady[..]], 1));
        assert!(trials.is_enough(100, [&wild[..]], 1), "it ends");
    }

    #[test]
    fn what_is_always_zero_needs_no_more_trials() {
        assert!(Trials::until(0.1).is_enough(7, [&[0.0; 7][..]], 1));
    }
}
