//! The second half of the lab: cost, with the contenders measured alternately.
//!
//! The rounds are interleaved, A B A B, so that a machine that gets warm or busy affects all
//! contenders. The median of the rounds is shown.

use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use umacvlan_core::options::PollMode;
use umacvlan_core::{Mode, Semantics};
use umacvlan_engine::running_kernel;
use umacvlan_lab::measure::{Path, frame_rate, round_trips, tcp_throughput};
use umacvlan_lab::network::Network;
use umacvlan_lab::oracle::{Setup, expected};
use umacvlan_lab::reach::Probe;
use umacvlan_lab::station::{Member, Station};

use super::LabArgs;
use super::contenders::{Contender, Contenders};
use crate::shared::cores::Cores;
use crate::shared::stats::median;

/// The kinds of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// One TCP stream, in bit/s.
    Tcp,
    /// UDP request and response, p50 and p99 in seconds.
    RoundTrip,
    /// 60-byte frames, delivered and offered per second.
    Frames,
}

/// One row of the table: a path, the measure, and the results.
pub(super) struct CostRow {
    pub(super) mode: Mode,
    pub(super) hairpin: bool,
    pub(super) from: Member,
    pub(super) to: Member,
    pub(super) measure: Measure,
    pub(super) columns: Vec<Column>,
    time: Duration,
}

/// The results of one contender in a row.
pub(super) struct Column {
    pub(super) contender: Contender,
    /// One for each round: the measured value, and with it p99 or the frames offered.
    pub(super) samples: Vec<(f64, f64)>,
    /// Why rounds have failed, one text for each.
    pub(super) failures: Vec<String>,
}

impl Column {
    fn new(contender: Contender) -> Self {
        Self { contender, samples: Vec::new(), failures: Vec::new() }
    }

    /// The median of each value over the rounds; `None` before the first round, and if all failed.
    pub(super) fn median(&self) -> Option<(f64, f64)> {
        let median = |value: fn(&(f64, f64)) -> f64| {
            median(&self.samples.iter().map(value).collect::<Vec<_>>())
        };
        Some((median(|sample| sample.0)?, median(|sample| sample.1)?))
    }
}

/// Rows of one mode and hairpin setting, measured together.
pub(super) struct Group {
    mode: Mode,
    hairpin: bool,
    /// The number of workers of our parent.
    workers: usize,
    rounds: usize,
    rows: Vec<CostRow>,
}

/// The measurements: in each setup, a path of each kind that is reachable and not yet measured with
/// the other hairpin setting. Bridge mode also has frame rates, and our engine in both poll modes.
pub(super) fn plan(args: &LabArgs, contenders: &Contenders) -> Vec<Group> {
    if args.no_cost {
        return Vec::new();
    }
    let modes = args.modes().into_iter();
    let modes = modes.filter(|mode| !args.quick || args.mode.is_some() || *mode == Mode::Bridge);
    let mut groups = Vec::new();
    for mode in modes {
        let mut seen = Vec::new();
        for hairpin in args.hairpins() {
            let setup = Setup {
                mode,
                hairpin,
                // The documented rules, which both implementations fulfil.
                semantics: Semantics::Documented,
                running: running_kernel(),
            };
            let fresh: Vec<_> = PATHS
                .into_iter()
                .filter(|(from, to)| expected(setup, Probe::Tcp, *from, *to) == Some(true))
                .filter(|path| !seen.contains(path))
                .collect();
            seen.extend(&fresh);
            if args.quick && hairpin && args.hairpin.is_none() {
                continue;
            }
            let thorough = mode == Mode::Bridge && (!hairpin || args.hairpin.is_some());
            let rows = |(from, to)| rows(setup, from, to, thorough, args.quick, contenders);
            groups.push(Group {
                mode,
                hairpin,
                workers: contenders.workers,
                rounds: if thorough { 5 } else { 3 },
                rows: fresh.into_iter().flat_map(rows).collect(),
            });
        }
    }
    groups.retain(|group| !group.rows.is_empty());
    groups
}

/// The number of progress steps of this half.
pub(super) fn steps(plan: &[Group]) -> usize {
    plan.iter().map(|group| group.rounds * contenders_in(&group.rows).len()).sum()
}

/// Runs all planned measurements. One that fails is noted in its column, and the others go on.
pub(super) fn run(
    plan: Vec<Group>,
    contenders: &Contenders,
    progress: &ProgressBar,
) -> Vec<CostRow> {
    let mut testbeds = Vec::new();
    let mut measured = Vec::new();
    for mut group in plan {
        let mut ready = Vec::new();
        for contender in contenders_in(&group.rows) {
            match prepare(contenders, &mut testbeds, contender, &group) {
                Ok(()) => ready.push(contender),
                Err(error) => {
                    group.note_failure(contender, &error);
                    progress.inc(group.rounds as u64);
                }
            }
        }
        for round in 1..=group.rounds {
            for &contender in &ready {
                let (mode, rounds) = (group.mode, group.rounds);
                progress.set_message(format!("{mode}: round {round} of {rounds}, {contender}"));
                if let Err(error) = group.sample(contenders, &mut testbeds, contender) {
                    group.note_failure(contender, &error);
                }
                progress.inc(1);
            }
        }
        measured.append(&mut group.rows);
    }
    measured
}

/// A contender and the network in which it is measured. Each contender has its own, so that it need
/// not wait for another's sub-interfaces to be removed.
type Testbed = (Contender, Network);

