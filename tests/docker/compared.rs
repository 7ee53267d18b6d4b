//! The same commands with Docker's built-in macvlan and with ours: what containers see and what
//! Docker reports has to be equal.

use umacvlan_testkit::skip;

use crate::dockerd::Docker;

/// A network, its containers, and questions whose answers are compared.
struct Case {
    /// The subject: the scenario of Docker's own tests that it follows, where there is one.
    name: &'static str,
    /// Arguments of `docker network create`, without the common ones.
    network: &'static str,
    /// See [`Docker::containers`].
    containers: &'static [&'static str],
    /// Lines of shell whose output is compared.
    asked: &'static [&'static str],
}

const CASES: [Case; 9] = [
    Case {
        name: "addresses of a range, beside one that is taken (D12, D13)",
        network: "--subnet 10.9.0.0/24 --gateway 10.9.0.254 --ip-range 10.9.0.64/26 \
                  --aux-address router=10.9.0.64 -o parent=p0 -o macvlan_mode=bridge",
        containers: &["red", "blue"],
        asked: &[
            "docker exec red ping -c 1 -w 5 blue >/dev/null",
            "docker exec red sh -c 'head -c 1000000 /dev/zero | nc -w 2 blue 7 | wc -c'",
            "docker exec red cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6",
        ],
    },
    Case {
        name: "both families, and addresses that were asked for (D13)",
        network: "--ipv6 --subnet 10.9.0.0/24 --subnet fd00:9::/64 --gateway 10.9.0.1 \
                  --gateway fd00:9::1 -o parent=p0",
        containers: &["--ip 10.9.0.7 --ip6 fd00:9::7 --mac-address 02:00:00:00:00:07 red", "blue"],
        asked: &[
            "docker exec blue ping -c 1 -w 5 10.9.0.7 >/dev/null",
            "docker exec blue sh -c 'until ping -6 -c 1 -w 1 fd00:9::7; do [ $((n += 1)) -lt 9 ] || exit; done' >/dev/null 2>&1",
            "docker exec red cat /sys/class/net/eth0/address /proc/sys/net/ipv6/conf/eth0/disable_ipv6",
        ],
    },
    Case {
        name: "nothing leads out of an internal network (D9)",
        network: "--internal --subnet 10.9.0.0/24 -o parent=p0",
        containers: &["red", "blue"],
        asked: &[
            "docker exec red ping -c 1 -w 5 blue >/dev/null",
            "docker exec red ping -c 1 -w 5 198.51.100.1 2>&1 >/dev/null",
        ],
    },
    Case {
        name: "several subnets, each with its gateway (D11)",
        network: "--subnet 10.8.0.0/24 --gateway 10.8.0.254 --subnet 10.9.0.0/24 -o parent=p0",
        containers: &["--ip 10.8.0.7 red", "--ip 10.9.0.7 blue", "--ip 10.9.0.8 green"],
        asked: &["docker exec blue ping -c 1 -w 5 green >/dev/null"],
    },
    Case {
        name: "containers in private mode do not reach each other",
        network: "--subnet 10.9.0.0/24 -o parent=p0 -o macvlan_mode=private",
        containers: &["red", "blue"],
        asked: &["docker exec red ping -c 1 -w 1 10.9.0.3 >/dev/null"],
    },
    Case {
        name: "in vepa mode nor without a switch that returns frames",
        network: "--subnet 10.9.0.0/24 -o parent=p0 -o macvlan_mode=vepa",
        containers: &["red", "blue"],
        asked: &["docker exec red ping -c 1 -w 1 10.9.0.3 >/dev/null"],
    },
    Case {
        name: "a passthru network has one container",
        network: "--subnet 10.9.0.0/24 -o parent=p0 -o macvlan_mode=passthru",
        containers: &["red"],
        asked: &[
            "[ $(docker exec red cat /sys/class/net/eth0/address) = $(cat /sys/class/net/p0/address) ]",
            "docker run -d --network net --name blue bb >/dev/null 2>&1",
        ],
    },
    Case {
        name: "a network with one address beside the gateway's",
        network: "--subnet 10.9.0.0/30 -o parent=p0",
        containers: &["red"],
        asked: &[
            "docker run -d --network net --name blue bb 2>&1 >/dev/null | head -n 1 | cut -d '(' -f 1",
        ],
    },
    Case {
        name: "published ports are passed over",
        network: "--subnet 10.9.0.0/24 -o parent=p0",
        containers: &["-p 8080:7 --expose 9 red"],
        asked: &["docker port red", "docker exec red hostname -i"],
    },
];

