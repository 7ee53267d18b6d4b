//! [`WorkerHandle`]: a worker on its own thread, with requests to it and notices from it.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use umacvlan_core::{SubIndex, Switch};
use umacvlan_sys::eventfd::EventFd;
use umacvlan_sys::process;

use super::heartbeat::{Heartbeat, Watcher};
use super::last_counters::LastCounters;
use super::{Request, Snapshot, Worker, WorkerConfig};
use crate::port::PortClosed;
use crate::switches::SwitchId;

/// How long the control thread waits for the result of a request, and how often. Each request takes
/// microseconds. A process that was stopped meanwhile finds one of these times over, and not all.
const ANSWER_TIME: Duration = Duration::from_secs(1);
const ANSWER_WAITS: usize = 5;

/// A function that each worker's thread runs before its first turn.
pub type OnWorker = Arc<dyn Fn() + Send + Sync>;

/// An event that a worker reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The worker has failed for this reason and forwards no more frames.
    Failed(String),
    /// A sub-interface has sent a membership report, or a group frame from an address that is not
    /// its own: the addresses that its interface receives may have changed.
    Addresses(SubIndex),
    /// A link of a parent with a translation has got or lost an IP address.
    Neighbours,
    /// The connection of a program has ended.
    PortClosed {
        /// The sub-interface.
        sub: SubIndex,
        /// The number of the connection.
        number: u64,
        /// Why.
        why: PortClosed,
    },
    /// The interface behind a port is gone.
    PortGone(SubIndex),
    /// A program that sends datagrams gets some from now on.
    PortProven {
        /// The sub-interface.
        sub: SubIndex,
        /// The number of the connection.
        number: u64,
    },
    /// A sub-interface of an untagged parent has sent tags of its own. This is reported once.
    Tags,
}

/// Where a worker sends its notices: a channel, and an event that wakes its receiver.
#[derive(Clone, Debug)]
pub struct Notifier {
    worker: u64,
    sender: Sender<(u64, Notice)>,
    wake_event: Arc<EventFd>,
}

impl Notifier {
    /// Sends notices to this channel, with the number of the worker, and then signals the event.
    pub fn new(worker: u64, sender: Sender<(u64, Notice)>, wake_event: Arc<EventFd>) -> Self {
        Self { worker, sender, wake_event }
    }

    pub(super) fn notify(&self, notices: impl Iterator<Item = Notice>) {
        for notice in notices {
            // Without a receiver the engine is shutting down.
            let _ = self.sender.send((self.worker, notice));
        }
        self.wake_event.wake();
    }
}

/// What is left of a worker that has ended.
#[derive(Debug, Default)]
pub struct Remains {
    /// The counters of each of its switches.
    pub counters: Vec<(SwitchId, Snapshot)>,
    /// Frames that the ring of its uplink had no slot for.
    pub ring_drops: u64,
}

impl Remains {
    /// Frames that the worker has read: the same for each of its switches.
    pub(super) fn frames(&self) -> u64 {
        self.counters.first().map_or(0, |(_, counters)| counters.turns.frames)
    }
}

/// The end of a worker.
#[derive(Debug)]
pub struct Ended {
    /// What is left of it; of one that hangs what it had counted about a second before, if anything.
    pub remains: Option<Remains>,
    /// Its thread if it hangs: it is left alone, and ends after its turn if that ends.
    pub left: Option<LeftThread>,
}

/// The thread of a worker that hangs, which nobody waits for.
#[derive(Debug)]
pub struct LeftThread(JoinHandle<(io::Result<()>, Remains)>);

impl LeftThread {
    /// True once its turn has ended after all, and the thread with it.
    pub fn has_ended(&self) -> bool {
        self.0.is_finished()
    }
}

impl Worker {
    /// Starts a worker on a thread of its own, which runs `on_worker` before its first turn.
    ///
    /// # Errors
    /// As [`Worker::new`], or no thread can be started.
    pub fn spawn(
        name: &str,
        switch: Switch,
        config: WorkerConfig,
        notifier: Option<Notifier>,
        on_worker: Option<OnWorker>,
    ) -> io::Result<WorkerHandle> {
        let (sender, requests) = unbounded();
        let wake_event = Arc::new(EventFd::new()?);
        let (ready, started) = crossbeam_channel::bounded(1);
        let wakes_worker = Arc::clone(&wake_event);
        let on_failure = notifier.clone();
        let heartbeat = Arc::new(Heartbeat::default());
        let beats = Arc::clone(&heartbeat);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Some(id) = config.cpu {
                core_affinity::set_for_current(core_affinity::CoreId { id });
            }
            process::minimize_timer_slack();
            process::request_short_slice();
            // An io_uring belongs to the thread that made it, so everything is built here.
            match Self::build(switch, config, requests, wakes_worker, notifier) {
                Ok(mut worker) => {
                    worker.heartbeat = beats;
                    if let Some(on_worker) = on_worker {
                        on_worker();
                    }
                    let _ = ready.send(Ok(()));
                    let ended = run(worker);
                    if let ((Err(error), _), Some(notifier)) = (&ended, on_failure) {
                        notifier.notify(std::iter::once(Notice::Failed(error.to_string())));
                    }
                    ended
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                    (Ok(()), Remains::default())
                }
            }
        })?;
        let stopped = || io::Error::other("the worker ended before it began");
        started.recv().map_err(|_| stopped())??;
        Ok(WorkerHandle {
            sender,
            wake_event,
            thread: Some(thread),
            heartbeat,
            watcher: Watcher::default(),
            hangs: AtomicBool::new(false),
            last: Mutex::default(),
        })
    }
}

