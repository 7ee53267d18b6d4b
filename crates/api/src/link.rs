//! [`LinkView`]: all that is known about a link.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use umacvlan_core::mac::ParseMacError;
use umacvlan_core::rules::RuleError;
use umacvlan_core::switch::{DEFAULT_BC_CUTOFF, ParseModeError};
use umacvlan_core::{MacvlanFlag, MacvlanFlags, MacvlanSettings, Mode};
use utoipa::ToSchema;

use super::counters::SubCounters;
use super::{DhcpView, LastEvent, LimitsJson, RulesJson};

/// A link, as `ip -j -d -s -s link show` shows a macvlan, and umacvlan's own fields in `umacvlan`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct LinkView {
    /// Index of the interface in its namespace.
    pub ifindex: u32,
    /// Name of the parent; absent when the link is in another namespace than the daemon.
    pub link: Option<String>,
    /// Name of the interface.
    pub ifname: String,
    /// Flags of the interface, such as `UP`, `LOWER_UP`, `NO-CARRIER` and `M-DOWN`.
    pub flags: Vec<String>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Queueing discipline.
    pub qdisc: Option<String>,
    /// Operational state (RFC 2863), such as `UP`, `DOWN` or `LOWERLAYERDOWN`.
    pub operstate: String,
    /// Link mode: `DEFAULT` or `DORMANT`.
    pub linkmode: String,
    /// Interface group: `default`, or its number.
    pub group: String,
    /// Transmit queue length, in frames.
    pub txqlen: u32,
    /// `ether`.
    pub link_type: String,
    /// MAC address.
    pub address: Option<String>,
    /// Broadcast MAC address.
    pub broadcast: Option<String>,
    /// How many users hold the interface in promiscuous mode.
    pub promiscuity: u32,
    /// How many users have the interface receive all multicast frames.
    pub allmulti: Option<u32>,
    /// Smallest MTU allowed, in bytes.
    pub min_mtu: u32,
    /// Largest MTU allowed, in bytes.
    pub max_mtu: u32,
    /// Kind of the link, and its macvlan settings.
    pub linkinfo: LinkInfo,
    /// How IPv6 link-local addresses are generated: `eui64`, `none`, `stable_secret` or `random`.
    pub inet6_addr_gen_mode: Option<String>,
    /// Number of transmit queues.
    pub num_tx_queues: Option<u32>,
    /// Number of receive queues.
    pub num_rx_queues: Option<u32>,
    /// Largest GSO packet, in bytes.
    pub gso_max_size: Option<u32>,
    /// Most segments of a GSO packet.
    pub gso_max_segs: Option<u32>,
    /// Largest TSO packet that the device takes, in bytes.
    pub tso_max_size: Option<u32>,
    /// Most segments of a TSO packet that the device takes.
    pub tso_max_segs: Option<u32>,
    /// Largest GRO packet, in bytes.
    pub gro_max_size: Option<u32>,
    /// Alias, as set by `ip link set alias`.
    pub ifalias: Option<String>,
    /// Counters, as of a macvlan.
    pub stats64: Stats,
    /// Fields that a macvlan of the kernel does not have.
    pub umacvlan: UmacvlanInfo,
}

/// Kind of a link, and its macvlan settings.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct LinkInfo {
    /// `macvlan`, or `macvtap` if the far end is a program.
    pub info_kind: String,
    /// Macvlan settings.
    pub info_data: InfoData,
}

/// Macvlan settings, as iproute2 6.4 and later show them. Fields that do not apply are absent.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct InfoData {
    /// `vepa`, `bridge`, `private`, `passthru` or `source`.
    pub mode: String,
    /// `true`, or absent.
    pub nopromisc: Option<bool>,
    /// `true`, or absent.
    pub nodst: Option<bool>,
    /// `true`, or absent. Not of the kernel's macvlan.
    pub spoofchk: Option<bool>,
    /// How much the link sends and receives at most; absent without a limit. Not of the kernel's
    /// macvlan.
    pub limits: Option<LimitsJson>,
    /// What the link exchanges frames with, and from where it sends; absent if everything is allowed.
    /// Not of the kernel's macvlan.
    pub rules: Option<RulesJson>,
    /// Requested length of the broadcast queue, in frames.
    pub bcqueuelen: u32,
    /// Length of the broadcast queue in use, in frames: the largest request on the parent.
    pub usedbcqueuelen: u32,
    /// Broadcast limit of the parent; absent when 1, the default.
    pub bclim: Option<i32>,
    /// Source mode: number of addresses in the source list.
    pub macaddr_count: Option<u32>,
    /// Source mode: the source list; absent when empty.
    pub macaddr_data: Option<Vec<String>>,
}

