//! [`WorkerHandle`]: a worker on its own thread, what it can be asked, and what it tells unasked.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};
use umacvlan_core::{SubIndex, Switch};
use umacvlan_sys::eventfd::EventFd;
use umacvlan_sys::process;

use super::{Request, Worker, WorkerConfig};

/// Run by each worker's thread before its first turn.
pub type OnWorker = Arc<dyn Fn() + Send + Sync>;

/// Something that a worker tells without being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The worker has ended before its time, for this reason, and forwards nothing any more.
    Failed(String),
    /// A sub-interface reported that it joined or left a group.
    Groups(SubIndex),
    /// The interface behind a port is gone.
    PortGone(SubIndex),
}

/// Where a worker's notices go: a channel, and a bell for the one who waits at the other end.
#[derive(Clone, Debug)]
pub struct Notifier {
    worker: u64,
    sender: Sender<(u64, Notice)>,
    bell: Arc<EventFd>,
}

impl Notifier {
    /// Notices go to that channel with the number of the worker, and the bell is rung after them.
    pub fn new(worker: u64, sender: Sender<(u64, Notice)>, bell: Arc<EventFd>) -> Self {
        Self { worker, sender, bell }
    }

    pub(super) fn notify(&self, notices: impl Iterator<Item = Notice>) {
        for notice in notices {
            // Nobody at the other end: the engine is being taken down.
            let _ = self.sender.send((self.worker, notice));
        }
        self.bell.wake();
    }
}

impl Worker {
    /// Starts a worker on a thread of its own, which runs `on_worker` before its first turn.
    ///
    /// # Errors
    /// As [`Worker::new`], or no thread to be had.
    pub fn spawn(
        name: &str,
        switch: Switch,
        config: WorkerConfig,
        notices: Option<Notifier>,
        on_worker: Option<OnWorker>,
    ) -> io::Result<WorkerHandle> {
        let (sender, requests) = unbounded();
        let commands = Arc::new(EventFd::new()?);
        let (ready, started) = crossbeam_channel::bounded(1);
        let bell = Arc::clone(&commands);
        let mourner = notices.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Some(id) = config.cpu {
                core_affinity::set_for_current(core_affinity::CoreId { id });
            }
            process::tighten_timers();
            // The ring serves the thread that made it, so everything is built here.
            match Self::build(switch, config, requests, bell, notices) {
                Ok(worker) => {
                    if let Some(confine) = on_worker {
                        confine();
                    }
                    let _ = ready.send(Ok(()));
                    worker.run().inspect_err(|error| {
                        if let Some(notifier) = mourner {
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
        Ok(WorkerHandle { sender, commands, thread: Some(thread) })
    }
}

/// A worker on its own thread, to be asked things.
///
/// # Threads
/// Any thread may ask; the worker answers between two turns.
#[derive(Debug)]
pub struct WorkerHandle {
    sender: Sender<Request>,
    commands: Arc<EventFd>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// The worker has ended and answers no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker of this parent has stopped")]
pub struct Stopped;

impl WorkerHandle {
    /// Has the worker do something between two turns, and returns what came of it.
    ///
    /// # Errors
    /// [`Stopped`] if the worker is no more.
    pub fn call<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        self.post(ask)?.recv().map_err(|_| Stopped)
    }

    /// As [`WorkerHandle::call`], but does not wait: the answer comes there, or the other end is
    /// gone.
    pub(crate) fn post<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> Result<Receiver<T>, Stopped> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        let request: Request = Box::new(move |worker| {
            // Whoever asked may have gone away meanwhile.
            let _ = reply.send(ask(worker));
        });
        self.sender.send(request).map_err(|_| Stopped)?;
        self.commands.wake();
        Ok(answer)
    }

    /// The event on which the worker sleeps: wake it when a link in memory has something.
    pub fn wake_event(&self) -> Arc<EventFd> {
        Arc::clone(&self.commands)
    }

    /// Stops the worker and waits for it. Dropping the handle does the same and keeps silent.
    ///
    /// # Errors
    /// What ended the worker before its time.
    pub fn stop(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        // A worker that has stopped already is what was wanted.
        let _ = self.call(Worker::stop);
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the worker panicked")))
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
