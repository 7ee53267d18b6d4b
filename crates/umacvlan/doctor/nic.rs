//! The interfaces of this namespace: which can be parents, and why others cannot.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_with::skip_serializing_none;
use umacvlan_core::{VlanName, VlanPath};
use umacvlan_engine::error::Error;
use umacvlan_engine::{check_suitable, why_af_packet, zero_copy_memory};
use umacvlan_netlink::{Link, Rtnl};
use umacvlan_sys::ethtool::{Ethtool, Segmentation};

use super::check::{Check, State};
use super::machine::read;

/// An interface as a parent.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize)]
pub(super) struct Nic {
    pub(super) name: String,
    /// It can be a parent.
    pub(super) suitable: bool,
    /// The backend that `auto` would choose, and why; absent if it cannot be a parent.
    pub(super) backend: Option<Backend>,
    #[serde(flatten)]
    pub(super) facts: Facts,
    pub(super) checks: Vec<Check>,
}

/// A backend and the reason for it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Backend {
    pub(super) name: &'static str,
    pub(super) why: String,
}

/// Properties from the kernel and the driver; unknown ones are absent.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Facts {
    index: Option<u32>,
    driver: Option<String>,
    address: Option<String>,
    mtu: Option<u32>,
    up: bool,
    carrier: Option<bool>,
    promiscuous: bool,
    /// In Mbit/s.
    speed: Option<u64>,
    gro: Option<bool>,
    gso: Option<bool>,
    lro: Option<bool>,
    /// VLANs that the kernel does not know are dropped; `fixed` if that cannot be switched off.
    vlan_filter: Option<VlanFilter>,
    wireless: bool,
}

/// A VLAN filter that is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum VlanFilter {
    Fixed,
    On,
}

/// The directory of network devices in sysfs.
const SYSFS: &str = "/sys/class/net";

/// Checks all interfaces of this namespace, or the named ones.
pub(super) fn inspect(names: &[String]) -> Result<Vec<Nic>> {
    let mut rtnl = Rtnl::open()?;
    let ethtool = Ethtool::open().context("cannot ask drivers")?;
    let links = rtnl.links()?;
    let mut nics = Vec::new();
    for link in links.iter().filter(|link| names.is_empty() || names.contains(&link.name)) {
        let suitable = check_suitable(&mut rtnl, link);
        nics.push(nic(link, facts(link, &ethtool), suitable, !names.is_empty()));
    }
    for name in names.iter().filter(|name| links.iter().all(|link| link.name != **name)) {
        let below =
            |it: VlanName| links.iter().find(|link| link.name == it.link).zip(Some(it.vlan));
        nics.push(match VlanName::readings(name).find_map(below) {
            Some((link, path)) => {
                let suitable = check_suitable(&mut rtnl, link);
                vlan(name, path, nic(link, facts(link, &ethtool), suitable, true))
            }
            None => absent(name),
        });
    }
    if !nics.iter().any(|nic| nic.suitable) && names.is_empty() {
        nics.push(none_suits());
    }
    Ok(nics)
}

/// One warning for all virtual NICs whose hypervisor may drop frames of unknown addresses.
pub(super) fn cloud(nics: &[Nic]) -> Option<Check> {
    let strict = |nic: &&Nic| nic.facts.driver.as_deref().and_then(remedy).is_some();
    let virtual_nics: Vec<&Nic> = nics.iter().filter(strict).collect();
    let remedy = virtual_nics.first()?.facts.driver.as_deref().and_then(remedy)?;
    let names: Vec<&str> = virtual_nics.iter().map(|nic| nic.name.as_str()).collect();
    let found =
        format!("{}: whatever is behind it may drop frames of other addresses", names.join(", "));
    Some(Check::warn("hypervisor", found).fix(remedy))
}

