//! The settings of a veth.

use umacvlan_netlink::Rtnl;
use umacvlan_sys::ethtool::{Ethtool, Features};
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::root_or_skip;

#[test]
fn a_veth_names_its_driver() {
    if !root_or_skip() {
        return;
    }
    let netns = Netns::create().unwrap();
    Rtnl::open_in(&netns).unwrap().add_veth("p0", "q0", None).unwrap();
    let ethtool = netns.run(Ethtool::open).unwrap().unwrap();
    assert_eq!(ethtool.driver("p0").unwrap(), "veth");
}

#[test]
fn without_its_checksum_offload_a_veth_segments_no_more() {
    if !root_or_skip() {
        return;
    }
    let netns = Netns::create().unwrap();
    Rtnl::open_in(&netns).unwrap().add_veth("p0", "q0", None).unwrap();
    let ethtool = netns.run(Ethtool::open).unwrap().unwrap();
    let before = ethtool.features("p0").unwrap();
    assert!(before.tso && before.gso && before.tx_checksum && before.rx_checksum, "{before}");
    ethtool.set_tx_checksum("p0", false).unwrap();
    let after = Features { tso: false, tx_checksum: false, ..before };
    assert_eq!(ethtool.features("p0").unwrap(), after);
    assert_eq!(ethtool.features("q0").unwrap(), before);
    assert!(after.to_string().starts_with("tso off, gso on, gro "), "{after}");
    assert!(after.to_string().ends_with("tx-checksum off, rx-checksum on"), "{after}");
    assert!(ethtool.set_tx_checksum("no-such", false).is_err());
}
