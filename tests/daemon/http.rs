//! The HTTP service on the socket: its responses, and its resistance to bad clients.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;

use serde_json::{Value, json};
use umacvlan_testkit::{Answer, Daemon, Machine, ask, connect, events, root_or_skip};

use crate::schema::{check, undescribed};

/// A machine with a daemon. The fields are dropped in this order.
struct World {
    _daemon: Daemon,
    machine: Machine,
}

fn world() -> Option<World> {
    root_or_skip().then(World::new)
}

impl World {
    fn new() -> Self {
        let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
        let mut command = machine.command("", &[]);
        // The log is not piped: nothing would read the pipe while the daemon runs, and a test here
        // fills it.
        command.stderr(Stdio::inherit());
        Self { _daemon: machine.start_command(command), machine }
    }

    fn socket(&self) -> PathBuf {
        self.machine.socket()
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        ask(&self.socket(), method, path, &body)
    }

    fn get(&self, path: &str) -> Value {
        self.ask("GET", path, &Value::Null).ok()
    }

    fn add(&self, name: &str) -> Value {
        let answer = self.ask("POST", "/v1/links", &json!({"name": name, "parent": "p0"}));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }
}

#[test]
fn every_response_matches_the_openapi_document() {
    let Some(world) = world() else { return };
    let document = world.get("/openapi.json");
    let fits = |method: &str, path: &str, body: Value, template: &str| {
        let answer = world.ask(&method.to_uppercase(), path, &body);
        let pointer = format!(
            "/paths/{}/{method}/responses/{}/content/application~1json/schema",
            template.replace('/', "~1"),
            answer.status
        );
        let at = format!("{method} {path}: {}", answer.status);
        let schema = document.pointer(&pointer).unwrap_or_else(|| panic!("{at}: {}", answer.body));
        check(&document, schema, &answer.json(), &at);
        assert_eq!(undescribed(&document, schema, &answer.json()), [""; 0], "{at}");
    };
    let bridge = json!({"name": "mac1", "parent": "p0", "mode": "bridge", "up": true});
    fits("post", "/v1/links", bridge, "/v1/links");
    let stations = ["02:00:5e:10:00:01", "02:00:5e:10:00:02"];
    let source = json!({"name": "mac2", "parent": "p0", "mode": "source", "macaddr": stations,
        "nodst": true, "alias": "two", "bclim": 4, "promisc": true, "mtu": 1400});
    fits("post", "/v1/links", source, "/v1/links");
    let change = json!({"mtu": 1300, "macvlan": {"mode": "private"}});
    fits("patch", "/v1/links/mac1", change, "/v1/links/{name}");
    fits("get", "/v1/links/mac2", Value::Null, "/v1/links/{name}");
    fits("get", "/v1/links", Value::Null, "/v1/links");
    fits("get", "/v1/parents", Value::Null, "/v1/parents");
    fits("get", "/healthz", Value::Null, "/healthz");
    fits("get", "/v1/log", Value::Null, "/v1/log");
    fits("put", "/v1/log", json!({"filter": "warn"}), "/v1/log");
    fits("post", "/v1/config/diff", Value::Null, "/v1/config/diff");
    fits("post", "/v1/config/save", Value::Null, "/v1/config/save");
    fits("post", "/v1/config/reload", Value::Null, "/v1/config/reload");
    let gone = world.ask("DELETE", "/v1/links/mac1", &Value::Null);
    assert_eq!((gone.status, gone.body.as_str()), (204, ""));
}

#[test]
fn the_openapi_document_has_every_method_of_every_path() {
    let Some(world) = world() else { return };
    let document = world.get("/openapi.json");
    for (path, item) in document["paths"].as_object().unwrap() {
        let answer = world.ask("OPTIONS", path, &Value::Null);
        assert_eq!(answer.status, 405, "{answer:?}");
        let allow = answer.head.lines().find_map(|line| line.strip_prefix("allow: ")).unwrap();
        let mut allowed: BTreeSet<&str> = allow.split(',').collect();
        // HEAD works wherever GET does and is not in the description.
        assert_eq!(allowed.remove("head"), item.get("get").is_some(), "{path}");
        let described: BTreeSet<&str> =
            item.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(allowed, described, "{path}");
    }
}

