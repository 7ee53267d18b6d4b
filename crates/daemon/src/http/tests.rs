//! Connections to a test router. Paused time jumps to the next timer when nothing else runs, so the
//! tests do not wait.

use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::limits::{ConnectionLimits, HEAD, IDLE, REQUEST, STALLED};
use super::{Closing, listen};

/// A server, and the directory of its socket.
struct Server {
    socket: PathBuf,
    close: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Server {
    fn new(name: &str) -> Self {
        let file = format!("umacvlan-{name}-{}.sock", std::process::id());
        let socket = std::env::temp_dir().join(file);
        let listener = UnixListener::bind(&socket).unwrap();
        let (close, closing) = watch::channel(false);
        let router = Router::new()
            .route("/", get(async || "here"))
            .route("/panic", get(panics))
            .route("/large", get(async || vec![0_u8; 64 << 20]))
            .route("/slow", get(slow))
            .route("/never", get(std::future::pending::<()>));
        let accepting = tokio::spawn(listen::accept(
            listener,
            router,
            ConnectionLimits::new(),
            Closing(closing),
        ));
        Self { socket, close, accepting }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.unwrap()
    }

    /// The response to this, until the connection is closed.
    async fn all(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        rest(&mut stream).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

async fn panics() {
    panic!("as the test wants it")
}

async fn slow() -> &'static str {
    sleep(Duration::from_secs(1)).await;
    "at last"
}

async fn rest(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    // A connection that was cut off may return an error.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

/// Sends a request on a connection that stays, and reads until `words`.
async fn ask(stream: &mut UnixStream, request: &str, words: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = String::new();
    while !seen.contains(words) {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.unwrap();
        assert!(count > 0, "ended without {words:?}: {seen}");
        seen.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
    seen
}

/// More than the resolution of the runtime's clock, a millisecond.
const TICK: Duration = Duration::from_secs(1);

const ROOT: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_cut_off_and_delays_no_other_client() {
    let server = Server::new("trickle");
    let mut slow = server.connect().await;
    let begun = Instant::now();
    let trickle = async {
        for byte in ROOT.as_bytes().iter().cycle() {
            if slow.write_all(&[*byte | 0x40]).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
        begun.elapsed()
    };
    let mut other = server.connect().await;
    let (took, answer) = tokio::join!(trickle, ask(&mut other, ROOT, "here"));
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!((HEAD..HEAD + TICK * 2).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_second_head_of_a_connection_has_its_own_time_limit() {
    let server = Server::new("second");
    let mut stream = server.connect().await;
    ask(&mut stream, ROOT, "here").await;
    // Longer than a head may take, less than a connection may be idle.
    sleep(HEAD * 2).await;
    ask(&mut stream, ROOT, "here").await;
    stream.write_all(b"GET").await.unwrap();
    let begun = Instant::now();
    rest(&mut stream).await;
    assert!(begun.elapsed() < HEAD + TICK, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_is_closed() {
    let server = Server::new("idle");
    for asked in [false, true] {
        let mut stream = server.connect().await;
        if asked {
            ask(&mut stream, ROOT, "here").await;
        }
        let begun = Instant::now();
        assert_eq!(rest(&mut stream).await, "");
        assert!((IDLE..IDLE + TICK).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_too_long_gets_a_response() {
    let server = Server::new("never");
    let mut stream = server.connect().await;
    let begun = Instant::now();
    let answer = ask(&mut stream, "GET /never HTTP/1.1\r\n\r\n", "}").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("\"code\":\"busy\""), "{answer}");
    assert!((REQUEST..REQUEST + TICK).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_disconnected() {
    let server = Server::new("unread");
    let mut stream = server.connect().await;
    stream.write_all(b"GET /large HTTP/1.1\r\n\r\n").await.unwrap();
    sleep(STALLED * 2).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    assert!(bytes.len() < 64 << 20, "all of it waited for the client");
}

#[tokio::test]
async fn a_panic_fails_one_request_only() {
    let server = Server::new("panic");
    let mut stream = server.connect().await;
    let answer = ask(&mut stream, "GET /panic HTTP/1.1\r\n\r\n", "}").await;
    assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    assert!(answer.contains("\"code\":\"internal\""), "{answer}");
    ask(&mut stream, ROOT, "here").await;
}

#[tokio::test]
async fn a_connection_without_http_is_closed() {
    let server = Server::new("noise");
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(1 << 20));
    for noise in ["\0\0\0\r\n\r\n", "hello\r\n\r\n", long.as_str()] {
        let mut stream = server.connect().await;
        // The server may close it before everything is written.
        let _ = stream.write_all(noise.as_bytes()).await;
        let answer = rest(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let answer = server.all("GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert!(answer.ends_with("here"), "{answer}");
}

#[tokio::test]
async fn an_excess_client_is_refused() {
    let server = Server::new("many");
    let mut streams = Vec::new();
    let refused = loop {
        let mut stream = server.connect().await;
        let answer = ask(&mut stream, ROOT, "HTTP/1.1 ").await;
        streams.push(stream);
        if !answer.contains(" 200 ") {
            break answer;
        }
    };
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("retry-after: 1\r\n"), "{refused}");
    assert!((48..=65).contains(&streams.len()), "{}", streams.len());
    // Closed connections make room.
    streams.clear();
    while !server.all("GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await.ends_with("here") {}
}

#[tokio::test(start_paused = true)]
async fn at_shutdown_requests_may_finish_and_idle_clients_are_disconnected() {
    let mut server = Server::new("end");
    let mut idle = server.connect().await;
    ask(&mut idle, ROOT, "here").await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\n\r\n").await.unwrap();
    let mut stuck = server.connect().await;
    stuck.write_all(b"GET /never HTTP/1.1\r\n\r\n").await.unwrap();
    // Enough time for the requests to be read.
    sleep(Duration::from_millis(100)).await;
    server.close.send_replace(true);
    assert_eq!(rest(&mut idle).await, "");
    let answer = rest(&mut busy).await;
    assert!(answer.ends_with("at last"), "{answer}");
    assert_eq!(rest(&mut stuck).await, "");
    (&mut server.accepting).await.unwrap();
    assert!(UnixStream::connect(&server.socket).await.is_err());
}
