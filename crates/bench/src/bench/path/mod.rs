//! `umacvlan bench path`: the end-to-end cost of a path over veth and TAP, compared with peers.
//!
//! Instruments, engine and peers run in this process, in unnamed network namespaces. Peers
//! alternate within each round, in an order that the seed decides.

mod busy_loops;
mod copies;
mod idle;
mod neighbour;
mod offloads;
mod ovs;
mod peer;
mod perf_counters;
mod plan;
mod points;
mod queue;
mod ratios;
mod reading;
mod route;
mod sample;
mod scaling;
mod storm;
mod worker_cost;

use std::io;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use umacvlan_core::Mode;
use umacvlan_core::options::{PortKind, WORKERS_MAX};
use umacvlan_lab::error::LabError;
use umacvlan_lab::measure::check_congestion;
use umacvlan_text::arguments::one_of;

use super::progress::Progress;
use super::report::Point;
use super::stability::{Finding, low_load};
use crate::shared::cores::Cores;
use crate::shared::namespaces::ensure_allowed;
use busy_loops::beside;
use peer::{Peer, Testbed};
use plan::{Group, Item, Measure, Size, plan};
use points::Series;
use route::Route;

/// The arguments of `bench path`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct PathArgs {
    /// Only these modes: bridge, passthru, private, source, vepa
    #[arg(long, value_name = "MODE", value_delimiter = ',')]
    mode: Vec<Mode>,

    /// Only these paths
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    path: Vec<Route>,

    /// Only frames of these sizes: 64 to 1518 bytes with the FCS, or imix
    #[arg(long, value_name = "SIZE", value_delimiter = ',')]
    size: Vec<Size>,

    /// Only these forwarders
    #[arg(long, value_name = "WHO", value_delimiter = ',')]
    peer: Vec<Peer>,

    /// Only these measures
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    measure: Vec<Measure>,

    /// Numbers of sub-interfaces instead of 4, most of them idle: umacvlan beside the kernel
    #[arg(long, value_name = "NUMBER", value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(1..=60_000))]
    subs: Vec<u32>,

    /// Measure how cost grows with the number of sub-interfaces, and nothing else
    #[arg(long)]
    growth: bool,

    /// Number of workers of our parents
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(WORKERS_MAX)))]
    workers: u8,

    /// What our sub-interfaces are, as for run
    #[arg(long, value_name = "KIND", default_value = "tap", value_parser = one_of(PortKind::ALL, PortKind::name))]
    port: PortKind,

    /// Number of source ports of UDP datagrams, used in turn: each is a flow, for one worker
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    flows: u16,

    /// Congestion control of TCP streams, such as cubic [default: the system's]
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,

    /// Run this many threads that only use their core beside each trial of everyone
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=1024))]
    load: u16,

    /// Seconds of one trial
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    time: Option<f64>,
}

impl PathArgs {
    /// Checks before the measurement that it can measure something.
    ///
    /// # Errors
    /// A path is not forwarded in any of the modes, nothing has all that is asked for, or this kernel lacks
    /// the congestion control.
    pub(crate) fn check(&self, quick: bool) -> Result<()> {
        if let Some(name) = &self.congestion {
            check_congestion(name)?;
        }
        if !plan(self, &Progress::new(0, None, quick)).is_empty() {
            return Ok(());
        }
        for route in &self.path {
            let modes: Vec<_> =
                Mode::ALL.into_iter().filter(|mode| route.forwards(*mode)).collect();
            if !self.mode.is_empty() && !self.mode.iter().any(|mode| modes.contains(mode)) {
                let modes: Vec<_> = modes.iter().map(ToString::to_string).collect();
                bail!("path {route} is measured in mode {} only", modes.join(" or "));
            }
        }
        bail!("no path has all that was asked for: nothing to measure")
    }
}

/// What there is to find of the machine before measuring: frames at a low rate.
///
/// # Errors
/// Namespaces may not be created.
pub(crate) fn probe(quick: bool) -> Result<Vec<Finding>> {
    ensure_allowed("this bench")?;
    Ok(low_load(quick))
}