/// An [`InfoData`] that no daemon of this version sends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InfoDataError {
    /// An address of the source list.
    #[error(transparent)]
    Address(#[from] ParseMacError),
    /// A rule.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The mode.
    #[error(transparent)]
    Mode(#[from] ParseModeError),
}

impl InfoData {
    /// Shows these settings. `bclim` and `used`, the broadcast queue in use, are the parent's.
    pub fn new(settings: &MacvlanSettings, bclim: i32, used: u32) -> Self {
        let MacvlanSettings { mode, flags, limits, rules, sources, .. } = settings;
        let on = |flag| flags.contains(flag).then_some(true);
        let is_source = *mode == Mode::Source;
        let addresses = || sources.iter().map(ToString::to_string).collect();
        Self {
            mode: mode.to_string(),
            nopromisc: on(MacvlanFlag::Nopromisc),
            nodst: on(MacvlanFlag::Nodst),
            spoofchk: on(MacvlanFlag::Spoofchk),
            limits: (!limits.is_empty()).then(|| (*limits).into()),
            rules: (!rules.is_empty()).then(|| rules.clone().into()),
            bcqueuelen: settings.bc_queue_len(),
            usedbcqueuelen: used,
            bclim: (bclim != DEFAULT_BC_CUTOFF).then_some(bclim),
            macaddr_count: is_source.then(|| u32::try_from(sources.len()).unwrap_or(u32::MAX)),
            macaddr_data: (is_source && !sources.is_empty()).then(addresses),
        }
    }

    /// The flags that are on.
    pub fn flags(&self) -> MacvlanFlags {
        let on = |shown: Option<bool>| shown.unwrap_or_default();
        MacvlanFlags::default()
            .with(MacvlanFlag::Nodst, on(self.nodst))
            .with(MacvlanFlag::Nopromisc, on(self.nopromisc))
            .with(MacvlanFlag::Spoofchk, on(self.spoofchk))
    }

    /// The settings that are shown, none of them absent.
    ///
    /// # Errors
    /// The mode or an address cannot be parsed.
    pub fn settings(&self) -> Result<MacvlanSettings, InfoDataError> {
        let addresses = self.macaddr_data.iter().flatten();
        Ok(MacvlanSettings {
            mode: self.mode.parse()?,
            flags: self.flags(),
            bcqueuelen: Some(self.bcqueuelen),
            bclim: Some(self.bclim.unwrap_or(DEFAULT_BC_CUTOFF)),
            limits: self.limits.clone().unwrap_or_default().into(),
            rules: self.rules.clone().unwrap_or_default().try_into()?,
            sources: addresses.map(|address| address.parse()).collect::<Result<_, _>>()?,
        })
    }
}

/// Counters as the kernel's macvlan has them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Stats {
    /// Frames delivered to the link.
    pub rx: RxStats,
    /// Frames sent by the link.
    pub tx: TxStats,
}

/// Receive counters of an interface, as in `struct rtnl_link_stats64`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct RxStats {
    /// Bytes delivered.
    pub bytes: u64,
    /// Frames delivered.
    pub packets: u64,
    /// Frames not delivered.
    pub errors: u64,
    /// Frames dropped.
    pub dropped: u64,
    /// Frames larger than the receive buffer.
    pub over_errors: u64,
    /// Multicast and broadcast frames delivered.
    pub multicast: u64,
    /// Frames of a wrong length.
    pub length_errors: u64,
    /// Frames with a wrong FCS.
    pub crc_errors: u64,
    /// Frames with an alignment error.
    pub frame_errors: u64,
    /// Frames lost to a full FIFO.
    pub fifo_errors: u64,
    /// Frames lost for want of buffers.
    pub missed_errors: u64,
    /// Frames that no protocol took; absent when 0.
    pub nohandler: Option<u64>,
}

/// Transmit counters of an interface, as in `struct rtnl_link_stats64`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct TxStats {
    /// Bytes sent.
    pub bytes: u64,
    /// Frames sent.
    pub packets: u64,
    /// Frames not sent.
    pub errors: u64,
    /// Frames dropped.
    pub dropped: u64,
    /// Frames lost without carrier.
    pub carrier_errors: u64,
    /// Collisions.
    pub collisions: u64,
    /// Transmissions aborted.
    pub aborted_errors: u64,
    /// Frames lost to a full FIFO.
    pub fifo_errors: u64,
    /// Late collisions.
    pub window_errors: u64,
    /// Heartbeat errors.
    pub heartbeat_errors: u64,
    /// How often the carrier has changed.
    pub carrier_changes: u64,
}

