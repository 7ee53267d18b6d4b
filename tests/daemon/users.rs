//! Access rights: clients that run as other users, made by running this test's program as them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use umacvlan_testkit::{Daemon, Machine, ask, root_or_skip, skip};

/// Groups and a user that nothing else on this machine has.
const READERS: &str = "42421";
const ADMINS: &str = "42422";
const USER: &str = "42423";

/// The process of another user: sends one request and prints the response.
#[test]
#[ignore = "run by the tests below, as another user"]
fn a_client_of_another_user() {
    let variable = |name: &str| std::env::var(format!("UMACVLAN_TEST_{name}")).unwrap();
    let Some(socket) = std::env::var_os("UMACVLAN_TEST_SOCKET").map(PathBuf::from) else { return };
    if let Err(error) = std::os::unix::net::UnixStream::connect(&socket) {
        return println!("\nanswer: {:?}", error.kind());
    }
    let answer = ask(&socket, &variable("METHOD"), &variable("PATH"), &variable("BODY"));
    println!("\nanswer: {} {}", answer.status, answer.body);
}

/// A world whose daemon has a group of readers and one of administrators.
struct Users {
    // Dropped in this order.
    _daemon: Daemon,
    machine: Machine,
    program: PathBuf,
}

impl Users {
    fn new() -> Option<Self> {
        if !root_or_skip() {
            return None;
        }
        if Command::new("setpriv").arg("--version").output().is_err() {
            skip("there is no setpriv");
            return None;
        }
        let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
        // Users other than root use the socket, too.
        fs::set_permissions(machine.file(""), Permissions::from_mode(0o755)).unwrap();
        let daemon = machine.start(&["--group", READERS, "--admin-group", ADMINS]);
        // Other users may not be able to reach the program itself.
        let program = machine.file("client");
        // Another process makes the copy. If this process did, a test that forks meanwhile would
        // inherit a descriptor that writes to the copy, and as long as that is open the copy cannot
        // be run ("text file busy").
        let copied =
            Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&program).status();
        assert!(copied.unwrap().success());
        Some(Self { _daemon: daemon, machine, program })
    }

    /// The status and the body of the response to a process of the user with these groups.
    fn ask(&self, groups: &[&str], method: &str, path: &str, body: &str) -> String {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--regid", groups[0]]);
        match &groups[1..] {
            [] => command.arg("--clear-groups"),
            more => command.args(["--groups", &more.join(",")]),
        };
        command.arg(&self.program);
        command.args(["users::a_client_of_another_user", "--exact", "--ignored", "--nocapture"]);
        command.env("UMACVLAN_TEST_SOCKET", self.machine.socket());
        for (name, value) in [("METHOD", method), ("PATH", path), ("BODY", body)] {
            command.env(format!("UMACVLAN_TEST_{name}"), value);
        }
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let answer = text.lines().find_map(|line| line.strip_prefix("answer: "));
        let errors = String::from_utf8_lossy(&output.stderr);
        answer.unwrap_or_else(|| panic!("{text}{errors}")).to_owned()
    }
}

const LINK: &str = r#"{"name":"mac1","parent":"p0"}"#;

#[test]
fn the_socket_is_for_root_and_its_group() {
    let Some(users) = Users::new() else { return };
    let file = fs::metadata(users.machine.socket()).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o660);
    assert_eq!((file.uid(), file.gid().to_string().as_str()), (0, READERS));
    assert_eq!(users.ask(&[USER], "GET", "/v1/links", ""), "PermissionDenied");
}

#[test]
fn a_reader_may_query_but_not_change() {
    let Some(users) = Users::new() else { return };
    let groups = [USER, READERS];
    for path in ["/v1/links", "/v1/parents", "/v1/config", "/v1/log", "/metrics", "/healthz"] {
        let answer = users.ask(&groups, "GET", path, "");
        assert!(answer.starts_with("200 "), "{path}: {answer}");
    }
    for (method, path, body) in [
        ("POST", "/v1/links", LINK),
        ("PATCH", "/v1/links/mac1", "{}"),
        ("DELETE", "/v1/links/mac1", ""),
        ("POST", "/v1/config/reload", ""),
        ("POST", "/v1/config/save", ""),
        ("PUT", "/v1/log", r#"{"filter":"trace"}"#),
        ("GET", "/v1/links?netns=%2Fetc%2Fshadow", ""),
    ] {
        let answer = users.ask(&groups, method, path, body);
        assert!(answer.starts_with("403 "), "{method} {path}: {answer}");
        assert!(answer.contains("\"forbidden\""), "{answer}");
    }
    let links = ask(&users.machine.socket(), "GET", "/v1/links", "").ok();
    assert_eq!(links, serde_json::json!([]));
}

#[test]
fn a_member_of_the_admin_group_may_change_things() {
    let Some(users) = Users::new() else { return };
    // First as a supplementary group, then as the primary one.
    for groups in [&[READERS, ADMINS], &[ADMINS, READERS]] {
        let answer = users.ask(groups, "POST", "/v1/links", LINK);
        assert!(answer.starts_with("201 "), "{answer}");
        let answer = users.ask(groups, "DELETE", "/v1/links/mac1", "");
        assert!(answer.starts_with("204 "), "{answer}");
    }
}
