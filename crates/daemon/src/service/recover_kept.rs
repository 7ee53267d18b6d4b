//! Re-adopting links by the queues of their TAPs that the [keeper](crate::keeper) has held.
//!
//! Nothing is forwarded before, so the engine gets all of these links at once. What is not for
//! forwarding, as records and the keeper, follows.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::libc::{EBADFD, EINVAL};
use umacvlan_core::Mode;
use umacvlan_engine::engine::{Adopt, KeptTap, SubStatus};
use umacvlan_sys::tap::Tap;

use super::Service;
use super::problem::storage_error;
use super::recover::adoption;
use crate::ServiceError;
use crate::keeper::Kept;
use crate::link_record::LinkRecord;
use crate::parent_record::ParentRecord;

/// Why the queues that the keeper has held cannot be attached.
enum QueuesError {
    /// Their interface is gone, or going with its namespace.
    Gone,
    /// They are none.
    Unusable(io::Error),
}

/// A link whose queues are open.
struct Candidate<'r> {
    record: &'r LinkRecord,
    parent: Option<&'r ParentRecord>,
    /// The name of its parent in requests.
    name: String,
    /// The number of its queues.
    queues: usize,
}

/// A parent of such links.
struct Attached {
    /// The number of its workers.
    workers: usize,
    /// True if it was attached for a link that is not adopted yet.
    fresh: bool,
}

impl Service {
    /// Re-adopts the links whose queues the keeper has held, and returns the others.
    pub(super) fn recover_kept<'r>(
        &mut self,
        links: &[&'r LinkRecord],
        parents: &'r [ParentRecord],
        mut kept: Kept,
    ) -> Vec<&'r LinkRecord> {
        let (mut others, mut gone, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        let (mut candidates, mut wanted) = (Vec::new(), Vec::new());
        let mut attached = BTreeMap::new();
        for &record in links {
            let parent = parents.iter().find(|one| one.name == record.parent);
            match kept.remove(&record.id).map(open_queues) {
                None => others.push(record),
                Some(Ok(queues)) => match self.prepare(record, parent, queues, &mut attached) {
                    Ok((candidate, adopt)) => {
                        candidates.push(candidate);
                        wanted.push(adopt);
                    }
                    Err(problem) => failed.push((record, problem)),
                },
                Some(Err(QueuesError::Gone)) => gone.push((record, parent)),
                Some(Err(QueuesError::Unusable(error))) => {
                    tracing::error!("what the keeper holds for link {}: {error}", record.name);
                    self.keeper.release(record.id);
                    others.push(record);
                }
            }
        }
        // Without an engine every link fails.
        let adopted = self.engine.adopt_kept(wanted).unwrap_or_default();
        for (candidate, seen) in candidates.into_iter().zip(adopted) {
            let record = candidate.record;
            let noted = seen.map_err(ServiceError::from);
            if let Err(problem) =
                noted.and_then(|seen| self.note_kept(&candidate, seen, &mut attached))
            {
                failed.push((record, problem));
            }
        }
        failed.iter().for_each(|(record, problem)| self.defer(record, problem));
        gone.into_iter().for_each(|(record, parent)| self.drop_lost(record, parent, &[]));
        // Links that were not yet written down, or whose record is damaged.
        kept.keys().for_each(|&link| self.keeper.release(link));
        others
    }

    /// Attaches the parent of a link. Returns what the engine is to adopt, with the parent's name in
    /// requests. `attached` has the parents so far.
    fn prepare<'r>(
        &mut self,
        record: &'r LinkRecord,
        parent: Option<&'r ParentRecord>,
        mut queues: Vec<Tap>,
        attached: &mut BTreeMap<String, Attached>,
    ) -> Result<(Candidate<'r>, (String, Adopt)), ServiceError> {
        let fresh = !self.parents.contains_key(&record.parent);
        let name = self.attach_again(&record.parent, parent, record.mode == Mode::Passthru)?;
        let workers = match attached.get(&name) {
            Some(parent) => parent.workers,
            None => {
                let workers = self.engine.parent(&name)?.workers.len();
                attached.insert(name.clone(), Attached { workers, fresh });
                workers
            }
        };
        if queues.len() > workers {
            // The keeper closes the others, and knows in which order.
            queues.truncate(workers);
            let fewer: Result<Vec<_>, _> =
                queues.iter().map(|it| it.as_fd().try_clone_to_owned()).collect();
            let fewer = fewer.map_err(|error| storage_error(&record.name, &error))?;
            self.keeper.put(record.id, &fewer);
        }
        let candidate = Candidate { record, parent, name: name.clone(), queues: queues.len() };
        Ok((candidate, (name, adoption(record, KeptTap::Queues(queues)))))
    }

    /// Notes a link that the engine has adopted, which may have got more queues.
    fn note_kept(
        &mut self,
        link: &Candidate<'_>,
        seen: SubStatus,
        attached: &mut BTreeMap<String, Attached>,
    ) -> Result<(), ServiceError> {
        let &Candidate { record, parent, queues, .. } = link;
        let attached = attached.get_mut(&link.name);
        if attached.as_ref().is_some_and(|attached| queues < attached.workers) {
            let all = self.engine.queues(seen.number)?;
            if all.len() != queues {
                self.keeper.put(record.id, &all);
            }
        }
        let fresh = attached.is_some_and(|attached| std::mem::take(&mut attached.fresh));
        self.note_adopted(record, parent.filter(|_| fresh), seen)
    }
}

/// The queues of a TAP from descriptors that the keeper has held.
fn open_queues(descriptors: Vec<OwnedFd>) -> Result<Vec<Tap>, QueuesError> {
    let queues: io::Result<Vec<_>> = descriptors.into_iter().map(Tap::from_kept).collect();
    let located = queues.and_then(|queues| {
        // The kernel removes a namespace some time before its interfaces.
        queues.first().map(Tap::namespace).transpose()?;
        Ok(queues)
    });
    located.map_err(|error| match error.raw_os_error() {
        Some(EBADFD | EINVAL) => QueuesError::Gone,
        _ => QueuesError::Unusable(error),
    })
}
