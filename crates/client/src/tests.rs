//! The client against prepared responses.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::thread::{self, JoinHandle};

use super::*;
use umacvlan_api::Code;

/// A server that gives one prepared response per request.
struct Fake {
    socket: PathBuf,
    requests: JoinHandle<Vec<String>>,
}

/// The responses on each connection, after which the connection is closed.
type Script = Vec<Vec<String>>;

impl Fake {
    fn new(name: &str, script: Script) -> Self {
        let socket = std::env::temp_dir().join(format!("{name}-{}.sock", std::process::id()));
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let requests = thread::spawn(move || {
            script.iter().flat_map(|answers| serve(&listener, answers)).collect()
        });
        Self { socket, requests }
    }

    fn requests(self) -> Vec<String> {
        fs::remove_file(&self.socket).unwrap();
        self.requests.join().unwrap()
    }
}

fn serve(listener: &UnixListener, answers: &[String]) -> Vec<String> {
    let (mut stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut request = || {
        let mut lines = Vec::new();
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 2 {
            lines.push(std::mem::take(&mut line).trim().to_owned());
        }
        let length = lines.iter().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        reader.read_exact(&mut body).unwrap();
        format!("{} {}", lines[0], String::from_utf8(body).unwrap())
    };
    let answered = |answer: &String| {
        let request = request();
        stream.write_all(answer.as_bytes()).unwrap();
        request
    };
    answers.iter().map(answered).collect()
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn one_connection_serves_many_requests() {
    let answers = vec![answer("200 OK", "[1,2]"), answer("204 No Content", "")];
    let fake = Fake::new("kept", vec![answers]);
    let mut client = Client::connect(&fake.socket, Absent::Fail).unwrap();
    assert_eq!(client.get::<Vec<u8>>("/v1/links", &[("netns", "a&b")]).unwrap(), [1, 2]);
    client.delete(&item_path("/v1/links", "ä/?#"), &[]).unwrap();
    let expected =
        ["GET /v1/links?netns=a%26b HTTP/1.1 ", "DELETE /v1/links/%C3%A4%2F%3F%23 HTTP/1.1 "];
    assert_eq!(fake.requests(), expected);
}

#[test]
fn a_connection_closed_between_requests_is_made_again() {
    let once = |body| vec![answer("200 OK", body)];
    let fake = Fake::new("again", vec![once("1"), once("2"), once("3")]);
    let mut client = Client::connect(&fake.socket, Absent::Fail).unwrap();
    for expected in 1..=3 {
        // The last response of a connection and its end may arrive one after the other.
        let body = [expected];
        assert_eq!(client.post::<u8>("/", &[], &body).unwrap(), expected);
        while !client.kept.as_ref().unwrap().is_closed() {
            client.runtime.block_on(notice_close());
        }
    }
    assert_eq!(
        fake.requests(),
        ["POST / HTTP/1.1 [1]", "POST / HTTP/1.1 [2]", "POST / HTTP/1.1 [3]"]
    );
}

#[test]
fn a_refusal_is_returned_as_its_problem() {
    let problem = r#"{"code":"refused","message":"mac1: no","errno":17}"#;
    let answers = vec![answer("409 Conflict", problem), answer("500 Oh", "<html>")];
    let fake = Fake::new("refusal", vec![answers]);
    let mut client = Client::connect(&fake.socket, Absent::Fail).unwrap();
    match client.patch::<()>("/", &[], &()).unwrap_err() {
        RequestError::Problem(problem) => {
            assert_eq!((problem.code, problem.errno), (Code::Refused, Some(17)));
        }
        other => panic!("{other}"),
    }
    let error = client.put::<()>("/", &()).unwrap_err().to_string();
    assert!(error.contains("not understood"), "{error}");
    fake.requests();
}

#[test]
fn a_stream_is_passed_on_line_by_line() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                   3\r\none\r\n7\r\n\n\n\ntwo\n\r\n6\r\nthree\n\r\n";
    let fake = Fake::new("stream", vec![vec![chunked.to_owned()], vec![answer("200 OK", "4")]]);
    let mut client = Client::connect(&fake.socket, Absent::Fail).unwrap();
    let mut lines = Vec::new();
    let two = |line: &str| {
        lines.push(line.to_owned());
        if lines.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    client.stream("/v1/events", two).unwrap();
    assert_eq!(lines, ["one", "two"]);
    assert_eq!(client.text("/").unwrap(), "4");
    fake.requests();
}

#[test]
fn a_daemon_that_ends_is_an_error_of_the_stream() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\none\n\r\n0\r\n\r\n";
    let fake = Fake::new("ended", vec![vec![head.to_owned()]]);
    let mut client = Client::connect(&fake.socket, Absent::Fail).unwrap();
    let error = client.stream("/", |_| ControlFlow::Continue(())).unwrap_err().to_string();
    assert!(error.ends_with("it has ended"), "{error}");
    fake.requests();
}

#[test]
fn a_client_that_waits_is_served_by_a_daemon_that_starts_later() {
    let socket = std::env::temp_dir().join(format!("starts-{}.sock", std::process::id()));
    let _ = fs::remove_file(&socket);
    Client::connect(&socket, Absent::Fail).unwrap_err();
    let client = thread::spawn({
        let socket = socket.clone();
        move || Client::connect(&socket, Absent::Wait)?.get::<u8>("/", &[])
    });
    // The socket of a daemon that has ended refuses; the next daemon replaces it.
    drop(UnixListener::bind(&socket).unwrap());
    thread::sleep(Duration::from_millis(100));
    let fake = Fake::new("starts", vec![vec![answer("200 OK", "7")]]);
    assert_eq!(fake.socket, socket);
    assert_eq!(client.join().unwrap().unwrap(), 7);
    fake.requests();
}

#[test]
fn a_client_that_is_turned_away_tries_again() {
    let busy = r#"{"code":"busy","message":"too many clients"}"#;
    let turned_away =
        answer("503 Service Unavailable\r\nconnection: close\r\nretry-after: 1", busy);
    let script = vec![vec![turned_away], vec![], vec![answer("200 OK", "1")]];
    let fake = Fake::new("busy", script);
    let mut client = Client::connect(&fake.socket, Absent::Fail).unwrap();
    assert_eq!(client.post::<u8>("/", &[], &1).unwrap(), 1);
    assert_eq!(fake.requests(), ["POST / HTTP/1.1 1"; 2]);
}

#[test]
fn a_request_that_took_too_long_is_not_repeated() {
    let late = r#"{"code":"busy","message":"not done within 30 seconds"}"#;
    let fake = Fake::new("slow", vec![vec![answer("503 Service Unavailable", late)]]);
    let mut client = Client::connect(&fake.socket, Absent::Fail).unwrap();
    match client.get::<()>("/", &[]).unwrap_err() {
        RequestError::Problem(problem) => assert_eq!(problem.code, Code::Busy),
        other => panic!("{other}"),
    }
    fake.requests();
}
