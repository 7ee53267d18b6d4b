//! Containers are restarted, connected and disconnected; networks share parents; dockerd and our
//! daemon end and start again, in either order.

use crate::dockerd::{DOCKERD, Docker};

/// Pings until an answer arrives: links wait for a daemon that starts.
const REACH: &str = "until docker exec red ping -c 1 -w 1 blue >/dev/null; do [ $((n += 1)) -lt 20 ] || exit 1; done";

#[test]
fn containers_live_as_with_any_driver() {
    let Some(mut docker) = Docker::new() else { return };
    without_a_parent(&mut docker);
    networks_share_a_parent_unless_one_is_passthru(&mut docker);
    parents_are_vlans_without_interfaces(&mut docker);
    the_host_reaches_containers(&mut docker);
    addresses_by_dhcp(&mut docker);
    own_addresses(&mut docker);
    restarted_and_connected(&mut docker);
    either_daemon_restarts(&mut docker);
    killed_at_work(&mut docker);
    docker.assert_clean();
}

/// D8 and D10: the network is internal, and has a parent of our own.
fn without_a_parent(docker: &mut Docker) {
    docker.ok(
        "docker network create -d umacvlan --ipv6 --subnet 10.9.0.0/24 --subnet fd00:9::/64 net",
    );
    docker.containers(&["red", "blue"]);
    docker.ok("docker exec red ping -c 1 -w 5 blue");
    docker.ok("docker exec red sh -c 'echo hello | nc -w 2 blue 7 | grep hello'");
    assert_eq!(docker.ok("docker exec red ip route | grep -c default || true"), "0\n");
    let out = docker.run("docker exec red ping -c 1 -w 5 198.51.100.1").stderr;
    assert!(out.contains("Network is unreachable"), "{out}");
    assert_eq!(docker.ok("docker exec red ls /sys/class/net"), "eth0\nlo\n");
    docker.clear(&["net"]);
    docker.assert_clean();
}

/// D3 to D7, as Docker has it since version 28, and that the parent stays.
fn networks_share_a_parent_unless_one_is_passthru(docker: &mut Docker) {
    let create = |name: &str, subnet: u8, words: &str| {
        let subnet = format!("10.{subnet}.0.0/24");
        format!("docker network create -d umacvlan --subnet {subnet} -o parent=p0 {words} {name}")
    };
    docker.ok(&create("net", 9, ""));
    docker.ok(&create("two", 8, "-o macvlan_mode=private"));
    let refused = docker.run(&create("three", 7, "-o macvlan_mode=passthru")).stderr;
    assert!(refused.contains("cannot use mode passthru, macvlan network "), "{refused}");
    docker.containers(&["red"]);
    docker.ok("docker run -d --network two --name blue bb");
    docker.clear(&["net", "two"]);
    docker.ok(&create("net", 9, "-o mode=passthru"));
    let refused = docker.run(&create("two", 8, "")).stderr;
    assert!(refused.contains("is already using parent interface p0 in mode passthru"), "{refused}");
    docker.clear(&["net"]);
    docker.ok("ip link show p0");
    let refused = docker.run(&create("net", 9, "-o colour=red")).stderr;
    assert!(refused.contains("unknown option \"colour\""), "{refused}");
}

/// D2, D3 and D6, for VLANs without an interface: there is none to make or to leave behind.
fn parents_are_vlans_without_interfaces(docker: &mut Docker) {
    let create = |name: &str, subnet: u8, parent: &str| {
        let subnet = format!("10.{subnet}.0.0/24");
        format!("docker network create -d umacvlan --subnet {subnet} -o parent={parent} {name}")
    };
    docker.ok(&create("net", 9, "p0.10"));
    docker.ok(&create("two", 8, "p0.10"));
    docker.ok(&create("three", 7, "p0.10.20"));
    docker.containers(&["red", "blue"]);
    docker.ok("docker run -d --network two --name green bb");
    docker.ok("docker run -d --network three --name grey bb");
    docker.ok(REACH);
    docker.machine.end_daemon("KILL");
    docker.start();
    docker.ok(REACH);
    // The network that was created first is removed first, and the other goes on.
    docker.ok("docker rm -f red blue && docker network rm net");
    docker.ok("docker run -d --network two --name black bb");
    docker.ok("docker exec green ping -c 1 -w 5 black");
    docker.clear(&["two", "three"]);
    assert_eq!(docker.ok("ls /sys/class/net"), "lo\np0\nq0\n");
    docker.assert_clean();
}