/// Prepares a contender's testbed for a group.
fn prepare(
    contenders: &Contenders,
    testbeds: &mut Vec<Testbed>,
    contender: Contender,
    group: &Group,
) -> Result<()> {
    if !testbeds.iter().any(|(other, _)| *other == contender) {
        let network = Network::build().context("cannot build one more network")?;
        testbeds.push((contender, network));
    }
    for (_, network) in testbeds.iter_mut().filter(|(other, _)| *other == contender) {
        network.set_hairpin(group.hairpin)?;
        if !contender.is_busy_polling() {
            contenders.attach(contender, network, group.mode, group.workers)?;
        }
    }
    Ok(())
}

impl Group {
    /// Notes in all columns of a contender that a round of it has failed.
    fn note_failure(&mut self, contender: Contender, error: &anyhow::Error) {
        let columns = self.rows.iter_mut().flat_map(|row| &mut row.columns);
        for column in columns.filter(|column| column.contender == contender) {
            column.failures.push(format!("{error:#}"));
        }
    }

    /// Runs one round of one contender. A measurement that fails is noted in its column.
    ///
    /// # Errors
    /// The contender cannot be attached or detached.
    fn sample(
        &mut self,
        contenders: &Contenders,
        testbeds: &mut [Testbed],
        contender: Contender,
    ) -> Result<()> {
        for (_, network) in testbeds.iter_mut().filter(|(other, _)| *other == contender) {
            if contender.is_busy_polling() {
                contenders.attach(contender, network, self.mode, self.workers)?;
            }
            let stations = network.stations();
            for row in &mut self.rows {
                row.sample(&stations, contender);
            }
            if contender.is_busy_polling() {
                network.detach()?;
            }
        }
        Ok(())
    }
}

impl CostRow {
    /// A row from the first sub-interface to the second, without columns.
    #[cfg(test)]
    pub(super) fn of(mode: Mode, measure: Measure) -> Self {
        let (from, to) = (Member::Sub(1), Member::Sub(2));
        let (hairpin, columns, time) = (false, Vec::new(), Duration::ZERO);
        Self { mode, hairpin, from, to, measure, columns, time }
    }

    /// Measures once, if this contender has a column in the row.
    fn sample(&mut self, stations: &[Station<'_>], contender: Contender) {
        let mut columns = self.columns.iter_mut();
        let Some(column) = columns.find(|column| column.contender == contender) else {
            return;
        };
        let find = |member| stations.iter().find(|station| station.member == member);
        let (Some(from), Some(to)) = (find(self.from), find(self.to)) else {
            return;
        };
        let cores = match self.measure {
            Measure::Tcp | Measure::Frames => Cores::find().ends,
            // The two programs run alternately, so the scheduler chooses their cores.
            Measure::RoundTrip => None,
        };
        match measure(self.measure, Path { from, to, cores }, self.time) {
            Ok(sample) => column.samples.push(sample),
            Err(error) => column.failures.push(error.to_string()),
        }
    }
}

/// One sample: the measured value, and with it p99 or the frames offered.
fn measure(
    measure: Measure,
    path: Path<'_, '_>,
    time: Duration,
) -> umacvlan_lab::error::Result<(f64, f64)> {
    Ok(match measure {
        Measure::Tcp => (tcp_throughput(path, time, None)?.bits_per_second(), 0.0),
        Measure::RoundTrip => {
            let trips = round_trips(path, time)?;
            let seconds = |percent| trips.percentile(percent).as_secs_f64();
            (seconds(50), seconds(99))
        }
        Measure::Frames => {
            let rate = frame_rate(path, time)?;
            (rate.delivered, rate.offered)
        }
    })
}

/// The rows about one path.
fn rows(
    setup: Setup,
    from: Member,
    to: Member,
    thorough: bool,
    quick: bool,
    contenders: &Contenders,
) -> Vec<CostRow> {
    let row = |measure| CostRow {
        mode: setup.mode,
        hairpin: setup.hairpin,
        from,
        to,
        measure,
        columns: contenders
            .all
            .iter()
            .filter(|contender| {
                **contender != Contender::Ours(PollMode::Busy)
                    || (thorough && measure == Measure::RoundTrip)
            })
            .map(|contender| Column::new(*contender))
            .collect(),
        time: match (measure, quick, thorough) {
            (Measure::Tcp, false, true) => Duration::from_millis(300),
            (Measure::Tcp, _, _) => Duration::from_millis(120),
            (Measure::RoundTrip, false, true) => Duration::from_millis(150),
            (Measure::RoundTrip, _, _) => Duration::from_millis(50),
            (Measure::Frames, false, _) => Duration::from_millis(200),
            (Measure::Frames, true, _) => Duration::from_millis(80),
        },
    };
    let mut measures = vec![Measure::Tcp];
    // A round trip is the same from either end.
    if to != Member::External {
        measures.push(Measure::RoundTrip);
        if thorough {
            measures.push(Measure::Frames);
        }
    }
    measures.into_iter().map(row).collect()
}

/// The contenders with a column in one of the rows.
fn contenders_in(rows: &[CostRow]) -> Vec<Contender> {
    let mut all: Vec<Contender> = Vec::new();
    for column in rows.iter().flat_map(|row| &row.columns) {
        if !all.contains(&column.contender) {
            all.push(column.contender);
        }
    }
    all
}

/// One path of each kind: all pairs of sub-interfaces are alike.
const PATHS: [(Member, Member); 4] = [
    (Member::Sub(1), Member::Sub(2)),
    (Member::External, Member::Sub(1)),
    (Member::Sub(1), Member::External),
    (Member::Host, Member::Sub(1)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_its_own_median() {
        let column = |samples: &[(f64, f64)]| Column {
            samples: samples.to_vec(),
            ..Column::new(Contender::Kernel)
        };
        assert_eq!(column(&[]).median(), None);
        let samples = [(3.0, 1.0), (1.0, 2.0), (2.0, 3.0)];
        assert_eq!(column(&samples).median(), Some((2.0, 2.0)));
    }
}
