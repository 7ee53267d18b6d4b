//! [`link`] and [`parent`]: the API's views of links and parents.
//!
//! A link is shown as the macvlan that it stands for. Flags, queue and limits are those of its TAP;
//! the parent below it, and that a missing carrier is the parent's, are shown as for a macvlan.
//!
//! Packets and bytes are counted by the TAP, which lives on when the daemon restarts: a TAP's RX is
//! what was delivered to the link, its TX what the engine has read. Multicast and lost frames are
//! counted by the engine, since it started. As for a macvlan, a lost frame is an error and a drop.

use umacvlan_core::options::PortKind;
use umacvlan_core::stats::SubStats;
use umacvlan_core::{DropReason, MacAddr};
use umacvlan_datapath::worker::WorkerConfig;
use umacvlan_engine::engine::{
    HostFilterStatus, ParentStatus, PortStatus, SubStatus, UplinkKind, UplinkStatus,
    VlanFilterStatus, WorkerStatus,
};
use umacvlan_netlink::{Link, LinkFlags, LinkStats, OperState};

use crate::port_view::port_view;
use umacvlan_api::{
    DhcpView, HostAccess, InfoData, InterfaceView, LinkInfo, LinkView, ParentView, RxStats, Stats,
    SubCounters, TxStats, UmacvlanInfo, WireCounters, WorkerCounters, WorkerView,
};

/// Values of a link that neither its interface nor the engine has.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkContext {
    /// Key of its entry in the configuration.
    pub config: Option<String>,
    /// Opaque owner tag set by the creator.
    pub owner: Option<String>,
    /// The name that its owner gave it.
    pub given_name: Option<String>,
    /// What it has by DHCP, if it asks for it.
    pub dhcp: Option<DhcpView>,
    /// How the host reaches it.
    pub host: HostAccess,
    /// Name of its namespace; absent in the daemon's own.
    pub netns: Option<String>,
    /// Whether the parent is administratively up.
    pub parent_up: bool,
}

/// The view of a link.
pub(crate) fn link(
    sub: &SubStatus,
    parent: &ParentStatus,
    stats: &SubStats,
    context: LinkContext,
) -> LinkView {
    let Link { link_type, .. } = sub.link;
    let link = &sub.link;
    let at_home = context.netns.is_none();
    LinkView {
        ifindex: sub.index,
        link: at_home.then(|| parent.name.clone()),
        ifname: sub.name.clone(),
        // From another namespace, the parent's flags cannot be seen.
        flags: flags(link.flags, at_home && !context.parent_up),
        mtu: link.mtu,
        qdisc: link.qdisc.clone(),
        operstate: operstate(link).to_owned(),
        linkmode: if link.mode == 0 { "DEFAULT" } else { "DORMANT" }.to_owned(),
        group: if link.group == 0 { "default".to_owned() } else { link.group.to_string() },
        txqlen: link.txqlen,
        link_type: if link_type == ETHERNET { "ether".to_owned() } else { link_type.to_string() },
        address: Some(sub.mac.to_string()),
        broadcast: link.broadcast.map(|mac| mac.to_string()),
        promiscuity: link.promiscuity,
        allmulti: link.allmulti,
        min_mtu: link.min_mtu,
        max_mtu: link.max_mtu,
        linkinfo: LinkInfo {
            info_kind: if sub.program.is_some() { "macvtap" } else { "macvlan" }.to_owned(),
            info_data: InfoData::new(&sub.settings, parent.bc_cutoff, parent.bc_queue_used),
        },
        inet6_addr_gen_mode: link.addr_gen_mode.map(addr_gen_mode),
        num_tx_queues: link.num_tx_queues,
        num_rx_queues: link.num_rx_queues,
        gso_max_size: link.gso_max_size,
        gso_max_segs: link.gso_max_segs,
        tso_max_size: link.tso_max_size,
        tso_max_segs: link.tso_max_segs,
        gro_max_size: link.gro_max_size,
        ifalias: (!link.alias.is_empty()).then(|| link.alias.clone()),
        stats64: match sub.program {
            Some(_) => counters(link, &counted(stats), stats),
            None => counters(link, &link.stats, stats),
        },
        umacvlan: umacvlan_info(sub, parent, stats, context),
    }
}

