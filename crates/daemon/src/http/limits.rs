//! How many clients, and how long each may take. A client that is slow, silent or hostile costs
//! one connection for a known time, and whatever it does root is still served.

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

/// The head of a request must be there so long after its first byte.
pub(super) const HEAD: Duration = Duration::from_secs(5);

/// A connection without a request is closed after this.
pub(super) const IDLE: Duration = Duration::from_secs(60);

/// A request must be answered within this, its body included; a stream must have begun.
pub(super) const REQUEST: Duration = Duration::from_secs(30);

/// A client that takes nothing of its answer for so long is given up.
pub(super) const STALLED: Duration = Duration::from_secs(30);

/// How much of a head is read before it is refused, and of a body before somebody asks for it.
pub(super) const BUFFER: usize = 64 << 10;

/// Connections served at a time.
const CONNECTIONS: usize = 64;

/// The same on a socket of root's.
const CONNECTIONS_OF_ROOT: usize = 1024;

/// Those of [`CONNECTIONS`] that only root can have: others cannot lock it out.
const RESERVED: usize = 16;

/// Connections beyond those that are told so, at a time; more are closed without a word.
const TURNED_AWAY: usize = 64;

/// Who may come in.
#[derive(Debug)]
pub(super) struct ConnectionLimits {
    all: Arc<Semaphore>,
    others: Arc<Semaphore>,
    turned_away: Arc<Semaphore>,
}

/// What happens to a new connection.
#[derive(Debug)]
pub(super) enum Admission {
    /// It is served.
    Serve(Permit),
    /// It is told to come again: at once, since a client can decide better than a queue what to
    /// do meanwhile.
    TurnAway(Permit),
    /// It is closed.
    Close,
}

/// A place that is free again when this is dropped.
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

    /// Where nobody else can connect: as many as whoever starts containers has at once, each of
    /// which waits for its turn.
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

/// Where a connection is in its requests: an even number while it waits for the head of one, an
/// odd number while one is being answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<AtomicUsize>);

impl Progress {
    /// The head of a request is there. Its answer is ready when what is returned is dropped.
    pub(super) fn answering(&self) -> Answering {
        self.0.fetch_add(1, Ordering::Relaxed);
        Answering(self.clone())
    }

    fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Answering(Progress);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A connection on which a head that has begun must end in time, and what is written must be
/// taken. The time of a connection without a request is hyper's business, which has one timer for
/// that and for heads.
#[derive(Debug)]
pub(super) struct Paced {
    stream: UnixStream,
    progress: Progress,
    /// The head of the request with this number has begun, and must be there by then.
    head: Option<(usize, Pin<Box<Sleep>>)>,
    /// The client takes nothing, and must take something by then.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    pub(super) fn new(stream: UnixStream, progress: Progress) -> Self {
        Self { stream, progress, head: None, stalled: None }
    }

    /// What a write has come to, with the time that it may take.
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
    fn connections_too_many_are_told_so_and_then_closed() {
        let limits = ConnectionLimits::new();
        let _served = served(&limits, 0);
        let mut told = Vec::new();
        while let Admission::TurnAway(permit) = limits.admit(0) {
            told.push(permit);
        }
        assert_eq!(told.len(), TURNED_AWAY);
        told.pop();
        assert!(matches!(limits.admit(0), Admission::TurnAway(_)));
    }
}
