//! A client of the daemon that shares no code with `umacvlan-client`: one connection for each
//! request, in HTTP/1.0, so the response ends with the connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::LIMIT;

/// The response to a request.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The status line and the headers, in lower case.
    pub head: String,
    /// The bytes after the headers.
    pub body: String,
}

impl Answer {
    /// Parses the body as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of a successful response.
    ///
    /// # Panics
    /// If the status is not 2xx, or the body is not JSON.
    pub fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.json()
    }

    /// The `code` of an error response, whose message must be one line.
    ///
    /// # Panics
    /// If the response is not such an error.
    pub fn code(&self) -> String {
        assert!(self.status >= 400, "{self:?}");
        let problem = self.json();
        let message = problem["message"].as_str().unwrap_or_else(|| panic!("{self:?}"));
        assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// Connects to `socket`, with [`LIMIT`] as the read timeout.
///
/// # Panics
/// If nothing listens there.
pub fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Sends a request to `socket` and returns the response.
///
/// # Panics
/// If there is no HTTP response.
pub fn ask(socket: &Path, method: &str, path: &str, body: &str) -> Answer {
    let mut stream = connect(socket);
    let length = body.len();
    // The daemon may refuse a body that is too large before all of it is written.
    let _ = write!(stream, "{method} {path} HTTP/1.0\r\ncontent-length: {length}\r\n\r\n{body}");
    let mut bytes = Vec::new();
    // The connection is then reset after the response.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

/// The daemon's events from the return of this function on.
///
/// # Panics
/// If the daemon does not send them; the iterator panics if the next event takes longer than
/// [`LIMIT`].
pub fn events(socket: &Path) -> impl Iterator<Item = Value> + use<> {
    let mut stream = connect(socket);
    stream.write_all(b"GET /v1/events HTTP/1.0\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    // The daemon sends the headers after it has subscribed this client.
    assert!(lines.by_ref().any(|line| line.is_empty()));
    // While nothing happens the daemon sends empty lines.
    let end = Instant::now() + LIMIT;
    let events = lines
        .inspect(move |_| assert!(Instant::now() < end, "the event is not in time"))
        .filter(|line| !line.is_empty());
    events.map(|line| serde_json::from_str(&line).expect(&line))
}
