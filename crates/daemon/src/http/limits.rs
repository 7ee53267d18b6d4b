//! Limits of connections and times. A slow, silent or hostile client costs one connection for a
//! limited time, and root is always served.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// Time limit of a request's head, from its first byte.
pub(super) const HEAD: Duration = Duration::from_secs(5);

/// A connection without a request is closed after this time.
pub(super) const IDLE: Duration = Duration::from_secs(60);

/// Time limit of a request, including its body; for a stream, until it begins.
pub(super) const REQUEST: Duration = Duration::from_secs(30);

/// A client that reads nothing of its response for this time is disconnected.
pub(super) const STALLED: Duration = Duration::from_secs(30);

/// How many bytes of a head are read before it is refused, and of a body before a handler reads it.
pub(super) const BUFFER: usize = 64 << 10;

/// Connections at a time.
const CONNECTIONS: usize = 64;

/// Connections at a time to a socket of root's.
const CONNECTIONS_OF_ROOT: usize = 1024;

/// Connections among [`CONNECTIONS`] that are reserved for root.
const RESERVED: usize = 16;

/// Further connections that are refused with a response at a time; others are closed at once.
const TURNED_AWAY: usize = 64;

/// Counts connections and admits new ones.
#[derive(Debug)]
pub(super) struct ConnectionLimits {
    all: Arc<Semaphore>,
    others: Arc<Semaphore>,
    turned_away: Arc<Semaphore>,
}

/// The decision on a new connection.
#[derive(Debug)]
pub(super) enum Admission {
    /// Serve it.
    Serve(Permit),
    /// Answer that the daemon is busy. The client can decide better than a queue what to do
    /// meanwhile.
    TurnAway(Permit),
    /// Close it.
    Close,
}

/// A place in a limit, released when dropped.
#[derive(Debug)]
pub(super) struct Permit(#[expect(dead_code, reason = "held")] Vec<OwnedSemaphorePermit>);

impl ConnectionLimits {
    pub(super) fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(CONNECTIONS)),
            others: Arc::new(Semaphore::new(CONNECTIONS - RESERVED)),
            turned_away: Arc::new(Semaphore::new(TURNED_AWAY)),
        }
    }

    /// Limits of a socket that only root can connect to: container engines open many connections at
    /// once, each of which waits for its turn.
    pub(super) fn of_root() -> Self {
        Self { all: Arc::new(Semaphore::new(CONNECTIONS_OF_ROOT)), ..Self::new() }
    }

    /// Decides on a connection of this user.
    pub(super) fn admit(&self, uid: u32) -> Admission {
        let places: &[_] = if uid == 0 { &[&self.all] } else { &[&self.others, &self.all] };
        if let Some(permit) = take(places) {
            return Admission::Serve(permit);
        }
        take(&[&self.turned_away]).map_or(Admission::Close, Admission::TurnAway)
    }
}

fn take(places: &[&Arc<Semaphore>]) -> Option<Permit> {
    let take = |&place: &&Arc<Semaphore>| Arc::clone(place).try_acquire_owned().ok();
    places.iter().map(take).collect::<Option<_>>().map(Permit)
}

/// The state of a connection: even while it waits for a request's head, odd while a request is
/// being answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<AtomicUsize>);

impl Progress {
    /// A request's head has arrived. Its response is ready when the returned value is dropped.
    pub(super) fn response_in_progress(&self) -> ResponseInProgress {
        self.0.fetch_add(1, Ordering::Relaxed);
        ResponseInProgress(self.clone())
    }

    fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct ResponseInProgress(Progress);

impl Drop for ResponseInProgress {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A connection with time limits on a request's head and on writing. Idle connections are closed by
/// hyper, which has one timer for idle time and heads.
#[derive(Debug)]
pub(super) struct Paced {
    stream: UnixStream,
    progress: Progress,
    /// The number of the request whose head has begun, and its time limit.
    head: Option<(usize, Pin<Box<Sleep>>)>,
    /// Time limit of a write that makes no progress.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    pub(super) fn new(stream: UnixStream, progress: Progress) -> Self {
        Self { stream, progress, head: None, stalled: None }
    }

    /// Handles the result of a write, with its time limit.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALLED)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let now = this.progress.now();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let reads_head = now.is_multiple_of(2);
        this.head.take_if(|(number, _)| *number != now);
        if buffer.filled().len() > before && reads_head {
            this.head.get_or_insert_with(|| (now, Box::pin(sleep(HEAD))));
        }
        if let (Poll::Pending, Some((_, deadline))) = (&read, &mut this.head) {
            ready!(deadline.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.written(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connections of this user until one is not served.
    fn served(limits: &ConnectionLimits, uid: u32) -> Vec<Permit> {
        let serve = |admission| match admission {
            Admission::Serve(permit) => Some(permit),
            _ => None,
        };
        std::iter::from_fn(|| serve(limits.admit(uid))).collect()
    }

    #[test]
    fn others_cannot_lock_root_out() {
        let limits = ConnectionLimits::new();
        let others = served(&limits, 1000);
        assert_eq!(others.len(), CONNECTIONS - RESERVED);
        assert!(served(&limits, 1001).is_empty());
        assert_eq!(served(&limits, 0).len(), 16);
        drop(others);
        assert_eq!(served(&limits, 0).len(), CONNECTIONS);
    }

    #[test]
    fn excess_connections_are_refused_and_then_closed() {
        let limits = ConnectionLimits::new();
        let _served = served(&limits, 0);
        let mut refused = Vec::new();
        while let Admission::TurnAway(permit) = limits.admit(0) {
            refused.push(permit);
        }
        assert_eq!(refused.len(), TURNED_AWAY);
        refused.pop();
        assert!(matches!(limits.admit(0), Admission::TurnAway(_)));
    }
}
