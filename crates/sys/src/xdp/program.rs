//! [`XdpProgram`]: `bpf/uplink.c` in the kernel, and what it knows.

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

/// Queues that the program can redirect; frames of others come by the packet socket.
pub const QUEUES: u32 = 64;

/// Where on a frame's way the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpAttachMode {
    /// In the driver, before the kernel makes anything of the frame.
    Native,
    /// In the stack, for any driver.
    Generic,
}

/// Why a program is not attached that could be.
const OUTLIVES: &str = "the kernel does not link programs to interfaces, which came with Linux 5.9: \
     one would outlive a crash";

/// What the program is to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedirectRules {
    /// All unicast is the engine's alone.
    owned: bool,
    /// By station: the bits of `bpf/uplink.c`.
    stations: BTreeMap<MacAddr, u32>,
    /// By VLAN: the bits of `bpf/macs.h` for those that have a switch of their own.
    served: BTreeMap<u16, u32>,
}

/// Bits of a VLAN: the host has a device for it, and the engine has a switch for it as a
/// customer's and as a provider's.
const HOSTS: u32 = 1;
const SERVED: u32 = 2;
const SERVED_SERVICE: u32 = 4;

/// Bit of a station to which the engine listens beside the host.
const HEARD: u32 = 8;

impl RedirectRules {
    /// Those of a switch, as things are.
    pub fn of(switch: &Switch) -> Self {
        let view = switch.host_filter_rules();
        let ours = HostRule::UNICAST_TO | HostRule::ALL_FROM;
        // An echo is a group frame, which the program leaves to everybody.
        let ours = view.rules().map(|(station, rule)| (station, rule.bits() & ours.bits()));
        let mut stations: BTreeMap<_, _> = ours
            .filter(|&(_, bits)| bits != 0)
            .map(|(station, bits)| (station, u32::from(bits)))
            .collect();
        for station in switch.listed_sources() {
            *stations.entry(station).or_default() |= HEARD;
        }
        Self { owned: view.owned, stations, served: BTreeMap::new() }
    }

    /// The same, and all frames with the outer tags of these.
    pub fn with_vlans(mut self, paths: &[VlanPath]) -> Self {
        for tag in paths.iter().filter_map(|path| path.tags().next()) {
            let kind = if tag.tpid == 0x8100 { SERVED } else { SERVED_SERVICE };
            *self.served.entry(tag.vid()).or_default() |= kind;
        }
        self
    }
}

/// The program, its maps, and its link to an interface, which ends with this value or its process.
pub struct XdpProgram {
    ebpf: Ebpf,
    stations: HashMap<MapData, u64, u32>,
    owned: Array<MapData, u32>,
    vlans: Array<MapData, u32>,
    sockets: XskMap<MapData>,
    /// The name of the one of the two programs that is loaded.
    name: &'static str,
    /// What is in the maps.
    rules: RedirectRules,
    /// The VLANs that are the host's.
    hosts: Vec<u16>,
    attached: Option<(FdLink, XdpAttachMode)>,
}

impl std::fmt::Debug for XdpProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("XdpProgram").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl XdpProgram {
    /// Loads the program for frames of at most `longest` bytes, tags included. It knows nothing yet
    /// and so leaves every frame to the host.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_BPF and CAP_NET_ADMIN; `InvalidInput` before Linux 5.18 for
    /// frames longer than a chunk; what the kernel's verifier says.
    pub fn load(longest: usize) -> io::Result<Self> {
        let name = if is_multi_buffer(longest) { "umacvlan_pieces" } else { "umacvlan_uplink" };
        let mut ebpf = Ebpf::load(OBJECT).map_err(os_error)?;
        let stations = map(&mut ebpf, "stations")?.try_into().map_err(os_error)?;
        let owned = map(&mut ebpf, "owned")?.try_into().map_err(os_error)?;
        let mut most: Array<MapData, u32> =
            map(&mut ebpf, "longest")?.try_into().map_err(os_error)?;
        most.set(0, u32::try_from(longest).unwrap_or(u32::MAX), 0).map_err(os_error)?;
        let vlans = map(&mut ebpf, "vlans")?.try_into().map_err(os_error)?;
        let sockets = map(&mut ebpf, "sockets")?.try_into().map_err(os_error)?;
        uplink(&mut ebpf, name)?.load().map_err(os_error)?;
        side(&mut ebpf)?.load().map_err(os_error)?;
        Ok(Self {
            ebpf,
            stations,
            owned,
            vlans,
            hosts: Vec::new(),
            sockets,
            name,
            rules: RedirectRules::default(),
            attached: None,
        })
    }

