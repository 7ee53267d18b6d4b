//! Each request of [`Rtnl`] has its effect in the kernel.

use std::error::Error;
use std::fs;

use umacvlan_core::MacAddr;
use umacvlan_netlink::{
    BridgeOptions, IpPrefix, MacaddrChange, Macvlan, MacvlanChange, Route, Rtnl, joined_groups,
    set_sysctl,
};
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::{root_or_skip, skip};

/// A namespace and a socket in it.
fn place() -> (Netns, Rtnl) {
    let netns = Netns::create().unwrap();
    let rtnl = Rtnl::open_in(&netns).unwrap();
    (netns, rtnl)
}

fn index(rtnl: &mut Rtnl, name: &str) -> u32 {
    rtnl.link(name).unwrap().expect(name).index
}

fn read_in(netns: &Netns, path: &str) -> String {
    let text = netns.run(|| fs::read_to_string(path)).unwrap().unwrap();
    text.trim().to_owned()
}

#[test]
fn a_new_namespace_has_a_loopback_only() {
    if !root_or_skip() {
        return;
    }
    let (_netns, mut rtnl) = place();
    let links = rtnl.links().unwrap();
    assert_eq!(links.len(), 1, "{links:?}");
    assert_eq!(links[0].name, "lo");
    assert_eq!(links[0].link_type, ARPHRD_LOOPBACK);
    assert!(!links[0].is_up());
    assert!(rtnl.link("eth7").unwrap().is_none());
    assert!(rtnl.link_by_index(4711).unwrap().is_none());
}

#[test]
fn a_veth_pair_spans_two_namespaces() {
    if !root_or_skip() {
        return;
    }
    let (_left, mut here) = place();
    let (right, mut there) = place();
    here.add_veth("a", "b", Some(&right)).unwrap();
    let (a, b) = (index(&mut here, "a"), index(&mut there, "b"));
    here.set_up(a, true).unwrap();
    let down = here.link("a").unwrap().unwrap();
    assert!(down.is_up() && !down.is_running());
    there.set_up(b, true).unwrap();
    let up = here.link("a").unwrap().unwrap();
    assert!(up.is_running());
    assert_eq!(up.carrier, Some(true));
    assert_eq!(up.kind.as_deref(), Some("veth"));
    assert_eq!(up.lower, Some(b));
    assert_eq!(up.link_netnsid, here.known_nsid(&right).unwrap());
    here.delete(a).unwrap();
    assert!(there.link("b").unwrap().is_none());
}

#[test]
fn every_setting_is_read_back() {
    if !root_or_skip() {
        return;
    }
    let (_netns, mut rtnl) = place();
    rtnl.add_veth("a", "b", None).unwrap();
    let a = index(&mut rtnl, "a");
    let mac = MacAddr::new([2, 0, 0, 0, 0, 0x77]);
    rtnl.set_mac(a, mac).unwrap();
    rtnl.set_mtu(a, 1400).unwrap();
    rtnl.set_txqlen(a, 4096).unwrap();
    rtnl.set_name(a, "renamed").unwrap();
    rtnl.set_promisc(a, true).unwrap();
    rtnl.set_allmulti(a, true).unwrap();
    let link = rtnl.link_by_index(a).unwrap().unwrap();
    assert_eq!(link.mac, Some(mac));
    assert_eq!((link.mtu, link.txqlen), (1400, 4096));
    assert_eq!((link.min_mtu, link.max_mtu), (68, 65535));
    assert_eq!(link.name, "renamed");
    assert_eq!(link.promiscuity, 1);
    assert!(link.is_promiscuous() && link.is_allmulti());
    rtnl.set_promisc(a, false).unwrap();
    rtnl.set_allmulti(a, false).unwrap();
    let link = rtnl.link_by_index(a).unwrap().unwrap();
    assert!(!link.is_promiscuous() && !link.is_allmulti());
}

