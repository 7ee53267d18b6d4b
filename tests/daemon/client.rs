//! Requests to a daemon, one a connection, in HTTP/1.0: an answer is what comes until the end.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::world::LIMIT;

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Its headers, names in small letters.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The body, which is JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of a success.
    pub(crate) fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.json()
    }

    /// The code of a problem.
    pub(crate) fn code(&self) -> String {
        assert!(self.status >= 400, "{self:?}");
        let problem = self.json();
        let message = problem["message"].as_str().unwrap_or_else(|| panic!("{self:?}"));
        assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// Connects to `socket`.
pub(crate) fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Asks for something.
pub(crate) fn ask(socket: &Path, method: &str, path: &str, body: &str) -> Answer {
    let mut stream = connect(socket);
    let length = body.len();
    // A body too large is refused, perhaps before all of it is written.
    let _ = write!(stream, "{method} {path} HTTP/1.0\r\ncontent-length: {length}\r\n\r\n{body}");
    let mut bytes = Vec::new();
    // And then the end of the answer is that of a connection with something left unread.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

/// The daemon's events from when this returns.
pub(crate) fn events(socket: &Path) -> impl Iterator<Item = Value> + use<> {
    let mut stream = connect(socket);
    stream.write_all(b"GET /v1/events HTTP/1.0\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    // The head is sent once the daemon listens for this client.
    assert!(lines.by_ref().any(|line| line.is_empty()));
    // Empty lines come for as long as nothing happens, and nobody waits for ever.
    let end = Instant::now() + LIMIT;
    let events = lines
        .inspect(move |_| assert!(Instant::now() < end, "the event does not come"))
        .filter(|line| !line.is_empty());
    events.map(|line| serde_json::from_str(&line).expect(&line))
}
