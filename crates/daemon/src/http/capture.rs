//! The stream of captured frames: one JSON object per line, until the client disconnects or the
//! capture ends.
//!
//! The queues of the workers are read at intervals, so that no worker has to wake anybody. While a
//! client does not read, they are not read either: they fill, and the workers leave frames out.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::auth::Peer;
use super::body::Json;
use super::{App, Closing};
use crate::ServiceError;
use crate::service::CaptureReader;
use umacvlan_api::{CaptureSpec, CaptureView, Problem};

/// Captures frames from now on: one `CaptureView` per line, until the client or the daemon closes the
/// connection, or the parent or the link is gone. An empty line now and then is a keepalive.
///
/// Meanwhile the daemon forwards for captured links with `port veth`, and not the kernel.
#[utoipa::path(
    post,
    path = "/v1/capture",
    tag = "links",
    request_body = CaptureSpec,
    responses(
        (status = 200, description = "One object per line.", body = CaptureView,
            content_type = "application/x-ndjson"),
        (status = "default", description = "The problem.", body = Problem),
    )
)]
pub(super) async fn capture(
    State(app): State<App>,
    peer: Peer,
    Json(spec): Json<CaptureSpec>,
) -> Result<impl IntoResponse, ServiceError> {
    let reader = app.call(move |service| service.capture(&spec, peer.pid)).await?;
    let (sender, body) = Channel::<Bytes, Infallible>::new(WAITING);
    tokio::spawn(forward(reader, sender, app.closing));
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::new(body)))
}

/// Forwards frames until the client disconnects, the capture ends or the daemon ends.
async fn forward(mut reader: CaptureReader, mut sender: Sender<Bytes>, closing: Closing) {
    let mut silence = Duration::ZERO;
    loop {
        // Many frames are much text, which other clients do not wait for.
        let read = spawn_blocking(move || {
            let read = reader.read();
            (reader, read)
        });
        let Ok((back, (mut lines, ended))) = read.await else {
            return;
        };
        reader = back;
        if lines.is_empty() && silence >= SILENCE {
            lines.push(b'\n');
        }
        silence = if lines.is_empty() { silence + INTERVAL } else { Duration::ZERO };
        let mut rest = Bytes::from(lines);
        while !rest.is_empty() {
            let part = rest.split_to(rest.len().min(PART));
            let sent = tokio::select! {
                sent = sender.send_data(part) => sent,
                () = closing.wait() => return,
            };
            if sent.is_err() {
                return;
            }
        }
        if ended {
            return;
        }
        tokio::select! {
            () = sleep(INTERVAL) => {}
            () = closing.wait() => return,
        }
    }
}

/// How often the queues of the workers are read.
const INTERVAL: Duration = Duration::from_millis(20);

/// After this time without a frame an empty line is sent, which detects a client that has gone.
const SILENCE: Duration = Duration::from_secs(1);

/// Bytes of one part of the body, and parts that may wait for a client.
const PART: usize = 64 << 10;
const WAITING: usize = 4;