#[test]
fn a_bad_request_is_explained_and_changes_nothing() {
    let Some(world) = world() else {
        return;
    };
    world.add("mac1");
    let before = (world.get("/v1/links").as_array().unwrap().len(), world.get("/v1/parents"));
    let large = format!("\"{}\"", "a".repeat(2 << 20));
    for (method, path, body, status, code) in [
        ("GET", "/", "", 404, "not_found"),
        ("GET", "/v1/links/", "", 404, "not_found"),
        ("GET", "/v1/links/none", "", 404, "no_device"),
        ("GET", "/v1/links/%ff", "", 400, "malformed"),
        ("GET", "/v1/links?netns=none", "", 404, "no_namespace"),
        ("GET", "/v1/links?colour=red", "", 400, "malformed"),
        ("GET", "/v1/links?netns=a&netns=b", "", 400, "malformed"),
        ("PUT", "/v1/links", "", 405, "no_method"),
        ("DELETE", "/v1/links", "", 400, "malformed"),
        ("FROB", "/v1/links", "", 405, "no_method"),
        ("DELETE", "/v1/links/none", "", 404, "no_device"),
        ("POST", "/v1/links", "", 400, "malformed"),
        ("POST", "/v1/links", "{", 400, "malformed"),
        ("POST", "/v1/links", "[]", 400, "malformed"),
        ("POST", "/v1/links", r#"{"name":"mac2"}"#, 400, "malformed"),
        ("POST", "/v1/links", r#"{"name":"mac2","parent":"p0","color":1}"#, 400, "malformed"),
        ("POST", "/v1/links", r#"{"name":"mac2","parent":"p0","mtu":"a"}"#, 400, "malformed"),
        ("POST", "/v1/links", r#"{"name":"mac1","parent":"p0"}"#, 409, "refused"),
        ("POST", "/v1/links", r#"{"name":"mac2","parent":"none"}"#, 404, "no_device"),
        ("POST", "/v1/links", large.as_str(), 413, "too_large"),
        ("PATCH", "/v1/links/mac1", r#"{"up":"yes"}"#, 400, "malformed"),
        ("PATCH", "/v1/links/mac1", r#"{"mtu":100000}"#, 409, "refused"),
        ("PUT", "/v1/log", r#"{"filter":"umacvlan=loud"}"#, 400, "malformed"),
        ("PUT", "/v1/log", r#"{"filter":"inof"}"#, 400, "malformed"),
        ("POST", "/v1/config/diff", "a = ", 422, "config"),
        ("POST", "/v1/config/diff", "\u{0}", 422, "config"),
    ] {
        let answer = ask(&world.socket(), method, path, body);
        let got = (answer.status, answer.code());
        assert_eq!(got, (status, code.to_owned()), "{method} {path}: {}", answer.body);
    }
    let after = (world.get("/v1/links").as_array().unwrap().len(), world.get("/v1/parents"));
    assert_eq!(before.0, after.0);
    assert_eq!(before.1[0]["links"], after.1[0]["links"]);
}

#[test]
fn slow_and_silent_clients_do_not_block_others() {
    let Some(world) = world() else { return };
    let socket = world.socket();
    let mut held = Vec::new();
    for (count, beginning) in [
        (8, ""),
        (8, "GET /v1/links"),
        (8, "POST /v1/links HTTP/1.1\r\ncontent-length: 1000\r\n\r\n{\"name\":"),
        (8, "GET /v1/events HTTP/1.1\r\n\r\n"),
        (8, "GET /v1/links HTTP/1.1\r\n\r\n"),
    ] {
        for _ in 0..count {
            let mut stream = connect(&socket);
            stream.write_all(beginning.as_bytes()).unwrap();
            held.push(stream);
        }
    }
    world.add("mac1");
    assert_eq!(world.get("/v1/links").as_array().unwrap().len(), 1);
    assert_eq!(world.get("/healthz")["status"], "ok");
    // Clients that have shut down their writing side, or have disconnected in the middle of a
    // request.
    for (number, stream) in held.into_iter().enumerate() {
        if number % 2 == 0 {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        }
    }
    assert_eq!(world.ask("DELETE", "/v1/links/mac1", &Value::Null).status, 204);
}

#[test]
fn many_clients_at_once_get_what_each_asked_for() {
    let Some(world) = world() else { return };
    thread::scope(|scope| {
        for client in 0..8 {
            let world = &world;
            scope.spawn(move || {
                for number in 0..4 {
                    let name = format!("m{client}x{number}");
                    assert_eq!(world.add(&name)["ifname"], name.as_str());
                    let path = format!("/v1/links/{name}");
                    assert_eq!(world.get(&path)["ifname"], name.as_str());
                    assert_eq!(world.ask("DELETE", &path, &Value::Null).status, 204);
                }
            });
        }
    });
    assert_eq!(world.get("/v1/links"), json!([]));
}

#[test]
fn events_tell_of_each_change_in_its_order() {
    let Some(world) = world() else { return };
    let mut events = events(&world.socket());
    let id = world.add("mac1")["umacvlan"]["id"].clone();
    let mut next = |event: &str| {
        let found = events.find(|it| it["event"] == event).unwrap();
        assert!(found["time"].as_f64().unwrap() > 1.6e9, "{found}");
        found
    };
    assert_eq!(next("link_added")["link"]["ifname"], "mac1");
    let change = json!({"mtu": 1400});
    world.ask("PATCH", "/v1/links/mac1", &change).ok();
    assert_eq!(next("link_changed")["link"]["mtu"], 1400);
    assert_eq!(world.ask("DELETE", "/v1/links/mac1", &Value::Null).status, 204);
    assert_eq!(next("link_deleted")["id"], id);
}

#[test]
fn metrics_name_every_link_and_parent() {
    let Some(world) = world() else { return };
    world.add("mac1");
    let answer = world.ask("GET", "/metrics", &Value::Null);
    let content = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(answer.head.contains(content), "{}", answer.head);
    assert!(answer.body.ends_with("# EOF\n"), "{}", answer.body);
    for line in [
        "umacvlan_links 1",
        "umacvlan_parent_carrier{parent=\"p0\"} 1",
        "umacvlan_link_frames_total{link=\"mac1\",netns=\"\",parent=\"p0\",direction=\"rx\"} ",
        "umacvlan_worker_seconds_total{parent=\"p0\",state=\"asleep\"} ",
    ] {
        assert!(answer.body.lines().any(|it| it.starts_with(line)), "{line}: {}", answer.body);
    }
}

#[test]
fn the_filter_of_the_log_changes_while_the_daemon_runs() {
    let Some(world) = world() else { return };
    let filter = json!({"filter": "info,umacvlan=debug"});
    world.ask("PUT", "/v1/log", &filter).ok();
    let now = world.get("/v1/log")["filter"].as_str().unwrap().to_owned();
    let parts: BTreeSet<&str> = now.split(',').collect();
    assert_eq!(parts, BTreeSet::from(["info", "umacvlan=debug"]));
}
