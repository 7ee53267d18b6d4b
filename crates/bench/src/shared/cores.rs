//! [`Cores`]: the cores of the worker and of the programs of a measurement.

use std::fmt;

use core_affinity::CoreId;

/// The cores of the engine and of the programs at the two ends.
///
/// The poll-mode engine has a core of its own, and the programs have the others. The kernel's
/// macvlan is measured with the programs on the same cores, so that results are comparable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// The worker's core; `None` on a machine with one core.
    pub(crate) worker: Option<CoreId>,
    /// The cores of the sender and the receiver.
    pub(crate) ends: Option<(CoreId, CoreId)>,
}

impl Cores {
    /// Of the cores that this process may use, the last is the worker's and the first ones are the
    /// programs'.
    pub(crate) fn find() -> Self {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        match cores.split_last() {
            Some((worker, [first, rest @ ..])) => {
                Self { worker: Some(*worker), ends: Some((*first, *rest.first().unwrap_or(first))) }
            }
            _ => Self { worker: None, ends: None },
        }
    }

    /// The CPU of each of `count` workers: the worker's core first, then the cores before it.
    /// `None` if workers are not pinned.
    pub(crate) fn workers(self, count: usize) -> impl Iterator<Item = Option<usize>> {
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