#[test]
fn a_bridge_has_the_options_that_were_asked_for() {
    if !root_or_skip() {
        return;
    }
    let (_netns, mut rtnl) = place();
    for (name, ageing, multicast_snooping) in [("hub", Some(0), true), ("sw", Some(6000), false)] {
        let options = BridgeOptions { ageing, multicast_snooping };
        rtnl.add_bridge(name, &options).unwrap();
        let link = rtnl.link(name).unwrap().unwrap();
        assert_eq!(link.kind.as_deref(), Some("bridge"));
        assert_eq!(link.bridge, Some(options));
    }
}

#[test]
fn a_port_joins_a_bridge_reflects_and_leaves() {
    if !root_or_skip() {
        return;
    }
    let (_netns, mut rtnl) = place();
    rtnl.add_bridge("sw", &BridgeOptions::default()).unwrap();
    rtnl.add_veth("p", "q", None).unwrap();
    let (bridge, port) = (index(&mut rtnl, "sw"), index(&mut rtnl, "p"));
    assert!(rtnl.set_hairpin(port, true).is_err(), "it is no port yet");
    rtnl.set_master(port, Some(bridge)).unwrap();
    let link = rtnl.link("p").unwrap().unwrap();
    assert_eq!((link.master, link.hairpin), (Some(bridge), Some(false)));
    rtnl.set_hairpin(port, true).unwrap();
    assert_eq!(rtnl.link("p").unwrap().unwrap().hairpin, Some(true));
    rtnl.set_master(port, None).unwrap();
    let link = rtnl.link("p").unwrap().unwrap();
    assert_eq!((link.master, link.hairpin), (None, None));
}

#[test]
fn a_kernel_macvlan_is_made_in_another_namespace() {
    if !root_or_skip() {
        return;
    }
    let (_netns, mut rtnl) = place();
    let (other, mut there) = place();
    rtnl.add_veth("p", "q", None).unwrap();
    let parent = index(&mut rtnl, "p");
    let wanted = Macvlan {
        mode: MODE_BRIDGE,
        flags: 0,
        macaddrs: Vec::new(),
        bc_queue_len: Some(77),
        bc_cutoff: Some(3),
    };
    if !macvlan_or_skip(rtnl.add_macvlan("m", parent, &wanted, Some(&other))) {
        return;
    }
    let link = there.link("m").unwrap().unwrap();
    assert_eq!(link.kind.as_deref(), Some("macvlan"));
    assert_eq!(link.lower, Some(parent));
    assert_eq!(link.macvlan, Some(wanted));
}

#[test]
fn a_kernel_macvlan_changes_mode_flags_and_sources() {
    if !root_or_skip() {
        return;
    }
    let (_netns, mut rtnl) = place();
    rtnl.add_veth("p", "q", None).unwrap();
    let parent = index(&mut rtnl, "p");
    let [one, two, three] = [1, 2, 3].map(|n| MacAddr::new([2, 0, 0, 0, 0, n]));
    let wanted = Macvlan { macaddrs: vec![one, two], ..Macvlan::new(MODE_SOURCE) };
    if !macvlan_or_skip(rtnl.add_macvlan("m", parent, &wanted, None)) {
        return;
    }
    let m = index(&mut rtnl, "m");
    let change = |rtnl: &mut Rtnl, macaddr| {
        let change = MacvlanChange { macaddr: Some(macaddr), ..MacvlanChange::default() };
        rtnl.change_macvlan(m, &change).unwrap();
        let mut macs = rtnl.link("m").unwrap().unwrap().macvlan.unwrap().macaddrs;
        macs.sort();
        macs
    };
    assert_eq!(change(&mut rtnl, MacaddrChange::Add(three)), [one, two, three]);
    assert_eq!(change(&mut rtnl, MacaddrChange::Del(one)), [two, three]);
    assert_eq!(change(&mut rtnl, MacaddrChange::Set(vec![one])), [one]);
    assert_eq!(change(&mut rtnl, MacaddrChange::Flush), []);
    let flags = MacvlanChange {
        mode: Some(MODE_PRIVATE),
        flags: Some(FLAG_NODST),
        ..MacvlanChange::default()
    };
    rtnl.change_macvlan(m, &flags).unwrap();
    let macvlan = rtnl.link("m").unwrap().unwrap().macvlan.unwrap();
    assert_eq!((macvlan.mode, macvlan.flags), (MODE_PRIVATE, FLAG_NODST));
}