/// A server on the wire gives addresses, and gets them back.
fn addresses_by_dhcp(docker: &mut Docker) {
    let create = "docker network create -d umacvlan -o parent=p0 -o umacvlan.dhcp=yes";
    let refused = docker.run(&format!("{create} --subnet 10.6.0.0/24 net")).stderr;
    assert!(refused.contains("add --ipam-driver null, and no --subnet"), "{refused}");
    let host = docker.run(&format!("{create} --ipam-driver null -o umacvlan.host=yes net")).stderr;
    assert!(host.contains("the host's routes need addresses that Docker knows"), "{host}");
    docker.ok("docker network create -d umacvlan --subnet 10.6.0.0/24 -o parent=p0 net");
    let named = "docker run --rm --network name=net,driver-opt=umacvlan.hostname=web bb true";
    let refused = docker.run(named).stderr;
    assert!(refused.contains("is for a network with umacvlan.dhcp=yes"), "{refused}");
    docker.clear(&["net"]);
    docker.ok("ip addr add 10.6.0.1/24 dev q0");
    docker.machine.file(
        "run/udhcpd.conf",
        "interface q0\nstart 10.6.0.50\nend 10.6.0.60\nmax_leases 9\nlease_file /run/leases\n\
         pidfile /run/udhcpd.pid\noption subnet 255.255.255.0\noption lease 600\n",
    );
    docker.ok(
        ": >/run/leases; busybox udhcpd -f /run/udhcpd.conf >/dev/null 2>&1 & echo $! >/run/dhcp",
    );
    docker.ok(&format!("{create} --ipam-driver null net"));
    docker.ok("docker run -d --network name=net,driver-opt=umacvlan.hostname=web \
         --mac-address 02:00:00:00:06:07 --name red bb");
    let address = "for i in $(seq 300); do docker exec red ip addr show eth0 | grep -o 'inet 10[^ ]*' \
                   && exit; sleep 0.1; done; exit 1";
    let first = docker.ok(&format!("({address})"));
    assert!(first.starts_with("inet 10.6.0.") && first.ends_with("/24\n"), "{first}");
    let shown = docker.ok("umacvlan -d link show");
    assert!(shown.contains("umacvlan dhcp bound address 10.6.0."), "{shown}");
    assert!(shown.contains(" hostname web client-id web"), "{shown}");
    docker.ok("docker restart -t 0 red");
    assert_eq!(docker.ok(&format!("({address})")), first, "the same container, the same address");
    docker.machine.end_daemon("KILL");
    docker.start();
    assert_eq!(docker.ok(&format!("({address})")), first);
    docker.clear(&["net"]);
    // A lease that was given back is over.
    docker.ok("kill -USR1 $(cat /run/dhcp); until busybox dumpleases -f /run/leases | grep expired; do [ $((n += 1)) -lt 300 ] || exit 1; sleep 0.1; done");
    docker.ok("kill $(cat /run/dhcp); ip addr del 10.6.0.1/24 dev q0");
    docker.assert_clean();
}

