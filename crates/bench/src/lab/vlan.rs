//! `umacvlan lab --vlan`: the cost of VLAN tags. One TCP stream between two sub-interfaces, with an
//! engine at each end of a veth pair, tagged and untagged alternately.

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use umacvlan_datapath::worker::WorkerConfig;
use umacvlan_engine::engine::ParentOptions;
use umacvlan_lab::measure::{Path, tcp_throughput};
use umacvlan_lab::vlan_pair::VlanPair;

use super::LabArgs;
use crate::shared::cores::Cores;
use crate::shared::stats::median;
use umacvlan_text::table::{Cell, Head, Table, Tint};

/// The part after the dot in a parent's name, and its label.
const PARENTS: [(&str, &str); 3] =
    [("", "untagged"), ("10", "VLAN 10"), ("10.20", "VLAN 20 inside VLAN 10")];

/// The smallest acceptable ratio of a VLAN's rate to the untagged rate.
const GOAL: f64 = 0.9;

/// The results of one parent.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    parent: &'static str,
    /// The median over all rounds, of both directions.
    bits_per_second: f64,
    /// The ratio to the untagged parent.
    ratio: f64,
}

/// Measures all parents.
///
/// # Errors
/// The network cannot be built, a stream breaks, or an engine does not account for a frame.
pub(super) fn run(args: &LabArgs) -> Result<Vec<Row>> {
    let worker = |cpu| WorkerConfig { cpu, ..WorkerConfig::default() };
    let workers = Cores::find().workers(args.workers.into()).map(worker).collect();
    let options = ParentOptions { backend: args.backend, workers, ..ParentOptions::default() };
    let build =
        |(vlan, _)| VlanPair::build(vlan, &options).context("cannot build the pair of hosts");
    let pairs: Vec<VlanPair> = PARENTS.into_iter().map(build).collect::<Result<_>>()?;
    let (rounds, time) = if args.quick { (3, 80) } else { (9, 300) };
    let time = std::time::Duration::from_millis(time);
    let mut samples = [const { Vec::new() }; PARENTS.len()];
    for _ in 0..rounds {
        for (pair, samples) in pairs.iter().zip(&mut samples) {
            let [one, other] = &pair.stations();
            let mut both = 0.0;
            for (from, to) in [(one, other), (other, one)] {
                let path = Path { from, to, cores: Cores::find().ends };
                both += tcp_throughput(path, time, None)?.bits_per_second() / 2.0;
            }
            samples.push(both);
        }
    }
    for (pair, (_, parent)) in pairs.iter().zip(PARENTS) {
        ensure!(pair.is_balanced()?, "{parent}: a frame is counted nowhere");
    }
    let medians = samples.map(|samples| median(&samples).unwrap_or_default());
    let row = |((_, parent), bits): ((&str, &'static str), f64)| Row {
        parent,
        bits_per_second: bits,
        ratio: bits / medians[0],
    };
    Ok(PARENTS.into_iter().zip(medians).map(row).collect())
}

/// The table for people.
pub(super) fn text(rows: &[Row], colour: bool) -> String {
    let mut table =
        Table::new([Head::Left("PARENT"), Head::Right("GBIT/S"), Head::Right("OF UNTAGGED")]);
    for row in rows {
        let tint = if row.ratio < GOAL { Tint::Warning } else { Tint::Good };
        table.push([
            row.parent.into(),
            format!("{:.2}", row.bits_per_second / 1e9).into(),
            Cell::new(format!("{:.2}", row.ratio), tint),
        ]);
    }
    let head = "One TCP stream, both ways in turn, with an engine at each end of a veth:\n\n";
    format!("{head}{}", table.render(colour))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parent_is_a_line() {
        let row = |parent, ratio: f64| Row { parent, bits_per_second: ratio * 1e10, ratio };
        let text = text(&[row("untagged", 1.0), row("VLAN 10", 0.95)], false);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "PARENT    GBIT/S  OF UNTAGGED",
                "untagged   10.00         1.00",
                "VLAN 10     9.50         0.95"
            ]
        );
    }
}
