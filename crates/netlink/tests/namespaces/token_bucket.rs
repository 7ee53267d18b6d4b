//! The queue of an interface.

use std::os::fd::AsFd;

use umacvlan_netlink::{Rtnl, TokenBucket};
use umacvlan_sys::netns::Netns;
use umacvlan_sys::raw_socket;
use umacvlan_testkit::root_or_skip;

const EINVAL: i32 = 22;
const ENOENT: i32 = 2;

#[test]
fn a_token_bucket_drops_what_is_beyond_its_limit() {
    if !root_or_skip() {
        return;
    }
    let netns = Netns::create().unwrap();
    let mut rtnl = Rtnl::open_in(&netns).unwrap();
    rtnl.add_veth("a", "b", None).unwrap();
    let [a, b] = ["a", "b"].map(|name| rtnl.link(name).unwrap().unwrap().index);
    [a, b].into_iter().for_each(|index| rtnl.set_up(index, true).unwrap());
    assert_eq!(rtnl.queue_drops(a).unwrap(), 0);
    let bucket = TokenBucket { rate: 8_000, burst: 2_000, limit: 5_000 };
    rtnl.set_token_bucket(a, bucket).unwrap();
    assert_eq!(rtnl.link("a").unwrap().unwrap().qdisc.as_deref(), Some("tbf"));
    let socket = netns.run(|| raw_socket::open(a, 0)).unwrap().unwrap();
    // A second pays for one of them: two leave, five wait. What the stack sends by itself is there too.
    let frame = [0x02; 1000];
    (0..20).for_each(|_| drop(raw_socket::send(socket.as_fd(), &frame, 1)));
    let drops = rtnl.queue_drops(a).unwrap();
    assert!(drops >= 10, "{drops} of 20 were dropped");
    assert_eq!(rtnl.queue_drops(b).unwrap(), 0, "of another interface");
    rtnl.remove_queue(a).unwrap();
    assert_eq!(rtnl.queue_drops(a).unwrap(), 0);
    assert_eq!(rtnl.remove_queue(a).unwrap_err().errno(), Some(ENOENT));
    let empty = TokenBucket { burst: 0, ..bucket };
    assert_eq!(rtnl.set_token_bucket(a, empty).unwrap_err().errno(), Some(EINVAL));
}
