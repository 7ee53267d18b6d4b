//! Every message of the remote driver, in the order in which Docker sends them.

use serde_json::{Value, json};

use crate::plugin::{Plugin, endpoint, network, of};

const NET: &str = "4d0d13f744e3f4d020bf33fe140ae2a508e495560a665822cc09ee4e18a2eef9";
const END: &str = "a2a9936e37460624260a05db9dfd2b18c01c8fb55a9a7ea5a0401edcbd3a5e80";
/// The part of it that fits into the name of a link.
const LINK: &str = "uma2a9936e37460";

#[test]
fn the_driver_describes_itself_to_docker() {
    let Some(plugin) = Plugin::new() else { return };
    let activated = plugin.send("Plugin.Activate", "");
    assert_eq!((activated.status, activated.body), (200, json!({"Implements": ["NetworkDriver"]})));
    let capabilities =
        json!({"Scope": "local", "ConnectivityScope": "global", "GwAllocChecker": true});
    assert_eq!(plugin.send("NetworkDriver.GetCapabilities", "").body, capabilities);
    for (options, skip) in [
        (json!({}), false),
        (json!(null), false),
        (json!({"com.docker.network.internal": true}), true),
        (json!({"com.docker.network.internal": false}), false),
    ] {
        let answer = plugin.ok("GwAllocCheck", &json!({ "Options": options }));
        assert_eq!(answer, json!({"SkipIPv4": skip, "SkipIPv6": skip}), "{options}");
    }
    for (method, body) in [
        ("AllocateNetwork", json!({"NetworkID": "a", "IPv4Data": null})),
        ("FreeNetwork", json!({"NetworkID": "a"})),
        ("DiscoverNew", json!({"DiscoveryType": 1, "DiscoveryData": {"Address": "10.0.0.1"}})),
        ("DiscoverDelete", json!({"DiscoveryType": 1, "DiscoveryData": {}})),
        ("ProgramExternalConnectivity", of("a", "b")),
        ("RevokeExternalConnectivity", of("a", "b")),
    ] {
        plugin.ok(method, &body);
    }
    let unknown = plugin.send("NetworkDriver.Dance", "{}");
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.body["Err"], "umacvlan has no /NetworkDriver.Dance");
}

#[test]
fn a_body_that_is_not_understood_is_refused_and_disturbs_nothing() {
    let Some(plugin) = Plugin::new() else {
        return;
    };
    let long = format!("{{\"NetworkID\":\"{}\"}}", "a".repeat(2 << 20));
    let deep = "[".repeat(100_000);
    for body in ["{", "7", "\u{0}", r#"{"NetworkID": 7}"#, r#"{"IPv4Data": 1}"#, &long, &deep] {
        let answer = plugin.send("NetworkDriver.CreateNetwork", body);
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body["Err"].is_string(), "{answer:?}");
    }
    for id in ["", "..", "a/b", "a b", "é", &"a".repeat(129)] {
        let why = plugin.refused("CreateNetwork", &network(id, &json!({"parent": "p0"})));
        assert!(why.contains("is no id of 1 to 128 letters and digits"), "{why}");
    }
    plugin.ok("CreateNetwork", &network(NET, &json!({"parent": "p0"})));
    for (key, value) in [("EndpointID", "../x"), ("EndpointID", "")] {
        let mut asked = endpoint(NET, END, "10.1.0.2/24");
        asked[key] = json!(value);
        assert!(plugin.refused("CreateEndpoint", &asked).contains("is no id"));
    }
    // Values that Go leaves out.
    let nothing = json!({"NetworkID": NET, "EndpointID": END, "Interface": null, "Options": null});
    assert!(plugin.ok("CreateEndpoint", &nothing)["Interface"]["MacAddress"].is_string());
}

