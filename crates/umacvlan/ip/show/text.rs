//! A link as text: exactly the lines of `ip` for a kernel macvlan, then lines of umacvlan.

use std::fmt::Write;

use super::{Style, drop_reasons, events, stats};
use umacvlan_core::options::{PortKind, ProgramKind};

use umacvlan_api::{DhcpView, InfoData, InterfaceView, LinkView, PortView, Reasons, VhostView};

/// The occasion for showing a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ip) enum Scene {
    /// `address show`, in which the addresses follow.
    Addresses,
    /// `monitor`: the link is new or has changed.
    Event,
    /// `link show`.
    Show,
}

/// The line or lines of a link, with a line feed at the end.
pub(in crate::ip) fn link(link: &LinkView, style: Style, scene: Scene) -> String {
    if style.brief {
        return brief(link, style);
    }
    let mut lines = vec![headline(link, style, scene), addresses(link, style)];
    if style.details {
        lines.push(macvlan(link, scene));
    }
    if let Some(alias) = &link.ifalias {
        lines.push(format!("    alias {}", escape_control(alias)));
    }
    if style.statistics > 0 && scene != Scene::Event {
        lines.extend(stats::lines(&link.stats64, style.human, style.statistics > 1));
    }
    if style.details {
        lines.push(own(link));
    }
    if style.statistics > 0 && scene != Scene::Event {
        lines.extend(counters(link, style));
    }
    if style.has_events() {
        lines.extend(events::lines(&link.umacvlan.last_events));
    }
    format!("{}\n", lines.join(if style.oneline { "\\" } else { "\n" }))
}

/// Escapes control characters in text that users choose. `ip` does not: a user who may name an
/// interface could then control the administrator's terminal.
pub(super) fn escape_control(text: &str) -> String {
    let shown = |sign: char| match sign.is_control() {
        true => sign.escape_default().collect(),
        false => sign.to_string(),
    };
    text.chars().map(shown).collect()
}

fn brief(link: &LinkView, style: Style) -> String {
    let paint = |sign, text| paint(style, sign, text);
    let name = paint(Some(NAME), format!("{:16} ", full_name(link, style)));
    let state = paint(state_sign(&link.operstate), format!("{:14} ", link.operstate));
    let address = paint(Some(ADDRESS), format!("{} ", link.address.as_deref().unwrap_or_default()));
    let netns = link.umacvlan.netns.as_ref().filter(|_| !style.inside);
    let netns = netns.map(|netns| format!("netns {netns} ")).unwrap_or_default();
    format!("{name}{state}{address}<{}> {netns}\n", link.flags.join(","))
}

/// `NAME@PARENT`, or `NAME@ifINDEX` when the parent is in another namespace.
pub(in crate::ip) fn full_name(link: &LinkView, style: Style) -> String {
    let name = escape_control(&link.ifname);
    let own = &link.umacvlan;
    match (&link.link, own.link_netnsid) {
        (_, Some(_)) if style.inside => format!("{name}@if{}", own.link_index),
        (_, Some(_)) => format!("{name}@{}", escape_control(&own.parent)),
        (Some(parent), None) => format!("{name}@{}", escape_control(parent)),
        (None, None) => name,
    }
}

fn headline(link: &LinkView, style: Style, scene: Scene) -> String {
    let name = paint(style, Some(NAME), format!("{}: ", full_name(link, style)));
    let mut line = format!("{}: {name}<{}> mtu {} ", link.ifindex, link.flags.join(","), link.mtu);
    if let Some(qdisc) = &link.qdisc {
        let _ = write!(line, "qdisc {qdisc} ");
    }
    let state = paint(style, state_sign(&link.operstate), format!("{} ", link.operstate));
    let _ = write!(line, "state {state}");
    if scene == Scene::Show {
        let _ = write!(line, "mode {} ", link.linkmode);
    }
    let _ = write!(line, "group {} ", style.group(link));
    if scene != Scene::Event {
        // The kernel's number has no sign, but ip prints one.
        let _ = write!(line, "qlen {}", link.txqlen.cast_signed());
    }
    line
}

fn addresses(link: &LinkView, style: Style) -> String {
    let mut line = format!("    link/{}", style.link_type(link));
    for (word, address) in [("", &link.address), ("brd ", &link.broadcast)] {
        if let Some(address) = address {
            let _ = write!(line, " {word}{}", paint(style, Some(ADDRESS), address.clone()));
        }
    }
    if style.inside {
        if let Some(id) = link.umacvlan.link_netnsid {
            let _ = write!(line, " link-netnsid {id}");
        }
    } else if let Some(netns) = &link.umacvlan.netns {
        let _ = write!(line, " netns {netns}");
    }
    if style.details {
        let _ = write!(line, " promiscuity {} ", link.promiscuity);
        if let Some(allmulti) = link.allmulti {
            let _ = write!(line, " allmulti {allmulti} ");
        }
        let _ = write!(line, "minmtu {} maxmtu {} ", link.min_mtu, link.max_mtu);
    }
    line
}

