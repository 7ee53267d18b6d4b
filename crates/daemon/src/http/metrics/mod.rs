//! Metrics in OpenMetrics text. They are read from the engine for each scrape, so counting costs a
//! worker one addition only.
//!
//! A series exists from the moment on that its parent or link does: a reason for drops that has not
//! occurred is 0. How many links have series is up to whoever asks ([`LinkSeries`]).
//!
//! `direction` is that of `ip -s link`: `rx` is towards a link and, for a parent, from the wire;
//! `tx` is from a link, and to the wire. A link in the daemon's own namespace has an empty `netns`.

#[cfg(test)]
mod documented;
mod selection;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Result;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use umacvlan_core::DropReason;
use umacvlan_dhcp::Phase;

use umacvlan_api::{Amount, LinkView, ParentView, Problem, Reasons, SubCounters};

use super::{App, VERSION};
use crate::ServiceError;
pub(super) use selection::LinkSeries;

/// Metrics for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "daemon",
    params(("links" = Option<String>, Query, description = "Which links have series of their own: \
        `all` (the default), `none`, or a number: that many, those with the most bytes.")),
    responses(
        (status = 200, description = "OpenMetrics text.", body = String,
            content_type = "application/openmetrics-text"),
        (status = "default", description = "The problem.", body = Problem),
    )
)]
pub(super) async fn metrics(
    State(app): State<App>,
    series: LinkSeries,
) -> core::result::Result<impl IntoResponse, ServiceError> {
    let (links, parents) =
        app.call(|service| Ok((service.links(None, None)?, service.parents()?))).await?;
    let uptime = app.started.elapsed();
    let scrape = Scrape { links, parents, series, uptime, version: VERSION };
    Ok(([(CONTENT_TYPE, CONTENT)], render(scrape)))
}

/// The content type of [`render`].
pub(super) const CONTENT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All values of one scrape.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) links: Vec<LinkView>,
    pub(super) parents: Vec<ParentView>,
    /// Which links have series of their own.
    pub(super) series: LinkSeries,
    /// Time since the daemon started.
    pub(super) uptime: Duration,
    pub(super) version: &'static str,
}

/// The text of a scrape.
pub(super) fn render(scrape: Scrape) -> String {
    let mut registry = Registry::with_prefix("umacvlan");
    registry.register_collector(Box::new(scrape));
    let mut text = String::new();
    // Writing into a string cannot fail.
    let _ = text::encode(&mut text, &registry);
    text
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result {
        let encoder = &mut encoder;
        self.daemon(encoder)?;
        self.of_parents(encoder)?;
        self.of_workers(encoder)?;
        self.of_links(encoder)
    }
}

