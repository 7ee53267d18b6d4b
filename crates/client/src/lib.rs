//! [`Client`]: the daemon as its clients see it, over one kept connection to its socket.
//!
//! For the outside it blocks. Inside, a runtime of this thread drives the connection, and only
//! while a call is under way.
#![allow(missing_docs, reason = "TEMPORARY")]

mod error;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

pub use error::{ConnectError, RequestError};

/// A path of the service with `name` as its last part: any name that an interface can have.
pub fn item_path(collection: &str, name: &str) -> String {
    format!("{collection}/{}", escaped(name))
}

/// A conversation with the daemon.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    runtime: Runtime,
    /// Absent after a connection that cannot be used again.
    kept: Option<SendRequest<Full<Bytes>>>,
}

/// Names and values of a query, as they are meant: they are escaped on the way.
pub type Query<'a> = &'a [(&'a str, &'a str)];

impl Client {
    /// Connects to the daemon at `socket`.
    ///
    /// # Errors
    /// Says why there is no connection, and what to do about it.
    pub fn connect(socket: &Path) -> Result<Self, ConnectError> {
        let failed = |error| ConnectError::new(socket, error);
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let mut client = Self { socket: socket.to_owned(), runtime, kept: None };
        client.kept = Some(client.open()?);
        Ok(client)
    }

    /// Reads something.
    ///
    /// # Errors
    /// The daemon's reason, or that it could not be asked.
    pub fn get<T: DeserializeOwned>(
        &mut self,
        path: &str,
        query: Query<'_>,
    ) -> Result<T, RequestError> {
        self.json(Method::GET, path, query, Bytes::new())
    }

    /// Reads something that is not JSON.
    ///
    /// # Errors
    /// As of [`get`](Self::get).
    pub fn text(&mut self, path: &str) -> Result<String, RequestError> {
        let body = self.exchange(Method::GET, path, &[], Bytes::new(), "")?;
        String::from_utf8(body.into()).map_err(|error| self.transport(error))
    }

    /// Makes something, or has something done.
    ///
    /// # Errors
    /// As of [`get`](Self::get).
    pub fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        query: Query<'_>,
        body: &impl Serialize,
    ) -> Result<T, RequestError> {
        let body = self.encoded(body)?;
        self.json(Method::POST, path, query, body)
    }

    /// The same with a body that is TOML, or none if it is empty.
    ///
    /// # Errors
    /// As of [`get`](Self::get).
    pub fn post_toml<T: DeserializeOwned>(
        &mut self,
        path: &str,
        toml: &str,
    ) -> Result<T, RequestError> {
        let body = toml.as_bytes().to_vec().into();
        let body = self.exchange(Method::POST, path, &[], body, "application/toml")?;
        self.decoded(&body)
    }

    /// Changes something.
    ///
    /// # Errors
    /// As of [`get`](Self::get).
    pub fn patch<T: DeserializeOwned>(
        &mut self,
        path: &str,
        query: Query<'_>,
        body: &impl Serialize,
    ) -> Result<T, RequestError> {
        let body = self.encoded(body)?;
        self.json(Method::PATCH, path, query, body)
    }

    /// Replaces something.
    ///
    /// # Errors
    /// As of [`get`](Self::get).
    pub fn put<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, RequestError> {
        let body = self.encoded(body)?;
        self.json(Method::PUT, path, &[], body)
    }

    /// Removes something.
    ///
    /// # Errors
    /// As of [`get`](Self::get).
    pub fn delete(&mut self, path: &str, query: Query<'_>) -> Result<(), RequestError> {
        self.json(Method::DELETE, path, query, Bytes::new())
    }

    /// Hands over an endless answer line by line, until `on_line` has enough of it.
    ///
    /// # Errors
    /// As of [`get`](Self::get), and that the daemon has ended.
    pub fn stream(
        &mut self,
        path: &str,
        mut on_line: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<(), RequestError> {
        let response = self.send(Method::GET, path, &[], Bytes::new(), "")?;
        // There is no end to wait for before another request, so this connection is spent.
        self.kept = None;
        if !response.status().is_success() {
            let body = self.collect(response)?;
            return Err(self.refusal(&body));
        }
        let done = self.runtime.block_on(each_line(response.into_body(), &mut on_line));
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

    /// Sends a request and returns the answer as soon as its head is there.
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
        let mut request = request.body(Full::new(body)).map_err(|error| self.transport(error))?;

        // A kept connection may have been closed meanwhile. Then, and only if nothing of the
        // request has been sent, a new one is as good.
        if let Some(mut sender) = self.kept.take() {
            let sent = self.runtime.block_on(async {
                notice_the_end().await;
                timeout(LIMIT, sender.try_send_request(request)).await
            });
            match sent {
                Err(_) => return Err(self.late()),
                Ok(Ok(response)) => {
                    self.kept = Some(sender);
                    return Ok(response);
                }
                Ok(Err(mut error)) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(self.transport(error.into_error())),
                },
            }
        }
        let mut sender = self.open()?;
        let sent =
            self.runtime.block_on(async { timeout(LIMIT, sender.send_request(request)).await });
        let response = sent.map_err(|_| self.late())?.map_err(|error| self.transport(error))?;
        self.kept = Some(sender);
        Ok(response)
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
        let stream = dial(&self.socket).map_err(failed)?;
        self.runtime.block_on(async {
            let stream = UnixStream::from_std(stream).map_err(failed)?;
            let made = handshake(TokioIo::new(stream)).await;
            let (sender, connection) = made.map_err(|error| failed(io::Error::other(error)))?;
            // How it ends is told to whoever waits for an answer.
            self.runtime.spawn(async { drop(connection.await) });
            Ok(sender)
        })
    }

    fn encoded(&self, body: &impl Serialize) -> Result<Bytes, RequestError> {
        serde_json::to_vec(body).map(Bytes::from).map_err(|error| self.transport(error))
    }

    fn decoded<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, RequestError> {
        // No body is JSON's nothing.
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

/// How long the daemon may take for anything: a little more than it allows itself, so that its
/// own words arrive.
const LIMIT: Duration = Duration::from_secs(35);

/// An answer of more bytes is none of ours: a hundred times what a thousand links need.
const LARGEST: usize = 256 << 20;

/// A line of more bytes is no event.
const LONGEST_LINE: usize = 1 << 20;

/// What needs no escape in a path or a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Connects while blocking, as that waits for a daemon whose queue is full, which a connection
/// that does not block is refused by.
fn dial(path: &Path) -> io::Result<StdStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(LIMIT))?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Lets the connection see that its other end has been closed since the last call. The first turn
/// of the runtime asks the kernel, the second one is the connection's.
async fn notice_the_end() {
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
}

async fn each_line(
    mut body: Incoming,
    on_line: &mut impl FnMut(&str) -> ControlFlow<()>,
) -> Result<(), String> {
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        rest.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            // An empty line only shows that the daemon is there.
            if end > 0 && on_line(&String::from_utf8_lossy(&line[..end])).is_break() {
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
    utf8_percent_encode(text, PLAIN)
}
