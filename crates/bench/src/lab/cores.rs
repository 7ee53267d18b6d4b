//! Which cores the worker and the programs of a measurement run on.

use std::fmt;

use core_affinity::CoreId;

/// The engine's core and those of the programs at the two ends.
///
/// A poll-mode engine has a core to itself, and programs have the others. The kernel's macvlan is
/// measured between programs on the same cores, so that it is the same program on both sides.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// The worker's; `None` on a machine with one core.
    pub worker: Option<CoreId>,
    /// Of the end that sends and the one that receives.
    pub ends: Option<(CoreId, CoreId)>,
}

impl Cores {
    /// The last core of those that this process may use for the worker, the first ones for the
    /// programs.
    pub fn find() -> Self {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        match cores.split_last() {
            Some((worker, [first, rest @ ..])) => {
                Self { worker: Some(*worker), ends: Some((*first, *rest.first().unwrap_or(first))) }
            }
            _ => Self { worker: None, ends: None },
        }
    }

    /// The CPU of each of so many workers: that of the only one first, then those before it.
    pub fn workers(self, count: usize) -> impl Iterator<Item = Option<usize>> {
        let mut cpus = umacvlan_engine::cpus::allowed();
        cpus.reverse();
        let pinned = self.worker.is_some();
        (0..count)
            .map(move |number| cpus.get(number % cpus.len().max(1)).copied().filter(|_| pinned))
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(worker), Some((from, to))) = (self.worker, self.ends) else {
            return f.write_str("one core for everything");
        };
        let ends = match from == to {
            true => format!("core {}", from.id),
            false => format!("cores {} and {}", from.id, to.id),
        };
        write!(
            f,
            "our worker on core {}; for everyone, TCP and frames between programs on {ends}, round \
             trips where the scheduler puts them",
            worker.id
        )
    }
}