/// The output of a case with one driver.
fn shown(docker: &mut Docker, driver: &str, case: &Case) -> Vec<String> {
    docker.ok(&format!("docker network create -d {driver} {} net", case.network));
    docker.containers(case.containers);
    let mut shown = vec![docker.ok(INSPECT_NETWORK)];
    for words in case.containers {
        let name = words.split(' ').next_back().unwrap();
        let line = |line: &str| line.replace("NAME", name);
        for look in LOOKS {
            shown.push(docker.ok(&line(look)));
        }
    }
    for line in case.asked {
        let ran = docker.run(line);
        // Some messages contain the ids of endpoints.
        shown.push(format!("{line}: {} {}", ran.status, ran.stdout.replace("remote: ", "")));
    }
    docker.clear(&["net"]);
    shown
}

const INSPECT_NETWORK: &str = "docker network inspect -f \
    '{{.Scope}} {{.EnableIPv6}} {{.Internal}}' net";

/// The questions for every container.
const LOOKS: [&str; 2] = [
    "docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}/{{.IPPrefixLen}} {{.Gateway}} \
     {{.GlobalIPv6Address}}/{{.GlobalIPv6PrefixLen}} {{.IPv6Gateway}}{{end}}' NAME",
    "docker exec NAME sh -c 'ls /sys/class/net; ip addr show dev eth0 | grep global; ip route; \
     ip -6 route | grep -v fe80 | sed s/metric.*//'",
];

/// Errors in a network are reported in the same words.
const MISTAKES: [&str; 6] = [
    "-o parent=lo",
    "-o parent=en0",
    "-o parent=p0.0",
    "-o parent=p0.4095",
    "-o parent=p0.x",
    "-o parent=p0 -o macvlan_mode=foo",
];

#[test]
fn docker_behaves_alike_with_both_drivers() {
    let Some(mut docker) = Docker::new() else { return };
    for mistake in MISTAKES {
        let mut said = |driver: &str| {
            let create =
                format!("docker network create -d {driver} --subnet 10.9.0.0/24 {mistake} x");
            let ran = docker.run(&create);
            (ran.status, ran.stderr.replace("remote: ", ""))
        };
        assert_eq!(said("umacvlan"), said("macvlan"), "{mistake}");
    }
    let probe = docker.run("ip link add link p0 probe type macvlan && ip link del probe");
    if probe.status != 0 {
        skip("the kernel has no macvlan");
        return;
    }
    for case in &CASES {
        let theirs = shown(&mut docker, "macvlan", case);
        let ours = shown(&mut docker, "umacvlan", case);
        assert_eq!(ours, theirs, "{}", case.name);
    }
    // A parent that is down does not keep a container from starting (D18).
    docker.ok("ip link set p0 down");
    for driver in ["macvlan", "umacvlan"] {
        docker.ok(&format!(
            "docker network create -d {driver} --subnet 10.9.0.0/24 -o parent=p0 net"
        ));
        docker.containers(&["red"]);
        docker.ok("docker exec red ip addr show dev eth0 | grep -q 10.9.0.2/24");
        docker.clear(&["net"]);
    }
    docker.ok("ip link set p0 up");
    docker.assert_clean();
}
