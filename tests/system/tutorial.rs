//! macvlan tutorials, with `umacvlan` in place of `ip` where a link is made or shown, and plain
//! `ip` and `ping` everywhere else. Each also runs with `ip` throughout, so the output is compared
//! with the one a reader of the tutorial sees.

use umacvlan_testkit::{Sandbox, root_or_skip};

/// The tool that makes the links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Ip,
    Umacvlan,
}

impl Tool {
    const BOTH: [Self; 2] = [Self::Ip, Self::Umacvlan];

    /// The command that a tutorial's `$LINK` stands for.
    const fn command(self) -> &'static str {
        match self {
            Self::Ip => "ip link",
            Self::Umacvlan => "umacvlan link",
        }
    }
}

/// A machine with the NIC `enp0s8`, connected to a switch with the address 10.0.0.1, and a daemon
/// if `umacvlan` makes the links.
fn machine(tool: Tool) -> Sandbox {
    let mut sandbox = Sandbox::new(env!("CARGO_BIN_EXE_umacvlan"));
    sandbox.script(
        "ip netns add lan
         ip link add enp0s8 type veth peer name port netns lan
         ip link set enp0s8 up
         ip addr add 10.0.0.2/24 dev enp0s8
         ip -n lan link add br0 type bridge
         ip -n lan link set port master br0 up
         ip -n lan addr add 10.0.0.1/24 dev br0
         ip -n lan link set br0 up",
    );
    if tool == Tool::Umacvlan {
        sandbox.daemon("");
    }
    sandbox
}

/// Runs the lines of a tutorial, in which `$LINK` is the tool's command.
fn follow(sandbox: &mut Sandbox, tool: Tool, lines: &str) {
    sandbox.script(&lines.replace("$LINK", tool.command()));
}

/// Whether a ping from a namespace (`""`: the machine itself) is answered.
fn pings(sandbox: &mut Sandbox, from: &str, to: &str) -> bool {
    let enter = if from.is_empty() { String::new() } else { format!("ip netns exec {from} ") };
    // Three attempts, because the first may be lost during neighbour discovery on a busy machine.
    sandbox.run(&format!("{enter}ping -q -c 3 -i 0.2 -W 1 {to}")).status == 0
}

/// The pings that the tutorial of a mode tries, and whether they are answered.
#[derive(Debug, PartialEq, Eq)]
struct Reached {
    sibling: bool,
    outside: bool,
    host: bool,
}

/// `mac1` and `mac2` in `net1` and `net2`, each called `eth0` there.
fn two_links(tool: Tool, mode: &str, hairpin: bool) -> Reached {
    let mut sandbox = machine(tool);
    if hairpin {
        sandbox.ok("ip -n lan link set port type bridge_slave hairpin on");
    }
    for (number, mac) in [(1, "mac1"), (2, "mac2")] {
        let lines = "$LINK add link enp0s8 MAC type macvlan mode MODE
                     $LINK show MAC
                     ip netns add NET
                     ip link set MAC netns NET
                     ip netns exec NET ip link set MAC name eth0
                     ip netns exec NET ip addr add 10.0.0.IP/24 dev eth0
                     ip netns exec NET ip link set eth0 up
                     ip netns exec NET ip addr show eth0";
        let lines = lines.replace("MAC", mac).replace("MODE", mode);
        let lines = lines.replace("NET", &format!("net{number}"));
        follow(&mut sandbox, tool, &lines.replace("IP", &format!("1{number}")));
    }
    Reached {
        sibling: pings(&mut sandbox, "net1", "10.0.0.12"),
        outside: pings(&mut sandbox, "net1", "10.0.0.1"),
        host: pings(&mut sandbox, "net1", "10.0.0.2"),
    }
}

/// Follows a mode's tutorial with both tools.
fn both(mode: &str, hairpin: bool, wanted: &Reached) {
    if !root_or_skip() {
        return;
    }
    for tool in Tool::BOTH {
        assert_eq!(&two_links(tool, mode, hairpin), wanted, "{tool:?}, {mode}, hairpin {hairpin}");
    }
}

#[test]
fn bridge_siblings_and_the_outside_are_reached_and_the_host_is_not() {
    let wanted = Reached { sibling: true, outside: true, host: false };
    both("bridge", false, &wanted);
}

#[test]
fn private_links_reach_the_outside_and_no_sibling() {
    let wanted = Reached { sibling: false, outside: true, host: false };
    both("private", false, &wanted);
}

#[test]
fn vepa_siblings_need_a_switch_that_reflects() {
    let wanted = Reached { sibling: false, outside: true, host: false };
    both("vepa", false, &wanted);
    // The host hears the reflected frames, too.
    let wanted = Reached { sibling: true, outside: true, host: true };
    both("vepa", true, &wanted);
}

#[test]
fn one_passthru_link_has_the_parent_s_address_and_a_second_is_refused() {
    if !root_or_skip() {
        return;
    }
    for tool in Tool::BOTH {
        let mut sandbox = machine(tool);
        let address = sandbox.ok("cat /sys/class/net/enp0s8/address");
        follow(
            &mut sandbox,
            tool,
            "$LINK add link enp0s8 name mac1 type macvlan mode passthru
             ip addr del 10.0.0.2/24 dev enp0s8
             ip netns add net1
             ip link set mac1 netns net1
             ip netns exec net1 ip link set mac1 name eth0
             ip netns exec net1 ip addr add 10.0.0.11/24 dev eth0
             ip netns exec net1 ip link set eth0 up",
        );
        let line = format!("{} add link enp0s8 mac2 type macvlan mode bridge", tool.command());
        let second = sandbox.run(&line);
        assert_eq!(second.status, 2, "{tool:?}: {second:?}");
        assert!(second.stderr.starts_with("RTNETLINK answers: Invalid argument\n"), "{second:?}");
        assert!(sandbox.ok("ip -n net1 link show eth0").contains(address.trim()), "{tool:?}");
        assert!(pings(&mut sandbox, "net1", "10.0.0.1"), "{tool:?}");
    }
}

#[test]
fn a_source_link_receives_from_listed_addresses_only() {
    if !root_or_skip() {
        return;
    }
    for tool in Tool::BOTH {
        let mut sandbox = machine(tool);
        let switch = sandbox.ok("ip netns exec lan cat /sys/class/net/br0/address");
        follow(
            &mut sandbox,
            tool,
            "$LINK add link enp0s8 name mac1 type macvlan mode source
              $LINK set mac1 type macvlan macaddr add 02:00:00:00:00:99
              ip netns add net1
              ip link set mac1 netns net1
              ip netns exec net1 ip link set mac1 name eth0
              ip netns exec net1 ip addr add 10.0.0.11/24 dev eth0
              ip netns exec net1 ip link set eth0 up",
        );
        assert!(!pings(&mut sandbox, "net1", "10.0.0.1"), "{tool:?}");
        // The kernel's tool has to enter the link's namespace; `umacvlan` finds the link itself.
        let place = if tool == Tool::Ip { "ip -n net1 link" } else { "umacvlan -n net1 link" };
        sandbox.ok(&format!("{place} set eth0 type macvlan macaddr add {switch}"));
        assert!(pings(&mut sandbox, "net1", "10.0.0.1"), "{tool:?}");
    }
}
