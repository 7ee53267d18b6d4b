//! The plan of a run: a [`Group`] for each route and mode, with a list of [`Item`]s.

use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use umacvlan_core::Mode;
use umacvlan_lab::traffic::Sizes;

use super::PathArgs;
use super::peer::Peer;
use super::route::Route;
use super::scaling;
use crate::bench::progress::Progress;
use crate::bench::trials::Trials;

/// The kinds of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Measure {
    /// Rate received while one core sends as fast as it can
    Mrr,
    /// Highest rates without loss, and with a loss of one frame in 200
    Ndr,
    /// Latency, nearly idle and at 10, 50 and 90 % of the rate that loses one frame in 200
    Latency,
    /// One TCP stream
    Tcp,
    /// UDP request and response
    Rtt,
    /// Latency without and with 10 000 broadcast frames per second, with 256 sub-interfaces unless
    /// --subs is given
    Storm,
    /// Round trips, 1000 per second, beside a sub-interface that sends datagrams, small frames or
    /// broadcast GSO packets as fast as it can
    Neighbour,
    /// TCP through a parent whose queue has 200 Mbit/s and 1 Gbit/s: one stream and eight, with round
    /// trips beside them, and one from each of four sub-interfaces
    Queue,
    /// Rate that an uplink alone receives, with ports in memory
    Uplink,
    /// CPU time of the idle engine in percent of a core, with 4096 sub-interfaces unless --subs is
    /// given
    IdleCpu,
}

impl Measure {
    /// Its name on the command line.
    pub(super) fn name(self) -> String {
        // No measure is hidden, so each has a value.
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// True if it is measured only on request or with `--growth`.
    pub(super) const fn is_scaling(self) -> bool {
        matches!(self, Self::IdleCpu | Self::Storm)
    }
}

/// One frame size, or a mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) Sizes);

impl Size {
    /// The sizes of RFC 2544, and a mix.
    const ALL: [Self; 8] = [
        Self(Sizes::Fixed(64)),
        Self(Sizes::Fixed(128)),
        Self(Sizes::Fixed(256)),
        Self(Sizes::Fixed(512)),
        Self(Sizes::Fixed(1024)),
        Self(Sizes::Fixed(1280)),
        Self(Sizes::Fixed(1518)),
        Self(Sizes::Imix),
    ];

    pub(super) const SMALLEST: Self = Self(Sizes::Fixed(64));
    const LARGEST: Self = Self(Sizes::Fixed(1518));
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(size @ 64..=1518) => Ok(Self(Sizes::Fixed(size))),
            _ if text == "imix" => Ok(Self(Sizes::Imix)),
            _ => Err("a size is 64 to 1518, or imix".to_owned()),
        }
    }
}

/// The traffic of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Traffic {
    /// Unicast frames.
    Unicast(Sizes),
    /// Broadcast frames.
    Broadcast(Sizes),
    /// UDP datagrams to an ordinary socket.
    Datagrams(Sizes),
    /// No traffic.
    Nothing,
    /// A TCP stream in frames of the MTU with complete checksums, as on most wires.
    Segments,
    /// The traffic of the measure itself.
    Streams,
}

/// One measurement, with all its peers.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) measure: Measure,
    pub(super) traffic: Traffic,
    pub(super) peers: Vec<Peer>,
    pub(super) trials: Trials,
    /// The duration of one trial.
    pub(super) time: Duration,
}

impl Item {
    /// The traffic in the key of a point.
    pub(super) fn traffic_name(&self) -> &'static str {
        match (self.traffic, self.measure) {
            (Traffic::Unicast(Sizes::Imix), _) => "imix",
            (Traffic::Unicast(_), _) => "unicast",
            (Traffic::Broadcast(_), _) => "broadcast",
            (Traffic::Datagrams(_), _) => "udp",
            (Traffic::Segments, _) => "tcp-mtu",
            (Traffic::Nothing, _) => "none",
            (Traffic::Streams, Measure::Queue | Measure::Tcp) => "tcp",
            (Traffic::Streams, _) => "request",
        }
    }

    /// The number of progress steps of one trial of one peer.
    pub(super) fn steps(&self) -> u64 {
        match self.measure {
            Measure::Mrr | Measure::Tcp | Measure::Rtt | Measure::Uplink => 1,
            Measure::Latency | Measure::Storm => 4,
            Measure::IdleCpu => 8,
            Measure::Neighbour => super::neighbour::READINGS,
            Measure::Queue => super::queue::READINGS,
            Measure::Ndr => 30,
        }
    }
}

/// The measurements on one route in one mode, for one or more numbers of sub-interfaces.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) route: Route,
    pub(super) mode: Mode,
    /// The numbers of sub-interfaces, ascending.
    pub(super) subs: Vec<u32>,
    pub(super) items: Vec<Item>,
}

