//! Refused requests: the messages are those of Docker's own macvlan where it has them, and nothing
//! is left behind.

use serde_json::json;

use crate::plugin::{DOCKER, Plugin, SOCKET, endpoint, network, of};

#[test]
fn errors_have_the_words_of_dockers_own_macvlan() {
    let Some(mut plugin) = Plugin::new() else {
        return;
    };
    plugin.machine.ok("ip link add br0 type bridge && ip link set q0 master br0");
    let id = "unable to parse a valid vlan id from: x (ex. eth0.10 for vlan 10)";
    for (options, words) in [
        (json!({"parent": "lo"}), "loopback interface is not a valid macvlan parent link"),
        (
            json!({"parent": "en0"}),
            "invalid subinterface vlan name en0, example formatting is eth0.10",
        ),
        (json!({"parent": "p0.x"}), id),
        (json!({"parent": "p0.0"}), "vlan id must be between 1-4094, received: 0"),
        (json!({"parent": "p0.4095"}), "vlan id must be between 1-4094, received: 4095"),
        (json!({"parent": "en0.10"}), "-o parent interface was not found on the host: en0"),
        (
            json!({"parent": "p0", "macvlan_mode": "foo"}),
            "requested macvlan mode 'foo' is not valid, 'bridge' mode is the macvlan driver default",
        ),
    ] {
        assert_eq!(plugin.refused("CreateNetwork", &network("n", &options)), words);
    }
    let why = plugin.refused("CreateNetwork", &network("n", &json!({"parent": "q0"})));
    assert!(why.contains("q0 is a port of br0"), "{why}");
    let why = plugin.refused("CreateNetwork", &network("n", &json!({"parnet": "p0"})));
    assert!(why.contains("unknown option \"parnet\"") && why.contains("did you mean \"parent\"?"));

    let mut empty = network("n", &json!({"parent": "p0"}));
    empty["IPv4Data"] = json!([]);
    assert_eq!(plugin.refused("CreateNetwork", &empty), "ipv4 pool is empty");
    empty["Options"]["com.docker.network.enable_ipv6"] = json!(true);
    empty["Options"]["com.docker.network.enable_ipv4"] = json!(false);
    assert_eq!(plugin.refused("CreateNetwork", &empty), "ipv6 pool is empty");
    let mut wrong = network("n", &json!({"parent": "p0"}));
    wrong["IPv4Data"] = json!([{"Pool": "10.1.0.0"}]);
    assert!(
        plugin.refused("CreateNetwork", &wrong).contains("not an address with a prefix length")
    );

    // No network is known and no interface was made.
    assert!(plugin.refused("Join", &of("n", "e")).contains("network n is not known to umacvlan"));
    let left = plugin.machine.ok("ls /run/docker-state; ip -br link | grep -c dm- || true");
    assert_eq!(left, "lock\n0\n");
}

#[test]
fn a_passthru_network_has_its_parent_to_itself() {
    let Some(plugin) = Plugin::new() else { return };
    let owner = json!({"parent": "p0", "macvlan_mode": "passthru"});
    let bridge = json!({"parent": "p0"});
    plugin.ok("CreateNetwork", &network("one", &owner));
    assert_eq!(
        plugin.refused("CreateNetwork", &network("two", &bridge)),
        "macvlan network one is already using parent interface p0 in mode passthru"
    );
    assert_eq!(
        plugin.refused("CreateNetwork", &network("two", &owner)),
        "cannot use mode passthru, macvlan network one is already using parent interface p0"
    );
    plugin.ok("CreateNetwork", &network("two", &json!({"parent": "q0"})));
    plugin.ok("DeleteNetwork", &json!({"NetworkID": "one"}));
    for id in ["three", "four"] {
        plugin.ok("CreateNetwork", &network(id, &bridge));
    }
    assert_eq!(
        plugin.refused("CreateNetwork", &network("one", &owner)),
        "cannot use mode passthru, macvlan network four is already using parent interface p0"
    );
}

