//! Clients of the crate `umacvlan-client`, as the commands and plugins use it.

use std::sync::Barrier;
use std::thread;

use serde_json::{Value, json};
use umacvlan_api::LinkView;
use umacvlan_client::{Absent, Client, RequestError};
use umacvlan_testkit::{Machine, root_or_skip};

/// More than the daemon serves and turns away at a time: others are closed without a word.
const CLIENTS: usize = 200;

#[test]
fn two_hundred_clients_at_once_all_get_their_links() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let daemon = machine.start(&["--log", "warn"]);
    let (socket, together) = (machine.socket(), Barrier::new(CLIENTS));
    let add = |number| {
        together.wait();
        let link = json!({"name": format!("mac{number}"), "parent": "p0", "mode": "bridge"});
        let mut client = Client::connect(&socket, Absent::Fail)?;
        client.post("/v1/links", &[], &link)
    };
    let failed: Vec<RequestError> = thread::scope(|scope| {
        let add = &add;
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || add(number))).collect();
        let made = clients.into_iter().map(|client| client.join().unwrap());
        made.filter_map(|made: Result<LinkView, _>| made.err()).collect()
    });
    assert!(failed.is_empty(), "{} failed: {}", failed.len(), failed[0]);
    assert_eq!(daemon.links().len(), CLIENTS);
}

#[test]
fn clients_wait_for_a_daemon_that_starts_after_them() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let socket = machine.socket();
    let ask = move || Client::connect(&socket, Absent::Wait)?.get::<Value>("/v1/links", &[]);
    let client = thread::spawn(ask);
    let _daemon = machine.start(&[]);
    assert_eq!(client.join().unwrap().unwrap(), json!([]));
}
