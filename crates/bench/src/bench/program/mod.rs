//! `umacvlan bench program`: what a frame costs between two programs.
//!
//! Sender, forwarder and receiver take turns on one thread, whose processor time is the figure: it depends
//! on no scheduler. The peers are two descriptors of the kernel, as programs have them that use macvtap,
//! or TAPs on a bridge.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use umacvlan_lab::lockstep::{Cost, Fds, Programs, Queue};

use super::progress::Progress;
use super::report::{Better, Key, Point};
use super::summary::ratio;

/// Measure a frame between two programs: vhost-user ports of this engine, and what the kernel has
#[derive(Args, Clone, Debug)]
pub(crate) struct ProgramArgs {
    /// Only frames of this size, in bytes with the FCS: 64 or 1518
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(64..=1518))]
    size: Option<u32>,
}

/// Bytes of a frame that programs do not see.
const FCS_LEN: u32 = 4;

/// The sizes that are measured.
const SIZES: [u32; 2] = [64, 1518];

/// Bursts of a trial.
const ROUNDS: usize = 400;

/// What a frame of one size is sent through.
struct Setup {
    programs: Programs,
    queue: Queue,
    macvtap: Option<Fds>,
    bridge: Option<Fds>,
}

/// The samples of one size, in nanoseconds for each frame.
#[derive(Default)]
struct Samples {
    own: Vec<f64>,
    forwarder: Vec<f64>,
    read: Vec<f64>,
    write: Vec<f64>,
    macvtap: Vec<f64>,
    bridge: Vec<f64>,
}

/// Measures all sizes.
///
/// # Errors
/// A frame is lost between the programs of this engine.
pub(crate) fn run(args: &ProgramArgs, progress: &mut Progress) -> Result<Vec<Point>> {
    let sizes = args.size.map_or_else(|| SIZES.to_vec(), |size| vec![size]);
    let trials = progress.trials(if progress.quick { 5 } else { 15 });
    progress.note("program: processor time of one thread; sender and receiver are in `cost`");
    progress.begin(sizes.len() as u64);
    let mut points = Vec::new();
    for size in sizes {
        progress.at(format!("{size} bytes"));
        let mut setup = Setup::new(size, progress)?;
        let mut samples = Samples::default();
        setup.trial(&mut Samples::default())?;
        let mut done = 0;
        while !trials.is_enough(done, samples.all(), progress.seed) && !progress.is_interrupted() {
            setup.trial(&mut samples)?;
            done += 1;
        }
        points.extend(samples.points(size, progress.seed));
        progress.step();
    }
    Ok(points)
}

impl Setup {
    fn new(size: u32, progress: &mut Progress) -> Result<Self> {
        let bytes = size.saturating_sub(FCS_LEN) as usize;
        let mut peer = |name, made: Result<Fds, _>| match made {
            Ok(fds) => Some(fds),
            Err(error) => {
                progress.note(format!("{name} is not measured: {error}"));
                None
            }
        };
        let macvtap = peer(MACVTAP, Fds::macvtap(bytes));
        let bridge = peer(BRIDGE, Fds::bridge(bytes));
        let programs = Programs::new(bytes).context("cannot make vhost-user programs")?;
        Ok(Self { programs, queue: Queue::new(bytes)?, macvtap, bridge })
    }

    /// One trial of each, in the same moment of the machine.
    fn trial(&mut self, samples: &mut Samples) -> Result<()> {
        let cost = self.programs.rounds(ROUNDS).context("between vhost-user programs")?;
        samples.own.push(per_frame(cost.all, &cost));
        samples.forwarder.extend(cost.forwarder.map(|time| per_frame(time, &cost)));
        let [read, write] = self.queue.device(ROUNDS).context("at the rings of a program")?;
        samples.read.push(read);
        samples.write.push(write);
        for (fds, samples) in
            [(&mut self.macvtap, &mut samples.macvtap), (&mut self.bridge, &mut samples.bridge)]
        {
            if let Some(fds) = fds {
                let cost = fds.rounds(ROUNDS / 8).context("between programs with TAPs")?;
                samples.push(per_frame(cost.all, &cost));
            }
        }
        Ok(())
    }
}

impl Samples {
    fn all(&self) -> impl Iterator<Item = &[f64]> {
        let all =
            [&self.own, &self.forwarder, &self.read, &self.write, &self.macvtap, &self.bridge];
        all.into_iter().map(Vec::as_slice).filter(|samples| !samples.is_empty())
    }

    fn points(self, size: u32, seed: u64) -> Vec<Point> {
        let point = |measure: &str, peer: &str, samples: Vec<f64>| {
            Point::new(key(size, measure, peer), "ns/frame", Better::Lower, samples, seed)
        };
        let better = [(MACVTAP, &self.macvtap), (BRIDGE, &self.bridge)];
        let to = better.into_iter().find(|(_, samples)| !samples.is_empty());
        let ratio = to.and_then(|(name, theirs)| ratio(name, &self.own, theirs, seed));
        let mut own = point("cost", OWN, self.own);
        own.ratio = ratio;
        let mut points = vec![own];
        for (measure, peer, samples) in [
            ("cost-forwarder", OWN, self.forwarder),
            ("cost-read", OWN, self.read),
            ("cost-write", OWN, self.write),
            ("cost", MACVTAP, self.macvtap),
            ("cost", BRIDGE, self.bridge),
        ] {
            if !samples.is_empty() {
                points.push(point(measure, peer, samples));
            }
        }
        points
    }
}

fn per_frame(time: Duration, cost: &Cost) -> f64 {
    time.as_secs_f64() * 1e9 / (cost.frames.max(1)) as f64
}

fn key(size: u32, measure: &str, peer: &str) -> Key {
    Key {
        path: "program-to-program".to_owned(),
        mode: "bridge".to_owned(),
        traffic: "unicast".to_owned(),
        size: Some(size),
        subs: 2,
        measure: measure.to_owned(),
        peer: peer.to_owned(),
    }
}

const OWN: &str = "umacvlan";
const MACVTAP: &str = "macvtap";
const BRIDGE: &str = "bridge";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_to_macvtap_where_there_is_one() {
        let samples = |macvtap: &[f64]| Samples {
            own: vec![10.0; 3],
            forwarder: vec![5.0; 3],
            macvtap: macvtap.to_vec(),
            bridge: vec![80.0; 3],
            ..Samples::default()
        };
        let ratio = |macvtap: &[f64]| {
            let points = samples(macvtap).points(64, 7);
            let found = points[0].ratio.clone().unwrap();
            (found.to, found.value, points.len())
        };
        assert_eq!(ratio(&[40.0; 3]), (MACVTAP.to_owned(), 0.25, 4));
        assert_eq!(ratio(&[]), (BRIDGE.to_owned(), 0.125, 3));
    }

    #[test]
    fn a_trial_has_a_sample_of_each_part() {
        let bytes = 60;
        let programs = Programs::new(bytes).unwrap();
        let queue = Queue::new(bytes).unwrap();
        let mut setup = Setup { programs, queue, macvtap: None, bridge: None };
        let mut samples = Samples::default();
        setup.trial(&mut samples).unwrap();
        assert_eq!(samples.all().map(<[f64]>::len).collect::<Vec<_>>(), [1; 4]);
    }
}
