//! [`Workers`]: all workers of one parent, who know the same.
//!
//! Each has a replica of the table. A replica changes only by what is asked here, one thing after
//! the other and of all of them, and a change has no outcome but by the table and the request: what
//! one refuses, all refuse. They take a change each between two of its own turns, so for some
//! microseconds it holds for the flows of some and not yet for those of others.
//!
//! Who forwards a frame is the kernel's choice, by its flow: worker `i` has the `i`-th socket of the
//! uplink's group and the `i`-th queue of each TAP, and both are chosen by the same number
//! ([`PacketSocket::open_group`], [`Tap::create_queues`]). So one worker has both directions of a
//! flow, and what it writes on its queue of a TAP teaches that TAP nothing new: a flow never
//! changes its worker, and is in order.
//!
//! [`PacketSocket::open_group`]: umacvlan_sys::packet::PacketSocket::open_group
//! [`Tap::create_queues`]: umacvlan_sys::tap::Tap::create_queues

use std::fmt::Debug;
use std::io;

use umacvlan_core::{ParentInfo, Semantics, Switch};

use crate::datapath::worker::{Notifier, OnWorker, Stopped, Worker, WorkerConfig, WorkerHandle};

/// The workers of one parent, in the order of sockets and queues. There is at least one.
#[derive(Debug)]
pub(super) struct Workers(Vec<WorkerHandle>);

impl Workers {
    /// Starts a worker for each of `configs`, of which there is one at least.
    pub(super) fn spawn(
        parent: &str,
        (state, semantics): (ParentInfo, Semantics),
        configs: &[WorkerConfig],
        notifier: &Notifier,
        on_worker: Option<&OnWorker>,
    ) -> io::Result<Self> {
        let spawn = |(number, config): (usize, &WorkerConfig)| {
            // A thread's name is cut after 15 bytes, so the number comes first.
            let title = match number {
                0 => format!("um-{parent}"),
                _ => format!("um{number}-{parent}"),
            };
            let switch = Switch::new(state, semantics);
            Worker::spawn(&title, switch, *config, Some(notifier.clone()), on_worker.cloned())
        };
        configs.iter().enumerate().map(spawn).collect::<io::Result<_>>().map(Self)
    }

    /// How many they are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Asks the first: about what all know alike, or what only it has.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        self.0[0].call(ask)
    }

    /// Has all of them do the same, and returns what came of it, which is the same, too.
    pub(super) fn tell<T: Debug + PartialEq + Send + 'static>(
        &self,
        tell: impl Fn(&mut Worker) -> T + Clone + Send + 'static,
    ) -> Result<T, Stopped> {
        let mut answers = self.each(tell)?.into_iter();
        let first = answers.next().ok_or(Stopped)?;
        for other in answers {
            debug_assert_eq!(first, other, "replicas differ");
        }
        Ok(first)
    }

    /// Has each of them do something, and returns what each says, in their order.
    pub(super) fn each<T: Send + 'static>(
        &self,
        ask: impl Fn(&mut Worker) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>, Stopped> {
        self.give(std::iter::repeat(()), move |worker, ()| ask(worker))
    }

    /// As [`Workers::each`], with something for each, of which there are enough.
    pub(super) fn give<A: Send + 'static, T: Send + 'static>(
        &self,
        gifts: impl IntoIterator<Item = A>,
        ask: impl Fn(&mut Worker, A) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>, Stopped> {
        let post = |(worker, gift): (&WorkerHandle, A)| {
            let ask = ask.clone();
            worker.post(move |worker| ask(worker, gift))
        };
        // All begin before the first is waited for.
        let answers: Vec<_> = self.0.iter().zip(gifts).map(post).collect();
        answers.into_iter().map(|answer| answer?.recv().map_err(|_| Stopped)).collect()
    }

    /// Ends those that still run, of a parent that has lost one: the flows of that one are gone, so
    /// the parent is as good as none.
    pub(super) fn halt(&self) {
        for worker in &self.0 {
            // One that has stopped already is what was wanted.
            let _ = worker.call(Worker::stop);
        }
    }

    /// Stops all of them and waits for them.
    ///
    /// # Errors
    /// What ended the first that had failed before its time.
    pub(super) fn stop(self) -> io::Result<()> {
        let ends: Vec<_> = self.0.into_iter().map(WorkerHandle::stop).collect();
        ends.into_iter().collect()
    }
}