fn macvlan(link: &LinkView, scene: Scene) -> String {
    let InfoData { mode, bcqueuelen, usedbcqueuelen, bclim, limits, .. } = &link.linkinfo.info_data;
    let InfoData { macaddr_count, macaddr_data, .. } = &link.linkinfo.info_data;
    let mut line = format!("    {} mode {mode} ", link.linkinfo.info_kind);
    // In the order of `ip`.
    for flag in link.linkinfo.info_data.flags().iter().rev() {
        let _ = write!(line, "{} ", flag.name());
    }
    let _ = write!(line, "bcqueuelen {bcqueuelen} usedbcqueuelen {usedbcqueuelen} ");
    if let Some(bclim) = bclim {
        let _ = write!(line, "bclim {bclim} ");
    }
    for (word, value) in limits.iter().flat_map(|limits| limits.0.words()) {
        let _ = write!(line, "{word} {value} ");
    }
    for (word, _, values) in link.linkinfo.info_data.rules.iter().flat_map(|rules| rules.0.words())
    {
        let _ = write!(line, "{} {} ", word.name(), values.join(" "));
    }
    if let Some(count) = macaddr_count {
        let _ = write!(line, "remotes ({count}) ");
        macaddr_data.iter().flatten().for_each(|station| line.push_str(&format!("{station} ")));
    }
    if let Some(mode) = link.inet6_addr_gen_mode.as_ref().filter(|_| scene == Scene::Show) {
        let _ = write!(line, "addrgenmode {mode} ");
    }
    for (word, value) in [
        ("numtxqueues", link.num_tx_queues),
        ("numrxqueues", link.num_rx_queues),
        ("gso_max_size", link.gso_max_size),
        ("gso_max_segs", link.gso_max_segs),
        ("tso_max_size", link.tso_max_size),
        ("tso_max_segs", link.tso_max_segs),
        ("gro_max_size", link.gro_max_size),
    ] {
        if let Some(value) = value {
            let _ = write!(line, "{word} {value} ");
        }
    }
    line
}

/// The line with id, backend, I/O and worker.
fn own(link: &LinkView) -> String {
    let own = &link.umacvlan;
    let xdp = own.xdp.as_ref().map_or_else(String::new, |mode| format!(" xdp {mode}"));
    let mut line = format!("    umacvlan id {} backend {}{xdp} io {}", own.id, own.backend, own.io);
    if let Some(cpu) = own.cpu {
        let _ = write!(line, " cpu {cpu}");
    }
    let _ = write!(line, " poll {}", own.poll);
    for (word, value) in [("netns", &own.netns), ("config", &own.config)] {
        if let Some(value) = value {
            let _ = write!(line, " {word} {value}");
        }
    }
    if let Some(extra) = own.extra_queues {
        let _ = write!(line, "\n    umacvlan queues of others {extra}");
    }
    if !own.host.is_empty() {
        let _ = write!(line, "\n    umacvlan host {}", own.host.join(","));
        if !own.host_address.is_empty() {
            let _ = write!(line, " host_address {}", own.host_address.join(","));
        }
    }
    if let Some(dhcp) = &own.dhcp {
        line.push_str(&dhcp_line(dhcp));
    }
    if let Some(interface) = &own.interface {
        line.push_str(&interface_line(interface));
    }
    if let Some(port) = &own.port {
        line.push_str(&port_line(port));
    }
    line
}

/// The line about what a link has by DHCP, after a line feed.
fn dhcp_line(dhcp: &DhcpView) -> String {
    let mut line = format!("\n    umacvlan dhcp {}", dhcp.state);
    for (word, value) in [("address", &dhcp.address), ("server", &dhcp.server)] {
        if let Some(value) = value {
            let _ = write!(line, " {word} {value}");
        }
    }
    if let Some(seconds) = dhcp.expires {
        let _ = write!(line, " expires {seconds}sec");
    }
    for (word, values) in [("routers", &dhcp.routers), ("dns", &dhcp.dns)] {
        if !values.is_empty() {
            let _ = write!(line, " {word} {}", values.join(","));
        }
    }
    for (word, value) in [
        ("domain", &dhcp.domain),
        ("hostname", &dhcp.hostname),
        ("client-id", &dhcp.client_id),
        ("trouble:", &dhcp.trouble),
    ] {
        if let Some(value) = value {
            let _ = write!(line, " {word} {}", escape_control(value));
        }
    }
    line
}

/// The line about an interface that is no TAP, or was to be none, after a line feed.
fn interface_line(interface: &InterfaceView) -> String {
    let InterfaceView { kind, why, answered, frames } = interface;
    let mut line = format!("\n    umacvlan port {kind}");
    if kind == PortKind::Veth.name() {
        let _ = write!(line, " kernel {answered} of {frames} frames");
        if *frames > 0 {
            // Hundredths of a percent, rounded down: 100 % means all.
            let share = u128::from(*answered) * 10_000 / u128::from(*frames);
            let _ = write!(line, " ({}.{:02} %)", share / 100, share % 100);
        }
    }
    if let Some(why) = why {
        let _ = write!(line, " why: {why}");
    }
    line
}