/// A container sends from the addresses that Docker gave it, and from no others.
fn own_addresses(docker: &mut Docker) {
    let create = "docker network create -d umacvlan -o parent=p0 -o umacvlan.own_ip=yes";
    let dhcp = docker.run(&format!("{create} --ipam-driver null -o umacvlan.dhcp=yes net")).stderr;
    assert!(dhcp.contains("umacvlan.own_ip and umacvlan.dhcp"), "{dhcp}");
    docker.ok(&format!("{create} --ipam-driver null net"));
    let none = docker.run("docker run --rm --network net bb true").stderr;
    assert!(none.contains("umacvlan.own_ip: Docker gives this container no address"), "{none}");
    docker.clear(&["net"]);
    docker.ok(&format!("{create} --subnet 10.5.0.0/24 net"));
    docker.ok("ip addr add 10.5.0.1/24 dev q0");
    docker.ok("docker run -d --cap-add NET_ADMIN --network net --ip 10.5.0.7 --name red bb");
    docker.ok("docker exec red ping -c 1 -w 5 10.5.0.1");
    docker.ok("docker exec red ip addr add 10.5.0.8/24 dev eth0");
    let stolen = docker.run("docker exec red ping -c 1 -w 1 -I 10.5.0.8 10.5.0.1");
    assert_ne!(stolen.status, 0, "{stolen:?}");
    assert!(docker.ok("umacvlan -s -s -s link show").contains("spoofed"));
    docker.clear(&["net"]);
    docker.ok("ip addr del 10.5.0.1/24 dev q0");
    docker.assert_clean();
}

/// Host access, with an address derived and with given ones, on an interface and on a VLAN.
fn the_host_reaches_containers(docker: &mut Docker) {
    let create = |subnet: &str, parent: &str, words: &str, name: &str| {
        format!(
            "docker network create -d umacvlan --subnet {subnet} -o parent={parent} -o \
             umacvlan.host=yes {words} {name}"
        )
    };
    let refused = docker.run(&create("10.9.0.0/24", "p0", "", "net")).stderr;
    let why = "umacvlan.host=yes: the host has no address in 10.9.0.0/24: interface p0 has none";
    assert!(refused.contains(why), "{refused}");
    docker.ok("ip addr add 10.9.0.250/24 dev p0");
    let private = create("10.9.0.0/24", "p0", "-o mode=private", "net");
    let refused = docker.run(&private).stderr;
    assert!(refused.contains("umacvlan.host=yes: a link in mode private reaches no"), "{refused}");
    docker.ok(&create("10.9.0.0/24", "p0", "", "net"));
    docker.ok(&create("10.8.0.0/24", "p0.10", "--aux-address host=10.8.0.2", "two"));
    docker.containers(&["red", "--ip 10.9.0.77 blue"]);
    docker.ok("docker run -d --network two --name green bb");
    let routes = "ip -4 route show proto 117";
    let expected = "10.8.0.3 dev host-p0.10 scope link src 10.8.0.2 \n\
                    10.9.0.2 dev host-p0 scope link src 10.9.0.250 \n\
                    10.9.0.77 dev host-p0 scope link src 10.9.0.250 \n";
    for _ in 0..2 {
        assert_eq!(docker.ok(routes), expected);
        for reached in ["10.9.0.2", "10.9.0.77", "10.8.0.3"] {
            docker.ok(&format!("busybox ping -c 1 -w 5 {reached}"));
            docker.ok(&format!("echo hello | busybox nc -w 2 {reached} 7 | grep hello"));
        }
        docker.ok("docker exec red ping -c 1 -w 5 10.9.0.250");
        docker.ok("docker exec green ping -c 1 -w 5 10.8.0.2");
        docker.machine.end_daemon("KILL");
        docker.start();
    }
    let taken = docker.run("docker run --rm --network net --ip 10.9.0.250 bb true").stderr;
    assert!(taken.contains("the host itself has the address 10.9.0.250"), "{taken}");
    docker.ok("docker restart blue && docker rm -f red green");
    assert_eq!(docker.ok(routes), "10.9.0.77 dev host-p0 scope link src 10.9.0.250 \n");
    docker.clear(&["net", "two"]);
    docker.ok("ip addr del 10.9.0.250/24 dev p0");
    assert_eq!(docker.ok("ls /sys/class/net"), "lo\np0\nq0\n");
    docker.assert_clean();
}

