//! [`Stability`]: whether the machine is quiet enough for measurements, found out before they begin.
//!
//! Each finding is a figure with a limit. A machine is stable if no figure is above its limit; a
//! figure that the machine hides is unknown, and counts as neither.

mod low_load;
mod machine;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::unit::digits;

pub(super) use low_load::low_load;
pub(super) use machine::observe;

/// What was found before measuring.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Stability {
    /// True if no figure is above its limit.
    pub stable: bool,
    pub findings: Vec<Finding>,
}

/// A figure of the machine and its limit.
#[skip_serializing_none]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Finding {
    /// `timer-jitter`, `steal`, ...
    pub name: String,
    /// `None` if the machine hides it.
    pub value: Option<f64>,
    pub unit: String,
    /// The highest value of a stable machine.
    pub limit: f64,
}

impl Finding {
    fn new(name: &str, value: Option<f64>, unit: &str, limit: f64) -> Self {
        Self { name: name.to_owned(), value, unit: unit.to_owned(), limit }
    }

    fn is_within(&self) -> bool {
        self.value.is_none_or(|value| value <= self.limit)
    }

    /// The figure, and its limit if it is above.
    fn words(&self) -> String {
        let Self { name, value, unit, limit } = self;
        match value {
            None => format!("{name} unknown"),
            Some(value) if self.is_within() => format!("{name} {} {unit}", digits(*value)),
            Some(value) => format!("{name} {} {unit} (limit {limit})", digits(*value)),
        }
    }
}

impl Stability {
    pub(super) fn of(findings: Vec<Finding>) -> Self {
        Self { stable: findings.iter().all(Finding::is_within), findings }
    }

    /// The verdict with all figures, in one line.
    pub(super) fn words(&self) -> String {
        let verdict = if self.stable { "stable" } else { "NOT stable" };
        let figures: Vec<String> = self.findings.iter().map(Finding::words).collect();
        format!("{verdict}: {}", figures.join(", "))
    }

    /// Refuses a machine that is not stable.
    ///
    /// # Errors
    /// A figure is above its limit.
    pub(super) fn require(&self) -> Result<()> {
        if self.stable {
            return Ok(());
        }
        let above = self.findings.iter().filter(|finding| !finding.is_within());
        let above: Vec<String> = above.map(Finding::words).collect();
        bail!(
            "the machine is not stable, and --strict measures on no such machine: {}; end what else \
             runs, or leave out --strict to have it noted",
            above.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(name: &str, value: Option<f64>) -> Finding {
        Finding::new(name, value, "%", 1.0)
    }

    #[test]
    fn a_figure_at_its_limit_is_stable_and_one_above_is_not() {
        let stable = Stability::of(vec![finding("steal", Some(1.0)), finding("frequency", None)]);
        assert!(stable.stable && stable.require().is_ok());
        assert_eq!(stable.words(), "stable: steal 1.00 %, frequency unknown");
        let unstable = Stability::of(vec![finding("steal", Some(2.5)), finding("load", Some(0.5))]);
        assert!(!unstable.stable);
        assert_eq!(unstable.words(), "NOT stable: steal 2.50 % (limit 1), load 0.500 %");
        let refused = unstable.require().unwrap_err().to_string();
        assert!(
            refused.contains("steal 2.50 % (limit 1);") && !refused.contains("load"),
            "{refused}"
        );
    }

    #[test]
    fn what_is_unknown_is_absent_in_json() {
        let json = serde_json::to_value(finding("frequency", None)).unwrap();
        assert_eq!(json, serde_json::json!({ "name": "frequency", "unit": "%", "limit": 1.0 }));
        assert_eq!(serde_json::from_value::<Finding>(json).unwrap(), finding("frequency", None));
    }
}