/// How to make the hypervisor behind a virtual NIC accept unknown addresses.
fn remedy(driver: &str) -> Option<&'static str> {
    Some(match driver {
        "ena" | "gve" => "this cloud drops them: use passthru, which has the parent's address",
        "hv_netvsc" | "mana" => {
            "Set-VMNetworkAdapter -MacAddressSpoofing On, on the Hyper-V host; Azure drops them"
        }
        "virtio_net" => "on a bridge of your own nothing is needed; in a cloud use passthru",
        "vmxnet3" => "allow forged transmits and MAC changes on the port group",
        _ => return None,
    })
}

fn nic(link: &Link, facts: Facts, suitable: Result<(), Error>, named: bool) -> Nic {
    let mut checks = vec![parent_check(link, &facts, &suitable, named)];
    if suitable.is_ok() {
        checks.extend(state_checks(link, &facts, named));
        checks.extend(offload_checks(link, &facts));
    }
    let backend = suitable.is_ok().then(|| chosen(link, &facts));
    if backend.as_ref().is_some_and(|backend| backend.name == AF_XDP) {
        checks.extend(locked_memory(zero_copy_memory(link).ok(), locked_memory_limit().as_deref()));
    }
    Nic { name: link.name.clone(), suitable: suitable.is_ok(), backend, facts, checks }
}

/// The checks of an interface for a VLAN on it.
fn vlan(name: &str, path: VlanPath, link: Nic) -> Nic {
    let found = format!("VLAN {path} of {}: in user space, no 8021q is needed", link.name);
    let checks = std::iter::once(Check::ok("vlan", found)).chain(link.checks).collect();
    Nic { name: name.to_owned(), checks, ..link }
}

const AF_XDP: &str = "af-xdp";

/// Whether a daemon can lock the memory that AF_XDP takes. It gives up the capability to exceed the
/// limit, which this command has as root.
fn locked_memory(needed: Option<usize>, limit: Option<&str>) -> Option<Check> {
    let (needed, limit) = (needed?, limit?);
    let limit: usize = limit.parse().ok()?;
    let kib = |bytes: usize| bytes / 1024;
    let found = format!(
        "af-xdp locks {} KiB for each worker, and the limit here is {} KiB: a daemon that is started \
         from here takes af-packet instead",
        kib(needed),
        kib(limit)
    );
    let fix = "ulimit -l unlimited, before that; umacvlan.service has LimitMEMLOCK=infinity";
    (limit < needed).then(|| Check::warn("locked-memory", found).fix(fix))
}

