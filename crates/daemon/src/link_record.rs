//! [`LinkRecord`]: what a restarted daemon needs to find the interface of a link and to serve it again.

use serde::{Deserialize, Serialize};
use serde_with::{DisplayFromStr, FromInto, TryFromInto, serde_as};
use umacvlan_api::{Dhcp, Flags, HostAccess, LimitsJson, RulesJson};
use umacvlan_core::limit::Limits;
use umacvlan_core::options::ProgramKind;
use umacvlan_core::rules::Rules;
use umacvlan_core::{MacAddr, MacvlanFlags, MacvlanSettings, Mode};
use umacvlan_engine::engine::{FormerInterface, ProgramPlace, ProgramPort, SubStatus, VethStatus};
use umacvlan_sys::netns::NetnsId;

/// The record of a link.
#[serde_as]
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct LinkRecord {
    /// Number of the link.
    pub id: u64,
    /// Key of its entry in the configuration.
    pub config: Option<String>,
    /// Opaque owner tag set by the creator.
    #[serde(default)]
    pub owner: Option<String>,
    /// Name of the parent.
    pub parent: String,
    /// Name of the interface.
    pub name: String,
    /// The name that its owner gave it, if its user has changed it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_name: Option<String>,
    /// Namespace of the interface, as device and inode.
    pub netns: (u64, u64),
    /// The cookie of that namespace, which no other one has until the next boot. Missing before Linux
    /// 5.14, and in the records of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns_cookie: Option<u64>,
    /// The most frames that its TAP may queue, if that is not the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txqueuelen: Option<u32>,
    /// Index of the interface in that namespace.
    pub index: u32,
    /// MAC address.
    #[serde_as(as = "DisplayFromStr")]
    pub mac: MacAddr,
    #[serde_as(as = "DisplayFromStr")]
    pub mode: Mode,
    #[serde_as(as = "FromInto<Flags>")]
    #[serde(flatten)]
    pub flags: MacvlanFlags,
    pub bc_queue_len: u32,
    #[serde_as(as = "FromInto<LimitsJson>")]
    #[serde(default, skip_serializing_if = "LimitsJson::is_unlimited")]
    pub limits: Limits,
    #[serde_as(as = "TryFromInto<RulesJson>")]
    #[serde(default, skip_serializing_if = "RulesJson::is_open")]
    pub rules: Rules,
    #[serde_as(as = "Vec<DisplayFromStr>")]
    pub sources: Vec<MacAddr>,
    /// The multicast groups that it had joined. Missing if it gets those of all groups, or has joined
    /// very many.
    #[serde_as(as = "Option<Vec<DisplayFromStr>>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<MacAddr>>,
    /// True if it is down until its address is free.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// The port of a link whose far end is a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<ProgramRecord>,
    /// Who it is to DHCP servers, if it gets its address from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<Dhcp>,
    /// How the host reaches it.
    #[serde(default, skip_serializing_if = "HostAccess::is_off")]
    pub host: HostAccess,
    /// What a link has in the daemon's namespace that is one end of a veth pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub veth: Option<VethRecord>,
}

/// The other end of the veth pair of a link, and the TAP beside it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct VethRecord {
    /// Index of the host end.
    pub host_end: u32,
    /// Index of the TAP.
    pub tap: u32,
    /// The cookie of their namespace.
    pub netns_cookie: u64,
}

impl From<VethStatus> for VethRecord {
    fn from(VethStatus { host_end, tap, netns_cookie }: VethStatus) -> Self {
        Self { host_end, tap, netns_cookie }
    }
}

/// What no interface tells of a link whose far end is a program: the next daemon makes it again.
#[serde_as]
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct ProgramRecord {
    /// The kind of port.
    #[serde_as(as = "DisplayFromStr")]
    pub port: ProgramKind,
    /// The socket at which the program listens, if the daemon connects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The interface behind which the program is, if that was there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev: Option<String>,
    /// That interface was down, and is set down again in the end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub was_down: bool,
    /// The user id of the socket's file or the TAP, if one was given.
    pub user: Option<u32>,
    /// The group id of the socket's file or the TAP, if one was given.
    pub group: Option<u32>,
    pub alias: String,
    pub allmulticast: bool,
    /// MTU in bytes.
    pub mtu: u32,
    pub promisc: bool,
    /// Its TX queue length, in frames.
    pub txqueuelen: u32,
    pub up: bool,
}

impl ProgramRecord {
    pub(crate) fn new(port: &ProgramPort, seen: &SubStatus) -> Self {
        let owner = port.owner;
        let (mut client, mut dev, mut was_down) = (None, None, false);
        match &port.place {
            ProgramPlace::Connect(path) => client = Some(path.display().to_string()),
            ProgramPlace::Interface { name, former } => {
                dev = Some(name.clone()).filter(|_| port.kind == ProgramKind::Dev);
                was_down = former.is_some_and(|former| former.was_down);
            }
            ProgramPlace::Listen(_) => {}
        }
        Self {
            port: port.kind,
            client,
            dev,
            was_down,
            user: owner.user,
            group: owner.group,
            alias: seen.link.alias.clone(),
            allmulticast: seen.link.is_allmulti(),
            mtu: seen.mtu,
            promisc: seen.link.is_promiscuous(),
            txqueuelen: seen.link.txqlen,
            up: seen.up,
        }
    }
}

impl ProgramRecord {
    /// How its interface was found, for the next engine.
    pub(crate) const fn former(&self) -> FormerInterface {
        FormerInterface { was_down: self.was_down }
    }
}

impl LinkRecord {
    /// Its macvlan settings. The limit `bclim` is in the record of the parent.
    pub(crate) fn settings(&self) -> MacvlanSettings {
        MacvlanSettings {
            mode: self.mode,
            flags: self.flags,
            bcqueuelen: Some(self.bc_queue_len),
            bclim: None,
            limits: self.limits,
            rules: self.rules.clone(),
            sources: self.sources.clone(),
        }
    }

    /// True if another record differs at most in notes for the next daemon, which finds them out by
    /// itself if they are missing: the groups, and that the link waits for its address.
    pub(crate) fn differs_in_notes_only(&self, other: &Self) -> bool {
        let other = Self { groups: self.groups.clone(), held: self.held, ..other.clone() };
        *self == other
    }

    pub(crate) fn netns(&self) -> NetnsId {
        let (dev, ino) = self.netns;
        NetnsId { dev, ino }
    }
}
