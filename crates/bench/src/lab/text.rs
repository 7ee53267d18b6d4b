//! The results of the lab as tables for people.

use std::fmt::Write;

use umacvlan_core::options::{Backend, PollMode};
use umacvlan_core::{Mode, Semantics};
use umacvlan_lab::oracle::{HOST_SEES_MORE, listed, members};
use umacvlan_lab::reach::{Probe, Reach};
use umacvlan_lab::station::{Member, SUBS};

use super::Findings;
use super::contenders::{Contender, Contenders};
use super::cost::{Column, CostRow, Measure};
use super::reach::{Cell, Difference, SetupReach};
use crate::shared::cores::Cores;

/// The columns of the tables and their style.
pub(super) struct Text {
    ours: bool,
    kernel: bool,
    without_kernel: Option<String>,
    workers: usize,
    backend: Backend,
    /// Why our host receives more frames, if it does.
    overheard: Option<String>,
    colour: bool,
}

impl Text {
    pub(super) fn new(contenders: &Contenders, colour: bool) -> Self {
        Self {
            ours: contenders.has(Contender::Ours(PollMode::Adaptive)),
            kernel: contenders.has(Contender::Kernel),
            without_kernel: contenders.without_kernel.clone(),
            workers: contenders.workers,
            backend: contenders.backend,
            overheard: contenders.overheard.clone(),
            colour,
        }
    }

    /// The explanation above the tables.
    pub(super) fn head(&self) -> String {
        let columns: Vec<_> = [(self.ours, "ours"), (self.kernel, "kernel"), (true, "expected")]
            .into_iter()
            .filter_map(|(there, name)| there.then_some(name))
            .collect();
        let mut head = format!(
            "A switch, an external host (ext), a parent with its host (hst), and {SUBS} \
             sub-interfaces.\nWho (row) reaches whom (column) by broadcast (ARP), unicast (ICMP \
             echo) and TCP; in each cell: {}\n  \
             {REACHED} yes   {UNREACHED} no   2.. copies of one frame",
            columns.join(" | ")
        );
        if let (true, Some(why)) = (self.ours, &self.overheard) {
            let _ = write!(head, "   {EXCUSED} host only: {HOST_SEES_MORE}: {why}");
        }
        if let Some(why) = &self.without_kernel {
            let _ = write!(head, "\nNo kernel column: {why}.");
        }
        if self.workers > 1 {
            let _ = write!(head, "\nOur parents have {} workers.", self.workers);
        }
        if self.ours && self.backend != Backend::Auto {
            let _ = write!(head, "\nOur parents have the backend {}.", self.backend);
        }
        head.push('\n');
        head
    }

    /// Three tables side by side, one for each probe.
    pub(super) fn reached(&self, found: &SetupReach) -> String {
        let setup = found.setup;
        let hairpin = if setup.hairpin { "on" } else { "off" };
        let title = format!("{}, hairpin {hairpin}", setup.mode);
        let mut table = format!("\n{}\n", self.paint(BOLD, &title));

        let width = self.marks();
        let probes = Probe::ALL.map(|probe| name(probe).to_owned());
        self.line(&mut table, setup.mode, "", probes);
        let heads = members(setup.mode).map(|to| format!("{:width$} ", clip(short(to), width)));
        let heads: String = heads.collect();
        self.line(&mut table, setup.mode, "", [heads.clone(), heads.clone(), heads]);
        for from in members(setup.mode) {
            let blocks = Probe::ALL.map(|probe| {
                let cell = |to| self.cell(found, Cell { probe, from, to }) + " ";
                members(setup.mode).map(cell).collect()
            });
            self.line(&mut table, setup.mode, short(from), blocks);
        }
        if setup.mode == Mode::Source {
            let _ = writeln!(table, "Admitted sources: {}.", lists());
        }
        if self.kernel && setup.hairpin && setup.mode == Mode::Private {
            table.push_str(match setup.semantics {
                Semantics::Documented => PRIVATE_DIFFERS,
                _ => "",
            });
        }
        table
    }

    /// Appends one line: a label and one block for each probe, each as wide as its table.
    fn line(&self, table: &mut String, mode: Mode, label: &str, blocks: [String; 3]) {
        let cells = members(mode).count() * (self.marks() + 1);
        let width = cells.max(name(Probe::Broadcast).len() + 1) + 1;
        let _ = write!(table, "{label:LABEL$}");
        for block in blocks {
            // Escape sequences have no width on the terminal, but `{:width$}` would count them.
            let blanks = width.saturating_sub(visible(&block));
            let _ = write!(table, "{block}{:blanks$}", "");
        }
        end_line(table);
    }

