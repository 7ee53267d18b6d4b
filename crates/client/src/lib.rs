//! [`Client`]: a blocking HTTP client of the daemon, over one kept connection to its Unix socket.
//!
//! Requests and responses are types of `umacvlan-api`. A call blocks the thread until the response
//! is there or its time is over ([`RequestError`]); a tokio runtime of this thread drives the
//! connection meanwhile and rests between calls. A connection that the daemon has closed between
//! two calls is replaced by a new one. [`Client::stream`] reads events line by line.
//!
//! A request that the daemon has not read, because too many clients are connected, is sent again
//! after a short pause. [`Absent`] says whether the client also waits for a daemon that is starting.
//!
//! Routes are named by the callers; this crate does not know them. Messages tell users what to do,
//! such as how to start the daemon.
//!
//! Architecture invariant: no dependency on the daemon or the engine, only on the types they share.

mod error;
mod retry;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

pub use error::{ConnectError, RequestError};
pub use retry::Absent;
use retry::{BUSY_LIMIT, busy_pause, dial, is_turned_away, is_unread};

/// The path of one item of a collection; `name` may have any character and is escaped.
pub fn item_path(collection: &str, name: &str) -> String {
    format!("{collection}/{}", escaped(name))
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    absent: Absent,
    runtime: Runtime,
    /// The open connection; absent after a request that used it up.
    kept: Option<SendRequest<Full<Bytes>>>,
}

/// What became of a request that was sent once.
enum Attempt {
    Answered(Response<Incoming>),
    /// The daemon closed the connection before it had read the request.
    Unread(hyper::Error),
}

/// Names and values of a query, unescaped.
pub type Query<'a> = &'a [(&'a str, &'a str)];

impl Client {
    /// Connects to the daemon at `socket`; `absent` says what to do if no daemon listens, now and
    /// whenever the connection has to be made again.
    ///
    /// # Errors
    /// There is no connection; the error says what to do about it.
    pub fn connect(socket: &Path, absent: Absent) -> Result<Self, ConnectError> {
        let failed = |error| ConnectError::new(socket, error);
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let mut client = Self { socket: socket.to_owned(), absent, runtime, kept: None };
        client.kept = Some(client.open()?);
        Ok(client)
    }

    /// Sends GET and returns the response.
    ///
    /// # Errors
    /// The daemon refuses the request, or does not answer.
    pub fn get<T: DeserializeOwned>(
        &mut self,
        path: &str,
        query: Query<'_>,
    ) -> Result<T, RequestError> {
        self.json(Method::GET, path, query, Bytes::new())
    }