/// The view of a parent. `configured`: the configuration has it, so it stays without links.
pub(crate) fn parent(status: &ParentStatus, configured: bool) -> ParentView {
    let counters = &status.counters;
    let (host_filter, host_filter_missing) = host_filter(status);
    let vlan = Some(status.vlan.to_string()).filter(|vlan| !vlan.is_empty());
    ParentView {
        name: status.name.clone(),
        link: vlan.is_some().then(|| status.link.clone()),
        vlan,
        ifindex: status.index,
        address: status.mac.to_string(),
        mtu: status.mtu,
        all_groups: Some(status.all_groups),
        present: status.present,
        notice: Some(status.notice.clone()).filter(|notice| !notice.is_empty()),
        carrier: status.carrier,
        backend: status.uplink.kind.to_string(),
        xdp: xdp(status),
        backend_why: why(status),
        unproven: xdp(status).is_some().then_some(status.uplink.unproven),
        host_filter,
        host_filter_missing,
        vlan_filter: vlan_filter(status).map(str::to_owned),
        macnat: status.neighbours.is_some(),
        neighbours: crate::neighbours::views(status),
        semantics: status.semantics.to_string(),
        release: Some(status.release.to_string()),
        poll: config(status).poll.to_string(),
        cpu: cpu(status),
        io: io(status).to_owned(),
        configured,
        links: status.subs.len(),
        usedbcqueuelen: status.bc_queue_used,
        bclim: status.bc_cutoff,
        wire: WireCounters::new(&counters.wire, status.ring_drops),
        removed: SubCounters::from(&counters.removed),
        worker: WorkerCounters::new(&counters.turns, io(status)),
        workers: status.workers.iter().map(|one| worker(one, io(status))).collect(),
    }
}

fn worker(status: &WorkerStatus, io: &str) -> WorkerView {
    WorkerView {
        cpu: status.config.cpu.and_then(|cpu| u32::try_from(cpu).ok()),
        received: status.wire.received.into(),
        sent: status.wire.sent.into(),
        time: WorkerCounters::new(&status.turns, io),
    }
}

/// The word for what was done to the VLAN filter, if anything was.
fn vlan_filter(status: &ParentStatus) -> Option<&'static str> {
    match status.vlan_filter {
        VlanFilterStatus::Passes | VlanFilterStatus::Untouched => None,
        VlanFilterStatus::Promiscuous => Some("promiscuous"),
        VlanFilterStatus::SwitchedOff => Some("off"),
    }
}

/// The word for the host filter, and why there is none.
fn host_filter(status: &ParentStatus) -> (String, Option<String>) {
    match &status.host_filter {
        HostFilterStatus::Idle => ("idle".to_owned(), None),
        HostFilterStatus::On(attachment) => (attachment.to_string(), None),
        HostFilterStatus::Off(why) => ("none".to_owned(), Some(why.clone())),
    }
}

/// The AF_XDP mode, if the uplink is one.
fn xdp(parent: &ParentStatus) -> Option<String> {
    match parent.uplink.kind {
        UplinkKind::AfXdp(mode) => Some(mode.to_string()),
        UplinkKind::None | UplinkKind::AfPacket => None,
    }
}

/// Why no faster backend is in use, if there was a choice.
fn why(parent: &ParentStatus) -> Option<String> {
    let UplinkStatus { why, .. } = &parent.uplink;
    (!why.is_empty()).then(|| why.clone())
}

fn umacvlan_info(
    sub: &SubStatus,
    parent: &ParentStatus,
    stats: &SubStats,
    context: LinkContext,
) -> UmacvlanInfo {
    UmacvlanInfo {
        id: sub.number.0,
        parent: parent.name.clone(),
        config: context.config,
        owner: context.owner,
        given_name: context.given_name.filter(|given| *given != sub.name),
        link_netnsid: context.netns.as_ref().and(sub.parent_nsid),
        netns: context.netns,
        host: context.host.to.iter().map(ToString::to_string).collect(),
        host_address: context.host.from.iter().map(ToString::to_string).collect(),
        dhcp: context.dhcp,
        conflict: sub.conflict.map(|conflict| conflict.to_string()),
        link_index: parent.index.unwrap_or(0),
        backend: parent.uplink.kind.to_string(),
        xdp: xdp(parent),
        backend_why: why(parent),
        io: io(parent).to_owned(),
        cpu: cpu(parent),
        poll: config(parent).poll.to_string(),
        groups: if sub.all_groups { Vec::new() } else { words(&sub.groups) },
        all_groups: sub.all_groups,
        secondary: words(&sub.secondary),
        extra_queues: Some(sub.extra_queues).filter(|&extra| extra > 0),
        interface: interface(sub, stats),
        port: sub.program.as_ref().map(port_view),
        queue_drops: sub.queue_drops,
        counters: SubCounters::from(stats),
        last_events: Vec::new(),
    }
}

/// The interface of a link, unless it is a TAP without a reason.
fn interface(sub: &SubStatus, stats: &SubStats) -> Option<InterfaceView> {
    let PortStatus { kind, why, answered, .. } = &sub.port;
    let why = Some(why.clone()).filter(|why| !why.is_empty());
    let is_plain = sub.program.is_some() || *kind == PortKind::Tap && why.is_none();
    let frames = stats.received.frames + stats.delivered.frames;
    let view = InterfaceView { kind: kind.to_string(), why, answered: *answered, frames };
    (!is_plain).then_some(view)
}

/// What a TAP would have counted, for a link that has none.
fn counted(stats: &SubStats) -> LinkStats {
    let mut tap = LinkStats::default();
    (tap.rx_packets, tap.rx_bytes) = (stats.delivered.frames, stats.delivered.bytes);
    (tap.tx_packets, tap.tx_bytes) = (stats.received.frames, stats.received.bytes);
    tap
}

