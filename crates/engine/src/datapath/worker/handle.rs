//! [`WorkerHandle`]: a worker on its own thread, with requests to it and notices from it.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};
use umacvlan_core::{SubIndex, Switch};
use umacvlan_sys::eventfd::EventFd;
use umacvlan_sys::process;

use super::{Request, Worker, WorkerConfig};

/// A function that each worker's thread runs before its first turn.
pub type OnWorker = Arc<dyn Fn() + Send + Sync>;

/// An event that a worker reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The worker has failed for this reason and forwards no more frames.
    Failed(String),
    /// A sub-interface sent a membership report: it joined or left a group.
    Groups(SubIndex),
    /// The interface behind a port is gone.
    PortGone(SubIndex),
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
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Some(id) = config.cpu {
                core_affinity::set_for_current(core_affinity::CoreId { id });
            }
            process::minimize_timer_slack();
            // An io_uring belongs to the thread that made it, so everything is built here.
            match Self::build(switch, config, requests, wakes_worker, notifier) {
                Ok(worker) => {
                    if let Some(on_worker) = on_worker {
                        on_worker();
                    }
                    let _ = ready.send(Ok(()));
                    worker.run().inspect_err(|error| {
                        if let Some(notifier) = on_failure {
                            notifier.notify(std::iter::once(Notice::Failed(error.to_string())));
                        }
                    })
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                    Ok(())
                }
            }
        })?;
        let stopped = || io::Error::other("the worker ended before it began");
        started.recv().map_err(|_| stopped())??;
        Ok(WorkerHandle { sender, wake_event, thread: Some(thread) })
    }
}

/// A worker on its own thread.
///
/// # Threads
/// Any thread may send requests; the worker runs them between two turns.
#[derive(Debug)]
pub struct WorkerHandle {
    sender: Sender<Request>,
    wake_event: Arc<EventFd>,
    thread: Option<JoinHandle<io::Result<()>>>,
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
    pub(crate) fn post<T: Send + 'static>(
        &self,
        request: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> Result<Receiver<T>, Stopped> {
        let (reply, result) = crossbeam_channel::bounded(1);
        let request: Request = Box::new(move |worker| {
            // The caller may no longer wait for the result.
            let _ = reply.send(request(worker));
        });
        self.sender.send(request).map_err(|_| Stopped)?;
        self.wake_event.wake();
        Ok(result)
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

    fn end(&mut self) -> io::Result<()> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        // An error means that the worker has stopped already.
        let _ = self.call(Worker::stop);
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the worker panicked")))
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
