//! Locks on interfaces.

use std::process::Command;
use std::sync::Barrier;
use std::thread;

use umacvlan_netlink::Rtnl;
use umacvlan_sys::interface_lock::{InterfaceLock, LockError};
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::root_or_skip;

/// The id of this process, if that is the one that has the lock.
fn holder(index: u32) -> Option<u32> {
    match InterfaceLock::take(index) {
        Err(LockError::Held { process }) => process,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn an_interface_has_one_lock_until_it_is_dropped_or_the_interface_is_gone() {
    if !root_or_skip() {
        return;
    }
    let netns = Netns::create().unwrap();
    let mut rtnl = Rtnl::open_in(&netns).unwrap();
    rtnl.add_veth("p0", "x0", None).unwrap();
    let [index, other] = ["p0", "x0"].map(|name| rtnl.link(name).unwrap().unwrap().index);
    let check = || {
        let lock = InterfaceLock::take(index).unwrap();
        assert_eq!(holder(index), Some(std::process::id()));
        let _other = InterfaceLock::take(other).unwrap();
        rtnl.set_name(index, "renamed").unwrap();
        assert_eq!(holder(index), Some(std::process::id()));
        drop(lock);
        let _gone = InterfaceLock::take(index).unwrap();
        rtnl.delete(index).unwrap();
        let words = format!("link add p0 index {index} type veth peer name x0");
        assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success());
        let _again = InterfaceLock::take(index).unwrap();
    };
    netns.run(check).unwrap();
}

/// The number of those that try to take a lock together.
const MANY: usize = 4;

#[test]
fn of_many_that_come_at_the_same_moment_one_at_most_gets_the_lock() {
    if !root_or_skip() {
        return;
    }
    let netns = Netns::create().unwrap();
    let mut rtnl = Rtnl::open_in(&netns).unwrap();
    rtnl.add_veth("p0", "x0", None).unwrap();
    let index = rtnl.link("p0").unwrap().unwrap().index;
    for _ in 0..50 {
        let start = Barrier::new(MANY);
        let take = || {
            let take = || {
                start.wait();
                InterfaceLock::take(index)
            };
            netns.run(take).unwrap()
        };
        let taken: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..MANY).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let got = taken.iter().filter(|taken| taken.is_ok()).count();
        assert!(got <= 1, "{taken:?}");
    }
}