#[test]
fn a_link_moves_with_its_name() {
    if !root_or_skip() {
        return;
    }
    let (_netns, mut rtnl) = place();
    let (second, mut there) = place();
    let (third, mut beyond) = place();
    rtnl.add_veth("a", "b", None).unwrap();
    let (a, b) = (index(&mut rtnl, "a"), index(&mut rtnl, "b"));
    rtnl.set_netns(a, &second).unwrap();
    assert!(rtnl.link("a").unwrap().is_none());
    assert!(there.link("a").unwrap().is_some());
    let nsid = rtnl.nsid(&third).unwrap();
    rtnl.set_nsid(b, nsid).unwrap();
    assert!(beyond.link("b").unwrap().is_some());
}

#[test]
fn the_id_of_a_namespace_stays_and_differs_from_others() {
    if !root_or_skip() {
        return;
    }
    let (_netns, mut rtnl) = place();
    let (first, second) = (Netns::create().unwrap(), Netns::create().unwrap());
    assert_eq!(rtnl.known_nsid(&first).unwrap(), None);
    let id = rtnl.nsid(&first).unwrap();
    assert_eq!(rtnl.nsid(&first).unwrap(), id);
    assert_eq!(rtnl.known_nsid(&first).unwrap(), Some(id));
    assert_ne!(rtnl.nsid(&second).unwrap(), id);
}

#[test]
fn another_namespace_is_read_and_cleared_by_its_id() {
    if !root_or_skip() {
        return;
    }
    let (_netns, mut rtnl) = place();
    let (other, mut there) = place();
    there.add_veth("x", "y", None).unwrap();
    let x = index(&mut there, "x");
    let nsid = rtnl.nsid(&other).unwrap();
    let mut within = rtnl.within(nsid);
    assert_eq!(within.link("x").unwrap().unwrap().index, x);
    assert_eq!(within.link_by_index(x).unwrap().unwrap().name, "x");
    let mut names: Vec<_> = within.links().unwrap().into_iter().map(|l| l.name).collect();
    names.sort();
    assert_eq!(names, ["lo", "x", "y"]);
    assert!(within.link("z").unwrap().is_none());
    within.delete(x).unwrap();
    assert!(there.link("y").unwrap().is_none());
    assert!(rtnl.within(nsid + 1).links().is_err());
}

#[test]
fn addresses_neighbours_and_routes_arrive() {
    if !root_or_skip() {
        return;
    }
    let (netns, mut rtnl) = place();
    rtnl.add_veth("a", "b", None).unwrap();
    let (a, b) = (index(&mut rtnl, "a"), index(&mut rtnl, "b"));
    set_sysctl(&netns, "ipv6/conf/a/accept_dad", "0").unwrap();
    rtnl.set_up(a, true).unwrap();
    rtnl.set_up(b, true).unwrap();
    let mac = MacAddr::new([2, 0, 0, 0, 0, 9]);
    for (own, far, prefix) in [("10.1.0.1", "10.1.0.9", 24), ("fd00::1", "fd00::9", 64)] {
        let (own, far) = (own.parse().unwrap(), far.parse().unwrap());
        rtnl.add_address(a, own, prefix).unwrap();
        let again = rtnl.add_address(a, own, prefix).unwrap_err();
        assert_eq!(again.errno(), Some(EEXIST));
        rtnl.add_default_route(far).unwrap();
        rtnl.add_neighbour(a, far, mac, true).unwrap();
    }
    let arp = read_in(&netns, "/proc/thread-self/net/arp");
    assert!(arp.contains("10.1.0.9") && arp.contains("02:00:00:00:00:09"), "{arp}");
    let routes = read_in(&netns, "/proc/thread-self/net/route");
    // Destination 0.0.0.0, gateway 10.1.0.9, in the byte order of the machine.
    let gateway = u32::from_ne_bytes([10, 1, 0, 9]);
    assert!(routes.contains(&format!("a\t00000000\t{gateway:08X}")), "{routes}");
    let addresses = read_in(&netns, "/proc/thread-self/net/if_inet6");
    assert!(addresses.contains("fd000000000000000000000000000001"), "{addresses}");
    rtnl.del_neighbour(a, "10.1.0.9".parse().unwrap()).unwrap();
    let arp = read_in(&netns, "/proc/thread-self/net/arp");
    assert!(!arp.contains("02:00:00:00:00:09"), "{arp}");
}

