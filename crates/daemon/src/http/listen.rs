//! Connections: accepted, counted, served by hyper, and closed.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{CONNECTION, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::Closing;
use super::auth::Peer;
use super::limits::{Admission, BUFFER, ConnectionLimits, IDLE, Paced, Progress, REQUEST};
use super::problem::{panicked, problem};
use crate::ServiceError;
use umacvlan_api::Code;

/// Serves connections until the daemon is `closing`, and then until they have ended, but not longer
/// than [`GRACE`].
pub(super) async fn accept(
    listener: UnixListener,
    router: Router,
    limits: ConnectionLimits,
    closing: Closing,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    serve_connection(&mut connections, &limits, stream, &router, closing.clone());
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_AGAIN).await;
                }
            },
            // Removes connections that have ended.
            Some(_) = connections.join_next() => (),
            () = closing.wait() => break,
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    // Dropping the set closes the remaining connections.
    let _ = timeout(GRACE, all).await;
}

fn serve_connection(
    connections: &mut JoinSet<()>,
    limits: &ConnectionLimits,
    stream: UnixStream,
    router: &Router,
    closing: Closing,
) {
    let peer = match Peer::of(&stream) {
        Ok(peer) => peer,
        Err(error) => return warn!(%error, "cannot identify the client"),
    };
    match limits.admit(peer.uid) {
        Admission::Serve(permit) => {
            let router = router.clone();
            connections.spawn(async move {
                let answer = move |request| answer(router.clone(), peer.clone(), request);
                connection(stream, answer, closing).await;
                drop(permit);
            });
        }
        Admission::TurnAway(permit) => {
            connections.spawn(async move {
                let busy = "too many clients are connected: try again later";
                let answer = move |_| async move {
                    // By the time to try again a client knows that nothing was done.
                    let head = [(CONNECTION, "close"), (RETRY_AFTER, "1")];
                    (head, problem(Code::Busy, busy)).into_response()
                };
                let _ = timeout(TURN_AWAY, connection(stream, answer, closing)).await;
                drop(permit);
            });
        }
        Admission::Close => debug!(uid = peer.uid, "excess connection closed"),
    }
}

/// Reads requests and writes the responses of `answer`, until either side closes the connection.
async fn connection<A: Future<Output = Response>>(
    stream: UnixStream,
    answer: impl Fn(Request<Incoming>) -> A,
    closing: Closing,
) {
    let progress = Progress::default();
    let io = TokioIo::new(Paced::new(stream, progress.clone()));
    let service = service_fn(|request| {
        let answering = progress.response_in_progress();
        let answered = answer(request);
        async move {
            let response = in_time(unpanicked(answered)).await;
            drop(answering);
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(BUFFER);
    let mut served = pin!(builder.serve_connection(io, service));
    let done = tokio::select! {
        done = served.as_mut() => done,
        () = closing.wait() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = done {
        debug!(%error, "a connection has ended");
    }
}

async fn answer(router: Router, peer: Peer, mut request: Request<Incoming>) -> Response {
    request.extensions_mut().insert(peer);
    match TowerToHyperService::new(router).call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

async fn in_time(answer: impl Future<Output = Result<Response, ServiceError>>) -> Response {
    let late = || {
        let limit = REQUEST.as_secs();
        let why = format!(
            "not done within {limit} seconds; the operation goes on: check its result before you \
             try again"
        );
        Err(problem(Code::Busy, why))
    };
    timeout(REQUEST, answer).await.unwrap_or_else(|_| late()).into_response()
}

/// Turns a panic into a problem of the one request.
async fn unpanicked(answer: impl Future<Output = Response>) -> Result<Response, ServiceError> {
    let mut answer = pin!(answer);
    let polled = poll_fn(|context| {
        let poll = catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context)));
        poll.map_or_else(|_| Poll::Ready(Err(panicked())), |poll| poll.map(Ok))
    });
    polled.await
}

/// How long requests under way may take when the daemon ends.
const GRACE: Duration = Duration::from_secs(3);

/// Pause after accept(2) has failed, usually because descriptors are exhausted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(500);

/// Time limit of refusing an excess connection.
const TURN_AWAY: Duration = Duration::from_secs(5);
