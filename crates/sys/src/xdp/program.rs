//! [`XdpProgram`]: `bpf/uplink.c` in the kernel, and its rules.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use aya::maps::{Array, HashMap, Map, MapData, XskMap};
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, SocketFilter, Xdp, XdpMode};
use aya::{Ebpf, include_bytes_aligned};
use umacvlan_core::switch::HostRule;
use umacvlan_core::{MacAddr, Switch, VlanPath};

use super::setup::is_multi_buffer;

/// The compiled `bpf/uplink.c`.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/uplink.o"));

/// Queues that the program can redirect. Frames of other queues arrive on the packet socket.
pub const QUEUES: u32 = 64;

/// Where the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpAttachMode {
    /// In the driver, before the kernel allocates a socket buffer.
    Native,
    /// In the network stack, for any driver.
    Generic,
}

/// The error for a kernel without XDP links.
const OUTLIVES: &str = "the kernel does not link programs to interfaces, which came with Linux 5.9: \
     one would outlive a crash";

/// Which frames the program redirects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedirectRules {
    /// A passthru sub-interface owns the parent: the engine gets all unicast.
    owned: bool,
    /// By unicast address: the bits of `bpf/macs.h`.
    macs: BTreeMap<MacAddr, u32>,
    /// By VLAN that has a switch of its own: the bits of `bpf/macs.h`.
    served: BTreeMap<u16, u32>,
}

/// Bits of a VLAN: the host has a device for it; the engine has a switch for the customer tag, for
/// the service tag.
const HOST_DEVICE: u32 = 1;
const C_TAG_SWITCH: u32 = 2;
const S_TAG_SWITCH: u32 = 4;

/// Bit of an address that a sub-interface in source mode lists.
const SOURCE_LISTED: u32 = 8;

impl RedirectRules {
    /// The current rules of a switch.
    pub fn of(switch: &Switch) -> Self {
        let view = switch.host_filter_rules();
        let ours = HostRule::UNICAST_TO | HostRule::ALL_FROM;
        // The program passes every group frame, reflected ones too.
        let ours = view.rules().map(|(mac, rule)| (mac, rule.bits() & ours.bits()));
        let mut macs: BTreeMap<_, _> =
            ours.filter(|&(_, bits)| bits != 0).map(|(mac, bits)| (mac, u32::from(bits))).collect();
        for mac in switch.listed_sources() {
            *macs.entry(mac).or_default() |= SOURCE_LISTED;
        }
        Self { owned: view.owned, macs, served: BTreeMap::new() }
    }

    /// Adds the parent's own address if its sub-interfaces share it (MAC-NAT): the host's packets and
    /// theirs both go to the engine and to the host.
    pub fn with_shared(mut self, address: Option<MacAddr>) -> Self {
        if let Some(address) = address {
            *self.macs.entry(address).or_default() |= u32::from(HostRule::SHARED.bits());
        }
        self
    }

    /// Adds the outer tags of `paths`: the engine gets every frame of these VLANs.
    pub fn with_vlans(mut self, paths: &[VlanPath]) -> Self {
        for tag in paths.iter().filter_map(|path| path.tags().next()) {
            let kind = if tag.tpid == 0x8100 { C_TAG_SWITCH } else { S_TAG_SWITCH };
            *self.served.entry(tag.vid()).or_default() |= kind;
        }
        self
    }
}

/// Frames that the program has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Their number, some less when several CPUs count at once.
    pub frames: u32,
    /// Bytes of the longest, without those tags that the NIC has removed.
    pub longest: u32,
}

/// The program, its maps, and its link to an interface. Dropping this, or the end of the process,
/// detaches it.
pub struct XdpProgram {
    ebpf: Ebpf,
    macs: HashMap<MapData, u64, u32>,
    owned: Array<MapData, u32>,
    vlans: Array<MapData, u32>,
    sockets: XskMap<MapData>,
    /// `struct seen` of `bpf/uplink.c`.
    proof: Array<MapData, [u32; 3]>,
    /// The loaded one of the two programs.
    name: &'static str,
    /// The rules in the maps.
    rules: RedirectRules,
    /// The VLANs that the host has devices for.
    host_vlans: Vec<u16>,
    attached: Option<(FdLink, XdpAttachMode)>,
}

