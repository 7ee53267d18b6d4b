//! [`PortPrograms`]: the programs of `bpf/port.c`, which forward plain unicast of sub-interfaces
//! whose interface is one end of a veth pair. `links` attaches them.
//!
//! They belong to one parent. Frames that they do not answer go to the TAP of the sub-interface.

mod links;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::{fmt, io};

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, PerCpuArray, PerCpuValues};
use aya::programs::{SchedClassifier, SocketFilter};
use umacvlan_core::stats::{Counters, KernelStats};
use umacvlan_core::switch::{AddressOwner, KernelAnswers};
use umacvlan_core::{Mode, SubIndex};

use super::load::{load, load_pinned, map, to_io_error};
use super::pins::Pins;
pub use super::pins::{probe_pins, remove_unused_pins};
use super::port_types::{End, KernelPort, PORTS_MAX};
use super::{mac_key, memlock};
use links::TcxLink;

/// `bpf/port.c`, compiled.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/port.o"));

/// The programs at the host end, the parent and the TAP, and the filter of the packet socket.
const END: &str = "umacvlan_end";
const WIRE: &str = "umacvlan_wire";
const TAP: &str = "umacvlan_tap";
const UPLINK: &str = "umacvlan_uplink";

/// The maps.
const MAPS: [&str; 5] = ["ends", "taps", "addresses", "rules", "counters"];

/// Bits and numbers of `bpf/port.c`.
const UP: u32 = 1;
const BRIDGE: u32 = 2;
const PRIVATE: u32 = 4;
const TARGET: u32 = 8;
const AT_HOME: u32 = 16;
const INGRESS: u32 = 1;
const ISOLATES: u32 = 2;
const NO_SLOT: u32 = u32::MAX;

/// `struct port`, `struct address`, `struct rules` and `struct counters` there.
type Port = [u64; 3];
type Address = [u32; 3];
type Rules = [u64; 5];
type Slot = [u64; 8];

/// The programs of one parent. Dropping them ends all of it, unless they are pinned and have ports.
pub struct PortPrograms {
    programs: Ebpf,
    /// Where everything is pinned.
    pins: Option<Pins>,
    ends: HashMap<MapData, u32, Port>,
    taps: HashMap<MapData, u32, Port>,
    addresses: HashMap<MapData, u64, Address>,
    rules: Array<MapData, Rules>,
    counters: PerCpuArray<MapData, Slot>,
    /// By slot.
    ports: Vec<Option<Attached>>,
    /// The addresses in their map.
    known: BTreeMap<u64, Address>,
    /// The parent's index, and the link of the program there.
    wire: Option<(u32, TcxLink)>,
}

/// One sub-interface.
struct Attached {
    host_end: u32,
    tap: u32,
    links: [TcxLink; 2],
    /// Its entry in both maps.
    entry: Port,
    /// False for one of an earlier process that was not added again yet.
    added: bool,
}

impl PortPrograms {
    /// Loads the programs. They answer nothing yet.
    ///
    /// With `pins`, a directory of a BPF file system, they outlive this process as long as they have
    /// ports, and those of an earlier process are taken over: what they answer stays as it is. Its last
    /// three directories are made.
    ///
    /// # Errors
    /// CAP_BPF or CAP_NET_ADMIN is missing; the kernel has no BPF or refuses a program; `pins` is not on
    /// a BPF file system, or others can write there.
    pub fn load(pins: Option<&Path>) -> io::Result<Self> {
        memlock::lift();
        let pins = pins.map(Pins::open).transpose()?;
        let found = pins.as_ref().is_some_and(|it| MAPS.iter().all(|map| it.map(map).exists()));
        let loaded = match &pins {
            None => load(OBJECT, &[]),
            Some(pins) => {
                if !found {
                    // What a process has left that was killed here, or one with another layout.
                    pins.clear();
                }
                load_pinned(OBJECT, &MAPS.map(|map| (map, pins.map(map))))
            }
        };
        let mut programs = loaded.map_err(to_io_error)?;
        for name in [END, WIRE, TAP] {
            classifier(&mut programs, name)?.load().map_err(to_io_error)?;
        }
        let filter: &mut SocketFilter = filter(&mut programs)?;
        filter.load().map_err(to_io_error)?;
        let mut loaded = Self {
            ends: map(&mut programs, "ends")?,
            taps: map(&mut programs, "taps")?,
            addresses: map(&mut programs, "addresses")?,
            rules: map(&mut programs, "rules")?,
            counters: map(&mut programs, "counters")?,
            programs,
            pins,
            ports: Vec::new(),
            known: BTreeMap::new(),
            wire: None,
        };
        match found {
            true => loaded.take_over()?,
            false => loaded.withdraw()?,
        }
        Ok(loaded)
    }

