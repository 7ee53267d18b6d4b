//! Probes: the system calls of the engine, tried in an unnamed namespace.

use std::io;
use std::path::Path;
use umacvlan_core::options::XdpMode;

use nix::libc::{EACCES, ENODEV, ENOENT, ENXIO};
use umacvlan_core::offload::Offloads;
use umacvlan_engine::try_af_xdp;
use umacvlan_netlink::{Macvlan, Rtnl};
use umacvlan_sys::bpf::{self, Attachment};
use umacvlan_sys::buffer_pool::BufferPool;
use umacvlan_sys::netns::Netns;
use umacvlan_sys::packet::PacketSocket;
use umacvlan_sys::tap::{TUN_DEVICE, Tap};
use umacvlan_sys::uring::Uring;

use super::check::Check;
use super::machine::read;
use crate::daemon::DEFAULT_BPF_DIR;

/// The results of all probes.
pub(super) enum ProbeResult {
    /// This user may not create a namespace; only probes without one ran.
    Denied(Vec<Check>),
    Done(Vec<Check>),
}

/// Runs all probes in a new namespace; `place` is appended to the findings.
pub(super) fn run(place: &str) -> ProbeResult {
    match Netns::create() {
        Ok(netns) => {
            let mut checks = match netns.run(|| probe_tap(place)) {
                Ok(checks) => checks,
                Err(error) => vec![Check::fail("tap", format!("not tried: {error}"))],
            };
            checks.push(host_filter(netns.run(bpf::probe_host_filter).flatten()));
            let programs = netns.run(bpf::probe_port_programs).flatten();
            let works = programs.is_ok();
            checks.push(port_veth(programs));
            if works {
                checks.push(port_veth_kept(bpf::port::probe_pins(Path::new(DEFAULT_BPF_DIR))));
            }
            checks.push(io_uring());
            ProbeResult::Done(checks)
        }
        Err(error) => {
            let untried = |name| Check::warn(name, format!("not tried: {error}"));
            ProbeResult::Denied(vec![untried("tap"), untried("af-packet"), io_uring()])
        }
    }
}

/// Creates a TAP and a packet socket on it.
fn probe_tap(place: &str) -> Vec<Check> {
    let tap = match Tap::create(NAME) {
        Ok(tap) => tap,
        Err(error) => return vec![no_tap(error), kernel_macvlan(None)],
    };
    let mut checks = vec![tap_netns(&tap, place), offloads(tap.enable_offloads())];
    let index = Rtnl::open().and_then(|mut rtnl| rtnl.link(NAME)).ok().flatten();
    checks.push(match &index {
        Some(link) => packet(PacketSocket::open(link.index, link.mtu), place),
        None => Check::warn("af-packet", "not tried: the TAP is not to be found"),
    });
    if let Some(link) = &index {
        checks.push(af_xdp(try_af_xdp(link)));
    }
    checks.push(kernel_macvlan(index.map(|link| link.index)));
    checks
}

fn no_tap(source: io::Error) -> Check {
    let fix = match source.raw_os_error() {
        Some(ENOENT | ENODEV | ENXIO) => "modprobe tun; in a container with --device /dev/net/tun",
        Some(EACCES) => "chmod 0666 /dev/net/tun, as root",
        _ => "run it as root; in a container with --cap-add NET_ADMIN --device /dev/net/tun",
    };
    Check::fail("tap", format!("{TUN_DEVICE} makes no TAP: {source}")).fix(fix)
}

/// Whether a TAP reports its namespace, by which the engine follows it.
fn tap_netns(tap: &Tap, place: &str) -> Check {
    match tap.namespace() {
        Ok(_) => Check::ok("tap", format!("{TUN_DEVICE} makes TAPs{place}")),
        Err(error) => Check::fail("tap", format!("a TAP does not tell its namespace: {error}"))
            .fix("boot Linux 5.2 or later"),
    }
}

fn offloads(accepted: io::Result<Offloads>) -> Check {
    let name = "tap-offloads";
    match accepted {
        Ok(Offloads::ALL) => Check::ok(name, "checksums, TCP and UDP segmentation"),
        Ok(offloads) if offloads.tso4 && offloads.tso6 => {
            Check::ok(name, "checksums and TCP segmentation; UDP segmentation came with Linux 6.2")
        }
        Ok(_) => Check::warn(name, "checksums only: bulk TCP will be slow"),
        Err(error) => Check::warn(name, format!("none: {error}")),
    }
}

/// AF_XDP is optional, so a failure is information.
fn af_xdp(tried: Result<XdpMode, String>) -> Check {
    match tried {
        Ok(mode) => Check::ok("af-xdp", format!("programs and sockets work, on a TAP {mode}")),
        Err(why) => Check::info("af-xdp", format!("not to be had: {why}")),
    }
}

fn packet(opened: io::Result<PacketSocket>, place: &str) -> Check {
    let name = "af-packet";
    match opened {
        Ok(_) => Check::ok(name, format!("a TPACKET_V2 ring with vnet headers works{place}")),
        Err(error) => {
            let fix = match error.kind() {
                _ if cfg!(not(feature = "af-xdp")) => "build it with the feature af-xdp",
                io::ErrorKind::PermissionDenied => {
                    "run it as root; in a container with --cap-add NET_RAW"
                }
                io::ErrorKind::OutOfMemory => "free some memory: a parent needs about 2 MB",
                _ => "a kernel with CONFIG_PACKET: `modprobe af_packet`",
            };
            Check::fail(name, format!("no ring with vnet headers: {error}")).fix(fix)
        }
    }
}