/// Measures what the arguments request. What fails is noted, and the rest is measured: a peer that
/// cannot be prepared, or a trial in which a frame arrived altered or not in time.
///
/// # Errors
/// Namespaces may not be created, or nothing has all that was asked for.
pub(crate) fn run(args: &PathArgs, progress: &mut Progress) -> Result<Vec<Point>> {
    ensure_allowed("this bench")?;
    let mut groups = plan(args, progress);
    find_ovs(args, &mut groups, progress)?;
    anyhow::ensure!(!groups.is_empty(), "no path has all that was asked for: nothing to measure");
    note_cores(progress);
    note_workers(args, progress);
    note_congestion(args, progress);
    note_load(progress);
    if args.load > 0 {
        progress.load = Some(args.load);
        progress.note(format!("each trial of everyone ran beside {} busy threads", args.load));
    }
    note_counters(progress);
    if args.measure.contains(&Measure::Queue) {
        queue::note_queues(progress);
    }
    progress.begin(groups.iter().map(steps).sum());
    let mut points = Vec::new();
    for group in &groups {
        if progress.is_interrupted() {
            break;
        }
        points.extend(measure(group, args, progress));
    }
    Ok(points)
}

/// The number of progress steps of a group.
fn steps(group: &Group) -> u64 {
    let steps = |item: &Item| item.steps() * item.peers.len() as u64 * u64::from(item.trials.least);
    group.items.iter().map(steps).sum::<u64>() * group.subs.len() as u64
}

/// Measures one route and mode. The testbeds for all numbers of sub-interfaces exist at once, so
/// that they are measured in the same rounds.
fn measure(group: &Group, args: &PathArgs, progress: &mut Progress) -> Vec<Point> {
    let mut testbeds = prepare(group, args, progress);
    let mut points = Vec::new();
    // The rates that searches have found, for latencies at fractions of them.
    let mut rates = vec![Vec::new(); testbeds.len()];
    for item in &group.items {
        let mut series = Series::new(group, item);
        let mut round = 0;
        'rounds: while !series.is_enough(round, progress.seed) {
            if round >= item.trials.least {
                progress.expect_more(item.steps() * item.peers.len() as u64);
            }
            for place in progress.order(round, testbeds.len()) {
                let testbed = &mut testbeds[place];
                if !item.peers.contains(&testbed.peer) {
                    continue;
                }
                if progress.is_interrupted() {
                    break 'rounds;
                }
                progress.at(format!("{} {}: {}", group.route, group.mode, testbed.peer));
                match trial(item, testbed, args.load, &mut rates[place], progress) {
                    Ok(readings) => series.add(testbed, readings, progress),
                    Err(error) => progress.miss(format!(
                        "a trial of {} {} {} {}: {error:#}",
                        group.route,
                        group.mode,
                        item.measure.name(),
                        testbed.peer
                    )),
                }
                (0..item.steps()).for_each(|_| progress.step());
            }
            round += 1;
        }
        series.note_wide(progress);
        points.extend(series.points(progress.seed));
    }
    points
}

/// Builds the testbeds of a group. Those that cannot be built are noted.
fn prepare(group: &Group, args: &PathArgs, progress: &mut Progress) -> Vec<Testbed> {
    let mut testbeds = Vec::new();
    let peers = group.peers();
    let wanted = group.subs.iter().flat_map(|subs| peers.iter().map(|peer| (*peer, *subs)));
    for (peer, subs) in wanted.filter(|(peer, subs)| peer.supports_subs(*subs)) {
        progress.at(format!("{} {}: preparing {peer}", group.route, group.mode));
        match Testbed::build(peer, group, subs, args) {
            Ok(testbed) => {
                offloads::record(&testbed, progress);
                testbeds.push(testbed);
            }
            Err(error) if is_unsupported(&error) => {
                progress.note(format!("{peer} is left out: this kernel has no such driver"));
            }
            // Only this peer is left out if the system does not let it start.
            Err(error) if peer == Peer::Ovs && !args.peer.contains(&peer) => {
                progress.note(format!("ovs is left out: {error:#}"));
            }
            Err(error) => progress.miss(format!(
                "{} {} {peer} with {subs} sub-interfaces: {error:#}",
                group.route, group.mode
            )),
        }
    }
    testbeds
}

