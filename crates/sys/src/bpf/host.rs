//! [`HostFilter`]: hides from the host's stack the frames that the kernel's macvlan would consume.
//!
//! The program is `bpf/host.c` at tc ingress, after packet sockets, so that the engine still receives
//! the frames, and before the rest of the stack. It runs after the tc programs of others, as macvlan
//! does; frames that it passes continue to programs attached later.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::AsFd;
use std::{fmt, io};

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, ProgramArray};
use aya::programs::tc::{self, NlOptions, TcAttachOptions};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType};
use umacvlan_core::switch::{HostFilterRules, HostRule};

use super::load::{load, map, to_io_error};
use super::shared_addresses::{BUCKETS, SharedAddresses};
use super::{Attachment, mac_key, memlock};

/// `bpf/host.c`, compiled.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/host.o"));

/// The filter program.
const HOST: &str = "umacvlan_host";

/// The program that drops every frame.
const NO_HOST: &str = "umacvlan_no_host";

/// The program that calls the filter while this process lives; also the name of the filter in
/// `clsact`.
const GATE: &str = "umacvlan_gate";

/// The smallest map size, in addresses.
const ROOM: usize = 1024;

/// A filter on one parent. Dropping it detaches the filter, and the host gets every frame.
pub struct HostFilter {
    /// The name of the parent when it was attached.
    name: String,
    attachment: Attachment,
    /// The program that is attached, or that the gate calls.
    program: &'static str,
    /// The programs, and their links.
    programs: Ebpf,
    macs: HashMap<MapData, u64, u32>,
    owned: Array<MapData, u32>,
    vlans: Array<MapData, u32>,
    /// The IP addresses of those that share the parent's address, until their writer has them.
    shared: Option<SharedAddresses>,
    /// The size of the map, in addresses.
    room: usize,
    /// The rules in the maps.
    view: HostFilterRules,
    vids: Vec<u16>,
    /// Holds the program that the gate calls; `None` for a link.
    _calls: Option<ProgramArray<MapData>>,
}