    /// The costs: one line for each row, a column for each contender.
    pub(super) fn costs(&self, rows: &[CostRow]) -> String {
        if rows.is_empty() {
            return String::new();
        }
        let mut table = format!(
            "\n{}\n({})\n{:PATH$}{:>COLUMN$}{:>COLUMN$}{:>8}",
            self.paint(BOLD, "What it costs (medians of interleaved rounds)"),
            Cores::find(),
            "",
            if self.ours { "ours" } else { "" },
            if self.kernel { "kernel" } else { "" },
            if self.ours && self.kernel { "ratio" } else { "" },
        );
        end_line(&mut table);
        for row in rows {
            let kernel = column(row, Contender::Kernel);
            let ours = column(row, Contender::Ours(PollMode::Adaptive));
            cost_line(&mut table, row, "", ours, kernel);
            let busy = column(row, Contender::Ours(PollMode::Busy));
            if busy.is_some() {
                cost_line(&mut table, row, ", busy", busy, kernel);
            }
        }
        for line in rows.iter().flat_map(failures) {
            let _ = writeln!(table, "  {}", self.paint(YELLOW, &line));
        }
        table
    }

    /// The summary, and the cells that differ from the documented rules.
    pub(super) fn verdict(&self, findings: &Findings, differing: &[Difference]) -> String {
        let cells: usize = findings.reached.iter().map(|found| found.cells().count()).sum();
        let took = findings.took.as_secs_f64();
        let mut verdict = match (self.ours, differing.len()) {
            (false, _) => format!("\n{cells} cells"),
            (true, 0) => format!("\n{cells} cells, all as docs/semantics.md promises"),
            (true, count) => {
                let text =
                    format!("{count} of {cells} cells are not as docs/semantics.md promises");
                format!("\n{}", self.paint(RED, &text))
            }
        };
        let _ = writeln!(verdict, " ({took:.0} s).");
        for difference in differing {
            let _ = writeln!(verdict, "  {}", describe(difference));
        }
        verdict
    }

    /// The marks of one cell, or blanks if there is no such cell.
    fn cell(&self, found: &SetupReach, cell: Cell) -> String {
        let Some(expected) = found.expected(cell) else {
            return " ".repeat(self.marks());
        };
        let copies = |reach: Option<_>| reach.map(|reach| copies(&reach, cell));
        let mut marks = String::new();
        if let Some(ours) = copies(found.ours) {
            let right = ours == expected;
            marks.push_str(&match (right, found.excused(cell)) {
                (true, _) => {
                    self.paint(if expected > 0 { GREEN } else { DIM }, &copies_symbol(ours))
                }
                (_, true) => self.paint(YELLOW, EXCUSED),
                _ => self.paint(RED, &copies_symbol(ours)),
            });
        }
        if let Some(kernel) = copies(found.kernel) {
            let same = kernel == expected;
            marks.push_str(&self.paint(if same { DIM } else { YELLOW }, &copies_symbol(kernel)));
        }
        marks.push_str(&self.paint(DIM, &copies_symbol(expected)));
        marks
    }

    /// The number of marks in a cell.
    fn marks(&self) -> usize {
        1 + usize::from(self.ours) + usize::from(self.kernel)
    }

    fn paint(&self, colour: &str, words: &str) -> String {
        match self.colour {
            true => format!("\x1b[{colour}m{words}\x1b[0m"),
            false => words.to_owned(),
        }
    }
}

/// A difference on one line.
pub(super) fn describe(difference: &Difference) -> String {
    let Difference { setup, cell, .. } = difference;
    let hairpin = if setup.hairpin { "on" } else { "off" };
    let reached = |copies| match copies {
        0 => "not reached".to_owned(),
        1 => "reached".to_owned(),
        copies => format!("{copies} copies"),
    };
    let (found, promised) = (reached(difference.copies), reached(difference.expected));
    format!(
        "{}, hairpin {hairpin}, {}: {} to {}: {found}, promised: {promised}",
        setup.mode,
        name(cell.probe),
        cell.from,
        cell.to
    )
}

/// The name of a probe.
pub(super) const fn name(probe: Probe) -> &'static str {
    match probe {
        Probe::Broadcast => "broadcast",
        Probe::Unicast => "unicast",
        Probe::Tcp => "TCP",
    }
}

fn cost_line(
    table: &mut String,
    row: &CostRow,
    how: &str,
    ours: Option<&Column>,
    kernel: Option<&Column>,
) {
    let path = format!("{}{how}", path(row));
    let value = |column: Option<&Column>| match column.map(Column::median) {
        Some(Some(value)) => unit(row.measure, value),
        Some(None) => "failed".to_owned(),
        None => String::new(),
    };
    let median = |column: Option<&Column>| column.and_then(Column::median);
    let ratio = match (median(ours), median(kernel)) {
        (Some((ours, _)), Some((kernel, _))) if kernel > 0.0 => format!("{:.2}", ours / kernel),
        _ => String::new(),
    };
    let (ours, kernel) = (value(ours), value(kernel));
    let _ = write!(table, "{path:PATH$}{ours:>COLUMN$}{kernel:>COLUMN$}{ratio:>8}");
    end_line(table);
}

/// What a row measures, and where.
fn path(row: &CostRow) -> String {
    let hairpin = if row.hairpin { ", hairpin" } else { "" };
    let what = match row.measure {
        Measure::Tcp => "TCP",
        Measure::RoundTrip => "RTT p50/p99",
        Measure::Frames => "60 B frames",
    };
    format!("{}{hairpin}: {} > {}, {what}", row.mode, row.from, row.to)
}