/// One trial of one peer.
fn trial(
    item: &Item,
    testbed: &mut Testbed,
    load: u16,
    rates: &mut Vec<(plan::Traffic, f64)>,
    progress: &mut Progress,
) -> Result<Vec<reading::Reading>> {
    if testbed.peer.is_busy_polling() {
        testbed.attach()?;
        offloads::record(testbed, progress);
    }
    let known = rates.iter().find(|(traffic, _)| *traffic == item.traffic);
    let mut rate = known.map(|(_, rate)| *rate);
    let readings = beside(load.into(), || sample::sample(item, testbed, &mut rate));
    if let (None, Some(rate)) = (known, rate) {
        rates.push((item.traffic, rate));
    }
    if testbed.peer.is_busy_polling() {
        testbed.detach()?;
    }
    readings
}

/// Notes which Open vSwitch is measured. If it is missing, it is left out, or an error if requested
/// by name.
fn find_ovs(args: &PathArgs, groups: &mut [Group], progress: &mut Progress) -> Result<()> {
    if !groups.iter().any(|group| group.peers().contains(&Peer::Ovs)) {
        return Ok(());
    }
    match ovs::version() {
        Ok(version) => progress.note(format!(
            "ovs is the userspace datapath of {version} with AF_PACKET ports, on the core of our \
             worker; its stations finish their checksums and segments in software, because it \
             does neither"
        )),
        Err(error) if args.peer.contains(&Peer::Ovs) => {
            return Err(error.context("ovs cannot be measured"));
        }
        Err(error) => {
            progress.note(format!("ovs is left out: {error:#}"));
            for item in groups.iter_mut().flat_map(|group| &mut group.items) {
                item.peers.retain(|peer| *peer != Peer::Ovs);
            }
        }
    }
    Ok(())
}

/// Notes the cores of all threads, and whether they are shared.
fn note_cores(progress: &mut Progress) {
    let cores = Cores::find();
    let shared = cores.ends.is_none_or(|(from, to)| from == to);
    progress.shared_cores = Some(shared);
    progress.note(cores.to_string());
    if shared {
        progress.note(
            "generator and receiver share a core: each is slower than alone, for everyone alike, \
             and delays of the generator are part of the highest latencies",
        );
    }
}

/// Notes the limits of measurements with several workers.
fn note_workers(args: &PathArgs, progress: &mut Progress) {
    if args.workers < 2 {
        return;
    }
    progress.note(format!(
        "our parents have {} workers; UDP comes from {} ports, and other frames are one flow, which \
         one worker has alone",
        args.workers, args.flows
    ));
    let (cores, wanted) = (umacvlan_engine::cpus::allowed().len(), usize::from(args.workers) + 2);
    if cores < wanted {
        progress.note(format!(
            "scaling: n/a: {cores} cores, and workers, generator and receiver want {wanted}; with \
             fewer, workers take time from each other"
        ));
    }
}

/// Notes why cycles are not counted, if so.
fn note_counters(progress: &mut Progress) {
    if let Some(error) = perf_counters::missing() {
        progress.note(format!(
            "cycles and instructions are n/a: no counters of the processor for this program ({error})"
        ));
    }
}

/// Notes TCP's congestion control, which on a short path matters more than the forwarder.
fn note_congestion(args: &PathArgs, progress: &mut Progress) {
    let used = args.congestion.clone().or_else(|| {
        let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
        text.ok().map(|text| text.trim().to_owned())
    });
    if let Some(name) = used {
        progress.note(format!("TCP's congestion control is {name}"));
    }
}

/// Notes that the machine was busy, which makes its figures useless.
fn note_load(progress: &mut Progress) {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Option<f64> = text.split_whitespace().next().and_then(|load| load.parse().ok());
    if let Some(load) = load.filter(|load| *load > BUSY) {
        progress.note(format!(
            "the machine was busy with other things: its load was {load} before it began"
        ));
    }
}

fn is_unsupported(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<LabError>().map(LabError::kind);
    kind == Some(io::ErrorKind::Unsupported)
}

/// The duration for an argument that [`seconds`] has checked.
fn duration(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds @ 0.01..=60.0) => Ok(seconds),
        _ => Err("seconds are 0.01 to 60".to_owned()),
    }
}

/// A load average above which other processes disturb the measurement.
const BUSY: f64 = 0.5;
