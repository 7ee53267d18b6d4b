//! The rules of the running kernel's macvlan.

use umacvlan_core::KernelRelease;
use umacvlan_netlink::macvlan_release;
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::{root_or_skip, skip};

#[test]
fn the_rules_of_the_running_kernel_are_found_by_trying() {
    if !root_or_skip() {
        return;
    }
    let before = Netns::current().unwrap();
    let found = match macvlan_release() {
        Ok(found) => found,
        Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => return skip(&error.to_string()),
        Err(error) => panic!("{error}"),
    };
    let uname = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    // A distribution may have taken over the change of a later release, and never takes one back.
    assert!(found >= KernelRelease::of(&uname), "{found} on {uname}");
    assert_eq!(Netns::current().unwrap().id(), before.id());
}
