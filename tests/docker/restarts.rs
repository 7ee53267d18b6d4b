//! The daemon is killed between two messages, and the machine is booted.

use serde_json::json;

use crate::plugin::{DOCKER, Plugin, endpoint, network, of};

#[test]
fn a_call_that_comes_again_after_a_kill_is_answered_as_the_first_one() {
    let Some(mut plugin) = Plugin::new() else {
        return;
    };
    let (net, end) = (network("n", &json!({"parent": "p0"})), endpoint("n", "e", "10.1.0.2/24"));
    plugin.ok("CreateNetwork", &net);
    plugin.restart();
    plugin.ok("CreateNetwork", &net);
    let first = plugin.ok("CreateEndpoint", &end);
    plugin.restart();
    // Docker may have given up on the call.
    assert!(plugin.links().is_empty());
    assert_eq!(plugin.ok("CreateEndpoint", &end), first);
    assert_eq!(plugin.links().len(), 1);
    plugin.restart();
    let joined = plugin.ok("Join", &of("n", "e"));
    assert_eq!(joined["InterfaceName"]["SrcName"], "ume");
    let links = plugin.links();
    assert_eq!(first["Interface"]["MacAddress"], json!(links[0][3]));
    plugin.restart();
    assert_eq!(plugin.links(), links);
    assert_eq!(plugin.ok("Join", &of("n", "e")), joined);
    plugin.ok("Leave", &of("n", "e"));
    plugin.restart();
    assert!(plugin.links().is_empty());
    plugin.ok("DeleteEndpoint", &of("n", "e"));
    plugin.ok("DeleteEndpoint", &of("n", "e"));
    plugin.restart();
    plugin.ok("DeleteNetwork", &json!({"NetworkID": "n"}));
    plugin.restart();
    assert_eq!(plugin.machine.ok("ls /run/docker-state"), "lock\n");
    assert_eq!(plugin.machine.ok("ip -br link | grep -c ^um || true"), "0\n");
}

#[test]
fn a_call_repeated_without_its_body_is_refused_or_already_done() {
    let Some(plugin) = Plugin::new() else {
        return;
    };
    for method in ["CreateNetwork", "DeleteNetwork", "CreateEndpoint", "Join", "EndpointOperInfo"] {
        let answer = plugin.send(&format!("NetworkDriver.{method}"), "");
        let why = answer.body["Err"].as_str().unwrap_or_default();
        assert!(why.contains("without its body: try again"), "{method}: {answer:?}");
    }
    for method in ["Leave", "DeleteEndpoint"] {
        assert_eq!(plugin.send(&format!("NetworkDriver.{method}"), "").body, json!({}), "{method}");
    }
}

#[test]
fn an_endpoint_created_again_with_other_options_is_replaced() {
    let Some(mut plugin) = Plugin::new() else {
        return;
    };
    plugin.ok("CreateNetwork", &network("n", &json!({"parent": "p0"})));
    plugin.ok("CreateEndpoint", &endpoint("n", "e", "10.1.0.2/24"));
    let mut otherwise = endpoint("n", "e", "10.1.0.3/24");
    otherwise["Interface"]["MacAddress"] = json!("02:00:00:00:00:08");
    plugin.ok("CreateEndpoint", &otherwise);
    let links = plugin.links();
    assert_eq!((links.len(), links[0][3].as_str()), (1, "02:00:00:00:00:08"));
}

#[test]
fn after_a_boot_networks_are_known_and_endpoints_are_not() {
    let Some(mut plugin) = Plugin::new() else {
        return;
    };
    plugin.ok("CreateNetwork", &network("n", &json!({"parent": "p0"})));
    plugin.ok("CreateNetwork", &network("own", &json!({})));
    plugin.ok("CreateEndpoint", &endpoint("n", "e", "10.1.0.2/24"));
    plugin.machine.end_daemon("KILL");
    // A boot takes the interfaces and /run, and nothing else.
    plugin.machine.ok("ip link del ume; rm -r /run/umacvlan /run/docker");
    plugin.machine.daemon(DOCKER);
    assert!(plugin.refused("Join", &of("n", "e")).contains("endpoint e is not known"));
    plugin.ok("DeleteEndpoint", &of("n", "e"));
    plugin.machine.ok("ip link show dm-own");
    plugin.ok("CreateEndpoint", &endpoint("n", "e2", "10.1.0.2/24"));
    assert_eq!(plugin.ok("Join", &of("n", "e2"))["Gateway"], "10.1.0.1");
    let files = "endpoint-e2.json\nlock\nnetwork-n.json\nnetwork-own.json\n";
    assert_eq!(plugin.machine.ok("ls /run/docker-state"), files);
}

#[test]
fn a_damaged_record_costs_one_network_and_its_link_is_deleted_all_the_same() {
    let Some(mut plugin) = Plugin::new() else {
        return;
    };
    for id in ["n", "m"] {
        plugin.ok("CreateNetwork", &network(id, &json!({"parent": "p0"})));
    }
    plugin.ok("CreateEndpoint", &endpoint("n", "e", "10.1.0.2/24"));
    plugin.machine.end_daemon("KILL");
    plugin.machine.ok("cd /run/docker-state && echo '{' >network-m.json && echo >endpoint-e.json");
    plugin.machine.daemon(DOCKER);
    assert!(plugin.refused("CreateEndpoint", &endpoint("m", "f", "")).contains("not known"));
    plugin.ok("DeleteEndpoint", &of("n", "e"));
    assert!(plugin.links().is_empty());
    plugin.ok("CreateEndpoint", &endpoint("n", "f", "10.1.0.3/24"));
}