    /// Sends GET and returns the response as text.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn text(&mut self, path: &str) -> Result<String, RequestError> {
        let body = self.exchange(Method::GET, path, &[], Bytes::new(), "")?;
        String::from_utf8(body.into()).map_err(|error| self.transport(error))
    }

    /// Sends POST with a JSON body and returns the response.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        query: Query<'_>,
        body: &impl Serialize,
    ) -> Result<T, RequestError> {
        let body = self.encoded(body)?;
        self.json(Method::POST, path, query, body)
    }

    /// Sends POST with a TOML body, or without a body if `toml` is empty, and returns the response.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn post_toml<T: DeserializeOwned>(
        &mut self,
        path: &str,
        toml: &str,
    ) -> Result<T, RequestError> {
        let body = toml.as_bytes().to_vec().into();
        let body = self.exchange(Method::POST, path, &[], body, "application/toml")?;
        self.decoded(&body)
    }

    /// Sends PATCH with a JSON body and returns the response.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn patch<T: DeserializeOwned>(
        &mut self,
        path: &str,
        query: Query<'_>,
        body: &impl Serialize,
    ) -> Result<T, RequestError> {
        let body = self.encoded(body)?;
        self.json(Method::PATCH, path, query, body)
    }

    /// Sends PUT with a JSON body and returns the response.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn put<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, RequestError> {
        let body = self.encoded(body)?;
        self.json(Method::PUT, path, &[], body)
    }

    /// Sends DELETE.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn delete(&mut self, path: &str, query: Query<'_>) -> Result<(), RequestError> {
        self.json(Method::DELETE, path, query, Bytes::new())
    }

    /// Sends GET and passes each line of the endless response to `on_line`, until that breaks.
    ///
    /// # Errors
    /// As of [`get`](Self::get), or the daemon has ended.
    pub fn stream(
        &mut self,
        path: &str,
        mut on_line: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<(), RequestError> {
        let response = self.send(Method::GET, path, &[], Bytes::new(), "")?;
        // The daemon sends an empty line to show that it is alive.
        self.follow(response, |lines| {
            lines.lines().filter(|line| !line.is_empty()).try_for_each(&mut on_line)
        })
    }

    /// Sends POST with a JSON body and passes the lines of the endless response to `on_lines`, as many
    /// as have arrived and empty ones included, until that breaks.
    ///
    /// # Errors
    /// As of [`stream`](Self::stream).
    pub fn post_stream(
        &mut self,
        path: &str,
        body: &impl Serialize,
        on_lines: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<(), RequestError> {
        let body = self.encoded(body)?;
        let response = self.send(Method::POST, path, &[], body, "application/json")?;
        self.follow(response, on_lines)
    }

    fn follow(
        &mut self,
        response: Response<Incoming>,
        mut on_lines: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<(), RequestError> {
        // The response has no end, so another request needs another connection.
        self.kept = None;
        if !response.status().is_success() {
            let body = self.collect(response)?;
            return Err(self.refusal(&body));
        }
        let done = self.runtime.block_on(each_line(response.into_body(), &mut on_lines));
        done.map_err(|error| self.transport(error))
    }

    fn json<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        query: Query<'_>,
        body: Bytes,
    ) -> Result<T, RequestError> {
        let body = self.exchange(method, path, query, body, "application/json")?;
        self.decoded(&body)
    }

    fn exchange(
        &mut self,
        method: Method,
        path: &str,
        query: Query<'_>,
        body: Bytes,
        content: &str,
    ) -> Result<Bytes, RequestError> {
        let response = self.send(method, path, query, body, content)?;
        let success = response.status().is_success();
        let body = self.collect(response)?;
        if success { Ok(body) } else { Err(self.refusal(&body)) }
    }

    /// Sends a request and returns the response as soon as its head has arrived. While the daemon
    /// has too many clients to read the request, it is sent again.
    fn send(
        &mut self,
        method: Method,
        path: &str,
        query: Query<'_>,
        body: Bytes,
        content: &str,
    ) -> Result<Response<Incoming>, RequestError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{path}{}", query_string(query)))
            .header("host", "umacvlan");
        if !body.is_empty() {
            request = request.header("content-type", content);
        }
        let request = request.body(Full::new(body)).map_err(|error| self.transport(error))?;
        let deadline = Instant::now() + BUSY_LIMIT;
        loop {
            let over = Instant::now() >= deadline;
            match self.send_once(request.clone())? {
                Attempt::Answered(response) if over || !is_turned_away(&response) => {
                    return Ok(response);
                }
                Attempt::Unread(error) if over => return Err(self.transport(error)),
                Attempt::Answered(_) | Attempt::Unread(_) => self.kept = None,
            }
            thread::sleep(busy_pause());
        }
    }

    fn send_once(&mut self, request: Request<Full<Bytes>>) -> Result<Attempt, RequestError> {
        let Some(kept) = self.kept.take() else {
            let new = self.open()?;
            return self.send_over(new, request);
        };
        match self.send_over(kept, request.clone())? {
            // The daemon has closed the kept connection.
            Attempt::Unread(_) => {
                let new = self.open()?;
                self.send_over(new, request)
            }
            answered @ Attempt::Answered(_) => Ok(answered),
        }
    }

    /// Sends a request over this connection, and keeps the connection.
    fn send_over(
        &mut self,
        mut sender: SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
    ) -> Result<Attempt, RequestError> {
        let sent = self.runtime.block_on(async {
            notice_close().await;
            timeout(LIMIT, sender.try_send_request(request)).await
        });
        match sent.map_err(|_| self.late())? {
            Ok(response) => {
                self.kept = Some(sender);
                Ok(Attempt::Answered(response))
            }
            Err(mut failed) => {
                // hyper returns the request if no byte of it was sent.
                let unsent = failed.take_message().is_some();
                let error = failed.into_error();
                if unsent || is_unread(&error) {
                    Ok(Attempt::Unread(error))
                } else {
                    Err(self.transport(error))
                }
            }
        }
    }

    fn collect(&mut self, response: Response<Incoming>) -> Result<Bytes, RequestError> {
        let body = Limited::new(response.into_body(), LARGEST).collect();
        let body = self.runtime.block_on(async { timeout(LIMIT, body).await });
        match body {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) => Err(self.transport(error)),
            Err(_) => Err(self.late()),
        }
    }

    fn open(&self) -> Result<SendRequest<Full<Bytes>>, ConnectError> {
        let failed = |error| ConnectError::new(&self.socket, error);
        let stream = dial(&self.socket, self.absent).map_err(failed)?;
        self.runtime.block_on(async {
            let stream = UnixStream::from_std(stream).map_err(failed)?;
            let made = handshake(TokioIo::new(stream)).await;
            let (sender, connection) = made.map_err(|error| failed(io::Error::other(error)))?;
            // Its error reaches the caller through the response.
            self.runtime.spawn(async { drop(connection.await) });
            Ok(sender)
        })
    }

    fn encoded(&self, body: &impl Serialize) -> Result<Bytes, RequestError> {
        serde_json::to_vec(body).map(Bytes::from).map_err(|error| self.transport(error))
    }

    fn decoded<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, RequestError> {
        // An empty body stands for JSON's null.
        let body = if body.is_empty() { b"null" } else { body };
        serde_json::from_slice(body).map_err(|error| {
            let why =
                format!("the answer is not understood, is the daemon of another version? {error}");
            self.transport(why)
        })
    }

    fn refusal(&self, body: &[u8]) -> RequestError {
        self.decoded(body).map_or_else(|failure| failure, RequestError::Problem)
    }

    fn late(&self) -> RequestError {
        self.transport(format!("no answer within {} seconds", LIMIT.as_secs()))
    }

    fn transport(&self, why: impl Display) -> RequestError {
        RequestError::Transport(format!("the daemon on {}: {why}", self.socket.display()))
    }
}