/// The labels of one value.
type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Scrape {
    fn daemon(&self, encoder: &mut DescriptorEncoder<'_>) -> Result {
        let name = "build";
        let mut info = encoder.encode_descriptor(name, "What runs.", None, MetricType::Info)?;
        info.encode_info(&[("version", self.version)])?;
        let help = "How long the daemon has run.";
        let uptime = self.uptime.as_secs_f64();
        encoder
            .encode_descriptor("daemon_uptime", help, Some(&Unit::Seconds), MetricType::Gauge)?
            .encode_gauge(&uptime)?;
        for (name, help, count) in [
            ("parents", "How many parents there are.", self.parents.len()),
            ("links", "How many links there are.", self.links.len()),
        ] {
            let mut gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            gauge.encode_gauge(&count)?;
        }
        let states = self.links.iter().filter_map(|link| link.umacvlan.dhcp.as_ref());
        let known = Phase::ALL.map(Phase::name).into_iter().chain(["down"]);
        let mut counts: BTreeMap<&str, u64> = known.map(|state| (state, 0)).collect();
        states.for_each(|dhcp| *counts.entry(dhcp.state.as_str()).or_insert(0) += 1);
        let help = "How many links get their addresses by DHCP, by the state of the client.";
        let each = counts.into_iter().map(|(state, count)| (vec![("state", state)], count));
        gauges(encoder, "dhcp_links", help, each)
    }

    fn of_parents(&self, encoder: &mut DescriptorEncoder<'_>) -> Result {
        let each = |value: fn(&ParentView) -> u64| {
            self.parents.iter().map(move |parent| (of_parent(parent), value(parent)))
        };
        let amounts = |value: fn(Amount) -> u64| {
            self.parents.iter().flat_map(move |parent| {
                let both = [("rx", parent.wire.received), ("tx", parent.wire.sent)];
                both.map(|(way, amount)| (with(of_parent(parent), way), value(amount)))
            })
        };
        let drops = self.parents.iter().flat_map(|parent| {
            let both = [("rx", &parent.wire.dropped), ("tx", &parent.wire.unsent)];
            both.into_iter().flat_map(|(way, why)| by_reason(with(of_parent(parent), way), why))
        });

        let help = "1 if the parent's interface is there.";
        gauges(encoder, "parent_present", help, each(|parent| parent.present.into()))?;
        let help = "1 if the parent has a carrier.";
        gauges(encoder, "parent_carrier", help, each(|parent| parent.carrier.into()))?;
        let help = "How many links a parent has.";
        gauges(encoder, "parent_links", help, each(|parent| parent.links as u64))?;
        let help = "IP addresses of links that share the parent's MAC address.";
        let neighbours = each(|parent| parent.neighbours.len() as u64);
        gauges(encoder, "parent_neighbours", help, neighbours)?;
        let help = "Frames from the wire and to it; a GSO packet counts as one.";
        counters(encoder, "parent_frames", help, None, amounts(|amount| amount.frames))?;
        let help = "Their bytes, Ethernet header included.";
        counters(encoder, "parent", help, Some(&Unit::Bytes), amounts(|amount| amount.bytes))?;
        let help = "Frames that ended at the parent without being delivered or sent.";
        counters(encoder, "parent_drops", help, None, drops)?;
        let help = "Frames from the wire that the uplink's ring had no room for, or a killed daemon not finished.";
        counters(encoder, "parent_ring_drops", help, None, each(|parent| parent.wire.ring_drops))?;
        let help = "Frames from the wire that were left to the host alone.";
        counters(encoder, "parent_host_frames", help, None, each(|parent| parent.wire.host))?;
        let help = "Frames to the wire that were merged with others before they were sent.";
        counters(encoder, "parent_merged_frames", help, None, each(|parent| parent.wire.merged))?;
        let help = "GSO packets that merging made for the wire.";
        counters(encoder, "parent_supers", help, None, each(|parent| parent.wire.supers))?;
        let help = "Replicas of group frames, one for each link.";
        counters(encoder, "parent_replicas", help, None, each(|parent| parent.wire.replicas))
    }

    fn of_workers(&self, encoder: &mut DescriptorEncoder<'_>) -> Result {
        let each = |value: fn(&ParentView) -> u64| {
            self.parents.iter().map(move |parent| (of_parent(parent), value(parent)))
        };
        let seconds = self.parents.iter().flat_map(|parent| {
            let worker = &parent.worker;
            let states =
                [("busy", worker.busy), ("spinning", worker.spinning), ("asleep", worker.asleep)];
            states.map(|(state, seconds)| {
                let mut labels = of_parent(parent);
                labels.push(("state", state));
                (labels, seconds)
            })
        });

        let help = "How many workers a parent has.";
        gauges(encoder, "parent_workers", help, each(|parent| parent.workers.len() as u64))?;
        let help = "What the workers of a parent do with their time.";
        counters(encoder, "worker", help, Some(&Unit::Seconds), seconds)?;
        let help = "Passes of the workers' loops.";
        counters(encoder, "worker_turns", help, None, each(|parent| parent.worker.turns))?;
        let help = "Those in which there was something to do.";
        counters(
            encoder,
            "worker_busy_turns",
            help,
            None,
            each(|parent| parent.worker.busy_turns),
        )?;
        let help = "How often a worker went to sleep.";
        counters(encoder, "worker_sleeps", help, None, each(|parent| parent.worker.sleeps))?;
        let help = "System calls that the workers made for frames and to wait for them.";
        counters(encoder, "worker_syscalls", help, None, each(|parent| parent.worker.syscalls))?;
        let help = "Frames that the workers have read, from whichever side.";
        counters(encoder, "worker_frames", help, None, each(|parent| parent.worker.frames))
    }

    fn of_links(&self, encoder: &mut DescriptorEncoder<'_>) -> Result {
        let (links, left_out) = self.series.select(&self.links);
        let help = "How many links have no series of their own in this scrape.";
        let mut gauge =
            encoder.encode_descriptor("links_left_out", help, None, MetricType::Gauge)?;
        gauge.encode_gauge(&left_out)?;
        let links = &links;
        let amounts = |value: fn(Amount) -> u64| {
            links.iter().copied().flat_map(move |link| {
                let counters = &link.umacvlan.counters;
                let both = [("rx", counters.delivered), ("tx", counters.received)];
                both.map(|(way, amount)| (with(of_link(link), way), value(amount)))
            })
        };
        let drops = links.iter().copied().flat_map(|link| {
            let counters = &link.umacvlan.counters;
            let both = [("rx", &counters.lost), ("tx", &counters.dropped)];
            both.into_iter().flat_map(|(way, why)| by_reason(with(of_link(link), way), why))
        });
        let queue_drops =
            links.iter().copied().map(|link| (of_link(link), link.umacvlan.queue_drops));
        let merged = |value: fn(&SubCounters) -> u64| {
            links.iter().copied().map(move |link| (of_link(link), value(&link.umacvlan.counters)))
        };

        let help = "Frames to a link and from it; a GSO packet counts as one.";
        counters(encoder, "link_frames", help, None, amounts(|amount| amount.frames))?;
        let help = "Their bytes, Ethernet header included.";
        counters(encoder, "link", help, Some(&Unit::Bytes), amounts(|amount| amount.bytes))?;
        let help = "Frames to a link and from it that were not delivered.";
        counters(encoder, "link_drops", help, None, drops)?;
        let help = "Frames from a link that its own queue had no room for.";
        counters(encoder, "link_queue_drops", help, None, queue_drops)?;
        let help = "Frames to a link that were merged with others on the last step.";
        counters(encoder, "link_merged_frames", help, None, merged(|counters| counters.merged))?;
        let help = "GSO packets that merging made for a link.";
        counters(encoder, "link_supers", help, None, merged(|counters| counters.supers))
    }
}

