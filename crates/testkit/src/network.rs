//! Interfaces of a test, and waiting for their changes.

use std::os::fd::{AsFd, AsRawFd};

use umacvlan_netlink::{Monitor, Rtnl};
use umacvlan_sys::netns::Netns;

use crate::LIMIT;

/// Adds the veth pair `p0` and `q0`, both up: `p0` is the parent, `q0` the other end of its wire.
///
/// # Panics
/// If one of them exists.
pub fn add_parent(rtnl: &mut Rtnl) {
    rtnl.add_veth("p0", "q0", None).unwrap();
    for name in ["p0", "q0"] {
        let index = rtnl.link(name).unwrap().expect(name).index;
        rtnl.set_up(index, true).unwrap();
    }
}

/// A path that opens `netns` in every process, as long as this process keeps it open.
pub fn netns_path(netns: &Netns) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), netns.as_fd().as_raw_fd())
}

/// Waits for events of interfaces in one namespace.
#[derive(Debug)]
pub struct LinkMonitor(Monitor);

impl LinkMonitor {
    /// Subscribes to the events of `netns`.
    pub fn open(netns: &Netns) -> Self {
        Self(netns.run(Monitor::open).unwrap().unwrap())
    }

    /// Returns when `done` is true. It is checked now and after each event.
    ///
    /// # Panics
    /// If no event comes within [`LIMIT`]; the message has `what`.
    pub fn wait_until(&mut self, what: &str, mut done: impl FnMut() -> bool) {
        while !done() {
            assert!(self.0.wait(LIMIT).unwrap(), "not in time: {what}");
            self.0.read(|_| ()).unwrap();
        }
    }
}