#[test]
fn an_endpoint_is_a_link_from_its_creation_to_its_deletion() {
    let Some(mut plugin) = Plugin::new() else {
        return;
    };
    plugin.ok("CreateNetwork", &network(NET, &json!({"parent": "p0"})));
    let created = plugin.ok("CreateEndpoint", &endpoint(NET, END, "10.1.0.2/24"));
    let [name, parent, mode, mac] = plugin.links().remove(0);
    assert_eq!([name.as_str(), &parent, &mode], [LINK, "p0", "bridge"]);
    // Docker has decided the rest: an answer that repeats it would be an error.
    assert_eq!(created, json!({"Interface": {"MacAddress": mac}}));

    let joined = json!({
        "InterfaceName": {"SrcName": LINK, "DstPrefix": "eth"},
        "Gateway": "10.1.0.1",
        "DisableGatewayService": true,
    });
    assert_eq!(plugin.ok("Join", &of(NET, END)), joined);
    // The next step of Docker.
    plugin.machine.script(&format!(
        "ip netns add c
         ip link set {LINK} netns c
         ip -n c link set {LINK} name eth0
         ip -n c addr add 10.1.0.2/24 dev eth0
         ip -n c link set eth0 up"
    ));
    let info = plugin.ok("EndpointOperInfo", &of(NET, END));
    assert_eq!(info["Value"]["parent"], "p0");
    assert_eq!(info["Value"]["macvlan_mode"], "bridge");
    assert_eq!(info["Value"]["com.docker.network.endpoint.macaddress"], json!(mac));
    assert!(info["Value"]["umacvlan.counters"]["delivered"].is_object(), "{info}");

    plugin.ok("Leave", &of(NET, END));
    plugin.machine.script(&format!(
        "ip -n c link set eth0 down
         ip -n c link set eth0 name {LINK}
         ip -n c link set {LINK} netns 1"
    ));
    plugin.ok("DeleteEndpoint", &of(NET, END));
    assert!(plugin.links().is_empty());
    assert_ne!(plugin.machine.run(&format!("ip link show {LINK}")).status, 0);
    plugin.ok("DeleteNetwork", &json!({"NetworkID": NET}));
    assert!(plugin.refused("CreateEndpoint", &endpoint(NET, END, "")).contains("is not known"));
}

#[test]
fn values_decided_by_docker_are_used_and_not_repeated() {
    let Some(mut plugin) = Plugin::new() else {
        return;
    };
    plugin.ok("CreateNetwork", &network(NET, &json!({"parent": "p0"})));
    let mut asked = endpoint(NET, END, "10.1.0.2/24");
    asked["Interface"]["MacAddress"] = json!("02:00:00:00:00:07");
    assert_eq!(plugin.ok("CreateEndpoint", &asked), json!({"Interface": {}}));
    assert_eq!(plugin.links()[0][3], "02:00:00:00:00:07");
}

#[test]
fn options_of_a_network_hold_for_its_links() {
    let Some(mut plugin) = Plugin::new() else { return };
    for (number, mode) in ["bridge", "private", "vepa", "source"].into_iter().enumerate() {
        let id = format!("{number}");
        plugin.ok("CreateNetwork", &network(&id, &json!({"parent": "p0", "macvlan_mode": mode})));
        plugin.ok("CreateEndpoint", &endpoint(&id, &format!("e{number}"), "10.1.0.2/24"));
        assert_eq!(plugin.links()[number][2], mode);
    }
    let ours = json!({
        "parent": "q0", "mode": "source", "umacvlan.mtu": "1400", "umacvlan.mac": "stable",
        "umacvlan.macaddr": "02:00:00:00:00:09", "umacvlan.bcqueuelen": "77", "umacvlan.nodst": "true",
    });
    plugin.ok("CreateNetwork", &network(NET, &ours));
    plugin.ok("CreateEndpoint", &endpoint(NET, END, "10.1.0.2/24"));
    let text = plugin.machine.ok(&format!("umacvlan -j -d link show {LINK}"));
    let link: Value = serde_json::from_str::<Vec<Value>>(&text).unwrap().remove(0);
    let data = &link["linkinfo"]["info_data"];
    assert_eq!(
        (link["mtu"].as_u64(), link["address"].as_str()),
        (Some(1400), Some("02:42:0a:01:00:02"))
    );
    assert_eq!((&data["bcqueuelen"], &data["nodst"]), (&json!(77), &json!(true)));
    assert_eq!(data["macaddr_data"], json!(["02:00:00:00:00:09"]));
    // The saved configuration leaves out links of Docker.
    let config = plugin.machine.ok("umacvlan config show");
    assert!(!config.contains("[link."), "{config}");
    assert!(config.contains(&format!("is made for docker {END}")), "{config}");
}