impl std::fmt::Debug for XdpProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("XdpProgram").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl XdpProgram {
    /// Loads the program for frames of at most `longest` bytes, tags included. Without rules it leaves
    /// every frame to the host.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_BPF and CAP_NET_ADMIN; `InvalidInput` before Linux 5.18 for
    /// frames longer than a chunk; the error of the kernel's verifier.
    pub fn load(longest: usize) -> io::Result<Self> {
        let name = if is_multi_buffer(longest) { "umacvlan_pieces" } else { "umacvlan_uplink" };
        let mut ebpf = Ebpf::load(OBJECT).map_err(os_error)?;
        let macs = map(&mut ebpf, "macs")?.try_into().map_err(os_error)?;
        let owned = map(&mut ebpf, "all_unicast")?.try_into().map_err(os_error)?;
        let mut most: Array<MapData, u32> =
            map(&mut ebpf, "max_frame")?.try_into().map_err(os_error)?;
        most.set(0, u32::try_from(longest).unwrap_or(u32::MAX), 0).map_err(os_error)?;
        let vlans = map(&mut ebpf, "vlans")?.try_into().map_err(os_error)?;
        let sockets = map(&mut ebpf, "sockets")?.try_into().map_err(os_error)?;
        let proof = map(&mut ebpf, "proof")?.try_into().map_err(os_error)?;
        uplink(&mut ebpf, name)?.load().map_err(os_error)?;
        side(&mut ebpf)?.load().map_err(os_error)?;
        Ok(Self {
            ebpf,
            macs,
            owned,
            vlans,
            host_vlans: Vec::new(),
            sockets,
            proof,
            name,
            rules: RedirectRules::default(),
            attached: None,
        })
    }

    /// Links the program to the interface of that index in the namespace of the calling thread, in
    /// place of its link in the other mode.
    ///
    /// # Errors
    /// `EBUSY` or `EEXIST` if another XDP program is attached; the error of a driver without this
    /// mode; Linux before 5.9 has no XDP links.
    pub fn attach(&mut self, index: u32, how: XdpAttachMode) -> io::Result<()> {
        let mode = match how {
            XdpAttachMode::Native => XdpMode::Driver,
            XdpAttachMode::Generic => XdpMode::Skb,
        };
        if self.attached.as_ref().is_some_and(|&(_, before)| before == how) {
            return Ok(());
        }
        // Closing its descriptor detaches a link.
        self.attached = None;
        let program = uplink(&mut self.ebpf, self.name)?;
        let link = program.attach_to_if_index(index, mode).map_err(os_error)?;
        let link = program.take_link(link).map_err(os_error)?;
        // Without links aya attaches by netlink; dropping that attachment detaches it again.
        let link = FdLink::try_from(link).map_err(|_| io::Error::other(OUTLIVES))?;
        self.attached = Some((link, how));
        Ok(())
    }

    /// Detaches the program from its interface, if it is on one.
    pub fn detach(&mut self) {
        self.attached = None;
    }

    /// Redirects the frames of a queue to a socket, except those that are too long for it. All sockets
    /// have chunks of the same size.
    ///
    /// # Errors
    /// The queue number is [`QUEUES`] or more; its frames arrive on the packet socket.
    pub fn redirect_queue(&mut self, queue: u32, socket: &impl AsFd) -> io::Result<()> {
        self.sockets.set(queue, socket.as_fd().as_raw_fd(), 0).map_err(os_error)
    }

    /// Begins to count frames, from zero, or ends it.
    ///
    /// # Errors
    /// The error of the map update.
    pub fn count(&mut self, on: bool) -> io::Result<()> {
        self.proof.set(0, [u32::from(on), 0, 0], 0).map_err(os_error)
    }

