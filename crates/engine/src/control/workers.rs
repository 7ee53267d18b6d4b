//! [`Workers`]: all workers of one device, whose tables are replicas.
//!
//! A replica changes only by the requests here, which all workers do in the same order. The result of
//! a change depends on the table and the request only, so what one worker refuses, all refuse. Each
//! does it between two of its turns: for some microseconds a change is in effect for the flows of
//! some workers only.
//!
//! The kernel chooses the worker of a frame by its flow: worker `i` has the `i`-th socket of the
//! uplink's group and the `i`-th queue of each TAP, and the same number selects both
//! ([`PacketSocket::open_group`], [`Tap::create_queues`]). So one worker has both directions of a
//! flow, and writing to its queue of a TAP does not change the queue of that flow: a flow stays with
//! its worker, in order.
//!
//! [`PacketSocket::open_group`]: umacvlan_sys::packet::PacketSocket::open_group
//! [`Tap::create_queues`]: umacvlan_sys::tap::Tap::create_queues

use std::fmt::Debug;
use std::io;

use crossbeam_channel::Receiver;
use umacvlan_core::{ParentInfo, Semantics, SubIndex, Switch};

use umacvlan_datapath::SwitchId;
use umacvlan_datapath::worker::{
    Ended, Notifier, OnWorker, Stopped, Worker, WorkerConfig, WorkerHandle,
};

/// The workers of one device, in the order of sockets and queues. There is at least one.
#[derive(Debug)]
pub(super) struct Workers(Vec<WorkerHandle>);

impl Workers {
    /// Starts a worker for each of `configs`, of which there is at least one.
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

    /// The number of workers.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Asks the first worker: about the table, or about what only the first has.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let worker = &self.0[0];
        worker.wait(&worker.post(ask)?)
    }

    /// Runs `tell` on all workers, and returns the result, which is the same for all.
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

    /// Runs `ask` on each worker, and returns the results in their order.
    pub(super) fn each<T: Send + 'static>(
        &self,
        ask: impl Fn(&mut Worker) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>, Stopped> {
        self.give(std::iter::repeat(()), move |worker, ()| ask(worker))
    }

    /// As [`Workers::each`], with one of `gifts` for each worker. There are enough of them.
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
        let wait =
            |(worker, answer): (&WorkerHandle, Result<Receiver<T>, Stopped>)| worker.wait(&answer?);
        self.0.iter().zip(answers).map(wait).collect()
    }

    /// Ends the workers that still run after one has failed, because the flows of that one are not
    /// served any more.
    pub(super) fn halt(&self) {
        for worker in &self.0 {
            // One that has stopped already needs nothing.
            let _ = worker.post(Worker::stop);
        }
    }

    /// Looks whether one of them hangs.
    pub(super) fn look_for_hanging(&self) -> bool {
        // All of them, and not up to the first that hangs.
        self.0.iter().filter(|worker| worker.look()).count() > 0
    }

    /// Runs a function on the worker of that number, without waiting.
    pub(super) fn post(
        &self,
        number: usize,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), Stopped> {
        self.0.get(number).ok_or(Stopped)?.post(|_| run()).map(drop)
    }

    /// Stops all of them and waits for those that do not hang. Returns what is left of each.
    pub(super) fn finish(self) -> Vec<Ended> {
        self.0.into_iter().map(WorkerHandle::finish).collect()
    }

    /// Notes that a sub-interface was removed from all of them.
    pub(super) fn forget_sub(&self, switch: SwitchId, index: SubIndex) {
        self.0.iter().for_each(|worker| worker.forget_sub(switch, index));
    }

    /// Notes that a switch was removed from all of them.
    pub(super) fn forget_switch(&self, switch: SwitchId) {
        self.0.iter().for_each(|worker| worker.forget_switch(switch));
    }

    /// Stops all of them and waits for them.
    ///
    /// # Errors
    /// The error of the first that had failed.
    pub(super) fn stop(self) -> io::Result<()> {
        let ends: Vec<_> = self.0.into_iter().map(WorkerHandle::stop).collect();
        ends.into_iter().collect()
    }
}
