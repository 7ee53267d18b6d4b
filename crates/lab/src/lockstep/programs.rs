//! [`Programs`]: two vhost-user programs and a worker between them.

use std::io;
use std::time::{Duration, Instant};

use umacvlan_core::offload::{Offloads, VNET_LEN};
use umacvlan_core::options::PortIo;
use umacvlan_core::{MacAddr, Mode, ParentInfo, Semantics, SubConfig, SubIndex, Switch};
use umacvlan_datapath::port::{PortLink, VhostPort, VhostQueues};
use umacvlan_datapath::worker::{Worker, WorkerConfig};
use umacvlan_sys::process::thread_cpu_time;
use umacvlan_sys::vhost::driver::Driver;
use umacvlan_sys::vhost::{ReadFrame, Ring, WriteFrame};

use super::{BURST, Cost, address, frame, lost};

/// Turns that a burst may take.
const TURNS: usize = 16;

/// Two programs on one parent, and the worker of that.
pub struct Programs {
    worker: Worker,
    drivers: [Driver; 2],
    frame: Vec<u8>,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Programs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Programs").field("drivers", &self.drivers).finish_non_exhaustive()
    }
}

impl Programs {
    /// Programs that send frames of so many bytes.
    ///
    /// # Errors
    /// There is no memory for them.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let mac = MacAddr::new([2, 0, 0, 0, 1, 0]);
        let parent = ParentInfo { mac, mtu: 1500, promisc: false };
        let switch = Switch::new(parent, Semantics::Documented);
        let config = WorkerConfig { io: PortIo::Plain, ..WorkerConfig::default() };
        let mut worker = Worker::new(switch, config)?;
        let drivers = [program(&mut worker, 0)?, program(&mut worker, 1)?];
        let frame = frame(address(1), address(0), bytes);
        Ok(Self { worker, drivers, buffer: vec![0; frame.len()], frame })
    }

    /// Sends bursts, each of which has to arrive.
    ///
    /// # Errors
    /// Frames are lost, or the worker fails.
    pub fn rounds(&mut self, count: usize) -> io::Result<Cost> {
        let before = thread_cpu_time()?;
        let mut forwarder = Duration::ZERO;
        for _ in 0..count {
            let [sender, receiver] = &mut self.drivers;
            if !(0..BURST).all(|_| sender.send(&self.frame)) {
                return Err(lost(0));
            }
            sender.publish();
            let (mut arrived, mut turns) = (0, 0);
            while arrived < BURST {
                let begun = Instant::now();
                self.worker.turn()?;
                forwarder += begun.elapsed();
                while receiver.receive(&mut self.buffer).is_some() {
                    arrived += 1;
                }
                turns += 1;
                if turns > TURNS {
                    return Err(lost(arrived));
                }
            }
            receiver.publish();
        }
        if self.buffer != self.frame {
            return Err(io::Error::other("a frame has arrived with other bytes"));
        }
        let all = thread_cpu_time()?.saturating_sub(before);
        Ok(Cost { frames: (count * BURST) as u64, all, forwarder: Some(forwarder) })
    }
}

/// Adds a program to a worker.
fn program(worker: &mut Worker, number: u8) -> io::Result<Driver> {
    let driver = Driver::new()?;
    let memory = driver.memory()?;
    let config = SubConfig::new(MacAddr::new(address(number)), Mode::Bridge);
    let port = PortLink::Vhost(VhostPort::default());
    let sub: SubIndex = worker.add(&config, port, Offloads::NONE).map_err(io::Error::other)?;
    worker.set_up(sub, true).map_err(io::Error::other)?;
    let queues = VhostQueues {
        number: 1,
        to_program: Ring::new(&memory, Driver::config(0))?,
        from_program: Ring::new(&memory, Driver::config(1))?,
        kick: None,
        offloads: Offloads::NONE,
    };
    worker.start_rings(sub, queues)?;
    Ok(driver)
}

/// One queue by itself: a program, and the device side of its rings without a worker.
#[derive(Debug)]
pub struct Queue {
    driver: Driver,
    to_program: Ring,
    from_program: Ring,
    unit: Vec<u8>,
    frame: Vec<u8>,
}

impl Queue {
    /// A program whose frames have so many bytes.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let driver = Driver::new()?;
        let memory = driver.memory()?;
        let [to_program, from_program] =
            [0, 1].map(|ring| Ring::new(&memory, Driver::config(ring)));
        let frame = frame(address(1), address(0), bytes);
        let unit = vec![0; VNET_LEN + frame.len().max(2048)];
        Ok(Self { driver, to_program: to_program?, from_program: from_program?, unit, frame })
    }

    /// What the device side costs for one frame in nanoseconds, its copy included: read from the program,
    /// and written to it. Medians over so many bursts; to fill and to empty the rings is not timed.
    ///
    /// # Errors
    /// A ring breaks its rules, or has lost frames.
    pub fn device(&mut self, bursts: usize) -> io::Result<[f64; 2]> {
        let (mut reads, mut writes) = (Vec::with_capacity(bursts), Vec::with_capacity(bursts));
        let len = VNET_LEN + self.frame.len();
        for _ in 0..bursts {
            if !(0..BURST).all(|_| self.driver.send(&self.frame)) {
                return Err(lost(0));
            }
            self.driver.publish();
            let begun = Instant::now();
            let mut is_read = |_| {
                let read = self.from_program.read(&mut self.unit);
                matches!(read, Ok(ReadFrame::Frame { len: read, .. }) if read == len)
            };
            let read = (0..BURST).filter(|&number| is_read(number)).count();
            self.from_program.publish();
            reads.push(begun.elapsed());
            let begun = Instant::now();
            let written = (0..BURST)
                .filter(|_| self.to_program.write(&self.unit[..len]) == Ok(WriteFrame::Written))
                .count();
            self.to_program.publish();
            writes.push(begun.elapsed());
            let mut frame = [0; 2048];
            let received = std::iter::from_fn(|| self.driver.receive(&mut frame)).count();
            if [read, written, received] != [BURST; 3] {
                return Err(lost(received));
            }
            self.driver.publish();
        }
        Ok([reads, writes].map(|mut times| {
            times.sort_unstable();
            let median = times.get(times.len() / 2).copied().unwrap_or_default();
            median.as_secs_f64() * 1e9 / BURST as f64
        }))
    }
}