/// See the head of this file. Frames to a link that was down do not count as sent to it.
fn counters(link: &Link, tap: &LinkStats, stats: &SubStats) -> Stats {
    let lost = stats.lost.total() - stats.lost[DropReason::Down];
    let unsent = stats.dropped.total() - stats.dropped[DropReason::Down];
    Stats {
        rx: RxStats {
            bytes: tap.rx_bytes,
            packets: tap.rx_packets,
            errors: tap.rx_errors + lost,
            dropped: tap.rx_dropped + lost,
            over_errors: tap.rx_over_errors,
            multicast: tap.multicast + stats.groups,
            length_errors: tap.rx_length_errors,
            crc_errors: tap.rx_crc_errors,
            frame_errors: tap.rx_frame_errors,
            fifo_errors: tap.rx_fifo_errors,
            missed_errors: tap.rx_missed_errors,
            nohandler: (tap.rx_nohandler != 0).then_some(tap.rx_nohandler),
        },
        tx: TxStats {
            bytes: tap.tx_bytes,
            packets: tap.tx_packets,
            errors: tap.tx_errors,
            dropped: tap.tx_dropped + unsent,
            carrier_errors: tap.tx_carrier_errors,
            collisions: tap.collisions,
            aborted_errors: tap.tx_aborted_errors,
            fifo_errors: tap.tx_fifo_errors,
            window_errors: tap.tx_window_errors,
            heartbeat_errors: tap.tx_heartbeat_errors,
            carrier_changes: link.carrier_changes.unwrap_or(0).into(),
        },
    }
}

/// The flags, in the order of `ip`.
fn flags(flags: LinkFlags, parent_down: bool) -> Vec<String> {
    let up = flags.contains(LinkFlags::Up);
    let no_carrier = up && !flags.contains(LinkFlags::Running);
    let named = FLAGS.into_iter().filter(|&(flag, _)| flags.contains(flag)).map(|(_, name)| name);
    let names = no_carrier.then_some("NO-CARRIER").into_iter().chain(named);
    names.chain(parent_down.then_some("M-DOWN")).map(str::to_owned).collect()
}

/// As of a macvlan: its carrier is its parent's.
fn operstate(link: &Link) -> &'static str {
    match link.operstate {
        _ if !link.is_up() => "DOWN",
        OperState::Dormant => "DORMANT",
        OperState::Testing => "TESTING",
        _ if link.flags.contains(LinkFlags::LowerUp) => "UP",
        _ => "LOWERLAYERDOWN",
    }
}

/// `IN6_ADDR_GEN_MODE_*` of `linux/if_link.h`, by the words of `ip`.
fn addr_gen_mode(mode: u8) -> String {
    match mode {
        0 => "eui64".to_owned(),
        1 => "none".to_owned(),
        2 => "stable_secret".to_owned(),
        3 => "random".to_owned(),
        other => format!("{other:#x}"),
    }
}

fn io(parent: &ParentStatus) -> &'static str {
    if parent.counters.uring { "uring" } else { "plain" }
}

/// The settings of the workers, which differ in their CPU only.
fn config(parent: &ParentStatus) -> WorkerConfig {
    parent.workers.first().map_or_else(WorkerConfig::default, |worker| worker.config)
}

/// The CPU of the first worker.
fn cpu(parent: &ParentStatus) -> Option<u32> {
    config(parent).cpu.and_then(|cpu| u32::try_from(cpu).ok())
}

fn words(macs: &[MacAddr]) -> Vec<String> {
    macs.iter().map(ToString::to_string).collect()
}

/// `ARPHRD_ETHER` of `linux/if_arp.h`.
const ETHERNET: u16 = 1;

const FLAGS: [(LinkFlags, &str); 17] = [
    (LinkFlags::Loopback, "LOOPBACK"),
    (LinkFlags::Broadcast, "BROADCAST"),
    (LinkFlags::Pointopoint, "POINTOPOINT"),
    (LinkFlags::Multicast, "MULTICAST"),
    (LinkFlags::Noarp, "NOARP"),
    (LinkFlags::Allmulti, "ALLMULTI"),
    (LinkFlags::Promisc, "PROMISC"),
    (LinkFlags::Controller, "MASTER"),
    (LinkFlags::Port, "SLAVE"),
    (LinkFlags::Debug, "DEBUG"),
    (LinkFlags::Dynamic, "DYNAMIC"),
    (LinkFlags::Automedia, "AUTOMEDIA"),
    (LinkFlags::Portsel, "PORTSEL"),
    (LinkFlags::Notrailers, "NOTRAILERS"),
    (LinkFlags::Up, "UP"),
    (LinkFlags::LowerUp, "LOWER_UP"),
    (LinkFlags::Dormant, "DORMANT"),
];

#[cfg(test)]
#[path = "to_api_tests.rs"]
mod tests;
