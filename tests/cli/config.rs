//! `umacvlan config`: files are checked without a daemon. For queries, a fake daemon gives a fixed
//! answer.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::{self, JoinHandle};

use crate::world::UMACVLAN;

const MANUAL: &str = include_str!("../../man/umacvlan.toml.5");
const EXAMPLE: &str = include_str!("../../examples/umacvlan.toml");

/// Runs `umacvlan config` with these arguments and `input`.
fn config(words: &[&str], input: &str) -> Output {
    let mut command = Command::new(UMACVLAN);
    command.arg("config").args(words).env_remove("UMACVLAN_SOCKET");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Some commands do not read their input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn parts(output: &Output) -> (i32, &str, &str) {
    let text = |bytes| str::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// The examples of the manual that are configurations, as they are printed.
fn manual_examples() -> Vec<String> {
    let marked = MANUAL.split(".\\\" toml\n.EX\n").skip(1);
    let example = |text: &str| text.split("\n.EE").next().unwrap().replace("\\-", "-");
    marked.map(example).collect()
}

#[test]
fn the_examples_of_the_manual_have_no_mistakes() {
    let examples = manual_examples();
    assert_eq!(examples.len(), MANUAL.matches("\n.EX").count(), "an example is not marked");
    for example in examples {
        let output = config(&["check", "-"], &example);
        let (status, told, mistakes) = parts(&output);
        assert_eq!(status, 0, "{mistakes}");
        assert!(told.starts_with("standard input: no mistakes"), "{told}");
    }
}

#[test]
fn what_the_machine_lacks_is_a_warning() {
    let text = "[daemon]\ngroup = \"umv-nobody\"\n[link.m]\nparent = \"umv0.10\"\nnetns = \"umv-nothere\"\n\
                host = [\"192.0.2.1\"]\n";
    let output = config(&["check", "-"], text);
    let (status, told, warnings) = parts(&output);
    assert!(status == 0 && told.starts_with("standard input: no mistakes"), "{told}");
    for what in ["no group \"umv-nobody\"", "no network namespace \"umv-nothere\"", "host_address"]
    {
        assert!(warnings.contains(what), "{warnings}");
    }
    let output = config(&["check", "-j", "-"], text);
    assert_eq!(parts(&output).1.matches("\"message\"").count(), 3);
}

#[test]
fn the_example_has_no_mistakes_with_or_without_its_comments() {
    let uncommented: Vec<&str> = EXAMPLE
        .lines()
        .filter(|line| !line.starts_with("#   ") && *line != "#")
        // Commented-out lines that are keys or tables; other comments are sentences.
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with('[') || rest.contains(" = ") => rest,
            _ => line,
        })
        .collect();
    for text in [EXAMPLE.to_owned(), uncommented.join("\n")] {
        let output = config(&["check", "-"], &text);
        let (status, _, mistakes) = parts(&output);
        assert_eq!(status, 0, "{mistakes}");
    }
}

#[test]
fn the_manual_and_the_example_have_every_key() {
    for (table, example) in
        [("daemon", true), ("engine", true), ("parent.p", true), ("link.m", false)]
    {
        let output = config(&["check", "-"], &format!("[{table}]\nno-such-key = 1\n"));
        let (_, _, mistakes) = parts(&output);
        let unknown = mistakes.lines().find(|line| line.contains("\"no-such-key\"")).unwrap();
        let known = unknown.split("expected one of ").nth(1).unwrap();
        for key in known.split(", ") {
            let entry = format!("\n.BR {key} \" = ");
            assert!(MANUAL.contains(&entry), "umacvlan.toml(5) says nothing of {key} in {table}");
            let line = format!("\n# {key} = ");
            assert!(!example || EXAMPLE.contains(&line), "the example has no {key}");
        }
    }
}

#[test]
fn errors_have_a_place_and_exit_status_1() {
    let output = config(&["check", "-"], "[link.m]\nparent = \"p\"\nmods = \"vepa\"\n");
    let (status, told, mistakes) = parts(&output);
    assert_eq!((status, told), (1, ""));
    let lines: Vec<&str> = mistakes.lines().collect();
    let [first, rest @ ..] = &lines[..] else { panic!("nothing was said") };
    assert!(first.starts_with("standard input:3:1: unknown key \"mods\" in [link.m]"), "{first}");
    assert!(first.ends_with("; did you mean \"mode\"?"), "{first}");
    assert_eq!(rest, ["   |", " 3 | mods = \"vepa\"", "   | ^^^^"]);
}

#[test]
fn errors_and_warnings_are_reported_as_json() {
    let output = config(&["check", "-j", "-"], "[engine]\npoll = 1\n");
    let expected = "{\"file\":\"standard input\",\"mistakes\":[{\"line\":2,\"column\":8,\
                    \"message\":\"poll: this is a number, expected one of \\\"adaptive\\\", \
                    \\\"busy\\\", \\\"interrupt\\\"\"}],\"warnings\":[]}\n";
    assert_eq!(parts(&output), (1, expected, ""));
    let output = config(&["check", "-j", "-"], "[engine]\ncpus = [65535]\n");
    let (status, told, _) = parts(&output);
    assert_eq!(status, 0);
    assert!(told.contains("\"mistakes\":[],\"warnings\":[{\"line\":2,\"column\":9,"), "{told}");
}