/// Hides an interface from the host's stack: packet sockets get its frames, and nobody else does.
/// Dropping it ends that.
#[derive(Debug)]
pub struct NoHost(#[expect(dead_code, reason = "owned, not used")] HostFilter);

impl NoHost {
    /// Hides the interface `name` in the namespace of the calling thread.
    ///
    /// # Errors
    /// As [`HostFilter::attach`].
    pub fn attach(name: &str) -> io::Result<Self> {
        HostFilter::attach_either(NO_HOST, name, &HostFilterRules::default()).map(Self)
    }
}

impl HostFilter {
    /// Attaches a filter with these rules to the interface `name` in the namespace of the calling
    /// thread.
    ///
    /// # Errors
    /// CAP_BPF or CAP_NET_ADMIN is missing; the kernel has no BPF or refuses the program; there is
    /// no such interface.
    pub fn attach(name: &str, view: &HostFilterRules) -> io::Result<Self> {
        Self::attach_either(HOST, name, view)
    }

    fn attach_either(
        program: &'static str,
        name: &str,
        view: &HostFilterRules,
    ) -> io::Result<Self> {
        match Self::attach_program_as(Attachment::Tcx, program, name, view) {
            // Linux before 6.6 has no TCX links.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                Self::attach_program_as(Attachment::Clsact, program, name, view)
            }
            done => done,
        }
    }

    /// As [`HostFilter::attach`], with one kind of attachment only.
    ///
    /// # Errors
    /// The same; before Linux 6.6 [`Attachment::Tcx`] is an invalid input.
    pub fn attach_as(
        attachment: Attachment,
        name: &str,
        view: &HostFilterRules,
    ) -> io::Result<Self> {
        Self::attach_program_as(attachment, HOST, name, view)
    }

    fn attach_program_as(
        attachment: Attachment,
        program: &'static str,
        name: &str,
        view: &HostFilterRules,
    ) -> io::Result<Self> {
        memlock::lift();
        if attachment == Attachment::Clsact {
            // It exists already if another program has a filter here.
            let _ = tc::qdisc_add_clsact(name);
            // A filter that a killed process has left, which is rare.
            let _ = tc::qdisc_detach_program(name, TcAttachType::Ingress, GATE);
        }
        Self::make(attachment, program, name, view)
    }

    fn make(
        attachment: Attachment,
        program: &'static str,
        name: &str,
        view: &HostFilterRules,
    ) -> io::Result<Self> {
        let room = (2 * view.rules().len()).max(ROOM).next_power_of_two();
        let entries = u32::try_from(room).unwrap_or(u32::MAX);
        let buckets = if view.is_shared() { BUCKETS } else { 1 };
        let buckets = u32::try_from(buckets).unwrap_or(u32::MAX);
        let sizes = [("macs", entries), ("shared_ips", buckets)];
        let mut programs = load(OBJECT, &sizes).map_err(to_io_error)?;
        let mut filter = Self {
            name: name.to_owned(),
            attachment,
            program,
            macs: map(&mut programs, "macs")?,
            owned: map(&mut programs, "all_unicast")?,
            vlans: map(&mut programs, "vlans")?,
            shared: if view.is_shared() { Some(shared_addresses(&mut programs)?) } else { None },
            _calls: None,
            programs,
            room,
            view: HostFilterRules::default(),
            vids: Vec::new(),
        };
        filter.write(view)?;
        match attachment {
            Attachment::Clsact => filter.attach_gate()?,
            Attachment::Tcx => {
                filter.attach_program(program, TcAttachOptions::TcxOrder(LinkOrder::last()))?;
            }
        }
        Ok(filter)
    }

    /// The kind of attachment.
    pub fn attachment(&self) -> Attachment {
        self.attachment
    }

    /// Replaces the rules.
    ///
    /// # Errors
    /// No memory: the rules are a mix of old and new, so drop the filter.
    pub fn set_rules(&mut self, view: &HostFilterRules) -> io::Result<()> {
        if view.rules().len() <= self.room {
            return self.write(view);
        }
        // Both filter for a moment, which has the effect of one.
        let mut larger = Self::make(self.attachment, self.program, &self.name, view)?;
        larger.set_vlans(&self.vids)?;
        *self = larger;
        Ok(())
    }

    /// Attaches the filter again, so that it is the last of all programs on the interface `name`.
    ///
    /// # Errors
    /// As [`HostFilter::attach`]; the filter is where it was then.
    pub fn move_last(&mut self, name: &str) -> io::Result<()> {
        // Both filter for a moment, which has the effect of one.
        let mut last = Self::make(self.attachment, self.program, name, &self.view)?;
        last.set_vlans(&self.vids)?;
        *self = last;
        Ok(())
    }

    /// The IP addresses that the filter hides among the frames for a shared address, for the one who writes
    /// them: `None` if this was asked before, or no address is shared. Another filter has others.
    pub fn take_shared(&mut self) -> Option<SharedAddresses> {
        self.shared.take()
    }

    /// True if the frames of some VLAN are left to the host.
    pub fn has_vlans(&self) -> bool {
        !self.vids.is_empty()
    }

    /// Leaves the frames of exactly these VLANs to the host, which has devices for them.
    ///
    /// # Errors
    /// The error of the map update.
    pub fn set_vlans(&mut self, vids: &[u16]) -> io::Result<()> {
        for vid in self.vids.iter().filter(|vid| !vids.contains(vid)) {
            self.vlans.set(u32::from(*vid), 0, 0).map_err(to_io_error)?;
        }
        for vid in vids {
            self.vlans.set(u32::from(*vid), 1, 0).map_err(to_io_error)?;
        }
        self.vids = vids.to_vec();
        Ok(())
    }

    /// Writes the rules that differ, those first that give frames back to the host.
    fn write(&mut self, view: &HostFilterRules) -> io::Result<()> {
        if !view.owned {
            self.owned.set(0, 0, 0).map_err(to_io_error)?;
        }
        for (mac, _) in self.view.rules() {
            if view.rule(mac) == HostRule::default() {
                self.macs.remove(&mac_key(mac)).map_err(to_io_error)?;
            }
        }
        for (mac, rule) in view.rules() {
            if self.view.rule(mac) != rule {
                self.macs.insert(mac_key(mac), u32::from(rule.bits()), 0).map_err(to_io_error)?;
            }
        }
        if view.owned {
            self.owned.set(0, 1, 0).map_err(to_io_error)?;
        }
        self.view = view.clone();
        Ok(())
    }

    /// Attaches the gate, for kernels where a filter outlives a killed process: the kernel then takes
    /// the program away from the gate.
    fn attach_gate(&mut self) -> io::Result<()> {
        let mut calls: ProgramArray<_> = map(&mut self.programs, "programs")?;
        let program = self.load(self.program)?.fd().map_err(to_io_error)?;
        calls.set(0, program, 0).map_err(to_io_error)?;
        self._calls = Some(calls);
        self.attach_program(GATE, TcAttachOptions::Netlink(NlOptions::default()))
    }

    fn attach_program(&mut self, program: &str, options: TcAttachOptions) -> io::Result<()> {
        let name = self.name.clone();
        let program = self.load(program)?;
        program.attach_with_options(&name, TcAttachType::Ingress, options).map_err(to_io_error)?;
        Ok(())
    }

    /// Loads one of the programs, unless it is loaded.
    fn load(&mut self, name: &str) -> io::Result<&mut SchedClassifier> {
        let missing = || io::Error::other(format!("the object has no program {name}"));
        let program = self.programs.program_mut(name).ok_or_else(missing)?;
        let program: &mut SchedClassifier = program.try_into().map_err(to_io_error)?;
        match program.load() {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(program),
            Err(error) => Err(to_io_error(error)),
        }
    }
}

/// The IP addresses of those that share the parent's address, with a seed for their places.
fn shared_addresses(programs: &mut Ebpf) -> io::Result<SharedAddresses> {
    let random = RandomState::new().build_hasher().finish();
    let seed = programs.map_mut("seed").map(Array::<_, u64>::try_from);
    let missing = || io::Error::other("the object has no map seed");
    let mut seed = seed.ok_or_else(missing)?.map_err(to_io_error)?;
    seed.set(0, random, 0).map_err(to_io_error)?;
    match programs.map("shared_ips") {
        Some(Map::Array(data)) => SharedAddresses::new(data.fd().as_fd(), random),
        _ => Err(io::Error::other("the object has no map shared_ips")),
    }
}

impl fmt::Debug for HostFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, attachment, view, .. } = self;
        write!(f, "HostFilter({name}, {attachment}, {view:?})")
    }
}