/// TAPs do without these programs, so a failure is information.
fn port_veth(tried: io::Result<()>) -> Check {
    let name = "port-veth";
    match tried {
        Ok(()) => Check::ok(name, "programs in the kernel can forward plain unicast (port veth)"),
        Err(error) => Check::info(name, format!("not to be had, TAPs are: {error}")),
    }
}

/// The daemon refuses such links then, and TAPs are to be had.
fn port_veth_kept(tried: io::Result<()>) -> Check {
    let name = "port-veth-kept";
    match tried {
        Ok(()) => Check::ok(name, "programs outlive the daemon, so its links can have port veth"),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            let found = "the daemon has TAPs only: no BPF file system keeps its programs";
            Check::info(name, found).fix(BPF_FS)
        }
        Err(error) => Check::info(name, format!("the daemon has TAPs only: {error}")),
    }
}

/// Without the filter the host receives more than with the kernel's macvlan.
fn host_filter(tried: io::Result<Attachment>) -> Check {
    let name = "host-filter";
    let without = "so the host sees frames that a macvlan in the kernel would take from it";
    match tried {
        Ok(attachment) => {
            let found = format!("hides from the host what is not its own, by {attachment}");
            Check::ok(name, found)
        }
        Err(error) => {
            let fix = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    "run it as root; in a container with --cap-add BPF --cap-add NET_ADMIN"
                }
                io::ErrorKind::OutOfMemory => "ulimit -l unlimited, before Linux 5.11",
                _ => "boot a kernel with CONFIG_BPF_SYSCALL and CONFIG_NET_CLS_ACT",
            };
            Check::warn(name, format!("none, {without}: {error}")).fix(fix)
        }
    }
}

fn io_uring() -> Check {
    let name = "io-uring";
    let Err(error) = BufferPool::new(2).and_then(|pool| Uring::new(&pool, 2)) else {
        return Check::ok(name, "serves TAPs with multishot reads");
    };
    let check = Check::warn(name, format!("{error}: TAPs are read and written plainly"));
    let disabled = read("/proc/sys/kernel/io_uring_disabled");
    check.fix(match (disabled.as_deref(), error.kind()) {
        (Some("1" | "2"), _) => "sysctl -w kernel.io_uring_disabled=0",
        (_, io::ErrorKind::PermissionDenied) => {
            "in a container with a seccomp profile that allows io_uring"
        }
        _ => "boot Linux 6.7 or later",
    })
}

/// The kernel's macvlan, for comparison. It is probed only if that loads no module.
fn kernel_macvlan(parent: Option<u32>) -> Check {
    let check = |found: &str| Check::info("kernel-macvlan", found);
    if let Some(state) = module_state() {
        return check(state);
    }
    let Some(index) = parent else {
        return check("not tried");
    };
    let made = Rtnl::open()
        .and_then(|mut rtnl| rtnl.add_macvlan("umv-kernel", index, &Macvlan::new(BRIDGE), None));
    match made {
        Ok(()) => check("in this kernel; not needed"),
        Err(error) => check(&format!("not to be had ({error}); not needed")),
    }
}

/// The state of the module; `None` if there is no module, so macvlan is built in or absent.
fn module_state() -> Option<&'static str> {
    if Path::new("/sys/module/macvlan").exists() {
        return Some("its module is loaded; not needed");
    }
    let release = read("/proc/sys/kernel/osrelease")?;
    let modules = std::fs::read_to_string(format!("/lib/modules/{release}/modules.dep")).ok()?;
    modules.contains("/macvlan.ko").then_some("there is a module, not loaded; not needed")
}

/// The name of the TAP in the new namespace.
const NAME: &str = "umv-doctor";

/// Makes the file system on which the daemon keeps programs.
const BPF_FS: &str = "mount -t bpf bpf /sys/fs/bpf";

/// `MACVLAN_MODE_BRIDGE` of `linux/if_link.h`.
const BRIDGE: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::State;

    #[test]
    fn each_reason_for_no_tap_has_its_own_fix() {
        for (errno, remedy) in [(2, "modprobe tun"), (13, "chmod 0666"), (1, "run it as root")] {
            let check = no_tap(io::Error::from_raw_os_error(errno));
            assert_eq!(check.state, State::Fail);
            assert!(check.fix.as_ref().unwrap().contains(remedy), "{check:?}");
        }
    }

    #[test]
    fn missing_offloads_are_reported() {
        assert_eq!(offloads(Ok(Offloads::ALL)).state, State::Ok);
        let old = Offloads { uso4: false, uso6: false, ..Offloads::ALL };
        assert!(offloads(Ok(old)).found.contains("6.2"));
        let bare = Offloads { csum: true, ..Offloads::NONE };
        assert_eq!(offloads(Ok(bare)).state, State::Warn);
    }

    #[test]
    fn a_denied_host_filter_is_a_warning_with_its_consequence() {
        let denied = host_filter(Err(io::ErrorKind::PermissionDenied.into()));
        assert_eq!(denied.state, State::Warn);
        assert!(denied.found.contains("the host sees frames"), "{denied:?}");
        assert!(denied.fix.unwrap().contains("BPF"));
        assert_eq!(host_filter(Ok(Attachment::Tcx)).state, State::Ok);
    }

    #[test]
    fn programs_that_are_not_kept_have_a_fix() {
        let kept = port_veth_kept(Err(io::ErrorKind::Unsupported.into()));
        assert_eq!((kept.state, kept.fix.as_deref()), (State::Info, Some(BPF_FS)));
        assert!(port_veth_kept(Err(io::ErrorKind::NotFound.into())).fix.is_none());
    }

    #[test]
    fn a_denied_socket_differs_from_a_missing_feature() {
        let denied = packet(Err(io::ErrorKind::PermissionDenied.into()), "");
        assert!(denied.fix.unwrap().contains("NET_RAW"));
    }
}