#[test]
fn addresses_and_routes_are_listed_as_they_were_added() {
    if !root_or_skip() {
        return;
    }
    let (_netns, mut rtnl) = place();
    rtnl.add_veth("a", "b", None).unwrap();
    let (a, b) = (index(&mut rtnl, "a"), index(&mut rtnl, "b"));
    rtnl.set_up(a, true).unwrap();
    rtnl.set_up(b, true).unwrap();
    for (at, to, via) in
        [("10.1.0.1/24", "10.9.8.7/16", "10.1.0.9"), ("fd00::1/64", "fd09::7/32", "fd00::9")]
    {
        let at: IpPrefix = at.parse().unwrap();
        rtnl.add_address(a, at.ip(), at.prefix_len()).unwrap();
        let listed = rtnl.addresses().unwrap();
        let found = listed.into_iter().find(|address| address.at == at).unwrap();
        assert_eq!((found.index, found.duplicate), (a, false));
        assert!(at.ip().is_ipv6() || !found.tentative);

        let wanted = Route {
            via: Some(via.parse().unwrap()),
            index: Some(a),
            metric: Some(77),
            mtu: Some(1400),
            table: 1000,
            ..Route::new(to.parse().unwrap())
        };
        rtnl.add_route(&wanted).unwrap();
        assert_eq!(rtnl.add_route(&wanted).unwrap_err().errno(), Some(EEXIST));
        let routes = rtnl.routes().unwrap();
        let expected = Route { to: wanted.to.network(), scope: Some(0), ..wanted };
        assert!(routes.contains(&expected), "{routes:#?}");
        rtnl.del_route(&wanted).unwrap();
        assert!(!rtnl.routes().unwrap().contains(&expected));
        assert_eq!(rtnl.del_route(&wanted).unwrap_err().errno(), Some(ESRCH));
    }
    let lost = Route {
        via: Some("192.0.2.1".parse().unwrap()),
        ..Route::new("10.2.0.0/16".parse().unwrap())
    };
    assert_eq!(rtnl.add_route(&lost).unwrap_err().errno(), Some(ENETUNREACH));
}

#[test]
fn a_sysctl_is_written_inside_only() {
    if !root_or_skip() {
        return;
    }
    let (netns, _rtnl) = place();
    let (other, _rtnl2) = place();
    let path = "/proc/sys/net/ipv6/conf/all/disable_ipv6";
    set_sysctl(&netns, "ipv6/conf/all/disable_ipv6", "1").unwrap();
    assert_eq!(read_in(&netns, path), "1");
    assert_eq!(read_in(&other, path), "0");
    let missing = set_sysctl(&netns, "ipv6/conf/nope/x", "1").unwrap_err();
    assert!(missing.to_string().contains("ipv6/conf/nope/x"), "{missing}");
    assert!(set_sysctl(&netns, "../kernel/panic", "1").is_err());
    assert!(set_sysctl(&netns, "/proc/sys/kernel/panic", "1").is_err());
}

