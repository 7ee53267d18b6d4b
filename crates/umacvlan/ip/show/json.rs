//! [`LinkJson`]: the fields of a link in the order of `ip -j`.

use serde::Serialize;
use serde_with::skip_serializing_none;

use super::Style;
use umacvlan_api::{
    InterfaceView, LastEvent, LinkInfo, LinkView, PortView, Stats, SubCounters, UmacvlanInfo,
};

/// A link as a JSON object.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(in crate::ip) enum LinkJson<'a> {
    Brief(Brief<'a>),
    Full(Box<Full<'a>>),
}

#[skip_serializing_none]
#[derive(Debug, Serialize)]
pub(in crate::ip) struct Brief<'a> {
    #[serde(flatten)]
    parent: Parent<'a>,
    ifname: &'a str,
    operstate: &'a str,
    address: Option<&'a str>,
    flags: &'a [String],
    netns: Option<&'a str>,
}

#[skip_serializing_none]
#[derive(Debug, Serialize)]
pub(in crate::ip) struct Full<'a> {
    ifindex: u32,
    #[serde(flatten)]
    parent: Parent<'a>,
    ifname: &'a str,
    flags: &'a [String],
    mtu: u32,
    qdisc: Option<&'a str>,
    operstate: &'a str,
    linkmode: &'a str,
    group: &'a str,
    txqlen: i32,
    link_type: &'a str,
    address: Option<&'a str>,
    broadcast: Option<&'a str>,
    link_netnsid: Option<i32>,
    #[serde(flatten)]
    details: Option<Details<'a>>,
    ifalias: Option<&'a str>,
    stats64: Option<StatsJson>,
    /// The namespace, unless it is the daemon's or given by `-n`.
    netns: Option<&'a str>,
    umacvlan: Option<OwnJson<'a>>,
}

/// The name of the parent, or its index from another namespace.
#[skip_serializing_none]
#[derive(Debug, Default, Serialize)]
struct Parent<'a> {
    link: Option<&'a str>,
    link_index: Option<u32>,
}

#[skip_serializing_none]
#[derive(Debug, Serialize)]
struct Details<'a> {
    promiscuity: u32,
    allmulti: Option<u32>,
    min_mtu: u32,
    max_mtu: u32,
    linkinfo: &'a LinkInfo,
    inet6_addr_gen_mode: Option<&'a str>,
    num_tx_queues: Option<u32>,
    num_rx_queues: Option<u32>,
    gso_max_size: Option<u32>,
    gso_max_segs: Option<u32>,
    tso_max_size: Option<u32>,
    tso_max_segs: Option<u32>,
    gro_max_size: Option<u32>,
}

#[derive(Debug, Serialize)]
struct StatsJson {
    rx: RxJson,
    tx: TxJson,
}

#[derive(Debug, Serialize)]
struct RxJson {
    bytes: u64,
    packets: u64,
    errors: u64,
    dropped: u64,
    over_errors: u64,
    multicast: u64,
    #[serde(flatten)]
    kinds: Option<RxErrors>,
}

#[skip_serializing_none]
#[derive(Debug, Serialize)]
struct RxErrors {
    length_errors: u64,
    crc_errors: u64,
    frame_errors: u64,
    fifo_errors: u64,
    missed_errors: u64,
    nohandler: Option<u64>,
}

#[derive(Debug, Serialize)]
struct TxJson {
    bytes: u64,
    packets: u64,
    errors: u64,
    dropped: u64,
    carrier_errors: u64,
    collisions: u64,
    #[serde(flatten)]
    kinds: Option<TxErrors>,
}

#[derive(Debug, Serialize)]
struct TxErrors {
    aborted_errors: u64,
    fifo_errors: u64,
    window_errors: u64,
    heartbeat_errors: u64,
    carrier_changes: u64,
}

/// Fields that `ip` does not have.
#[skip_serializing_none]
#[derive(Debug, Serialize)]
struct OwnJson<'a> {
    id: u64,
    parent: &'a str,
    config: Option<&'a str>,
    given_name: Option<&'a str>,
    netns: Option<&'a str>,
    conflict: Option<&'a str>,
    backend: &'a str,
    xdp: Option<&'a str>,
    backend_why: Option<&'a str>,
    io: &'a str,
    cpu: Option<u32>,
    poll: &'a str,
    groups: &'a [String],
    all_groups: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    secondary: &'a [String],
    extra_queues: Option<u32>,
    interface: Option<&'a InterfaceView>,
    port: Option<&'a PortView>,
    queue_drops: Option<u64>,
    counters: Option<&'a SubCounters>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    last_events: &'a [LastEvent],
}

