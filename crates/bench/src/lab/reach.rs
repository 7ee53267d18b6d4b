//! The first half of the lab: which member reaches which.

use anyhow::Result;
use indicatif::ProgressBar;
use umacvlan_core::options::PollMode;
use umacvlan_core::{Mode, Semantics};
use umacvlan_engine::running_kernel;
use umacvlan_lab::network::Network;
use umacvlan_lab::oracle::{Setup, cells, expected, expected_reach, host_sees_more};
use umacvlan_lab::probe::{WaitLimits, probe_all};
use umacvlan_lab::reach::{Probe, Reach};
use umacvlan_lab::station::Member;

use super::LabArgs;
use super::contenders::{Contender, Contenders};

/// The results in one setup.
pub(super) struct SetupReach {
    pub(super) setup: Setup,
    /// True if no filter hides the sub-interfaces' frames from our host.
    pub(super) overheard: bool,
    pub(super) ours: Option<Reach>,
    pub(super) kernel: Option<Reach>,
}

/// One cell of a table: whether `from` reaches `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) probe: Probe,
    pub(super) from: Member,
    pub(super) to: Member,
}

/// A cell that differs from the documented rules.
pub(super) struct Difference {
    pub(super) setup: Setup,
    pub(super) cell: Cell,
    /// The number of copies that arrived.
    pub(super) copies: u8,
    /// The documented number of them.
    pub(super) expected: u8,
}

impl SetupReach {
    /// All cells of this setup.
    pub(super) fn cells(&self) -> impl Iterator<Item = Cell> {
        cells(self.setup.mode).map(|(probe, from, to)| Cell { probe, from, to })
    }

    /// The documented number of copies in a cell; `None` if there is no such cell.
    pub(super) fn expected(&self, Cell { probe, from, to }: Cell) -> Option<u8> {
        expected(self.setup, probe, from, to)?;
        Some(expected_reach(self.setup).copies(probe, from, to))
    }

    /// True if our host receives more in this cell than documented, which is known and no failure.
    pub(super) fn excused(&self, cell: Cell) -> bool {
        let Cell { probe, from, to } = cell;
        let copies = self.ours.map_or(0, |ours| ours.copies(probe, from, to));
        self.overheard
            && copies == 1
            && self.expected(cell) == Some(0)
            && host_sees_more(self.setup, probe, from, to)
    }

    /// The cells in which ours differs from the documented rules.
    pub(super) fn differing(&self) -> Vec<Difference> {
        let Some(ours) = self.ours else {
            return Vec::new();
        };
        let difference = |cell: Cell| Difference {
            setup: self.setup,
            cell,
            copies: ours.copies(cell.probe, cell.from, cell.to),
            expected: self.expected(cell).unwrap_or(0),
        };
        self.cells()
            .filter(|cell| !self.excused(*cell))
            .map(difference)
            .filter(|found| found.copies != found.expected)
            .collect()
    }
}

/// The number of progress steps of this half.
pub(super) fn steps(args: &LabArgs, contenders: &Contenders) -> usize {
    columns(contenders).count() * args.modes().len() * args.hairpins().len()
}

/// Tests all contenders in all setups of this mode.
pub(super) fn run(
    network: &mut Network,
    contenders: &Contenders,
    mode: Mode,
    args: &LabArgs,
    progress: &ProgressBar,
) -> Result<Vec<SetupReach>> {
    let setup =
        |hairpin| Setup { mode, hairpin, semantics: args.semantics, running: running_kernel() };
    let overheard = contenders.overheard.is_some();
    let mut found: Vec<_> = args
        .hairpins()
        .into_iter()
        .map(|hairpin| SetupReach { setup: setup(hairpin), overheard, ours: None, kernel: None })
        .collect();
    for contender in columns(contenders) {
        contenders.attach(contender, network, mode, contenders.workers)?;
        for row in &mut found {
            let state = if row.setup.hairpin { "on" } else { "off" };
            progress.set_message(format!("{mode}, hairpin {state}: who reaches whom, {contender}"));
            network.set_hairpin(row.setup.hairpin)?;
            let semantics = match contender {
                Contender::Kernel => Semantics::Kernel,
                Contender::Ours(_) => args.semantics,
            };
            let wanted = expected_reach(Setup { semantics, ..row.setup });
            let reached = probe_all(&network.stations(), &wanted, WaitLimits::default())?;
            match contender {
                Contender::Kernel => row.kernel = Some(reached),
                Contender::Ours(_) => row.ours = Some(reached),
            }
            progress.inc(1);
        }
    }
    Ok(found)
}

/// The contenders with a column. Our poll mode does not influence reachability.
fn columns(contenders: &Contenders) -> impl Iterator<Item = Contender> {
    let all = contenders.all.iter().copied();
    all.filter(|contender| *contender != Contender::Ours(PollMode::Busy))
}