#[test]
fn an_interface_that_is_up_has_joined_groups() {
    if !root_or_skip() {
        return;
    }
    let (netns, mut rtnl) = place();
    rtnl.add_veth("a", "b", None).unwrap();
    let a = index(&mut rtnl, "a");
    rtnl.set_up(a, true).unwrap();
    let groups = joined_groups(&netns, a).unwrap();
    let all_hosts = "01:00:5e:00:00:01".parse().unwrap();
    assert!(groups.contains(&all_hosts), "{groups:?}");
    assert_eq!(joined_groups(&netns, 4711).unwrap(), []);
}

#[test]
fn a_refusal_names_the_request_and_the_kernels_error() {
    if !root_or_skip() {
        return;
    }
    let (_netns, mut rtnl) = place();
    rtnl.add_veth("a", "b", None).unwrap();
    let error = rtnl.add_veth("a", "c", None).unwrap_err();
    assert_eq!(error.errno(), Some(EEXIST));
    assert!(error.to_string().contains("make the veth pair a and c"), "{error}");
    assert!(error.source().unwrap().to_string().contains("File exists"));
    let a = index(&mut rtnl, "a");
    let error = rtnl.set_mtu(a, 70_000).unwrap_err();
    assert_eq!(error.errno(), Some(EINVAL));
    assert!(error.to_string().contains("mtu greater than device maximum"), "{error}");
    // The socket still works after a refusal.
    assert_eq!(rtnl.link("a").unwrap().unwrap().index, a);
}

/// Returns whether the kernel has macvlan, of which the test has just asked for a link.
fn macvlan_or_skip(made: umacvlan_netlink::Result<()>) -> bool {
    match made {
        Ok(()) => true,
        Err(e) if e.errno() == Some(EOPNOTSUPP) => {
            skip(&e.to_string());
            false
        }
        Err(e) => panic!("{e}: {}", e.source().unwrap()),
    }
}

const ARPHRD_LOOPBACK: u16 = 772;
const EEXIST: i32 = 17;
const EINVAL: i32 = 22;
const ENETUNREACH: i32 = 101;
const ESRCH: i32 = 3;
const EOPNOTSUPP: i32 = 95;
const MODE_PRIVATE: u32 = 1;
const MODE_BRIDGE: u32 = 4;
const MODE_SOURCE: u32 = 16;
const FLAG_NODST: u16 = 2;

#[test]
fn a_single_address_is_used_at_once_and_a_route_has_its_source() {
    if !root_or_skip() {
        return;
    }
    let (netns, mut rtnl) = place();
    rtnl.add_veth("a", "b", None).unwrap();
    let a = index(&mut rtnl, "a");
    rtnl.set_arp_filter(a).unwrap();
    assert_eq!(umacvlan_netlink::sysctl(&netns, "ipv4/conf/a/arp_filter").unwrap(), "1");
    rtnl.set_up(a, true).unwrap();
    for (at, to) in [("10.1.0.1", "10.9.8.7/32"), ("fd00::1", "fd09::7/128")] {
        let at = at.parse().unwrap();
        rtnl.add_single_address(a, at).unwrap();
        assert_eq!(rtnl.add_single_address(a, at).unwrap_err().errno(), Some(EEXIST));
        let listed = rtnl.addresses().unwrap();
        let found = listed.into_iter().find(|address| address.at.ip() == at).unwrap();
        assert!(found.at.is_single() && !found.tentative);
        let to = to.parse().unwrap();
        let route = Route { index: Some(a), source: Some(at), protocol: 117, ..Route::new(to) };
        rtnl.add_route(&route).unwrap();
        let own = |other: &Route| (other.source, other.protocol) == (route.source, 117);
        assert!(rtnl.routes().unwrap().iter().any(|other| other.to == to && own(other)));
        rtnl.del_route(&route).unwrap();
        rtnl.del_single_address(a, at).unwrap();
        assert!(rtnl.addresses().unwrap().iter().all(|address| address.at.ip() != at));
    }
}