impl<'a> LinkJson<'a> {
    pub(in crate::ip) fn new(link: &'a LinkView, style: Style) -> Self {
        let ifname = link.ifname.as_str();
        let operstate = link.operstate.as_str();
        let address = link.address.as_deref();
        let netns = link.umacvlan.netns.as_deref().filter(|_| !style.inside);
        let parent = Parent::new(link, style);
        if style.brief {
            let flags = &link.flags;
            return Self::Brief(Brief { parent, ifname, operstate, address, flags, netns });
        }
        Self::Full(Box::new(Full {
            ifindex: link.ifindex,
            parent,
            ifname,
            flags: &link.flags,
            mtu: link.mtu,
            qdisc: link.qdisc.as_deref(),
            operstate,
            linkmode: &link.linkmode,
            group: style.group(link),
            txqlen: link.txqlen.cast_signed(),
            link_type: style.link_type(link),
            address,
            broadcast: link.broadcast.as_deref(),
            link_netnsid: link.umacvlan.link_netnsid.filter(|_| style.inside),
            details: style.details.then(|| Details::new(link)),
            ifalias: link.ifalias.as_deref(),
            stats64: (style.statistics > 0).then(|| StatsJson::new(&link.stats64, style)),
            netns,
            umacvlan: style.details.then(|| OwnJson::new(&link.umacvlan, style)),
        }))
    }
}

impl<'a> Parent<'a> {
    fn new(link: &'a LinkView, style: Style) -> Self {
        let own = &link.umacvlan;
        match own.link_netnsid {
            Some(_) if style.inside => Self { link_index: Some(own.link_index), link: None },
            Some(_) => Self { link: Some(&own.parent), link_index: None },
            None => Self { link: link.link.as_deref(), link_index: None },
        }
    }
}

impl<'a> Details<'a> {
    fn new(link: &'a LinkView) -> Self {
        Self {
            promiscuity: link.promiscuity,
            allmulti: link.allmulti,
            min_mtu: link.min_mtu,
            max_mtu: link.max_mtu,
            linkinfo: &link.linkinfo,
            inet6_addr_gen_mode: link.inet6_addr_gen_mode.as_deref(),
            num_tx_queues: link.num_tx_queues,
            num_rx_queues: link.num_rx_queues,
            gso_max_size: link.gso_max_size,
            gso_max_segs: link.gso_max_segs,
            tso_max_size: link.tso_max_size,
            tso_max_segs: link.tso_max_segs,
            gro_max_size: link.gro_max_size,
        }
    }
}

impl<'a> OwnJson<'a> {
    fn new(own: &'a UmacvlanInfo, style: Style) -> Self {
        let counted = style.statistics > 0;
        Self {
            id: own.id,
            parent: &own.parent,
            config: own.config.as_deref(),
            given_name: own.given_name.as_deref(),
            netns: own.netns.as_deref(),
            conflict: own.conflict.as_deref(),
            backend: &own.backend,
            xdp: own.xdp.as_deref(),
            backend_why: own.backend_why.as_deref(),
            io: &own.io,
            cpu: own.cpu,
            poll: &own.poll,
            groups: &own.groups,
            all_groups: own.all_groups,
            secondary: &own.secondary,
            extra_queues: own.extra_queues,
            interface: own.interface.as_ref(),
            port: own.port.as_ref(),
            queue_drops: counted.then_some(own.queue_drops),
            counters: counted.then_some(&own.counters),
            last_events: if style.has_events() { &own.last_events } else { &[] },
        }
    }
}

impl StatsJson {
    fn new(Stats { rx, tx }: &Stats, style: Style) -> Self {
        let kinds = style.statistics > 1;
        Self {
            rx: RxJson {
                bytes: rx.bytes,
                packets: rx.packets,
                errors: rx.errors,
                dropped: rx.dropped,
                over_errors: rx.over_errors,
                multicast: rx.multicast,
                kinds: kinds.then_some(RxErrors {
                    length_errors: rx.length_errors,
                    crc_errors: rx.crc_errors,
                    frame_errors: rx.frame_errors,
                    fifo_errors: rx.fifo_errors,
                    missed_errors: rx.missed_errors,
                    nohandler: rx.nohandler,
                }),
            },
            tx: TxJson {
                bytes: tx.bytes,
                packets: tx.packets,
                errors: tx.errors,
                dropped: tx.dropped,
                carrier_errors: tx.carrier_errors,
                collisions: tx.collisions,
                kinds: kinds.then_some(TxErrors {
                    aborted_errors: tx.aborted_errors,
                    fifo_errors: tx.fifo_errors,
                    window_errors: tx.window_errors,
                    heartbeat_errors: tx.heartbeat_errors,
                    carrier_changes: tx.carrier_changes,
                }),
            },
        }
    }
}