impl Group {
    /// All peers of this group.
    pub(super) fn peers(&self) -> Vec<Peer> {
        let here = |peer: &Peer| self.items.iter().any(|item| item.peers.contains(peer));
        Peer::ALL.into_iter().filter(here).collect()
    }

    /// True if uplinks are measured alone, and not a path.
    pub(super) fn is_of_uplinks(&self) -> bool {
        self.items.iter().any(|item| item.measure == Measure::Uplink)
    }
}

/// The groups that the arguments request.
pub(super) fn plan(args: &PathArgs, progress: &Progress) -> Vec<Group> {
    let mut groups = scaling::groups(args, progress);
    if args.growth {
        return groups;
    }
    groups.extend(uplinks(args, progress));
    groups.extend(super::neighbour::groups(args, progress));
    groups.extend(super::queue::groups(args, progress));
    let routes = Route::ALL.into_iter().filter(|route| is_requested(&args.path, route));
    for route in routes {
        let modes = Mode::ALL.into_iter().filter(|mode| route.forwards(*mode));
        for mode in modes.filter(|mode| is_requested(&args.mode, mode)) {
            let thorough = route.is_thorough(mode) || !args.mode.is_empty();
            if thorough || !progress.quick && route != Route::Hairpin {
                let items = items(args, progress, route, mode, thorough);
                groups.push(Group {
                    route,
                    mode,
                    subs: scaling::numbers(args, route, mode),
                    items,
                });
            }
        }
    }
    groups.retain(|group| !group.items.is_empty());
    groups
}

/// True if `word` is requested: an empty list requests everything.
pub(super) fn is_requested<T: PartialEq>(words: &[T], word: &T) -> bool {
    words.is_empty() || words.contains(word)
}

fn items(
    args: &PathArgs,
    progress: &Progress,
    route: Route,
    mode: Mode,
    thorough: bool,
) -> Vec<Item> {
    let quick = progress.quick;
    let sizes: Vec<Size> = match (&args.size[..], thorough, quick) {
        ([], true, false) => Size::ALL.to_vec(),
        ([], true, true) => vec![Size::SMALLEST, Size::LARGEST],
        ([], false, _) => vec![Size::SMALLEST],
        (sizes, _, _) => sizes.to_vec(),
    };
    // A search takes as long as thirty trials, so only the extreme sizes are searched.
    let extremes = sizes.iter().filter(|size| {
        !args.size.is_empty() || **size == Size::SMALLEST || !quick && **size == Size::LARGEST
    });
    let mut wanted: Vec<(Measure, Traffic)> = Vec::new();
    wanted.extend(sizes.iter().map(|size| (Measure::Mrr, Traffic::Unicast(size.0))));
    if thorough && sizes.contains(&Size::SMALLEST) {
        wanted.push((Measure::Mrr, Traffic::Datagrams(Size::SMALLEST.0)));
        if route == Route::WireToSub {
            wanted.push((Measure::Mrr, Traffic::Broadcast(Size::SMALLEST.0)));
        }
    }
    wanted.extend([Measure::Tcp, Measure::Rtt].map(|measure| (measure, Traffic::Streams)));
    if thorough && route == Route::WireToSub {
        wanted.push((Measure::Tcp, Traffic::Segments));
    }
    // Searches take long, so a quick run has them on one route only.
    if thorough && (!quick || route == Route::WireToSub || !args.path.is_empty()) {
        wanted.extend(extremes.map(|size| (Measure::Ndr, Traffic::Unicast(size.0))));
        let small = sizes.first().map(|size| (Measure::Latency, Traffic::Unicast(size.0)));
        wanted.extend(small);
    }
    wanted.retain(|(measure, _)| is_requested(&args.measure, measure));
    let item = |(measure, traffic)| Item {
        measure,
        traffic,
        peers: peers(args, route, mode, (measure, traffic)),
        trials: match measure {
            Measure::Ndr => progress.searches(),
            _ => progress.trials(if quick { 3 } else { 7 }),
        },
        time: args.time.map_or_else(|| usual_time(measure, quick), super::duration),
    };
    let items = wanted.into_iter().map(item);
    items.filter(|item| !item.peers.is_empty()).collect()
}

/// The group of uplinks alone, if requested.
fn uplinks(args: &PathArgs, progress: &Progress) -> Option<Group> {
    let (measure, route, mode) = (Measure::Uplink, Route::WireToSub, Mode::Bridge);
    let wanted = args.measure.contains(&measure);
    if !wanted || !is_requested(&args.path, &route) || !is_requested(&args.mode, &mode) {
        return None;
    }
    let sizes = if args.size.is_empty() { &[Size::SMALLEST] } else { &args.size[..] };
    let peers = Peer::ALL.into_iter().filter(|peer| peer.rx_backend().is_some());
    let peers: Vec<_> = peers.filter(|peer| is_requested(&args.peer, peer)).collect();
    let item = |size: &Size| Item {
        measure,
        traffic: Traffic::Unicast(size.0),
        peers: peers.clone(),
        trials: progress.trials(if progress.quick { 3 } else { 7 }),
        time: args.time.map_or_else(|| usual_time(measure, progress.quick), super::duration),
    };
    let subs = scaling::numbers(args, route, mode);
    Some(Group { route, mode, subs, items: sizes.iter().map(item).collect() })
}

