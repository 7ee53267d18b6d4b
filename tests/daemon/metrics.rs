//! `umacvlan metrics`: the daemon's metrics over TCP, for programs that read no Unix sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use umacvlan_testkit::{LIMIT, Machine, ask, root_or_skip};

const UMACVLAN: &str = env!("CARGO_BIN_EXE_umacvlan");

/// A running server of metrics, which ends with the test.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    /// Starts one at a free port, in this namespace: the daemon's socket is a file.
    fn start(machine: &Machine, more: &[&str]) -> Self {
        let mut command = Command::new(UMACVLAN);
        command.arg("--socket").arg(machine.socket()).args(["metrics", "--listen", "127.0.0.1:0"]);
        let mut process =
            command.args(more).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).expect(&line).split('/').next().unwrap();
        Self { address: address.to_owned(), process }
    }

    /// The status line, the headers and the body of the response to these bytes.
    fn ask(&self, request: &[u8]) -> (String, String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(request).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect(&text);
        let (status, headers) = head.split_once("\r\n").expect(&text);
        (status.to_owned(), headers.to_owned(), body.to_owned())
    }

    fn scrape(&self) -> (String, String, String) {
        self.ask(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The values of a metric whose labels have all of these texts.
fn values(text: &str, name: &str, labels: &[&str]) -> Vec<f64> {
    let begin = format!("{name}{{");
    let lines = text.lines().filter(|line| line.starts_with(&begin));
    let lines = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn prometheus_can_read_metrics_over_tcp() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(UMACVLAN);
    let daemon = machine.start(&[]);
    for name in ["mac1", "mac2"] {
        let new = json!({"name": name, "parent": "p0"}).to_string();
        assert_eq!(ask(&machine.socket(), "POST", "/v1/links", &new).status, 201);
    }
    let server = Server::start(&machine, &[]);
    let (status, headers, body) = server.scrape();
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(headers.contains("Content-Type: application/openmetrics-text; version=1.0.0"));
    assert!(headers.contains(&format!("Content-Length: {}\r\n", body.len())), "{headers}");
    assert!(body.ends_with("\n# EOF\n"), "{body}");
    let drops = "umacvlan_link_drops_total";
    let of_mac1 = ["link=\"mac1\"", "direction=\"rx\"", "reason=\"spoofed\""];
    assert_eq!(values(&body, drops, &of_mac1), [0.0], "it exists before it counts");
    assert_eq!(values(&body, "umacvlan_parent_present", &["parent=\"p0\""]), [1.0]);

    for (request, wanted) in [
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404"),
        ("GET /v1/links HTTP/1.1\r\n\r\n", "HTTP/1.1 404"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405"),
        ("DELETE /v1/links?owner=x HTTP/1.1\r\n\r\n", "HTTP/1.1 405"),
        ("\u{16}\u{3}\r\n\r\n", "HTTP/1.1 400"),
    ] {
        let (status, _, body) = server.ask(request.as_bytes());
        assert!(status.starts_with(wanted) && !body.contains("umacvlan_"), "{request}: {status}");
    }
    let long = [&b"GET /metrics HTTP/1.1\r\nX: "[..], &[b'x'; 9000]].concat();
    assert!(server.ask(&long).0.starts_with("HTTP/1.1 431"));
    // One that says nothing holds up nobody.
    let _silent = TcpStream::connect(&server.address).unwrap();
    assert_eq!(server.scrape().0, "HTTP/1.1 200 OK");

    let one = Server::start(&machine, &["--links", "1"]);
    let (_, _, body) = one.scrape();
    let frames = |link: &str| values(&body, "umacvlan_link_frames_total", &[link]).len();
    assert_eq!(frames("link=\"mac1\"") + frames("link=\"mac2\""), 2, "{body}");
    assert!(body.contains("\numacvlan_links_left_out 1\n"), "{body}");

    drop(daemon);
    let (status, _, body) = server.scrape();
    assert!(status.starts_with("HTTP/1.1 503") && body.contains("daemon"), "{status} {body}");
}

#[test]
fn other_machines_cannot_read_metrics() {
    for address in ["0.0.0.0:9100", "[::]:9100", "192.0.2.1:9100", "9100", "localhost:9100"] {
        let output =
            Command::new(UMACVLAN).args(["metrics", "--listen", address]).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        assert!(complaint.contains("127.0.0.1"), "{complaint}");
    }
}