#[test]
fn the_gateway_is_that_of_the_subnet_of_the_address() {
    let Some(plugin) = Plugin::new() else {
        return;
    };
    let mut wide = network(NET, &json!({"parent": "p0"}));
    wide["IPv4Data"] = json!([
        {"Pool": "10.1.0.0/24", "Gateway": "10.1.0.1/24"},
        {"Pool": "10.2.0.0/24", "Gateway": "10.2.0.254/24"},
        {"Pool": "10.3.0.0/24"},
    ]);
    wide["IPv6Data"] =
        json!([{"Pool": "fd00:1::/64", "Gateway": "fd00:1::1/64"}, {"Pool": "fd00:2::/64"}]);
    wide["Options"]["com.docker.network.enable_ipv6"] = json!(true);
    plugin.ok("CreateNetwork", &wide);
    let mut internal = wide.clone();
    internal["NetworkID"] = json!("internal");
    internal["Options"]["com.docker.network.internal"] = json!(true);
    plugin.ok("CreateNetwork", &internal);
    let mut alone = wide.clone();
    alone["NetworkID"] = json!("alone");
    alone["Options"]["com.docker.network.generic"] = json!({});
    plugin.ok("CreateNetwork", &alone);
    let cases = [
        (NET, "10.1.0.7/24", "fd00:1::7/64", json!(["10.1.0.1", "fd00:1::1"])),
        (NET, "10.2.0.7/24", "fd00:2::7/64", json!(["10.2.0.254", null])),
        (NET, "10.3.0.7/24", "", json!([null, null])),
        (NET, "", "", json!([null, null])),
        ("internal", "10.1.0.7/24", "fd00:1::7/64", json!([null, null])),
        ("alone", "10.1.0.7/24", "fd00:1::7/64", json!([null, null])),
    ];
    for (number, (net, ipv4, ipv6, gateways)) in cases.into_iter().enumerate() {
        let id = format!("e{number}");
        let mut asked = endpoint(net, &id, ipv4);
        asked["Interface"]["AddressIPv6"] = json!(ipv6);
        plugin.ok("CreateEndpoint", &asked);
        let joined = plugin.ok("Join", &of(net, &id));
        assert_eq!(json!([joined["Gateway"], joined["GatewayIPv6"]]), gateways, "{number}");
        assert_eq!(joined["DisableGatewayService"], json!(true));
    }
    for (ipv4, ipv6, family) in
        [("10.9.0.7/24", "", "ipv4"), ("10.1.0.7/16", "", "ipv4"), ("", "fd00:9::7/64", "ipv6")]
    {
        let mut asked = endpoint(NET, "bad", ipv4);
        asked["Interface"]["AddressIPv6"] = json!(ipv6);
        let why = plugin.refused("CreateEndpoint", &asked);
        assert_eq!(why, format!("could not find a valid {family} subnet for endpoint bad"));
    }
}

#[test]
fn a_network_without_a_parent_gets_an_isolated_one() {
    let Some(mut plugin) = Plugin::new() else {
        return;
    };
    plugin.ok("CreateNetwork", &network(NET, &json!({"umacvlan.mtu": "9000"})));
    let own = "dm-4d0d13f744e3";
    for (number, place) in ["a", "b"].into_iter().enumerate() {
        let address = format!("10.1.0.{}/24", number + 2);
        plugin.ok("CreateEndpoint", &endpoint(NET, place, &address));
        plugin.machine.script(&format!(
            "ip netns add {place}
             ip link set um{place} netns {place}
             ip -n {place} addr add {address} dev um{place}
             ip -n {place} link set um{place} up"
        ));
    }
    plugin.machine.ok("ip netns exec a ping -q -c 2 -i 0.2 -W 2 -s 8000 -M do 10.1.0.3");
    // The ARP request also went to the wire, which is not connected to anything.
    let dropped = plugin.machine.ok(&format!("cat /sys/class/net/{own}/statistics/tx_dropped"));
    assert_ne!(dropped.trim(), "0");
    // The interface is removed with its network. After a restart of the daemon it is there again.
    plugin.restart();
    plugin.machine.ok(&format!("ip link show {own} | grep -q LOWER_UP"));
    plugin.machine.ok(
        "until ip netns exec a ping -q -c 1 -W 1 10.1.0.3; do [ $((n += 1)) -lt 20 ] || exit 1; done",
    );
    for place in ["a", "b"] {
        plugin.ok("DeleteEndpoint", &of(NET, place));
    }
    plugin.ok("DeleteNetwork", &json!({"NetworkID": NET}));
    assert_ne!(plugin.machine.run(&format!("ip link show {own}")).status, 0);
}