    /// True if the program of the parent is attached and may answer: an earlier process had
    /// attached it.
    pub fn answers_wire(&self) -> bool {
        self.wire.is_some()
    }

    /// True without a sub-interface, of this or of an earlier process.
    pub fn is_empty(&self) -> bool {
        self.ports.iter().all(Option::is_none)
    }

    /// Removes the sub-interfaces of an earlier process that were not added again.
    pub fn drop_others(&mut self) {
        let others = self.ports.iter().zip(0..);
        let others = others.filter(|(port, _)| port.as_ref().is_some_and(|port| !port.added));
        let slots: Vec<u32> = others.map(|(_, slot)| slot).collect();
        for slot in slots {
            self.remove_port(slot);
        }
    }

    /// The filter for the packet sockets of the engine on the parent.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn uplink_filter(&mut self) -> io::Result<OwnedFd> {
        let program = filter(&mut self.programs)?.fd().map_err(to_io_error)?;
        program.as_fd().try_clone_to_owned()
    }

    /// Attaches the program of the parent, if it is not there, after those of others. True if it was
    /// attached.
    ///
    /// # Errors
    /// The kernel has no TCX (Linux 6.6), or there is no such interface.
    pub fn attach_wire(&mut self, parent: End<'_>) -> io::Result<bool> {
        if self.wire.as_ref().is_some_and(|(index, _)| *index == parent.index) {
            return Ok(false);
        }
        self.detach_wire();
        let link = self.attach(WIRE, parent)?;
        self.wire = Some((parent.index, link));
        Ok(true)
    }

    /// Takes the program of the parent away.
    pub fn detach_wire(&mut self) {
        if let Some((_, link)) = self.wire.take() {
            self.detach(WIRE, link);
        }
    }

    /// Adds a sub-interface by the ends of it that are here, and returns its slot, and whether the
    /// links of an earlier process prove that it is the same one as then. Else its frames go to the TAP
    /// until [`set_answers`](Self::set_answers).
    ///
    /// # Errors
    /// There are [`PORTS_MAX`]; the kernel has no TCX; there is no such interface.
    pub fn add_port(&mut self, host_end: End<'_>, tap: End<'_>) -> io::Result<(u32, bool)> {
        if let Some(slot) = self.add_again(host_end, tap) {
            return Ok((slot, true));
        }
        let free = self.ports.iter().position(Option::is_none).unwrap_or(self.ports.len());
        let slot = u32::try_from(free).unwrap_or(NO_SLOT);
        if free >= PORTS_MAX {
            let why = format!("a parent has at most {PORTS_MAX} links of kind veth");
            return Err(io::Error::other(why));
        }
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        let zero = PerCpuValues::try_from(vec![Slot::default(); cpus])?;
        self.counters.set(slot, zero, 0).map_err(to_io_error)?;
        let entry = [pair(slot, host_end.index), pair(tap.index, AT_HOME), 0];
        let end_link = self.attach(END, host_end)?;
        let tap_link = match self.attach(TAP, tap) {
            Ok(link) => link,
            Err(error) => {
                self.detach(END, end_link);
                return Err(error);
            }
        };
        let (links, added) = ([end_link, tap_link], true);
        let port = Attached { host_end: host_end.index, tap: tap.index, links, entry, added };
        match self.ports.get_mut(free) {
            Some(vacant) => *vacant = Some(port),
            None => self.ports.push(Some(port)),
        }
        self.write_port(free, entry)?;
        Ok((slot, false))
    }

    /// Removes a sub-interface and returns what it had counted.
    pub fn remove_port(&mut self, slot: u32) -> KernelStats {
        let place = usize::try_from(slot).unwrap_or(usize::MAX);
        let Some(port) = self.ports.get_mut(place).and_then(Option::take) else {
            return KernelStats::default();
        };
        // An entry that is missing was not written.
        let _ = self.ends.remove(&port.host_end);
        let _ = self.taps.remove(&port.tap);
        let of_port = self.known.iter().filter(|(_, owner)| owner[0] == slot);
        let gone: Vec<u64> = of_port.map(|(&mac, _)| mac).collect();
        for mac in gone {
            self.known.remove(&mac);
            let _ = self.addresses.remove(&mac);
        }
        let [end, tap] = port.links;
        self.detach(END, end);
        self.detach(TAP, tap);
        self.stats(slot)
    }

    /// What was forwarded for a sub-interface so far.
    pub fn stats(&self, slot: u32) -> KernelStats {
        let mut sum = Slot::default();
        // It fails for a slot that does not exist only.
        if let Ok(values) = self.counters.get(&slot, 0) {
            for value in values.iter() {
                sum.iter_mut().zip(value).for_each(|(sum, value)| *sum += value);
            }
        }
        let [a, b, c, d, e, f, g, h] = sum;
        let counters = |frames, bytes| Counters { frames, bytes };
        KernelStats {
            sent_local: counters(a, b),
            sent_wire: counters(c, d),
            got_local: counters(e, f),
            got_wire: counters(g, h),
        }
    }

    /// Answers exactly what the switch allows; `ports` are the sub-interfaces of this kind, `parent`
    /// is the interface to the wire, and `ingress` says whether the program of the parent may answer.
    ///
    /// # Errors
    /// A map is full: nothing is answered then.
    pub fn set_answers(
        &mut self,
        answers: &KernelAnswers,
        ports: &[KernelPort],
        parent: u32,
        ingress: bool,
    ) -> io::Result<()> {
        let written = self.write_answers(answers, ports, parent, ingress);
        if written.is_err() {
            self.withdraw()?;
        }
        written
    }

    /// Answers nothing from now on: every frame goes to the engine.
    ///
    /// # Errors
    /// The error of the map update.
    pub fn withdraw(&mut self) -> io::Result<()> {
        let nothing = [0, 0, pair(NO_SLOT, 0), 0, 0];
        self.rules.set(0, nothing, 0).map_err(to_io_error)
    }

    fn write_answers(
        &mut self,
        answers: &KernelAnswers,
        ports: &[KernelPort],
        parent: u32,
        ingress: bool,
    ) -> io::Result<()> {
        let by_sub: BTreeMap<SubIndex, &KernelPort> =
            ports.iter().map(|port| (port.sub, port)).collect();
        let wanted = answers.addresses.iter().map(|(&mac, owner)| {
            let port = by_sub.get(&owner.sub).copied();
            (mac_key(mac), self.address(owner, port))
        });
        let wanted: BTreeMap<u64, Address> = wanted.collect();
        let stale: Vec<u64> =
            self.known.keys().filter(|mac| !wanted.contains_key(mac)).copied().collect();
        for mac in stale {
            self.addresses.remove(&mac).map_err(to_io_error)?;
            self.known.remove(&mac);
        }
        for port in ports {
            let place = usize::try_from(port.slot).unwrap_or(usize::MAX);
            let Some(Some(Attached { host_end, tap, entry, .. })) = self.ports.get(place) else {
                continue;
            };
            let flags = port_flags(answers, port);
            let now = [pair(port.slot, *host_end), pair(*tap, flags), mac_key(port.mac)];
            if *entry != now {
                self.write_port(place, now)?;
            }
        }
        for (mac, address) in wanted {
            if self.known.get(&mac) != Some(&address) {
                self.addresses.insert(mac, address, 0).map_err(to_io_error)?;
                self.known.insert(mac, address);
            }
        }
        let rules = self.rules_of(answers, ports, parent, ingress);
        self.rules.set(0, rules, 0).map_err(to_io_error)
    }

    fn write_port(&mut self, place: usize, entry: Port) -> io::Result<()> {
        if let Some(Some(port)) = self.ports.get_mut(place) {
            port.entry = entry;
            self.ends.insert(port.host_end, entry, 0).map_err(to_io_error)?;
            self.taps.insert(port.tap, entry, 0).map_err(to_io_error)?;
        }
        Ok(())
    }

    /// The value of an address, whose owner is one of these ports or of another kind.
    fn address(&self, owner: &AddressOwner, port: Option<&KernelPort>) -> Address {
        let mode = match owner.mode {
            Mode::Bridge => BRIDGE,
            Mode::Private => PRIVATE,
            Mode::Passthru | Mode::Source | Mode::Vepa => 0,
        };
        let Some(port) = port else {
            return [NO_SLOT, 0, mode];
        };
        let target = if owner.answers && owner.mode != Mode::Source { TARGET } else { 0 };
        [port.slot, self.host_end(port.slot), mode | target | home(port)]
    }

    fn rules_of(
        &self,
        answers: &KernelAnswers,
        ports: &[KernelPort],
        parent: u32,
        ingress: bool,
    ) -> Rules {
        let owner = answers.owner.map(|owner| ports.iter().find(|port| port.sub == owner));
        // One of another kind gets its frames from the engine.
        let ingress = ingress && answers.ingress && !matches!(owner, Some(None));
        let isolates = if answers.isolates { ISOLATES } else { 0 };
        let flags = isolates | if ingress { INGRESS } else { 0 };
        let owner = owner.flatten();
        let (slot, mac) = owner.map_or((NO_SLOT, 0), |port| (port.slot, mac_key(port.mac)));
        [
            pair(parent, flags),
            pair(answers.longest_local, answers.longest_wire),
            pair(slot, owner.map_or(0, |port| self.host_end(port.slot))),
            pair(owner.map_or(0, home), 0),
            mac,
        ]
    }

    fn host_end(&self, slot: u32) -> u32 {
        let port = self.ports.get(usize::try_from(slot).unwrap_or(usize::MAX));
        port.and_then(Option::as_ref).map_or(0, |port| port.host_end)
    }
}

