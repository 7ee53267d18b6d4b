//! `umacvlan-ip`: a script for the kernel's macvlan, run by `ip` and by `umacvlan-ip` in equal
//! namespaces, has the same result.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output};

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::{LIMIT, Scratch, netns_path};

use crate::world::{UMACVLAN, worlds};

/// Makes links in its own namespace and in another one, changes and shows them. What it prints has no
/// addresses and indexes, which differ.
const SCRIPT: &str = r#"
set -eu
ip link add p0 type veth peer name q0
ip link set q0 up
ip link set p0 up
ip link add link p0 name m0 address 02:00:00:00:00:10 type macvlan mode bridge
ip link add m1 link p0 type macvlan mode bridge
ip link set m1 address 02:00:00:00:00:11
printf 'link set m0 up\nlink set m1 alias "one of two"\nlink add link p0 m2 type macvlan\n' |
    ip -batch -
ip addr add 10.9.0.1/24 dev m0
ip link set m1 type macvlan mode private
ip -d link show m1 | grep -o 'macvlan mode [a-z]*'
ip -d link show type macvlan | grep -o 'm[0-9]@p0\|mode [a-z]* bcqueuelen'
ip -br link show up | sed 's/ .*//'
ip -o link show | sed 's/^[0-9]*: \([a-z0-9@]*\): <\([A-Z,_-]*\)>.*/\1 \2/' | grep m
ip -j -d link show | tr ',' '\n' | grep -c '"info_kind":"macvlan"'
ip -j addr show m0 | grep -o '10.9.0.1'
ip link add link p0 name m3 type macvlan mode bridge
ip link set m3 netns "$RED"
nsenter --net="$RED" ip link set m3 type macvlan mode vepa
nsenter --net="$RED" ip -d link show m3 | grep -o 'macvlan mode [a-z]*'
nsenter --net="$RED" ip link del m3
ip link del m2
if ip link show m2 2>/dev/null; then exit 9; fi
if ip link set q0 type macvlan mode bridge 2>/dev/null; then exit 9; fi
ip link show q0 | grep -o 'q0@p0'
if ip link add link nosuch m9 type macvlan 2>/dev/null; then exit 9; fi
ip link show | grep -c 'm0@p0'
ip addr show dev m0 | sed 's/^[0-9]*: //; s/qdisc [a-z_]* //; s/qlen .*//; s/ether .*/ether/' | grep -v inet6
ip -4 -br addr show m0
ip -4 -o addr show m0 | sed 's/^[0-9]*: //'
ip addr show type macvlan | grep -c 'inet 10.9.0.1/24'
ip addr show type veth | grep -c 'p0@q0\|m0'
ip link add link p0 arp off group 7 name m4 type macvlan
ip -d link show m4 | grep -o "NOARP\|group 7"
ip link show group 7 | grep -c 'm4@p0'
ip link del p0
ip -br link show type macvlan | wc -l
if ip link show m0 2>/dev/null; then exit 9; fi
ip link add p0 type veth peer name q0
ip link add link p0 name m0 type macvlan mode bridge
ip link add m1 link p0 type macvlan mode bridge
"#;

/// Runs a script in a namespace; `before` is the first directory in its PATH.
fn run(netns: &Netns, before: &str, script: &str) -> Output {
    let red = Netns::create().unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", script]).env("PATH", format!("{before}:{path}"));
    command.env("RED", netns_path(&red));
    // A daemon of a test or of the machine must not be the one that serves.
    command.env("UMACVLAN_SOCKET", "/nonexistent");
    netns.run(|| command.output()).unwrap().unwrap()
}

/// The directory of the daemon that serves a namespace on demand.
fn folder(netns: &Netns) -> PathBuf {
    PathBuf::from(format!("/run/umacvlan/netns/{}", netns.id().ino))
}

#[test]
fn a_script_has_the_same_result_with_umacvlan_ip() {
    let Some(_) = worlds() else { return };
    let scratch = Scratch::new();
    symlink(UMACVLAN, scratch.path().join("ip")).unwrap();
    let (kernel, ours) = (Netns::create().unwrap(), Netns::create().unwrap());
    let wanted = run(&kernel, "/nonexistent", SCRIPT);
    let got = run(&ours, scratch.path().to_str().unwrap(), SCRIPT);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(wanted.status.success(), "{}", text(&wanted.stderr));
    assert_eq!(text(&got.stdout), text(&wanted.stdout), "{}", text(&got.stderr));
    assert!(got.status.success(), "{}", text(&got.stderr));

    // The daemon has served the script alone: it ends after the last link, and leaves nothing.
    let daemon = UnixStream::connect(folder(&ours).join("socket")).unwrap();
    let process = getsockopt(&daemon, PeerCredentials).unwrap().pid();
    let last = format!(
        "ip link del m0; ip link del m1; timeout {} tail --pid={process} -f /dev/null",
        LIMIT.as_secs()
    );
    let ended = run(&ours, scratch.path().to_str().unwrap(), &last);
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    assert!(!folder(&ours).exists());
}
