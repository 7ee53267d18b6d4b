//! A worker with its uplink and ports in memory: the complete path of a frame without the kernel.
//!
//! Only the worker's turns are timed. Frames are put in before and removed after them, as a NIC and
//! a container would do by themselves. A turn copies each frame twice: out of the ring it arrives
//! in, and into the ring it leaves by.

use anyhow::{Context, Result, ensure};
use umacvlan_core::offload::{Offloads, VNET_LEN};
use umacvlan_core::options::PortIo;
use umacvlan_core::stats::{SubStats, WireStats};
use umacvlan_datapath::memory_link::MemoryLink;
use umacvlan_datapath::port::PortLink;
use umacvlan_datapath::uplink::Uplink;
use umacvlan_datapath::worker::{Worker, WorkerConfig};

use super::case::{Case, Destination};
use super::traffic::{TestFrame, Workload};
use super::trial::{HashLookup, Sample, median, per_frame};

pub(super) struct Memory {
    case: Case,
    worker: Worker,
    wire: MemoryLink,
    ports: Vec<MemoryLink>,
    bursts: Vec<Vec<TestFrame>>,
    lookup: HashLookup,
}

impl Memory {
    pub(super) fn new(case: Case, seed: u64) -> Result<Self> {
        let mut workload = Workload::new(&case, seed);
        let config = WorkerConfig { io: PortIo::Plain, ..WorkerConfig::default() };
        let mut worker = Worker::new(workload.switch(case.mode), config)?;
        let unit = VNET_LEN + case.bytes();
        let (near, wire) = MemoryLink::pair(2 * BURST, 2 * BURST * unit);
        worker.attach(Uplink::Memory(near))?;
        // With many ports, each receives only a few frames of a burst.
        let room = if case.subs > 1024 { 16 } else { 2 * BURST };
        let mut ports = Vec::with_capacity(workload.macs.len());
        for place in 0..workload.macs.len() {
            let (near, far) = MemoryLink::pair(room, room * unit);
            let config = workload.config(place, case.mode);
            let id = worker.add(&config, PortLink::Memory(near), Offloads::ALL)?;
            worker.set_up(id, true)?;
            ports.push(far);
        }
        let floods = case.destination == Destination::All;
        let burst = if floods { (1024 / ports.len()).clamp(1, BURST) } else { BURST };
        let bursts = if floods { BURSTS.min(8 * 1024 / ports.len()).max(1) } else { BURSTS };
        let mut frames = workload.frames(&case, bursts * burst);
        let lookup = HashLookup::new(workload.table(&case), &frames);
        let bursts = (0..bursts).map(|_| frames.drain(..burst).collect()).collect();
        let mut memory = Self { case, worker, wire, ports, bursts, lookup };
        memory.verify_bytes()?;
        Ok(memory)
    }

    /// One trial: bursts, with slices of the hash lookup between them.
    pub(super) fn trial(&mut self) -> Result<Sample> {
        let before = self.counters();
        let bursts = std::mem::take(&mut self.bursts);
        let (mut engine, mut lookup) = (Vec::new(), Vec::new());
        let mut arrived = 0;
        for (number, burst) in bursts.iter().enumerate() {
            if number % BURSTS.div_ceil(SLICES) == 0 {
                lookup.push(self.lookup.slice());
            }
            self.put(burst)?;
            let mut worked = Ok(());
            engine.push(per_frame(burst.len(), || worked = self.work()));
            worked?;
            arrived += self.drain(burst);
        }
        let frames: usize = bursts.iter().map(Vec::len).sum();
        self.bursts = bursts;
        ensure!(arrived == frames * self.arrivals(), "{arrived} frames arrived of {frames} sent");
        self.check(before, frames as u64)?;
        Ok(Sample { engine: median(engine)?, lookup: median(lookup)? })
    }

    /// Forwards one burst untimed and verifies every byte at its destination.
    fn verify_bytes(&mut self) -> Result<()> {
        let bursts = std::mem::take(&mut self.bursts);
        let burst = bursts.first().context("a case without frames")?;
        self.put(burst)?;
        self.work()?;
        let mut got = Vec::new();
        for link in self.ports.iter().chain([&self.wire]) {
            got.extend(std::iter::from_fn(|| link.pop()).map(|unit| unit[VNET_LEN..].to_vec()));
        }
        let copies = self.arrivals();
        let each = |frame: &TestFrame| std::iter::repeat_n(frame.bytes.to_vec(), copies);
        let mut wanted: Vec<_> = burst.iter().flat_map(each).collect();
        got.sort_unstable();
        wanted.sort_unstable();
        ensure!(got == wanted, "what arrived is not what was sent");
        self.bursts = bursts;
        Ok(())
    }

    /// The number of copies of a frame that arrive.
    fn arrivals(&self) -> usize {
        self.case.receivers() + usize::from(self.case.destination == Destination::Wire)
    }

    fn put(&self, burst: &[TestFrame]) -> Result<()> {
        for frame in burst {
            let end = match self.case.traffic.is_egress() {
                true => &self.ports[frame.from],
                false => &self.wire,
            };
            ensure!(end.push(&frame.bytes), "a ring has no room for a burst");
        }
        Ok(())
    }

    /// Runs turns until no work is left.
    fn work(&mut self) -> Result<()> {
        self.worker.turn()?;
        while self.worker.pending_floods() > 0 {
            self.worker.turn()?;
        }
        Ok(())
    }

    /// Discards and counts the frames that arrived at their destinations.
    fn drain(&self, burst: &[TestFrame]) -> usize {
        match self.case.destination {
            Destination::Addressed | Destination::Listed => {
                burst.iter().map(|frame| self.ports[frame.to].drain()).sum()
            }
            Destination::All => self.ports.iter().map(MemoryLink::drain).sum(),
            Destination::Host => 0,
            Destination::Wire => self.wire.drain(),
        }
    }

    fn counters(&self) -> (WireStats, SubStats) {
        let snapshot = self.worker.snapshot();
        let subs = snapshot.subs.iter().fold(snapshot.removed, |mut sum, &(_, stats)| {
            sum += stats;
            sum
        });
        (snapshot.wire, subs)
    }

    /// Compares the worker's counters with the frames that were sent.
    fn check(&self, (wire, subs): (WireStats, SubStats), frames: u64) -> Result<()> {
        let (wire_now, subs_now) = self.counters();
        let received = match self.case.traffic.is_egress() {
            true => subs_now.received.frames - subs.received.frames,
            false => wire_now.received.frames - wire.received.frames,
        };
        let to_subs = subs_now.delivered.frames - subs.delivered.frames;
        let to_wire = wire_now.sent.frames - wire.sent.frames;
        let to_host = wire_now.host - wire.host + wire_now.flooded - wire.flooded;
        let host = matches!(
            self.case.destination,
            Destination::All | Destination::Host | Destination::Listed
        );
        let expected = [
            frames,
            frames * self.case.receivers() as u64,
            frames * u64::from(self.case.destination == Destination::Wire),
            frames * u64::from(host),
        ];
        let counted = [received, to_subs, to_wire, to_host];
        ensure!(
            counted == expected && umacvlan_core::stats::is_balanced(&wire_now, &subs_now),
            "the worker counted {counted:?} frames received and sent to sub-interfaces, wire and \
             host, where {expected:?} are right"
        );
        Ok(())
    }
}

/// Frames of a burst, as many as a turn receives from the wire.
const BURST: usize = 64;

/// The number of bursts in a trial.
const BURSTS: usize = 128;

/// The number of slices of the hash lookup in a trial.
const SLICES: usize = 8;