/// Time limit of a request: a little more than the daemon's own, so that the daemon's message about
/// the delay arrives.
const LIMIT: Duration = Duration::from_secs(35);

/// The largest response, in bytes: a hundred times what a thousand links need.
const LARGEST: usize = 256 << 20;

/// The longest line of a stream, in bytes.
const LONGEST_LINE: usize = 1 << 20;

/// Characters that are escaped in a path or a query.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Lets the connection notice that the daemon has closed it since it was made or last used: of one
/// that is closed later, hyper reports that the request was not sent, or the error of the kernel. The
/// first yield polls the kernel, the second one runs the connection's task.
async fn notice_close() {
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
}

async fn each_line(
    mut body: Incoming,
    on_lines: &mut impl FnMut(&str) -> ControlFlow<()>,
) -> Result<(), String> {
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        rest.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if let Some(end) = rest.iter().rposition(|&byte| byte == b'\n') {
            let lines: Vec<u8> = rest.drain(..=end).collect();
            if on_lines(&String::from_utf8_lossy(&lines)).is_break() {
                return Ok(());
            }
        }
        if rest.len() > LONGEST_LINE {
            return Err("a line without end".to_owned());
        }
    }
    Err("it has ended".to_owned())
}

fn query_string(query: Query<'_>) -> String {
    let pairs: Vec<String> =
        query.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

fn escaped(text: &str) -> impl Display {
    utf8_percent_encode(text, ESCAPED)
}
