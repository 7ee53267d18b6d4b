//! What a decision costs, beside the bare look-up it is built on.
//!
//! `bare` looks the same keys up in a hashbrown map and does nothing else: `hit` should stay
//! within 2.5 times of it. Frames come in random order, so a large table is as cold as it will be
//! in life. Every verdict is carried out as far as counting who got the frame.
#![allow(clippy::expect_used, reason = "a panic is how a bench fails")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hashbrown::HashMap;
use umacvlan_core::{
    Frame, MacAddr, Mode, Parent, Semantics, SubConfig, SubId, Switch, Then, Verdict,
};

const SIZES: [usize; 4] = [1, 16, 1024, 65_536];

/// The head of a frame, which is all that a decision reads.
type Head = [u8; 16];

/// Random numbers that are the same in every run (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A locally administered address of one station.
    fn mac(&mut self) -> MacAddr {
        let [a, b, c, d, e, ..] = self.next().to_le_bytes();
        MacAddr::new([2, a, b, c, d, e])
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let place = self.next() % from.len() as u64;
        from[usize::try_from(place).expect("it is below a length")]
    }
}

/// A switch full of sub-interfaces that are up, and their addresses.
struct Scene {
    random: Random,
    switch: Switch,
    ids: Vec<SubId>,
    macs: Vec<MacAddr>,
}

impl Scene {
    fn new(subs: usize, mode: Mode) -> Self {
        let mut random = Random(42);
        let parent = Parent { mac: random.mac(), mtu: 1500, promisc: true };
        let switch = Switch::new(parent, Semantics::Documented);
        let mut scene = Self { random, switch, ids: Vec::new(), macs: Vec::new() };
        for _ in 0..subs {
            scene.add(mode, Vec::new());
        }
        scene
    }

    fn add(&mut self, mode: Mode, sources: Vec<MacAddr>) {
        let mac = self.random.mac();
        let config = SubConfig { mac, mode, sources, ..SubConfig::default() };
        let id = self.switch.add(&config).expect("there is room");
        self.switch.set_up(id, true).expect("the address is new");
        self.ids.push(id);
        self.macs.push(mac);
    }

    /// As many frames as there are sub-interfaces, but enough to be out of order.
    fn frames(&mut self, mut head: impl FnMut(&mut Random, &[MacAddr]) -> Head) -> Vec<Head> {
        let count = self.macs.len().max(1024);
        let Self { random, macs, .. } = self;
        (0..count).map(|_| head(random, macs)).collect()
    }
}

fn head(dst: MacAddr, src: MacAddr) -> Head {
    let mut head = [0; 16];
    head[..6].copy_from_slice(&dst.octets());
    head[6..12].copy_from_slice(&src.octets());
    head[12..14].copy_from_slice(&[0x08, 0x00]);
    head
}

fn view(head: &Head) -> Frame<'_> {
    Frame::new(head).expect("it is longer than a header")
}

/// Carries a verdict out, as far as that goes without ports.
// Always, as the engine's only call is.
#[inline(always)]
fn act(verdict: Verdict<'_>) -> usize {
    let copies = verdict.copies.map(|id| id.index()).sum::<usize>();
    copies
        + match verdict.then {
            Then::Deliver(id) => id.index(),
            Then::Flood(flood) => flood.count(),
            Then::Drop(reason) => reason.index(),
            Then::Host => 1,
            Then::Wire => 2,
        }
}

/// Runs `decide` on one frame after the other, round and round.
fn measure<T>(
    c: &mut Criterion,
    label: &str,
    size: usize,
    frames: &[T],
    decide: impl Fn(&T) -> usize,
) {
    let mut group = c.benchmark_group("forward");
    group.throughput(Throughput::Elements(1));
    group.bench_function(BenchmarkId::new(label, size), |b| {
        let mut round = frames.iter().cycle();
        b.iter(|| round.next().map(|frame| decide(black_box(frame))));
    });
    group.finish();
}

fn unicast(c: &mut Criterion) {
    for size in SIZES {
        let mut scene = Scene::new(size, Mode::Bridge);
        let hits = scene.frames(|random, macs| head(random.pick(macs), random.mac()));
        let misses = scene.frames(|random, _| head(random.mac(), random.mac()));
        let keys: Vec<u64> = hits.iter().map(|head| view(head).dst().to_u64()).collect();
        let table: HashMap<u64, SubId> =
            scene.macs.iter().map(|mac| mac.to_u64()).zip(scene.ids.iter().copied()).collect();
        let Scene { switch, ids, .. } = &scene;

        measure(c, "bare", size, &keys, |key| table.get(key).map_or(1, |id| id.index()));
        measure(c, "hit", size, &hits, |head| act(switch.ingress(view(head))));
        measure(c, "miss", size, &misses, |head| act(switch.ingress(view(head))));
        measure(c, "bridge local", size, &hits, |head| {
            act(switch.egress(ids[0], view(head), false))
        });
    }
}

/// What the second look-up costs that isolation needs.
fn private(c: &mut Criterion) {
    let mut scene = Scene::new(1024, Mode::Private);
    let frames = scene.frames(|random, macs| head(random.pick(macs), random.mac()));
    let Scene { switch, .. } = &scene;
    measure(c, "private hit", 1024, &frames, |head| act(switch.ingress(view(head))));
}

fn source_lists(c: &mut Criterion) {
    let mut scene = Scene::new(1024, Mode::Bridge);
    let listed: Vec<MacAddr> = (0..1024).map(|_| scene.random.mac()).collect();
    scene.add(Mode::Source, listed.clone());
    let hits = scene.frames(|random, macs| head(random.pick(macs), random.pick(&listed)));
    let misses = scene.frames(|random, macs| head(random.pick(macs), random.mac()));
    let Scene { switch, .. } = &scene;
    measure(c, "source list hit", 1024, &hits, |head| act(switch.ingress(view(head))));
    measure(c, "source list miss", 1024, &misses, |head| act(switch.ingress(view(head))));
}

fn floods(c: &mut Criterion) {
    for size in [8, 64] {
        let mut scene = Scene::new(size, Mode::Bridge);
        let frames = scene.frames(|random, _| head(MacAddr::BROADCAST, random.mac()));
        let Scene { switch, .. } = &scene;
        measure(c, "flood", size, &frames, |head| act(switch.ingress(view(head))));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = unicast, private, source_lists, floods
}
criterion_main!(benches);