    /// The frames that it was counting, those for the host too.
    ///
    /// # Errors
    /// The error of the map.
    pub fn seen(&self) -> io::Result<Seen> {
        let [_, longest, frames] = self.proof.get(&0, 0).map_err(os_error)?;
        Ok(Seen { frames, longest })
    }

    /// Makes a packet socket receive only frames for the engine that are not redirected.
    ///
    /// # Errors
    /// The error of `setsockopt`.
    pub fn filter_socket(&mut self, socket: &impl AsFd) -> io::Result<()> {
        side(&mut self.ebpf)?.attach(socket).map_err(os_error)
    }

    /// Leaves the frames of exactly these VLANs to the host.
    ///
    /// # Errors
    /// The error of the map update.
    pub fn set_vlans(&mut self, vlans: Vec<u16>) -> io::Result<()> {
        let before = std::mem::replace(&mut self.host_vlans, vlans);
        let touched: BTreeSet<u16> = before.iter().chain(&self.host_vlans).copied().collect();
        touched.into_iter().try_for_each(|vid| self.set_vlan(vid))
    }

    /// Writes the bits of a VLAN.
    fn set_vlan(&mut self, vid: u16) -> io::Result<()> {
        let host = if self.host_vlans.contains(&vid) { HOST_DEVICE } else { 0 };
        let bits = host | self.rules.served.get(&vid).copied().unwrap_or(0);
        self.vlans.set(vid.into(), bits, 0).map_err(os_error)
    }

    /// True if the frames of some VLAN are left to the host.
    pub fn has_vlans(&self) -> bool {
        !self.host_vlans.is_empty()
    }

    /// Updates the maps to these rules, entry by entry: no frame of an address whose rule stays is
    /// lost.
    ///
    /// # Errors
    /// No memory, or more addresses than the map holds. All other entries are updated.
    pub fn set_rules(&mut self, rules: RedirectRules) -> io::Result<()> {
        let mut updated = Ok(());
        if self.rules.owned != rules.owned {
            updated = self.owned.set(0, u32::from(rules.owned), 0).map_err(os_error);
        }
        for (mac, bits) in &rules.macs {
            if self.rules.macs.get(mac) != Some(bits) {
                let done = self.macs.insert(key(*mac), bits, 0).map_err(os_error);
                updated = updated.and(done);
            }
        }
        for mac in self.rules.macs.keys().filter(|mac| !rules.macs.contains_key(mac)) {
            // An entry that is missing is already removed.
            let _ = self.macs.remove(&key(*mac));
        }
        let before = std::mem::replace(&mut self.rules, rules);
        if before.served != self.rules.served {
            let both = before.served.keys().chain(self.rules.served.keys());
            let touched: BTreeSet<u16> = both.copied().collect();
            updated =
                touched.into_iter().map(|vid| self.set_vlan(vid)).fold(updated, io::Result::and);
        }
        updated
    }
}

fn map(ebpf: &mut Ebpf, name: &str) -> io::Result<Map> {
    ebpf.take_map(name).ok_or_else(|| io::Error::other(format!("the program has no map {name}")))
}

fn uplink<'e>(ebpf: &'e mut Ebpf, name: &str) -> io::Result<&'e mut Xdp> {
    let program = ebpf.program_mut(name);
    let program = program.ok_or_else(|| io::Error::other("the object has no XDP program"))?;
    program.try_into().map_err(|error: ProgramError| os_error(error))
}

fn side(ebpf: &mut Ebpf) -> io::Result<&mut SocketFilter> {
    let program = ebpf.program_mut("umacvlan_side");
    let program = program.ok_or_else(|| io::Error::other("the object has no socket filter"))?;
    program.try_into().map_err(|error: ProgramError| os_error(error))
}

/// An address as the first six bytes of a number in memory.
fn key(mac: MacAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.octets();
    u64::from_ne_bytes([a, b, c, d, e, f, 0, 0])
}

/// The errno in the sources of an error of aya, else its text.
fn os_error(error: impl Error + 'static) -> io::Error {
    let mut inner: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = inner {
        if let Some(number) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return io::Error::from_raw_os_error(number);
        }
        inner = error.source();
    }
    io::Error::other(error.to_string())
}