    /// Links the program to the interface of that index in the namespace of the calling thread, in
    /// place of a link that it has there in the other way.
    ///
    /// # Errors
    /// `EBUSY` or `EEXIST`: another XDP program is there; or the driver does not take it so; or the
    /// kernel, before Linux 5.9, does so only by netlink.
    pub fn attach(&mut self, index: u32, how: XdpAttachMode) -> io::Result<()> {
        let mode = match how {
            XdpAttachMode::Native => XdpMode::Driver,
            XdpAttachMode::Generic => XdpMode::Skb,
        };
        if self.attached.as_ref().is_some_and(|&(_, before)| before == how) {
            return Ok(());
        }
        // A link ends with its descriptor.
        self.attached = None;
        let program = uplink(&mut self.ebpf, self.name)?;
        let link = program.attach_to_if_index(index, mode).map_err(os_error)?;
        let link = program.take_link(link).map_err(os_error)?;
        // Where it cannot link, aya attaches by netlink: what is dropped here is detached again.
        let link = FdLink::try_from(link).map_err(|_| io::Error::other(OUTLIVES))?;
        self.attached = Some((link, how));
        Ok(())
    }

    /// Gives the frames of a queue to a socket, but for those that are too long for it. All sockets
    /// have chunks alike.
    ///
    /// # Errors
    /// The map has no place for a queue of that number; its frames go by the side socket.
    pub fn redirect_queue(&mut self, queue: u32, socket: &impl AsFd) -> io::Result<()> {
        self.sockets.set(queue, socket.as_fd().as_raw_fd(), 0).map_err(os_error)
    }

    /// Has a packet socket receive only what is the engine's and not redirected.
    ///
    /// # Errors
    /// Whatever `setsockopt` says.
    pub fn filter_socket(&mut self, socket: &impl AsFd) -> io::Result<()> {
        side(&mut self.ebpf)?.attach(socket).map_err(os_error)
    }

    /// Leaves frames of these VLANs to the host, and no others.
    ///
    /// # Errors
    /// Whatever the kernel says.
    pub fn set_vlans(&mut self, vlans: Vec<u16>) -> io::Result<()> {
        let before = std::mem::replace(&mut self.hosts, vlans);
        let touched: BTreeSet<u16> = before.iter().chain(&self.hosts).copied().collect();
        touched.into_iter().try_for_each(|vid| self.set_vlan(vid))
    }

    /// Writes what is known of a VLAN.
    fn set_vlan(&mut self, vid: u16) -> io::Result<()> {
        let hosts = if self.hosts.contains(&vid) { HOSTS } else { 0 };
        let bits = hosts | self.rules.served.get(&vid).copied().unwrap_or(0);
        self.vlans.set(vid.into(), bits, 0).map_err(os_error)
    }

    /// True when some VLANs are the host's.
    pub fn has_vlans(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// Brings the maps to these rules, step by step: never is a frame of a station lost whose rule
    /// stays.
    ///
    /// # Errors
    /// No memory, or more stations than there is room for. What could be told is told.
    pub fn set_rules(&mut self, rules: RedirectRules) -> io::Result<()> {
        let mut told = Ok(());
        if self.rules.owned != rules.owned {
            told = self.owned.set(0, u32::from(rules.owned), 0).map_err(os_error);
        }
        for (mac, bits) in &rules.stations {
            if self.rules.stations.get(mac) != Some(bits) {
                let done = self.stations.insert(key(*mac), bits, 0).map_err(os_error);
                told = told.and(done);
            }
        }
        for mac in self.rules.stations.keys().filter(|mac| !rules.stations.contains_key(mac)) {
            // One that is not there is gone, which is what was wanted.
            let _ = self.stations.remove(&key(*mac));
        }
        let before = std::mem::replace(&mut self.rules, rules);
        if before.served != self.rules.served {
            let both = before.served.keys().chain(self.rules.served.keys());
            let touched: BTreeSet<u16> = both.copied().collect();
            told = touched.into_iter().map(|vid| self.set_vlan(vid)).fold(told, io::Result::and);
        }
        told
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

/// What the kernel said, which is the innermost of aya's errors; else the outermost.
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
