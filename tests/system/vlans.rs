//! Links on VLANs of an interface, on a kernel that knows no VLANs. Another daemon at the far end
//! of the wire does the same.

use umacvlan_testkit::{Sandbox, root_or_skip};

/// The VLANs of the test; the same addresses are used in each.
const VLANS: [&str; 3] = ["10", "20", "10.20"];

/// A machine with `eth0`, connected to `sw0` in the namespace `far`, which stands for a second
/// machine. There is a link in each VLAN on either side: 10.0.0.1 here in `nVLAN`, and 10.0.0.2
/// there in `fVLAN`.
fn machine() -> Sandbox {
    let mut sandbox = Sandbox::new(env!("CARGO_BIN_EXE_umacvlan"));
    sandbox.script(
        "ip netns add far
         ip link add eth0 up type veth peer name sw0 netns far
         ip -n far link set sw0 up",
    );
    // Its files are beside those of the first daemon.
    sandbox
        .ok("ip netns exec far umacvlan daemon --socket /run/far/socket --state /run/far/state \
         >/run/far.log 2>&1 & while [ ! -S /run/far/socket ]; do sleep 0.01; done");
    sandbox.daemon("");
    for vlan in VLANS {
        let lines = "ip netns add nVLAN
             umacvlan link add link eth0.VLAN cVLAN netns nVLAN type macvlan mode bridge
             ip -n nVLAN addr add 10.0.0.1/24 dev cVLAN
             ip -n nVLAN link set cVLAN up
             ip netns add fVLAN
             ip netns exec far umacvlan --socket /run/far/socket link add link sw0.VLAN dVLAN type macvlan mode bridge
             ip -n far link set dVLAN netns fVLAN
             ip -n fVLAN addr add 10.0.0.2/24 dev dVLAN
             ip -n fVLAN link set dVLAN up";
        sandbox.script(&lines.replace("VLAN", vlan));
    }
    sandbox
}

fn pings(sandbox: &mut Sandbox, from: &str, to: &str) -> bool {
    // Several attempts, because the first may be lost during neighbour discovery on a busy machine.
    sandbox.run(&format!("ip netns exec {from} ping -q -c 3 -i 0.2 -W 1 {to}")).status == 0
}

#[test]
fn links_on_vlans_reach_their_own_network_and_no_other() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = machine();
    for vlan in VLANS {
        assert!(pings(&mut sandbox, &format!("n{vlan}"), "10.0.0.2"), "VLAN {vlan}");
    }
    // A host in another VLAN does not answer.
    sandbox.ok("ip -n f20 link set d20 down");
    for (vlan, answered) in [("10", true), ("20", false), ("10.20", true)] {
        assert_eq!(pings(&mut sandbox, &format!("n{vlan}"), "10.0.0.2"), answered, "VLAN {vlan}");
    }
    let show = sandbox.ok("ip netns exec n10 umacvlan link show c10");
    assert!(show.contains(": c10@eth0.10: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500"), "{show}");
    let show = sandbox.ok("umacvlan -d parent show eth0.10.20");
    assert!(show.contains("eth0.10.20  up     1492      1 "), "{show}");
    assert!(show.contains(" link eth0 vlan 10.20 backend "), "{show}");
    let explained = sandbox.ok(
        "umacvlan explain eth0.10 ingress dst=ff:ff:ff:ff:ff:ff src=02:00:00:00:00:99 type=arp",
    );
    assert!(explained.contains("c10"), "{explained}");
    // No interface was made for the VLANs.
    assert_eq!(sandbox.run("ip link show eth0.10").status, 1);
}

#[test]
fn a_daemon_that_is_killed_finds_its_vlans_again() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = machine();
    sandbox.end_daemon("KILL");
    sandbox.daemon("");
    for vlan in VLANS {
        assert!(pings(&mut sandbox, &format!("n{vlan}"), "10.0.0.2"), "VLAN {vlan}");
    }
    // The interface appears later than the daemon, and everything works again.
    sandbox.end_daemon("TERM");
    sandbox.ok("ip link del eth0");
    sandbox.daemon("");
    sandbox.script(
        "ip link add eth0 up type veth peer name sw0 netns far
         ip -n far link set sw0 up",
    );
    for vlan in VLANS {
        assert!(pings(&mut sandbox, &format!("n{vlan}"), "10.0.0.2"), "VLAN {vlan}");
    }
}

#[test]
fn a_configuration_has_vlans_as_it_has_interfaces() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = Sandbox::new(env!("CARGO_BIN_EXE_umacvlan"));
    sandbox.ok("ip link add eth0 up type veth peer name sw0");
    let config = "[parent.eth0]\nworkers = 2\npoll = \"interrupt\"\n\
                  [parent.\"eth0.10\"]\nsemantics = \"kernel\"\n\
                  [link.c10]\nparent = \"eth0.10\"\nmode = \"bridge\"\n\
                  [link.c20]\nparent = \"eth0.20\"\n\
                  [link.c0]\nparent = \"eth0\"\n";
    sandbox.file("run/umacvlan.toml", config);
    sandbox.daemon("--config /run/umacvlan.toml");
    let text = sandbox.ok("umacvlan -j parent show");
    let parents: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let told = |parent: &serde_json::Value| {
        let word = |key: &str| parent[key].as_str().unwrap_or_default().to_owned();
        let workers = parent["workers"].as_array().unwrap().len();
        (word("name"), word("vlan"), word("semantics"), word("poll"), workers)
    };
    let mut told: Vec<_> = parents.iter().map(told).collect();
    told.sort();
    let parent = |name: &str, vlan: &str, semantics: &str| {
        (name.to_owned(), vlan.to_owned(), semantics.to_owned(), "interrupt".to_owned(), 2)
    };
    assert_eq!(
        told,
        [
            parent("eth0", "", "documented"),
            parent("eth0.10", "10", "kernel"),
            parent("eth0.20", "20", "documented"),
        ]
    );
    // The saved configuration makes the same links again.
    assert_eq!(sandbox.ok("umacvlan config diff"), "");
}

#[test]
fn an_invalid_vlan_name_is_refused() {
    if !root_or_skip() {
        return;
    }
    let mut sandbox = Sandbox::new(env!("CARGO_BIN_EXE_umacvlan"));
    sandbox.ok("ip link add eth0 up type veth peer name sw0");
    sandbox.daemon("");
    for (parent, words) in [
        ("eth0.4095", "vlan id must be between 1-4094, received: 4095"),
        ("eth0.x", "unable to parse a valid vlan id from: x (ex. eth0.10 for vlan 10)"),
        ("eth1.10", "Cannot find device \"eth1.10\""),
    ] {
        let ran = sandbox.run(&format!("umacvlan link add link {parent} c type macvlan"));
        assert!(ran.status != 0 && ran.stderr.contains(words), "{parent}: {ran:?}");
    }
    assert_eq!(sandbox.ok("umacvlan -j parent show").trim(), "[]");
}
