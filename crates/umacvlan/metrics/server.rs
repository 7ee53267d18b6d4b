//! An HTTP server that answers `GET /metrics` and nothing else.
//!
//! It has no more than [`MOST`] clients at a time, reads no more than [`HEAD_BYTES`] of a request, and
//! gives no client longer than [`PATIENCE`], so no client keeps it from others for long.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use umacvlan_client::{Absent, Client};
use umacvlan_text::output::{one_line, print_stderr};

/// Clients that are served at the same time.
const MOST: usize = 16;

/// Bytes of the longest request: far more than Prometheus sends.
const HEAD_BYTES: usize = 8 * 1024;

/// The time for a client to send its request, and for each part of the response to be taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// The content type of the daemon's metrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves until the process ends. `path` is what the daemon is asked for.
///
/// # Errors
/// The address is in use.
pub(super) fn serve(address: SocketAddr, socket: &Path, path: &str) -> Result<()> {
    let listener =
        TcpListener::bind(address).with_context(|| format!("cannot listen at {address}"))?;
    print_stderr(&format!("metrics are at http://{}/metrics", listener.local_addr()?));
    let (socket, path): (Arc<Path>, Arc<str>) = (socket.into(), path.into());
    let clients = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((stream, _)) = listener.accept() else {
            // Without descriptors there is nothing to do but to wait for some.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        let place = Place::take(&clients);
        let (socket, path) = (Arc::clone(&socket), Arc::clone(&path));
        let Some(place) = place else {
            // A client that does not read this gets nothing, and holds up nobody.
            let _ = stream.set_nonblocking(true);
            let _ =
                respond(&stream, &Response::plain("503 Service Unavailable", "too many clients"));
            continue;
        };
        thread::spawn(move || {
            // A client that has gone away is no error of the server.
            let _ = answer(&stream, &socket, &path);
            drop(place);
        });
    }
}

/// The place of a client among those that are served, free again when it is dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(clients: &Arc<AtomicUsize>) -> Option<Self> {
        let more = |count| (count < MOST).then_some(count + 1);
        clients.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self(Arc::clone(clients)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn answer(stream: &TcpStream, socket: &Path, path: &str) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let response = match request(stream)? {
        Ok(()) => scrape(socket, path),
        Err(refusal) => refusal,
    };
    respond(stream, &response)
}

/// A response without its fixed headers.
#[derive(Debug, PartialEq)]
struct Response {
    status: &'static str,
    content_type: &'static str,
    body: String,
}

impl Response {
    fn plain(status: &'static str, why: &str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: format!("{why}\n") }
    }
}

/// Reads a request up to the empty line that ends its head.
fn request(mut stream: &TcpStream) -> io::Result<Result<(), Response>> {
    let end = Instant::now() + PATIENCE;
    let mut head = Vec::new();
    let mut bytes = [0; 1024];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Err(Response::plain("408 Request Timeout", "the request is incomplete")));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut bytes)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => head.extend_from_slice(&bytes[..count]),
        }
        if head.windows(4).any(|four| four == b"\r\n\r\n") {
            return Ok(judge(&head));
        }
        if head.len() > HEAD_BYTES {
            let why = "the request has more than 8 KiB";
            return Ok(Err(Response::plain("431 Request Header Fields Too Large", why)));
        }
    }
}

/// Whether the first line of a request is one that is answered.
fn judge(head: &[u8]) -> Result<(), Response> {
    let malformed = || Response::plain("400 Bad Request", "this is no HTTP request");
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| malformed())?;
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["GET", "/metrics", "HTTP/1.0" | "HTTP/1.1"] => Ok(()),
        ["GET", _, "HTTP/1.0" | "HTTP/1.1"] => {
            Err(Response::plain("404 Not Found", "there is /metrics, without a query"))
        }
        [_, _, "HTTP/1.0" | "HTTP/1.1"] => {
            Err(Response::plain("405 Method Not Allowed", "there is only GET"))
        }
        _ => Err(malformed()),
    }
}

/// The daemon's metrics, or why there are none.
fn scrape(socket: &Path, path: &str) -> Response {
    let read = || -> Result<String> { Ok(Client::connect(socket, Absent::Fail)?.text(path)?) };
    match read() {
        Ok(body) => Response { status: "200 OK", content_type: OPEN_METRICS, body },
        Err(error) => Response::plain("503 Service Unavailable", &one_line(&error)),
    }
}

fn respond(mut stream: &TcpStream, response: &Response) -> io::Result<()> {
    let Response { status, content_type, body } = response;
    let allow = if status.starts_with("405") { "Allow: GET\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{allow}Connection: \
         close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_metrics_are_answered() {
        let status = |line: &str| {
            let head = format!("{line}\r\nHost: localhost\r\n\r\n");
            judge(head.as_bytes()).err().map_or("200", |refusal| &refusal.status[..3])
        };
        assert_eq!(status("GET /metrics HTTP/1.1"), "200");
        for (line, wanted) in [
            ("GET / HTTP/1.1", "404"),
            ("GET /metrics?links=all HTTP/1.1", "404"),
            ("GET /v1/links HTTP/1.1", "404"),
            ("GET http://x/metrics HTTP/1.1", "404"),
            ("POST /metrics HTTP/1.1", "405"),
            ("HEAD /metrics HTTP/1.0", "405"),
            ("GET /metrics HTTP/2.0", "400"),
            ("GET  /metrics HTTP/1.1", "400"),
            ("GET /metrics", "400"),
            ("", "400"),
            ("\u{16}\u{3}\u{1}", "400"),
        ] {
            assert_eq!(status(line), wanted, "{line:?}");
        }
        assert!(judge(b"GET /metrics\xff HTTP/1.1\r\n\r\n").is_err());
    }

    #[test]
    fn there_are_so_many_places_and_each_is_free_again() {
        let clients = Arc::new(AtomicUsize::new(0));
        let places: Vec<_> = (0..MOST).filter_map(|_| Place::take(&clients)).collect();
        assert_eq!(places.len(), MOST);
        assert!(Place::take(&clients).is_none());
        drop(places);
        assert!(Place::take(&clients).is_some());
    }
}