/// The limit on locked memory in bytes, or `unlimited`.
fn locked_memory_limit() -> Option<String> {
    let limits = read("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next().map(str::to_owned)
}

/// The choice of `backend auto`.
fn chosen(link: &Link, facts: &Facts) -> Backend {
    match why_af_packet(link, facts.driver.as_deref().unwrap_or_default()) {
        Some(why) => Backend { name: "af-packet", why },
        None => Backend {
            name: AF_XDP,
            why: "its driver goes without copies; many set their link down for a moment for it"
                .to_owned(),
        },
    }
}

/// Whether it can be a parent. If it was named on the command line, a refusal is a failure.
fn parent_check(link: &Link, facts: &Facts, suitable: &Result<(), Error>, named: bool) -> Check {
    let name = &link.name;
    match suitable {
        Ok(()) if facts.wireless => {
            let state = if named { State::Fail } else { State::Warn };
            Check::new("parent", state, "a Wi-Fi station sends its own address only")
                .fix("macnat = true for this parent; or a wired interface")
        }
        Ok(()) => Check::ok("parent", facts.summary(chosen(link, facts).name)),
        Err(error) => {
            let state = if named { State::Fail } else { State::Info };
            let check = Check::new("parent", state, error.to_string());
            match error {
                Error::ParentBusy { master, .. } => {
                    check.fix(format!("use {master}; or ip link set dev {name} nomaster"))
                }
                _ => check,
            }
        }
    }
}

/// Whether it can carry frames now. If it was not named, that is only information.
fn state_checks(link: &Link, facts: &Facts, named: bool) -> Vec<Check> {
    let idle = if named { State::Warn } else { State::Info };
    let name = &link.name;
    let mut checks = Vec::new();
    if !link.is_up() {
        let fix = format!("ip link set dev {name} up");
        checks.push(Check::new("state", idle, "it is down").fix(fix));
    } else if facts.carrier == Some(false) {
        checks
            .push(Check::new("state", idle, "no carrier").fix("plug it in, or set its far end up"));
    }
    if facts.promiscuous {
        checks.push(Check::info("filter", "promiscuous: it takes in frames for everybody"));
    }
    checks
}

fn offload_checks(link: &Link, facts: &Facts) -> Vec<Check> {
    let name = &link.name;
    let mut checks = Vec::new();
    if facts.lro == Some(true) {
        let found = "LRO joins received frames so that they cannot be sent on as they were";
        checks.push(Check::warn("lro", found).fix(format!("ethtool -K {name} lro off")));
    }
    // A veth receives packets that its peer has merged.
    if facts.gro == Some(false) && facts.driver.as_deref() != Some("veth") {
        let found = "GRO is off: bulk TCP comes frame by frame";
        checks.push(Check::info("gro", found).fix(format!("ethtool -K {name} gro on")));
    }
    if let Some(filter) = facts.vlan_filter {
        let then = match filter {
            VlanFilter::Fixed => "it cannot be switched off: the interface becomes promiscuous",
            VlanFilter::On => "it is switched off",
        };
        let found = format!("the NIC filters VLANs; for the first link that uses tags {then}");
        checks.push(Check::info("vlan-filter", found));
    }
    checks
}

fn absent(name: &str) -> Nic {
    let found = Error::ParentAbsent(name.to_owned()).to_string();
    unsuitable(name, Check::fail("parent", found))
}

fn none_suits() -> Nic {
    let found = "no interface of this network namespace can be a parent";
    let check = Check::fail("parent", found)
        .fix("ip link add p0 type veth peer name q0 makes one to try with");
    unsuitable("-", check)
}

fn unsuitable(name: &str, check: Check) -> Nic {
    Nic {
        name: name.to_owned(),
        suitable: false,
        backend: None,
        facts: Facts::default(),
        checks: vec![check],
    }
}

fn facts(link: &Link, ethtool: &Ethtool) -> Facts {
    let segmentation = ethtool.segmentation(&link.name).ok();
    let on = |value: fn(Segmentation) -> bool| segmentation.map(value);
    let files = files(Path::new(SYSFS), link);
    let has = |file: &str| files.as_ref().is_some_and(|files| files.join(file).exists());
    let speed = || read(files.as_ref()?.join("speed"))?.parse().ok();
    Facts {
        index: Some(link.index),
        driver: ethtool.driver(&link.name).ok().filter(|driver| !driver.is_empty()),
        address: link.mac.map(|mac| mac.to_string()),
        mtu: Some(link.mtu),
        up: link.is_up(),
        carrier: link.carrier,
        promiscuous: link.is_promiscuous(),
        speed: speed(),
        gro: on(|segmentation| segmentation.gro),
        gso: on(|segmentation| segmentation.gso),
        lro: on(|segmentation| segmentation.lro),
        vlan_filter: vlan_filter(link, ethtool),
        wireless: has("phy80211") || has("wireless"),
    }
}

/// The VLAN filter of an interface, if it is on.
fn vlan_filter(link: &Link, ethtool: &Ethtool) -> Option<VlanFilter> {
    let on = ethtool.filters_vlans(&link.name).is_ok_and(|on| on);
    // That of a bond or a team registers the VLANs with its NICs.
    let switches = link.kind.is_none()
        && ethtool.receive_offloads(&link.name).is_ok_and(|features| features.vlan_filter);
    on.then_some(if switches { VlanFilter::On } else { VlanFilter::Fixed })
}

/// The sysfs directory of an interface, unless the mounted sysfs belongs to another namespace with an
/// interface of the same name.
fn files(sysfs: &Path, link: &Link) -> Option<PathBuf> {
    let files = sysfs.join(&link.name);
    let index: u32 = read(files.join("ifindex"))?.parse().ok()?;
    let address = fs::read_to_string(files.join("address")).unwrap_or_default();
    let same = index == link.index && address.trim() == link.mac?.to_string();
    same.then_some(files)
}

impl Facts {
    fn summary(&self, backend: &str) -> String {
        let mut words = Vec::new();
        words.extend(self.driver.clone());
        words.extend(self.mtu.map(|mtu| format!("MTU {mtu}")));
        words.extend(self.speed.map(|speed| format!("{speed} Mbit/s")));
        format!("{}: a parent by {backend}", words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driven(driver: &str) -> Nic {
        let facts = Facts { driver: Some(driver.to_owned()), ..Facts::default() };
        Nic { facts, ..unsuitable("n0", Check::info("parent", "")) }
    }

    #[test]
    fn virtual_nics_have_one_warning_and_real_ones_none() {
        assert!(cloud(&[driven("e1000e"), driven("veth")]).is_none());
        let check = cloud(&[driven("e1000e"), driven("ena"), driven("ena")]).unwrap();
        assert!(check.found.starts_with("n0, n0:"), "{check:?}");
        assert!(check.fix.unwrap().contains("passthru"));
    }

    #[test]
    fn a_named_wifi_interface_fails() {
        let link = Rtnl::open().unwrap().link("lo").unwrap().unwrap();
        let facts = Facts { wireless: true, ..Facts::default() };
        for (named, state) in [(true, State::Fail), (false, State::Warn)] {
            let check = parent_check(&link, &facts, &Ok(()), named);
            assert_eq!(check.state, state);
            assert!(check.fix.unwrap().contains("macnat"));
        }
    }

    #[test]
    fn a_limit_on_locked_memory_that_is_too_low_is_reported() {
        let limit = locked_memory_limit().unwrap();
        assert!(limit == "unlimited" || limit.parse::<u64>().is_ok(), "{limit}");
        let check = |limit| locked_memory(Some(16 << 20), Some(limit));
        let found = check("8388608").unwrap();
        assert!(found.found.contains("16384 KiB") && found.found.contains("8192 KiB"), "{found:?}");
        assert!(check("16777216").is_none() && check("unlimited").is_none());
    }

    #[test]
    fn lro_is_reported_with_the_command_that_disables_it() {
        let link = Rtnl::open().unwrap().link("lo").unwrap().unwrap();
        let facts = Facts { lro: Some(true), gro: Some(false), ..Facts::default() };
        let mends: Vec<_> =
            offload_checks(&link, &facts).into_iter().filter_map(|check| check.fix).collect();
        assert_eq!(mends, ["ethtool -K lo lro off", "ethtool -K lo gro on"]);
        assert!(offload_checks(&link, &Facts::default()).is_empty());
    }

    #[test]
    fn a_vlan_filter_is_reported_with_what_tags_do_to_it() {
        let link = Rtnl::open().unwrap().link("lo").unwrap().unwrap();
        assert_eq!(vlan_filter(&link, &Ethtool::open().unwrap()), None);
        for (filter, then) in [(VlanFilter::Fixed, "promiscuous"), (VlanFilter::On, "off")] {
            let facts = Facts { vlan_filter: Some(filter), ..Facts::default() };
            let found = offload_checks(&link, &facts).remove(0).found;
            assert!(found.ends_with(then), "{found}");
        }
    }

    #[test]
    fn sysfs_of_another_namespace_is_ignored() {
        let sysfs = std::env::temp_dir().join(format!("umv-doctor-{}", std::process::id()));
        fs::create_dir_all(sysfs.join("lo")).unwrap();
        let mut link = Rtnl::open().unwrap().link("lo").unwrap().unwrap();
        let write = |file: &str, text: &str| fs::write(sysfs.join("lo").join(file), text).unwrap();
        write("address", "00:00:00:00:00:00\n");
        write("ifindex", &format!("{}\n", link.index));
        assert!(files(&sysfs, &link).is_some());
        link.index += 1;
        assert!(files(&sysfs, &link).is_none());
        fs::remove_dir_all(&sysfs).unwrap();
    }
}