#[test]
fn a_refused_endpoint_leaves_nothing_and_can_be_created_later() {
    let Some(mut plugin) = Plugin::new() else {
        return;
    };
    plugin.ok("CreateNetwork", &network("n", &json!({"parent": "p0", "umacvlan.mtu": "1400"})));
    let asked = endpoint("n", "e", "10.1.0.2/24");
    for (key, value, words) in [
        ("MacAddress", "01:00:5e:00:00:01", "01:00:5e:00:00:01"),
        ("MacAddress", "nonsense", "\"nonsense\" is no MAC address"),
        ("Address", "10.1.0.2", "not an address with a prefix length"),
    ] {
        let mut wrong = asked.clone();
        wrong["Interface"][key] = json!(value);
        let why = plugin.refused("CreateEndpoint", &wrong);
        assert!(why.contains(words), "{why}");
    }
    let nothing = |plugin: &mut Plugin| {
        assert!(plugin.links().is_empty());
        assert!(plugin.refused("Join", &of("n", "e")).contains("endpoint e is not known"));
        let left = plugin.machine.ok("ls /run/docker-state");
        assert_eq!(left, "lock\nnetwork-n.json\n");
    };
    // The name is taken; the MTU is larger than the parent's; the parent is gone.
    plugin.machine.ok("ip link add ume type bridge");
    assert!(plugin.refused("CreateEndpoint", &asked).contains("the name is in use"));
    nothing(&mut plugin);
    plugin.machine.ok("ip link del ume; ip link set p0 mtu 1300");
    assert!(plugin.refused("CreateEndpoint", &asked).contains("1400"));
    nothing(&mut plugin);
    plugin.machine.ok("ip link del p0");
    assert_eq!(
        plugin.refused("CreateEndpoint", &asked),
        "the requested parent interface p0 was not found on the Docker host"
    );
    nothing(&mut plugin);
    plugin.machine.ok("ip link add p0 type veth peer name q0");
    plugin.ok("CreateEndpoint", &asked);
    assert_eq!(plugin.links().len(), 1);
}

#[test]
fn an_address_in_use_is_refused_when_it_is_asked_for_and_when_it_is_joined() {
    let Some(mut plugin) = Plugin::new() else {
        return;
    };
    plugin.ok("CreateNetwork", &network("n", &json!({"parent": "p0"})));
    let (taken, parents) =
        ("02:42:0a:01:00:09", plugin.machine.ok("cat /sys/class/net/p0/address"));
    let with = |id: &str, mac: &str| {
        let mut asked = endpoint("n", id, "10.1.0.2/24");
        asked["Interface"]["MacAddress"] = json!(mac);
        asked
    };
    plugin.ok("CreateEndpoint", &with("one", taken));
    // The first container is still being made, and then it runs.
    for up in [false, true] {
        if up {
            plugin.ok("Join", &of("n", "one"));
            plugin.machine.ok("ip link set umone up");
        }
        for mac in [taken, parents.trim()] {
            let why = plugin.refused("CreateEndpoint", &with("two", mac));
            assert!(why.contains("address already in use") && why.contains(mac), "{why}");
        }
        assert_eq!(plugin.links().len(), 1);
    }
    // An operator's link takes the address between the two calls.
    plugin.machine.ok("ip link set umone down");
    plugin.ok("Leave", &of("n", "one"));
    plugin.ok("DeleteEndpoint", &of("n", "one"));
    plugin.ok("CreateEndpoint", &with("two", taken));
    plugin.machine.ok(&format!("umacvlan link add link p0 name x address {taken} up type macvlan"));
    let why = plugin.refused("Join", &of("n", "two"));
    assert!(why.contains("address already in use") && why.contains(taken), "{why}");
    plugin.machine.ok("umacvlan link del x");
    plugin.ok("Join", &of("n", "two"));
}

