//! Work inside a namespace, and the search for namespaces by their processes.

use std::panic;

use umacvlan_sys::netns::{Netns, reachable};
use umacvlan_testkit::root_or_skip;

#[test]
fn running_inside_leaves_the_caller_where_it_was() {
    if !root_or_skip() {
        return;
    }
    let before = Netns::current().unwrap().id();
    let other = Netns::create().unwrap();
    assert_ne!(other.id(), before);
    let inside = other.run(|| Netns::current().unwrap().id()).unwrap();
    assert_eq!(inside, other.id());
    assert_eq!(Netns::current().unwrap().id(), before);
}

#[test]
fn a_panic_inside_reaches_the_caller() {
    if !root_or_skip() {
        return;
    }
    let other = Netns::create().unwrap();
    let caught = panic::catch_unwind(|| other.run(|| panic!("inside"))).unwrap_err();
    assert_eq!(caught.downcast_ref::<&str>(), Some(&"inside"));
}

#[test]
fn a_namespace_is_found_by_a_process_in_it_and_by_a_descriptor_of_it() {
    if !root_or_skip() {
        return;
    }
    let has = |id| reachable().iter().any(|netns| netns.id() == id);
    let held = Netns::create().unwrap();
    assert!(has(held.id()), "this process has a descriptor of it");

    let inside = || std::process::Command::new("sleep").arg("100").spawn();
    let mut process = held.run(inside).unwrap().unwrap();
    let id = held.id();
    drop(held);
    let found = has(id);
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(found, "a process lives there");
}
