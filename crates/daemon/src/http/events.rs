//! The stream of events: one JSON object per line, until the client disconnects.
//!
//! Events that a client has not read wait in three places of fixed size: the socket, the body's
//! channel, and the service's broadcast channel. When the last one is full, the client loses the
//! oldest events and receives their number. The service never waits for a client.

use std::convert::Infallible;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Duration, timeout};

use super::{App, Closing};
use crate::ServiceError;
use umacvlan_api::{EventKind, EventView, Problem};

/// Events from now on: one `EventView` per line, until the client or the daemon closes the
/// connection. An empty line now and then is a keepalive.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "links",
    responses(
        (status = 200, description = "One event per line.", body = EventView,
            content_type = "application/x-ndjson"),
        (status = "default", description = "The problem.", body = Problem),
    )
)]
pub(super) async fn events(State(app): State<App>) -> Result<impl IntoResponse, ServiceError> {
    let events = app.call(|service| Ok(service.subscribe())).await?;
    let (sender, body) = Channel::<Bytes, Infallible>::new(WAITING);
    tokio::spawn(forward(events, sender, app.closing));
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::new(body)))
}

/// Forwards events until the client disconnects or the daemon ends.
async fn forward(mut events: Receiver<EventView>, mut sender: Sender<Bytes>, closing: Closing) {
    loop {
        let line = tokio::select! {
            event = timeout(SILENCE, events.recv()) => match event {
                Ok(Ok(event)) => line(&event),
                Ok(Err(RecvError::Lagged(count))) => line(&lost(count)),
                Ok(Err(RecvError::Closed)) => return,
                Err(_) => Bytes::from_static(b"\n"),
            },
            () = closing.wait() => return,
        };
        let sent = tokio::select! {
            sent = sender.send_data(line) => sent,
            () = closing.wait() => return,
        };
        if sent.is_err() {
            return;
        }
    }
}

fn line(event: &EventView) -> Bytes {
    // Plain data can always be serialized.
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

fn lost(count: u64) -> EventView {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    EventView { time: now.as_secs_f64(), kind: EventKind::Lost { count } }
}

/// How many lines may wait for a client, beside those in its socket.
const WAITING: usize = 16;

/// After this time without an event an empty line is sent, which detects a client that has gone.
const SILENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::sync::{broadcast, watch};

    use super::*;

    fn event(changes: usize) -> EventView {
        EventView { time: 1.5, kind: EventKind::Reloaded { changes } }
    }

    /// The next line of a stream.
    async fn next(body: &mut Channel<Bytes>) -> Option<EventView> {
        let data = body.frame().await?.unwrap().into_data().unwrap();
        Some(serde_json::from_slice(&data).unwrap())
    }

    #[tokio::test]
    async fn a_client_that_lags_receives_the_number_of_lost_events() {
        let (events, receiver) = broadcast::channel(4);
        let (sender, mut body) = Channel::new(1);
        let (_close, closing) = watch::channel(false);
        for number in 0..10 {
            events.send(event(number)).unwrap();
        }
        tokio::spawn(forward(receiver, sender, Closing(closing)));
        let first = next(&mut body).await.unwrap();
        assert_eq!(first.kind, EventKind::Lost { count: 6 });
        for number in 6..10 {
            assert_eq!(next(&mut body).await.unwrap(), event(number));
        }
        drop(events);
        assert_eq!(next(&mut body).await, None);
    }

    #[tokio::test]
    async fn a_stream_ends_with_the_daemon_even_without_a_reader() {
        let (events, receiver) = broadcast::channel(4);
        let (sender, _body) = Channel::new(1);
        let (close, closing) = watch::channel(false);
        let forwarding = tokio::spawn(forward(receiver, sender, Closing(closing)));
        for number in 0..3 {
            events.send(event(number)).unwrap();
        }
        close.send_replace(true);
        forwarding.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_the_client_has_gone() {
        let (_events, receiver) = broadcast::channel(4);
        let (sender, body) = Channel::new(1);
        let (_close, closing) = watch::channel(false);
        drop(body);
        forward(receiver, sender, Closing(closing)).await;
    }
}