fn restarted_and_connected(docker: &mut Docker) {
    docker.ok("docker network create -d umacvlan --subnet 10.9.0.0/24 -o parent=p0 -o umacvlan.mac=stable net");
    docker.ok("docker network create -d umacvlan --subnet 10.8.0.0/24 -o parent=q0 other");
    docker.containers(&["red", "blue"]);
    let seen = |docker: &mut Docker| {
        docker.ok(
            "docker exec blue ip -4 addr show dev eth0 | grep inet; docker exec blue cat /sys/class/net/eth0/address",
        )
    };
    let before = seen(docker);
    docker.ok("docker restart blue");
    assert_eq!(seen(docker), before, "address and MAC address are the same");
    docker.ok(REACH);
    docker.ok("docker network disconnect net blue");
    assert_eq!(docker.taps(), (1, 1));
    docker.ok("docker network connect --ip 10.9.0.77 net blue");
    docker.ok("docker network connect other blue");
    assert_eq!(docker.ok("docker exec blue ls /sys/class/net | wc -l"), "3\n");
    assert_eq!(docker.taps(), (3, 3));
    docker.ok(REACH);
    // The same as `docker compose down` and `up`.
    docker.ok("docker rm -f red blue && docker network rm net other");
    docker.assert_clean();
}

/// D1: networks and containers outlive both daemons.
fn either_daemon_restarts(docker: &mut Docker) {
    docker.ok("docker network create -d umacvlan --subnet 10.9.0.0/24 -o parent=p0 net");
    docker.ok("docker network create -d umacvlan --subnet 10.8.0.0/24 alone");
    docker.containers(&["--restart always red", "--restart always blue"]);
    docker.ok("docker run -d --network alone --stop-signal KILL --restart always --name green bb");
    // Only ours restarts: containers see a pause and nothing else.
    docker.machine.end_daemon("KILL");
    docker.start();
    docker.ok(REACH);
    assert_eq!(docker.taps(), (3, 3));
    // Only Docker's restarts: it stops and starts its containers.
    docker.end_dockerd("TERM");
    docker.start_dockerd();
    docker.ok(RUNNING);
    docker.ok(REACH);
    assert_eq!(docker.taps(), (3, 3));
    docker.end_dockerd("KILL");
    docker.start_dockerd();
    docker.ok(RUNNING);
    docker.ok(REACH);
    assert_eq!(docker.taps(), (3, 3));
    // Both restart, ours first, as at a boot.
    docker.end_dockerd("TERM");
    docker.machine.end_daemon("TERM");
    docker.start();
    docker.start_dockerd();
    docker.ok(RUNNING);
    docker.ok(REACH);
    assert_eq!(docker.taps(), (3, 3));
    // Docker's starts first: it waits for the driver.
    docker.end_dockerd("TERM");
    docker.machine.end_daemon("TERM");
    docker.ok(": >/run/dockerd.log");
    docker.ok(&format!("({DOCKERD}) >/dev/null 2>&1 & echo $! >/run/begins"));
    docker.ok(
        "until grep -q 'Unable to locate plugin: umacvlan' /run/dockerd.log; do sleep 0.05; done",
    );
    docker.start();
    docker.ok("wait $(cat /run/begins)");
    docker.ok(RUNNING);
    docker.ok(REACH);
    assert_eq!(docker.taps(), (3, 3));
    docker.clear(&["net", "alone"]);
    docker.assert_clean();
}

/// All three containers run.
const RUNNING: &str =
    "until [ $(docker ps -q | wc -l) = 3 ]; do [ $((n += 1)) -lt 300 ] || exit 1; sleep 0.1; done";

/// Docker repeats calls without an answer, so the daemon may be killed while containers start and
/// end.
fn killed_at_work(docker: &mut Docker) {
    docker.ok("docker network create -d umacvlan --subnet 10.9.0.0/24 -o parent=p0 net");
    for round in 0..3 {
        let start = "for name in red blue; do docker run -d --stop-signal KILL --network net --name $name bb & done";
        docker.ok(&format!("({start}; wait) >/run/started 2>&1 & echo $! >/run/starts"));
        docker.machine.end_daemon("KILL");
        docker.start();
        docker.ok("wait $(cat /run/starts); cat /run/started >&2");
        docker.ok(REACH);
        assert_eq!(docker.taps(), (2, 2), "round {round}");
        docker.ok("(docker rm -f red blue) >/run/ended 2>&1 & echo $! >/run/ends");
        docker.machine.end_daemon("KILL");
        docker.start();
        docker.ok("wait $(cat /run/ends)");
        assert_eq!(docker.taps(), (0, 0), "round {round}");
    }
    docker.clear(&["net"]);
}