fn of_parent(parent: &ParentView) -> Labels<'_> {
    vec![("parent", &parent.name)]
}

fn of_link(link: &LinkView) -> Labels<'_> {
    let own = &link.umacvlan;
    let netns = own.netns.as_deref().unwrap_or_default();
    vec![("link", &link.ifname), ("netns", netns), ("parent", &own.parent)]
}

fn with<'a>(mut labels: Labels<'a>, direction: &'static str) -> Labels<'a> {
    labels.push(("direction", direction));
    labels
}

fn by_reason<'a>(
    labels: Labels<'a>,
    reasons: &'a Reasons,
) -> impl Iterator<Item = (Labels<'a>, u64)> {
    // What a later version would count is there as well.
    let known = DropReason::ALL.map(DropReason::name);
    let others = reasons.keys().map(String::as_str).filter(move |name| !known.contains(name));
    known.into_iter().chain(others).map(move |reason| {
        let mut labels = labels.clone();
        labels.push(("reason", reason));
        (labels, reasons.get(reason).copied().unwrap_or_default())
    })
}

fn counters<'a, V: EncodeCounterValue>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    values: impl IntoIterator<Item = (Labels<'a>, V)>,
) -> Result {
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
    values.into_iter().try_for_each(|(labels, value)| {
        family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
    })
}

fn gauges<'a, V: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels<'a>, V)>,
) -> Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    values
        .into_iter()
        .try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
}