/// A line for each contender that failed in a row: how often, and why for the first time.
fn failures(row: &CostRow) -> impl Iterator<Item = String> {
    row.columns.iter().filter_map(move |column| {
        let why = column.failures.first()?;
        let (failed, rounds) =
            (column.failures.len(), column.failures.len() + column.samples.len());
        let (path, by) = (path(row), column.contender);
        Some(format!("{path}, {by}: {failed} of {rounds} measurements failed: {why}"))
    })
}

fn unit(measure: Measure, (value, beside): (f64, f64)) -> String {
    match measure {
        Measure::Tcp => format!("{:.2} Gbit/s", value / 1e9),
        Measure::RoundTrip => format!("{:.1}/{:.1} us", value * 1e6, beside * 1e6),
        Measure::Frames => format!("{:.3} M/s", value / 1e6),
    }
}

fn column(row: &CostRow, contender: Contender) -> Option<&Column> {
    row.columns.iter().find(|column| column.contender == contender)
}

/// The sources that each sub-interface admits in source mode.
fn lists() -> String {
    let list = |sub| {
        let names: Vec<_> = listed(sub).iter().copied().map(short).collect();
        let names = if names.is_empty() { "nobody".to_owned() } else { names.join(" ") };
        format!("{} {names}", short(Member::Sub(sub)))
    };
    (1..=SUBS).map(list).collect::<Vec<_>>().join(", ")
}

fn copies(reach: &Reach, cell: Cell) -> u8 {
    reach.copies(cell.probe, cell.from, cell.to)
}

fn copies_symbol(copies: u8) -> String {
    match copies {
        0 => UNREACHED.to_owned(),
        1 => REACHED.to_owned(),
        2..=9 => copies.to_string(),
        _ => "9".to_owned(),
    }
}

/// Names that fit above a cell.
const fn short(member: Member) -> &'static str {
    match member {
        Member::Sub(1) => "m1",
        Member::Sub(2) => "m2",
        Member::Sub(3) => "m3",
        Member::Sub(_) => "m4",
        Member::Host => "hst",
        Member::External => "ext",
    }
}

/// The number of visible characters: all but the escape sequences of [`Text::paint`].
fn visible(words: &str) -> usize {
    let mut escaped = false;
    let seen = |c: &char| {
        let hidden = escaped || *c == '\x1b';
        escaped = hidden && *c != 'm';
        !hidden
    };
    words.chars().filter(seen).count()
}

fn clip(words: &str, width: usize) -> &str {
    words.get(..width).unwrap_or(words)
}

fn end_line(table: &mut String) {
    table.truncate(table.trim_end().len());
    table.push('\n');
}

const REACHED: &str = "✓";
const UNREACHED: &str = "·";
const EXCUSED: &str = "+";

/// Printed where the kernel's column differs on purpose.
const PRIVATE_DIFFERS: &str = "The kernel lets reflected unicast through to a private \
     sub-interface. Ours does with --semantics kernel.\n";

/// Widths of the columns.
const LABEL: usize = 4;
const PATH: usize = 44;
const COLUMN: usize = 16;

/// Select Graphic Rendition (ECMA-48).
const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "1;31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_measurement_is_a_cell_that_says_so_and_a_reason() {
        let column = |contender, samples: &[(f64, f64)], failures: &[&str]| Column {
            contender,
            samples: samples.to_vec(),
            failures: failures.iter().map(|&why| why.to_owned()).collect(),
        };
        let ours = Contender::Ours(PollMode::Adaptive);
        let row = |columns| {
            let mut row = CostRow::of(Mode::Bridge, Measure::Tcp);
            row.columns = columns;
            row
        };
        let line = |row: &CostRow| {
            let mut table = String::new();
            let columns = (super::column(row, ours), super::column(row, Contender::Kernel));
            cost_line(&mut table, row, "", columns.0, columns.1);
            table.split_whitespace().skip(5).collect::<Vec<_>>().join(" ")
        };
        let all = row(vec![
            column(ours, &[], &["broken pipe"]),
            column(Contender::Kernel, &[(2e9, 0.0)], &[]),
        ]);
        assert_eq!(line(&all), "failed 2.00 Gbit/s");
        let reasons: Vec<_> = failures(&all).collect();
        assert_eq!(reasons.len(), 1);
        assert!(reasons[0].ends_with("1 of 1 measurements failed: broken pipe"), "{reasons:?}");
        let some = row(vec![
            column(ours, &[(1e9, 0.0)], &["timed out"]),
            column(Contender::Kernel, &[(2e9, 0.0)], &[]),
        ]);
        assert_eq!(line(&some), "1.00 Gbit/s 2.00 Gbit/s 0.50");
        assert!(failures(&some).all(|line| line.contains("1 of 2")));
    }

    #[test]
    fn escape_sequences_have_no_width() {
        assert_eq!(visible("\x1b[1;31m✓\x1b[0m· "), 3);
    }
}