/// Fields of a link that a macvlan of the kernel does not have.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = Own)]
pub struct UmacvlanInfo {
    /// Number of the link; it stays the same when the link is renamed or moved and when the daemon
    /// restarts.
    pub id: u64,
    /// Name of the parent.
    pub parent: String,
    /// Name of the link's entry in the configuration; absent for a link made by request.
    pub config: Option<String>,
    /// Opaque owner tag set by the creator; absent if none was given.
    pub owner: Option<String>,
    /// The name that its owner gave it, by which it is selected from other namespaces; absent while
    /// the interface has it.
    pub given_name: Option<String>,
    /// Namespace of the link: its name in /run/netns, or `net:[INODE]` if it has none; absent in
    /// the daemon's own namespace.
    pub netns: Option<String>,
    /// Its IP addresses, or networks, that the host reaches through a link of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host: Vec<String>,
    /// The host's IP addresses on that link, if they were given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_address: Vec<String>,
    /// What it has by DHCP; absent if it does not ask for it.
    pub dhcp: Option<DhcpView>,
    /// Why the link cannot be set up: its address is in use. Absent if it can, and while it is up.
    pub conflict: Option<String>,
    /// Index of the parent's interface.
    pub link_index: u32,
    /// Id of the parent's namespace as the link's namespace knows it; absent when both are in the
    /// same one.
    pub link_netnsid: Option<i32>,
    /// Uplink backend of the parent: `af-packet`, `af-xdp`, or `none` while the parent is absent.
    pub backend: String,
    /// AF_XDP mode: `zero-copy`, `native` or `generic`; absent for other backends.
    pub xdp: Option<String>,
    /// Why no faster backend is in use; absent if there was no choice.
    pub backend_why: Option<String>,
    /// How the TAP is read and written: `uring` or `plain`.
    pub io: String,
    /// CPU that the parent's first worker is pinned to.
    pub cpu: Option<u32>,
    /// How the worker waits for frames: `adaptive`, `busy` or `interrupt`.
    pub poll: String,
    /// Multicast groups that the link receives; empty if `all_groups` is true.
    pub groups: Vec<String>,
    /// Whether the link receives all multicast groups.
    pub all_groups: bool,
    /// Unicast addresses beside its own that the link receives: those that the stack behind it has
    /// added, for VRRP or a macvlan on top of it, for example.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secondary: Vec<String>,
    /// Queues of a multi-queue TAP that others have attached from inside its namespace; absent without.
    /// Frames that the kernel puts there do not reach the daemon.
    pub extra_queues: Option<u32>,
    /// What its interface is; absent for a TAP that nobody wanted to be anything else.
    pub interface: Option<InterfaceView>,
    /// The port of a link whose far end is a program; absent for an interface.
    pub port: Option<PortView>,
    /// Frames from the link that its kernel queue dropped because it was full.
    pub queue_drops: u64,
    /// Counters of the engine.
    pub counters: SubCounters,
    /// What has happened to the link since the daemon started, newest last, as far as it is kept; only
    /// in the answer to GET of one link.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_events: Vec<LastEvent>,
}

/// The interface of a link, and what the kernel forwards for it.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Interface)]
pub struct InterfaceView {
    /// The kind of port: `tap` or `veth`.
    pub kind: String,
    /// Why it is a TAP although a veth pair was tried, or why the daemon forwards what the kernel could.
    pub why: Option<String>,
    /// Frames from and to the link that the kernel has forwarded without the daemon.
    pub answered: u64,
    /// All frames from and to the link.
    pub frames: u64,
}

/// The port of a link whose far end is a program.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Port)]
pub struct PortView {
    /// The kind of port: `dev`, `dgram`, `program-tap`, `stream` or `vhost-user`.
    pub kind: String,
    /// The path of the socket where the program connects, to which it sends, or at which it listens; absent
    /// with an interface.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub socket: String,
    /// The interface behind which the program is; absent with a socket.
    pub dev: Option<String>,
    /// The index of that interface, while it is in use.
    pub dev_index: Option<u32>,
    /// The program listens, and the daemon connects.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub client: bool,
    /// The user id of its file, if one was given.
    pub user: Option<u32>,
    /// The group id of its file, if one was given.
    pub group: Option<u32>,
    /// The process that is connected; absent if none is, 0 if it is not visible to the daemon.
    pub pid: Option<u32>,
    /// The effective user id of that process when it connected.
    pub uid: Option<u32>,
    /// The address of the program's own socket, with `dgram`: an absolute path, or an abstract name behind `@`.
    pub peer: Option<String>,
    /// Connections since the socket was made; how often the interface was taken into use.
    pub connections: u64,
    /// Why the last connection has ended; absent while there is one, and before the first.
    pub ended: Option<String>,
    /// What the program has agreed on; absent without one, and for other kinds than `vhost-user`.
    pub vhost: Option<VhostView>,
}

/// What a program that is connected by vhost-user has agreed on.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Vhost)]
pub struct VhostView {
    /// The features of virtio in use.
    pub features: Vec<String>,
    /// Bytes of its memory, in all regions.
    pub memory: u64,
    /// Regions of its memory.
    pub regions: u64,
    /// Pairs of rings.
    pub queues: u64,
    /// True while the rings are served: the carrier of the link.
    pub running: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_shown_are_read_again() {
        for flag in MacvlanFlag::ALL {
            let settings = MacvlanSettings {
                flags: MacvlanFlags::default().with(flag, true),
                bcqueuelen: Some(7),
                bclim: Some(-1),
                sources: vec!["02:00:00:00:00:09".parse().unwrap()],
                ..MacvlanSettings::new(Mode::Source)
            };
            assert_eq!(InfoData::new(&settings, -1, 1000).settings(), Ok(settings));
        }
        let unknown = InfoData { mode: "loud".to_owned(), ..InfoData::default() };
        assert!(matches!(unknown.settings(), Err(InfoDataError::Mode(_))));
    }
}
