//! Checks of the machine and this process that need no probe.

use std::fs;
use std::path::Path;

use caps::{CapSet, Capability, CapsHashSet};
use umacvlan_sys::process::raise_descriptor_limit;

use super::check::{Check, State};
use umacvlan_config::Config;
use umacvlan_engine::cpus::allowed;
use umacvlan_text::format::ranges;

/// The first kernel with `TUNGETDEVNETNS`, which returns the namespace of a TAP.
const OLDEST: [u32; 2] = [5, 2];

/// Required: for TAPs, packet sockets, and notifications from all namespaces.
const NEEDED: [Capability; 3] =
    [Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW, Capability::CAP_NET_BROADCAST];

/// For following sub-interfaces into other namespaces: entering them, and finding those of other
/// users' processes.
const FOLLOWING: [Capability; 2] = [Capability::CAP_SYS_ADMIN, Capability::CAP_SYS_PTRACE];

/// Descriptors for other purposes than links.
const RESERVED: u64 = 64;

/// A limit below this number of links is a warning.
const FEW_LINKS: u64 = 256;

pub(super) fn kernel() -> Check {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned());
    let found = format!("Linux {release}");
    match version(&release) {
        Some(version) if version < OLDEST => {
            let [major, minor] = OLDEST;
            Check::fail("kernel", found).fix(format!("boot Linux {major}.{minor} or later"))
        }
        Some(_) => Check::ok("kernel", found),
        None => Check::warn("kernel", format!("{found}: not a version that can be compared")),
    }
}

/// The capabilities of this process, which needs none if a daemon runs.
pub(super) fn capabilities(daemon_listens: bool) -> Check {
    let name = "capabilities";
    let effective = match caps::read(None, CapSet::Effective) {
        Ok(effective) => effective,
        Err(error) => return Check::warn(name, format!("cannot be read: {error}")),
    };
    let (needed, following) = (missing(&NEEDED, &effective), missing(&FOLLOWING, &effective));
    if needed.is_empty() && following.is_empty() {
        return match read("/proc/self/uid_map") {
            Some(map) if !is_initial(&map) => {
                Check::warn(name, "all, but of a user namespace: for networks made within it")
                    .fix("run it as root outside, for the machine's own interfaces")
            }
            _ => Check::ok(name, "all that are needed"),
        };
    }
    let lacks = [needed.clone(), following].concat().join(", ");
    let add = lacks.replace("CAP_", "--cap-add ").replace(',', "");
    let fix = format!("run it as root; in a container with {add}");
    match (needed.is_empty(), daemon_listens) {
        (true, _) => Check::warn(
            name,
            format!("no {lacks}: links in other network namespaces are not followed everywhere"),
        ),
        (false, true) => Check::warn(name, format!("no {lacks}; the daemon has its own")),
        (false, false) => Check::fail(name, format!("no {lacks}")),
    }
    .fix(fix)
}

/// Namespaces, descriptors, CPUs and VLANs.
pub(super) fn resources() -> Vec<Check> {
    vec![named_namespaces(Path::new("/run/netns")), descriptors(), worker(), vlans()]
}

/// Reported because users of VLANs look for the 8021q module.
fn vlans() -> Check {
    Check::ok("vlans", "parents as eth0.10 and eth0.10.20, without 8021q in the kernel")
}

fn named_namespaces(place: &Path) -> Check {
    let name = "namespaces";
    match fs::read_dir(place).map(Iterator::count) {
        Ok(count) => Check::ok(name, format!("{count} with a name in {}", place.display())),
        Err(_) => Check::info(name, format!("none has a name: {} is absent", place.display()))
            .fix("ip netns add NAME makes one"),
    }
}

fn descriptors() -> Check {
    let name = "descriptors";
    match raise_descriptor_limit() {
        Ok(limit) => {
            let links = limit.saturating_sub(RESERVED);
            let state = if links < FEW_LINKS { State::Warn } else { State::Ok };
            let check = Check::new(name, state, format!("{limit} may be open: {links} links"));
            match state {
                State::Warn => check.fix("ulimit -n 65536, or LimitNOFILE= of the unit"),
                _ => check,
            }
        }
        Err(error) => Check::warn(name, format!("their limit cannot be read: {error}")),
    }
}

fn worker() -> Check {
    let (allowed, settings) = (allowed(), Config::default().parent(""));
    let cpu = match settings.choose_cpu(&allowed, &[]) {
        Some(cpu) => format!("on CPU {cpu} of {}", ranges(&allowed)),
        None => "on any CPU".to_owned(),
    };
    let poll = settings.poll;
    Check::info("worker", format!("one a parent, {poll}, {cpu}, unless told otherwise"))
}

fn missing(wanted: &[Capability], effective: &CapsHashSet) -> Vec<String> {
    wanted.iter().filter(|cap| !effective.contains(cap)).map(ToString::to_string).collect()
}

/// Whether the map is that of the initial user namespace: user_namespaces(7).
fn is_initial(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<[u32; 2]> {
    let mut numbers = release.split(|sign: char| !sign.is_ascii_digit());
    let mut number = || numbers.next()?.parse().ok();
    Some([number()?, number()?])
}

/// The content of a file, trimmed.
pub(super) fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_a_version() {
        for (release, expected) in [
            ("6.18.44-fc", Some([6, 18])),
            ("5.2", Some([5, 2])),
            ("6.1+rpt", Some([6, 1])),
            ("unknown", None),
            ("6", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
        assert!([4, 20] < OLDEST && [5, 10] > OLDEST);
    }

    #[test]
    fn only_the_full_map_is_the_initial_one() {
        assert!(is_initial("         0          0 4294967295\n"));
        assert!(!is_initial("0 1000 1"));
    }

    #[test]
    fn missing_capabilities_are_listed() {
        let none = CapsHashSet::new();
        assert_eq!(missing(&NEEDED, &none), ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_NET_BROADCAST"]);
        let all = CapsHashSet::from_iter(NEEDED);
        assert!(missing(&NEEDED, &all).is_empty());
    }

    #[test]
    fn no_named_namespace_comes_with_the_command_that_adds_one() {
        let check = named_namespaces(Path::new("/nowhere/netns"));
        assert_eq!(check.state, State::Info);
        assert!(check.fix.unwrap().starts_with("ip netns add"));
    }
}