/// The line about the program at the far end, after a line feed.
fn port_line(port: &PortView) -> String {
    let mut line = match (&port.dev, port.client) {
        (Some(name), _) if port.kind == ProgramKind::Dev.name() => {
            format!("\n    umacvlan port dev {name}")
        }
        (Some(name), _) => format!("\n    umacvlan port tap dev {name}"),
        (None, true) => format!("\n    umacvlan port {} client {}", port.kind, port.socket),
        (None, false) => format!("\n    umacvlan port {} socket {}", port.kind, port.socket),
    };
    if let Some(index) = port.dev_index {
        let _ = write!(line, " index {index}");
    }
    for (word, value) in
        [("user", port.user), ("group", port.group), ("pid", port.pid), ("uid", port.uid)]
    {
        if let Some(value) = value {
            let _ = write!(line, " {word} {value}");
        }
    }
    if let Some(peer) = &port.peer {
        let _ = write!(line, " peer {peer}");
    }
    let _ = write!(line, " connections {}", port.connections);
    if let Some(why) = &port.ended {
        let _ = write!(line, " ended: {why}");
    }
    if let Some(vhost) = &port.vhost {
        let VhostView { features, memory, regions, queues, running } = vhost;
        let state = if *running { "running" } else { "stopped" };
        let _ = write!(
            line,
            "\n    umacvlan rings {state} queues {queues} memory {memory} in {regions} regions"
        );
        if !features.is_empty() {
            let _ = write!(line, " features {}", features.join(","));
        }
    }
    line
}

/// Drops by reason, if there are any; with `-s -s` also the destinations of frames.
fn counters(link: &LinkView, style: Style) -> Vec<String> {
    let counters = &link.umacvlan.counters;
    let mut lines = Vec::new();
    if style.statistics > 1 {
        let count = |count| style.human.count(count);
        lines.push(format!(
            "    umacvlan rx offered {} delivered {} groups {} merged {} into {}",
            count(counters.offered),
            count(counters.delivered.frames),
            count(counters.groups),
            count(counters.merged),
            count(counters.supers)
        ));
        lines.push(format!(
            "    umacvlan tx received {} local {} flooded {} wire {}",
            count(counters.received.frames),
            count(counters.local),
            count(counters.flooded),
            count(counters.wire)
        ));
    }
    if style.statistics > 2 {
        lines.extend(explained_drops(link, style));
        return lines;
    }
    let drops = |way, reasons: &Reasons| {
        let each =
            reasons.iter().map(|(why, &frames)| format!(" {why} {}", style.human.count(frames)));
        let each: String = each.collect();
        (!each.is_empty()).then(|| format!("    umacvlan {way} dropped{each}"))
    };
    lines.extend(drops("rx", &counters.lost));
    lines.extend(drops("tx", &counters.dropped));
    if link.umacvlan.queue_drops > 0 {
        let drops = style.human.count(link.umacvlan.queue_drops);
        lines.push(format!("    umacvlan tx dropped queue_full {drops}"));
    }
    lines
}

/// A line for each reason of drops, with what it means.
fn explained_drops(link: &LinkView, style: Style) -> Vec<String> {
    let counters = &link.umacvlan.counters;
    let each = |way: &'static str, reasons: &Reasons| -> Vec<String> {
        let line = |(reason, &frames): (&String, &u64)| {
            let (count, meaning) = (style.human.count(frames), drop_reasons::meaning(reason));
            format!("    umacvlan {way} dropped {reason} {count}: {meaning}")
        };
        reasons.iter().map(line).collect()
    };
    let mut lines = each("rx", &counters.lost);
    lines.extend(each("tx", &counters.dropped));
    if link.umacvlan.queue_drops > 0 {
        let drops = style.human.count(link.umacvlan.queue_drops);
        let meaning = drop_reasons::QUEUE_FULL;
        lines.push(format!("    umacvlan tx dropped queue_full {drops}: {meaning}"));
    }
    if lines.is_empty() {
        lines.push("    umacvlan dropped nothing".to_owned());
    }
    lines
}

impl Style {
    pub(super) fn group(self, link: &LinkView) -> &str {
        if self.numeric && link.group == "default" { "0" } else { &link.group }
    }

    pub(super) fn link_type(self, link: &LinkView) -> &str {
        // ARPHRD_ETHER.
        if self.numeric && link.link_type == "ether" { "[1]" } else { &link.link_type }
    }
}

/// Select Graphic Rendition of ECMA-48: the colours of `ip` for a dark background.
const NAME: &str = "36";
const ADDRESS: &str = "33";

fn state_sign(state: &str) -> Option<&'static str> {
    match state {
        "UP" => Some("32"),
        "DOWN" => Some("31"),
        _ => None,
    }
}

fn paint(style: Style, sign: Option<&str>, text: String) -> String {
    match sign {
        Some(sign) if style.colour => format!("\x1b[{sign}m{text}\x1b[0m"),
        _ => text,
    }
}
