//! The XDP features that a driver reports.

use umacvlan_netlink::{Rtnl, supports_zero_copy};
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::{root_or_skip, skip};

#[test]
fn a_veth_has_no_zero_copy_and_an_unknown_interface_is_an_error() {
    if !root_or_skip() {
        return;
    }
    let netns = Netns::create().unwrap();
    let mut rtnl = Rtnl::open_in(&netns).unwrap();
    rtnl.add_veth("p0", "q0", None).unwrap();
    let index = rtnl.link("p0").unwrap().unwrap().index;
    match netns.run(|| supports_zero_copy(index)).unwrap() {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
            return skip("Linux before 6.3 does not say");
        }
        told => assert!(!told.unwrap()),
    }
    let absent = netns.run(|| supports_zero_copy(index + 100)).unwrap().unwrap_err();
    assert_eq!(absent.raw_os_error(), Some(libc::ENODEV), "{absent}");
}