/// The peers to measure, in the order of [`Peer::ALL`].
fn peers(args: &PathArgs, route: Route, mode: Mode, what: (Measure, Traffic)) -> Vec<Peer> {
    let (measure, traffic) = what;
    let narrowed = !args.size.is_empty() || !args.measure.is_empty();
    let small = measure == Measure::Mrr && traffic == Traffic::Unicast(Size::SMALLEST.0);
    let wanted = |peer: &Peer| match peer {
        // On veth, nobody would choose AF_XDP: measured on request only.
        Peer::UmacvlanXdp => args.peer.contains(peer),
        // It completes no partial checksums and segments no GSO packets.
        Peer::BaselineXdp => args.peer.contains(peer) && matches!(traffic, Traffic::Unicast(_)),
        // It has one destination only.
        Peer::Baseline if matches!(traffic, Traffic::Broadcast(_)) => false,
        Peer::Baseline if args.peer.is_empty() => small && args.subs.is_empty(),
        peer if args.peer.is_empty() && !args.subs.is_empty() => {
            matches!(peer, Peer::Umacvlan | Peer::Kernel)
        }
        // It saves a wake-up, which matters for request and response only.
        Peer::UmacvlanBusy if args.peer.is_empty() => measure == Measure::Rtt,
        // Its stations always send such segments.
        Peer::Ovs if traffic == Traffic::Segments => false,
        // A full run has no time for all of its measurements.
        Peer::Ovs if args.peer.is_empty() && !narrowed => {
            small || matches!(measure, Measure::Tcp | Measure::Rtt)
        }
        peer => is_requested(&args.peer, peer),
    };
    let peers = Peer::ALL.into_iter().filter(|peer| peer.supports(route, mode));
    peers.filter(wanted).collect()
}

pub(super) fn usual_time(measure: Measure, quick: bool) -> Duration {
    Duration::from_millis(match (measure, quick) {
        (Measure::IdleCpu, _) => 2000,
        (Measure::Neighbour, false) => 1000,
        (Measure::Neighbour, true) => 250,
        (Measure::Queue, false) => 4000,
        (Measure::Queue, true) => 1000,
        (Measure::Storm, false) => 500,
        (Measure::Tcp, false) => 300,
        (Measure::Ndr, false) => 150,
        (_, false) => 200,
        (Measure::Tcp, true) => 100,
        (Measure::Mrr | Measure::Latency | Measure::Storm | Measure::Uplink, true) => 60,
        (Measure::Ndr | Measure::Rtt, true) => 40,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(growth: bool, quick: bool) -> f64 {
        let args = PathArgs { growth, ..PathArgs::default() };
        let plan = plan(&args, &Progress::new(1, None, quick));
        let time = |item: &Item| {
            let turns =
                item.peers.len() as f64 * f64::from(item.trials.least) * item.steps() as f64;
            turns * (item.time.as_secs_f64() * 1.25 + 0.06)
        };
        let times =
            |group: &Group| group.items.iter().map(time).sum::<f64>() * group.subs.len() as f64;
        plan.iter().map(times).sum()
    }

    #[test]
    fn the_default_takes_less_than_fifteen_minutes_and_quick_less_than_one() {
        for growth in [false, true] {
            assert!(steps(growth, false) < 800.0, "{}", steps(growth, false));
            assert!(steps(growth, true) < 50.0, "{}", steps(growth, true));
        }
    }

    #[test]
    fn a_size_includes_the_fcs() {
        assert_eq!("64".parse(), Ok(Size::SMALLEST));
        assert_eq!("imix".parse(), Ok(Size(Sizes::Imix)));
        assert!("63".parse::<Size>().is_err() && "1519".parse::<Size>().is_err());
    }

    #[test]
    fn only_requested_items_are_measured() {
        let args = PathArgs {
            mode: vec![Mode::Private],
            path: vec![Route::SubToWire],
            peer: vec![Peer::Kernel],
            measure: vec![Measure::Mrr],
            size: vec![Size(Sizes::Fixed(256))],
            ..PathArgs::default()
        };
        let plan = plan(&args, &Progress::new(1, Some(Trials::fixed(5)), false));
        let [Group { route: Route::SubToWire, mode: Mode::Private, items, .. }] = &plan[..] else {
            panic!("{plan:?}");
        };
        let [item] = &items[..] else {
            panic!("{items:?}");
        };
        assert_eq!(
            (item.traffic, item.trials),
            (Traffic::Unicast(Sizes::Fixed(256)), Trials::fixed(5))
        );
        assert_eq!(item.peers, [Peer::Kernel]);
    }
}