/// Runs a worker to its end, and closes its sockets before it returns what is left.
fn run(mut worker: Worker) -> (io::Result<()>, Remains) {
    // A worker that has panicked forwards no more. Its counters are numbers, and nothing else is
    // used after that.
    let ended = catch_unwind(AssertUnwindSafe(|| worker.run()))
        .unwrap_or_else(|payload| Err(io::Error::other(reason(&*payload))));
    let failed = ended.is_err();
    let end = AssertUnwindSafe(|| {
        let remains = worker.remains(failed);
        drop(worker);
        remains
    });
    (ended, catch_unwind(end).unwrap_or_default())
}

/// The message of a panic.
fn reason(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("without a message"))
}

/// A worker on its own thread.
///
/// # Threads
/// Any thread may send requests; the worker runs them between two turns.
#[derive(Debug)]
pub struct WorkerHandle {
    sender: Sender<Request>,
    wake_event: Arc<EventFd>,
    thread: Option<JoinHandle<(io::Result<()>, Remains)>>,
    heartbeat: Arc<Heartbeat>,
    watcher: Watcher,
    /// True once it has not responded in time.
    hangs: AtomicBool,
    /// Used by the thread that looks at it.
    last: Mutex<LastCounters>,
}

/// The worker has stopped and runs no more requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker of this parent has stopped")]
pub struct Stopped;

impl WorkerHandle {
    /// Runs a function on the worker between two turns, and returns its result.
    ///
    /// # Errors
    /// [`Stopped`] if the worker has ended.
    pub fn call<T: Send + 'static>(
        &self,
        request: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        self.post(request)?.recv().map_err(|_| Stopped)
    }

    /// As [`WorkerHandle::call`], without waiting: the result comes by the channel, which is closed
    /// if there is none.
    ///
    /// # Errors
    /// [`Stopped`] if the worker has ended.
    pub fn post<T: Send + 'static>(
        &self,
        request: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> Result<Receiver<T>, Stopped> {
        if self.hangs.load(Ordering::Relaxed) {
            return Err(Stopped);
        }
        let (reply, result) = crossbeam_channel::bounded(1);
        let request: Request = Box::new(move |worker| {
            // The caller may no longer wait for the result.
            let _ = reply.send(request(worker));
        });
        self.sender.send(request).map_err(|_| Stopped)?;
        self.wake_event.wake();
        Ok(result)
    }

    /// Waits for the result of a request. A worker that does not return it in time counts as hanging
    /// from then on, and runs no more requests.
    ///
    /// # Errors
    /// [`Stopped`] if the worker has ended or hangs.
    pub fn wait<T>(&self, result: &Receiver<T>) -> Result<T, Stopped> {
        for _ in 0..ANSWER_WAITS {
            match result.recv_timeout(ANSWER_TIME) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Stopped),
            }
        }
        self.hangs.store(true, Ordering::Relaxed);
        Err(Stopped)
    }

    /// Looks whether the worker hangs, which is true if several looks in a row find it in the same
    /// turn. Asks it for its counters, without waiting.
    pub fn look(&self) -> bool {
        self.last().note(self.heartbeat.read(), || self.post(Worker::counters_so_far));
        if self.watcher.finds_hanging(&self.heartbeat) {
            self.hangs.store(true, Ordering::Relaxed);
        }
        self.hangs.load(Ordering::Relaxed)
    }

    /// Notes that a sub-interface was removed, whose index another one may get.
    pub fn forget_sub(&self, switch: SwitchId, index: SubIndex) {
        self.last().remove_sub(switch, index);
    }

    /// Notes that a switch was removed, whose number another one may get.
    pub fn forget_switch(&self, switch: SwitchId) {
        self.last().remove_switch(switch);
    }

    fn last(&self) -> MutexGuard<'_, LastCounters> {
        // A panic cannot leave it half changed.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The event that wakes the worker. The far end of a memory link signals it with each frame
    /// ([`MemoryLink::wake_with`](crate::memory_link::MemoryLink::wake_with)).
    pub fn wake_event(&self) -> Arc<EventFd> {
        Arc::clone(&self.wake_event)
    }

    /// Stops the worker and waits for its end. Dropping the handle does the same and ignores errors.
    ///
    /// # Errors
    /// The failure that had ended the worker.
    pub fn stop(mut self) -> io::Result<()> {
        self.end()
    }

    /// As [`WorkerHandle::stop`], and returns what is left of the worker.
    pub fn finish(mut self) -> Ended {
        match self.take() {
            Ok((_, remains)) => Ended { remains: Some(remains), left: None },
            Err(left) => Ended { remains: self.last().take(), left },
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.take().map_or(Ok(()), |(ended, _)| ended)
    }

    /// Ends the worker, whose thread is left if it hangs.
    fn take(&mut self) -> Result<(io::Result<()>, Remains), Option<LeftThread>> {
        let thread = self.thread.take().ok_or(None)?;
        let asked = self.post(Worker::stop);
        // An error means that the worker has stopped already.
        let _ = asked.and_then(|stopped| self.wait(&stopped));
        if self.hangs.load(Ordering::Relaxed) {
            // Nobody waits for it. The receiver exists as long as the worker does.
            let _ = self.sender.send(Box::new(Worker::stop));
            return Err(Some(LeftThread(thread)));
        }
        let panicked = |_| (Err(io::Error::other("the worker panicked")), Remains::default());
        Ok(thread.join().unwrap_or_else(panicked))
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