#[test]
fn without_room_for_the_state_no_call_changes_anything() {
    let Some(mut plugin) = Plugin::new() else {
        return;
    };
    plugin.ok("CreateNetwork", &network("n", &json!({"parent": "p0"})));
    plugin.ok("CreateEndpoint", &endpoint("n", "e", "10.1.0.2/24"));
    plugin.machine.end_daemon("TERM");
    plugin.machine.script(
        "mkdir /run/small
         mount -t tmpfs -o size=64k none /run/small
         cp -a /run/docker-state/. /run/small/
         rmdir /run/docker-state 2>/dev/null || mv /run/docker-state /run/before
         ln -s /run/small /run/docker-state",
    );
    plugin.machine.daemon(DOCKER);
    let before = plugin.links();
    let other = network("m", &json!({"parent": "q0"}));
    let files = "cat /run/small/*.json; ls /run/small";
    for (fault, words, all) in [
        ("cat /dev/zero >/run/small/ballast; true", "No space left on device", false),
        ("mount -o remount,ro /run/small", "Read-only file system", true),
    ] {
        plugin.machine.ok(fault);
        let kept = plugin.machine.ok(files);
        let endpoint = endpoint("n", "f", "10.1.0.3/24");
        let mut calls = vec![
            ("CreateNetwork", other.clone()),
            ("CreateEndpoint", endpoint),
            ("Join", of("n", "e")),
            ("Leave", of("n", "e")),
        ];
        if all {
            calls.extend([("DeleteEndpoint", of("n", "e")), ("DeleteNetwork", of("n", "e"))]);
        }
        for (method, body) in calls {
            let why = plugin.refused(method, &body);
            assert!(why.contains(words), "{method}: {why}");
            assert_eq!(plugin.links(), before, "{method}");
            assert_eq!(plugin.machine.ok(files), kept, "{method}");
        }
    }
    plugin.machine.ok("mount -o remount,rw /run/small; rm /run/small/ballast");
    plugin.ok("Join", &of("n", "e"));
    plugin.ok("DeleteEndpoint", &of("n", "e"));
    assert!(plugin.links().is_empty());
}

#[test]
fn deleting_an_unknown_object_succeeds() {
    let Some(plugin) = Plugin::new() else { return };
    for method in ["DeleteNetwork", "DeleteEndpoint", "Leave"] {
        plugin.ok(method, &of("nobody", "nothing"));
    }
    for method in ["Join", "EndpointOperInfo", "CreateEndpoint"] {
        assert!(plugin.refused(method, &of("nobody", "nothing")).contains("not known to umacvlan"));
    }
}

#[test]
fn the_socket_is_roots_alone_and_another_daemons_is_not_taken() {
    let Some(mut plugin) = Plugin::new() else {
        return;
    };
    let mode = |plugin: &mut Plugin, path: &str| plugin.machine.ok(&format!("stat -c %a {path}"));
    assert_eq!(mode(&mut plugin, &format!("/{SOCKET}")), "600\n");
    assert_eq!(mode(&mut plugin, "/run/docker/plugins"), "755\n");
    assert_eq!(mode(&mut plugin, "/run/docker-state"), "700\n");
    let other = "umacvlan daemon --socket /run/other --state /run/others";
    let said = plugin.machine.run(&format!("{other} --docker --docker-state /run/third"));
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.stderr.contains(") listens on /run/docker/plugins"), "{said:?}");
    let said = plugin
        .machine
        .run(&format!("{other} --docker=/run/d.sock --docker-state /run/docker-state"));
    assert!(said.stderr.contains(") works with the state in"), "{said:?}");
    let said = plugin.machine.run(&format!("{other} --docker-state /run/third"));
    assert!(said.stderr.contains("--docker-state needs --docker"), "{said:?}");
    plugin.machine.end_daemon("KILL");
    plugin.machine.ok(&format!("test -S /{SOCKET}"));
    plugin.machine.file("run/umacvlan.toml", "[docker]\nstate = \"/run/docker-state\"\n");
    plugin.machine.daemon("--config /run/umacvlan.toml");
    assert_eq!(plugin.send("Plugin.Activate", "").status, 200);
    plugin.machine.end_daemon("TERM");
    assert_ne!(plugin.machine.run(&format!("test -e /{SOCKET}")).status, 0);
    // Without the option the daemon is not a driver of Docker.
    plugin.machine.daemon("");
    assert_ne!(plugin.machine.run(&format!("test -e /{SOCKET}")).status, 0);
}