impl Drop for PortPrograms {
    /// Leaves what is pinned to the next process, if there is a sub-interface.
    fn drop(&mut self) {
        if let Some(pins) = self.pins.as_ref().filter(|_| self.is_empty()) {
            pins.remove();
        }
    }
}

impl fmt::Debug for PortPrograms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ports, known, .. } = self;
        write!(f, "PortPrograms({} ports, {known:?})", ports.iter().flatten().count())
    }
}

fn classifier<'p>(programs: &'p mut Ebpf, name: &str) -> io::Result<&'p mut SchedClassifier> {
    let missing = || io::Error::other(format!("the object has no program {name}"));
    programs.program_mut(name).ok_or_else(missing)?.try_into().map_err(to_io_error)
}

fn filter(programs: &mut Ebpf) -> io::Result<&mut SocketFilter> {
    let missing = || io::Error::other(format!("the object has no program {UPLINK}"));
    let program = programs.program_mut(UPLINK).ok_or_else(missing)?;
    program.try_into().map_err(to_io_error)
}

/// The flags of a port: what its frames may be answered with.
fn port_flags(answers: &KernelAnswers, port: &KernelPort) -> u32 {
    let flag = |on, flag| if on { flag } else { 0 };
    flag(answers.senders.contains(&port.sub), UP)
        | flag(answers.bridges.contains(&port.sub), BRIDGE)
        | home(port)
}

fn home(port: &KernelPort) -> u32 {
    if port.at_home { AT_HOME } else { 0 }
}

/// The two fields of [`pair`].
fn halves(both: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = both.to_ne_bytes();
    [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
}

/// Two fields of a struct.
fn pair(first: u32, second: u32) -> u64 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_ne_bytes());
    bytes[4..].copy_from_slice(&second.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}
