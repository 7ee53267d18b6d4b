//! A made-up report with points of every kind, for tests.

use std::sync::LazyLock;

use fastrand::Rng;

use super::report::{Better, Environment, Key, Point, Report, SCHEMA};
use super::summary::ratio;

pub(super) const PEERS: [&str; 4] = ["umacvlan", "kernel", "kernel-hairpin", "bridge"];

const SIZES: [u32; 7] = [64, 128, 256, 512, 1024, 1280, 1518];

/// The speed of each peer relative to the kernel.
const SPEED: [f64; 4] = [0.85, 1.0, 0.8, 0.55];

/// The report.
pub(super) fn report() -> Report {
    // Computed once, because its intervals take a while.
    static REPORT: LazyLock<Report> = LazyLock::new(make);
    REPORT.clone()
}

fn make() -> Report {
    let environment = Environment {
        version: "0.0.0".to_owned(),
        begun: "2026-01-01T00:00:00Z".to_owned(),
        command: ["umacvlan", "bench", "path"].map(str::to_owned).to_vec(),
        cpu: Some("Some <CPU> & more".to_owned()),
        cores: 2,
        kernel: "6.18.0 #1".to_owned(),
        shared_cores: Some(true),
        notes: vec!["made up".to_owned()],
        ..Environment::default()
    };
    let mut points = Vec::new();
    for path in ["wire-to-sub", "sub-to-sub"] {
        points.extend(sizes(path, "bridge"));
        points.extend(bulk(path));
        points.extend(latency(path));
    }
    points.extend(by_subs());
    Report { schema: SCHEMA.to_owned(), bench: "path".to_owned(), environment, points }
}

fn key(path: &str, mode: &str, traffic: &str, measure: &str) -> Key {
    let [path, mode, traffic, measure] = [path, mode, traffic, measure].map(str::to_owned);
    Key { path, mode, traffic, size: None, subs: 1, measure, peer: String::new() }
}

/// One point for each peer, with the ratio of ours to the kernel's.
fn peers(key: &Key, unit: &str, better: Better, kernel: f64) -> Vec<Point> {
    let mut random = Rng::with_seed(kernel.to_bits());
    let mut points: Vec<Point> = Vec::new();
    for (peer, speed) in PEERS.iter().zip(SPEED) {
        let speed = if better == Better::Higher { speed } else { 1.0 / speed };
        let samples = (0..7).map(|_| kernel * speed * (0.97 + 0.06 * random.f64())).collect();
        let key = Key { peer: (*peer).to_owned(), ..key.clone() };
        points.push(Point::new(key, unit, better, samples, 1));
    }
    points[0].ratio = ratio("kernel", &points[0].samples, &points[1].samples, 1);
    points
}

fn sizes(path: &str, mode: &str) -> Vec<Point> {
    let of_size = |size: u32| {
        let key = Key { size: Some(size), ..key(path, mode, "udp", "mrr") };
        peers(&key, "frames/s", Better::Higher, 1.2e6 - 200.0 * f64::from(size))
    };
    SIZES.into_iter().flat_map(of_size).collect()
}

fn bulk(path: &str) -> Vec<Point> {
    let of_mode =
        |mode| peers(&key(path, mode, "tcp", "throughput"), "bit/s", Better::Higher, 1.1e10);
    ["bridge", "private", "vepa"].into_iter().flat_map(of_mode).collect()
}

fn latency(path: &str) -> Vec<Point> {
    let key = Key { size: Some(64), ..key(path, "bridge", "request", "latency") };
    let mut points = peers(&key, "us", Better::Lower, 15.0);
    for point in &mut points {
        let names = ["p50", "p90", "p99", "p99.9", "p99.99", "max"];
        for (name, factor) in names.into_iter().zip([1.0, 1.3, 2.0, 6.0, 20.0, 90.0]) {
            point.extra.insert(name.to_owned(), point.summary.median * factor);
        }
    }
    points
}

fn by_subs() -> Vec<Point> {
    let mut points = Vec::new();
    for subs in [1, 8, 64, 1024, 65_536] {
        for mode in ["bridge", "passthru", "private", "source", "vepa"] {
            let key = Key { size: Some(64), subs, ..key("decision", mode, "hit", "cost") };
            let cost = 2.0 + f64::from(subs).ln() / 5.0;
            points.extend(peers(&key, "ns/frame", Better::Lower, cost).into_iter().take(1));
        }
        let key = Key { size: Some(64), subs, ..key("wire-to-sub", "bridge", "broadcast", "mrr") };
        let mut flood = peers(&key, "frames/s", Better::Higher, 1e6 / f64::from(subs));
        for point in &mut flood {
            point.extra.insert("copies".to_owned(), f64::from(subs));
        }
        points.extend(flood);
    }
    points
}