#[test]
fn invalid_utf8_is_reported_with_its_place() {
    let place = Place::new("binary");
    let file = place.path("file");
    fs::write(&file, b"# \xc3\xa9\n[engine]\npoll = \"\xff\"\n").unwrap();
    let output = config(&["check", file.to_str().unwrap()], "");
    let (status, _, mistakes) = parts(&output);
    assert_eq!(status, 1);
    assert!(mistakes.contains("/file:3:9: this is no UTF-8"), "{mistakes}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let output = config(&["check", "/nowhere/at.all"], "");
    let (status, _, error) = parts(&output);
    assert_eq!(status, 1);
    let start = "umacvlan: cannot read the configuration /nowhere/at.all: No such file";
    assert!(error.starts_with(start), "{error}");
}

/// A directory for the test, removed when it is dropped.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let name = format!("umacvlan-config-{test}-{}", std::process::id());
        let place = std::env::temp_dir().join(name);
        fs::create_dir(&place).unwrap();
        Self(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A directory that cannot be removed does not matter.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A fake daemon that answers one request with this status and body, and returns the request.
fn daemon(socket: &Path, status: u16, answer: &'static str) -> JoinHandle<String> {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(client.try_clone().unwrap());
        let (mut request, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if request.is_empty() {
                request = line.trim_end().to_owned();
            }
        }
        let mut body = vec![0; length];
        lines.read_exact(&mut body).unwrap();
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", answer.len());
        client.write_all(format!("{head}{answer}").as_bytes()).unwrap();
        format!("{request}\n{}", String::from_utf8(body).unwrap())
    })
}

/// Runs `umacvlan config` with these arguments against the fake daemon. Returns the request and the
/// output of the command.
fn asked(test: &str, words: &[&str], status: u16, answer: &'static str) -> (String, Output) {
    let place = Place::new(test);
    let socket = place.path("socket");
    let daemon = daemon(&socket, status, answer);
    let words = [words, &["--socket", socket.to_str().unwrap()]].concat();
    let output = config(&words, "[link.m]\nparent = \"p\"");
    (daemon.join().unwrap(), output)
}

#[test]
fn a_difference_is_status_1_and_none_is_status_0() {
    let (request, output) = asked("same", &["diff"], 200, "{\"changes\":[]}");
    assert_eq!(request, "POST /v1/config/diff HTTP/1.1\n");
    assert_eq!(parts(&output), (0, "", ""));
    let (request, output) = asked("differs", &["diff", "-"], 200, "{\"changes\":[\"a\",\"b\"]}");
    assert_eq!(request, "POST /v1/config/diff HTTP/1.1\n[link.m]\nparent = \"p\"\n");
    assert_eq!(parts(&output), (1, "a\nb\n", ""));
    let (_, output) = asked("json", &["diff", "-j"], 200, "{\"changes\":[\"a\"]}");
    assert_eq!(parts(&output), (1, "{\"changes\":[\"a\"]}\n", ""));
}

#[test]
fn a_failed_diff_is_status_2() {
    let problem = "{\"code\":\"config\",\"message\":\"/c:1:2: no\"}";
    let (_, output) = asked("trouble", &["diff"], 422, problem);
    assert_eq!(parts(&output), (2, "", "umacvlan: /c:1:2: no\n"));
    // The client finds errors in its own file by itself.
    let output = config(&["diff", "-", "--socket", "/nowhere/at.all"], "x = 1");
    let (status, _, error) = parts(&output);
    assert_eq!(status, 2);
    assert!(error.starts_with("standard input:1:1: unknown key \"x\""), "{error}");
    let output = config(&["diff", "--socket", "/nowhere/at.all"], "");
    let (status, _, error) = parts(&output);
    assert_eq!(status, 2);
    assert!(error.starts_with("umacvlan: no daemon listens on /nowhere/at.all"), "{error}");
}

#[test]
fn a_reload_tells_what_was_done_or_why_not() {
    let (request, output) = asked("reload", &["reload"], 200, "{\"changes\":[\"add link m\"]}");
    assert_eq!(request, "POST /v1/config/reload HTTP/1.1\n");
    assert_eq!(parts(&output), (0, "add link m\n", ""));
    let problem = "{\"code\":\"refused\",\"message\":\"add link m: no\"}";
    let (_, output) = asked("refused", &["reload"], 409, problem);
    assert_eq!(parts(&output), (1, "", "umacvlan: add link m: no\n"));
}

const RUNS: &str = "[link.m]\nparent = \"p\"\nmtu = 1400\n\n# link x is left out: why\n";

#[test]
fn the_running_configuration_is_shown_as_toml_or_json() {
    let (request, output) = asked("show", &["show"], 200, RUNS);
    assert_eq!(request, "GET /v1/config HTTP/1.1\n");
    assert_eq!(parts(&output), (0, RUNS, ""));
    let (_, output) = asked("show-json", &["show", "-j"], 200, RUNS);
    let expected = "{\"link\":{\"m\":{\"mtu\":1400,\"parent\":\"p\"}}}\n";
    assert_eq!(parts(&output), (0, expected, ""));
}

#[test]
fn the_running_configuration_is_saved_by_daemon_or_client() {
    let (request, output) = asked("save", &["save"], 200, "{\"path\":\"/etc/x.toml\"}");
    assert_eq!(request, "POST /v1/config/save HTTP/1.1\n");
    assert_eq!(parts(&output), (0, "saved to /etc/x.toml\n", ""));
    let place = Place::new("saved");
    let file = place.path("file");
    let path = file.to_str().unwrap();
    let (_, output) = asked("save-file", &["save", path], 200, RUNS);
    let expected = (0, &*format!("saved to {path}\n"), "umacvlan: link x is left out: why\n");
    assert_eq!(parts(&output), expected);
    assert_eq!(fs::read_to_string(&file).unwrap(), RUNS);
}
