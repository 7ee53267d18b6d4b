//! The results of the lab as JSON.

use anyhow::Result;
use serde_json::{Value, json};
use umacvlan_lab::reach::{Probe, Reach};

use super::Findings;
use super::cost::{Column, CostRow, Measure};
use super::reach::{Cell, Difference, SetupReach};
use super::text;
use super::vlan::Row;

/// The complete report as one JSON object.
pub(super) fn report(findings: &Findings, differing: &[Difference]) -> Result<String> {
    let report = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "seconds": findings.took.as_secs_f64(),
        "workers": findings.contenders.workers,
        "backend": findings.contenders.backend.name(),
        "kernel_macvlan": findings.contenders.without_kernel.is_none(),
        "kernel_macvlan_absent": findings.contenders.without_kernel,
        "reach": findings.reached.iter().flat_map(cells).collect::<Vec<_>>(),
        "cost": findings.costs.iter().map(cost).collect::<Vec<_>>(),
        "differing": differing.iter().map(text::describe).collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

/// The results of `--vlan` as one JSON object.
pub(super) fn vlan(rows: &[Row]) -> Result<String> {
    let report = json!({ "version": env!("CARGO_PKG_VERSION"), "vlan": rows });
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

/// One object for each cell. `ours` and `kernel` count the copies of one frame, or are null if not
/// tested.
fn cells(found: &SetupReach) -> Vec<Value> {
    let object = |cell: Cell| {
        let Cell { probe, from, to } = cell;
        let copies = |reach: &Option<Reach>| reach.map(|reach| reach.copies(probe, from, to));
        json!({
            "mode": found.setup.mode.name(),
            "hairpin": found.setup.hairpin,
            "semantics": found.setup.semantics.name(),
            "probe": match probe {
                Probe::Broadcast => "broadcast",
                Probe::Unicast => "unicast",
                Probe::Tcp => "tcp",
            },
            "from": from.to_string(),
            "to": to.to_string(),
            "ours": copies(&found.ours),
            "kernel": copies(&found.kernel),
            "expected": found.expected(cell).map(|copies| copies > 0),
            "expected_copies": found.expected(cell),
            "excused": found.excused(cell),
        })
    };
    found.cells().map(object).collect()
}

/// One object for each row, with every sample of every contender.
fn cost(row: &CostRow) -> Value {
    let (measure, value, beside) = match row.measure {
        Measure::Tcp => ("tcp", "bits_per_second", None),
        Measure::RoundTrip => ("rtt", "p50_seconds", Some("p99_seconds")),
        Measure::Frames => ("frames", "delivered_per_second", Some("offered_per_second")),
    };
    let column = |column: &Column| {
        let pick =
            |pick: fn(&(f64, f64)) -> f64| column.samples.iter().map(pick).collect::<Vec<_>>();
        let median = column.median();
        let mut object = json!({
            "by": column.contender.to_string(),
            value: median.map(|median| median.0),
            "samples": pick(|sample| sample.0),
            "failures": column.failures,
        });
        if let Some(beside) = beside {
            object[beside] = json!(median.map(|median| median.1));
        }
        object
    };
    json!({
        "mode": row.mode.name(),
        "hairpin": row.hairpin,
        "from": row.from.to_string(),
        "to": row.to.to_string(),
        "measure": measure,
        "results": row.columns.iter().map(column).collect::<Vec<_>>(),
    })
}
