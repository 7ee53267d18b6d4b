//! [`Fds`]: two programs that read and write descriptors of the kernel, which forwards between them.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use umacvlan_core::MacAddr;
use umacvlan_core::offload::VNET_LEN;
use umacvlan_sys::process::thread_cpu_time;
use umacvlan_sys::tap::Tap;

use super::{BURST, Cost, address, frame, lost};
use crate::error::{Context, Result};
use crate::namespace::{Namespace, bridge, index};

/// How long a burst may take: the kernel may do a part of its work later.
const WAIT: Duration = Duration::from_secs(5);

/// The descriptor of a program.
#[derive(Debug)]
enum Fd {
    Tap(Tap),
    /// A character device of a macvtap, with the same headers.
    Macvtap(std::fs::File),
}

/// Two programs, each with a descriptor.
#[derive(Debug)]
pub struct Fds {
    programs: [Fd; 2],
    frame: Vec<u8>,
    buffer: Vec<u8>,
    _namespace: Namespace,
}

impl Fds {
    /// Two TAPs that are ports of a bridge, for frames of so many bytes.
    ///
    /// # Errors
    /// The kernel has no bridge or no TAPs, or does not allow to make them.
    pub fn bridge(bytes: usize) -> Result<Self> {
        let mut namespace = Namespace::create("a bridge with TAPs")?;
        let programs = NAMES.map(|name| {
            let tap = namespace.netns.run(|| Tap::create(name)).flatten();
            tap.context(|| format!("making the TAP {name}"))
        });
        let [one, two] = programs;
        let programs = [Fd::Tap(one?), Fd::Tap(two?)];
        bridge(&mut namespace.rtnl, &NAMES).context(|| "making a bridge of TAPs".to_owned())?;
        Self::new(namespace, programs, bytes)
    }

    /// Two macvtaps of the kernel in mode bridge, for frames of so many bytes.
    ///
    /// # Errors
    /// The kernel has no macvtap, or `/dev` has not their devices.
    pub fn macvtap(bytes: usize) -> Result<Self> {
        let mut namespace = Namespace::create("macvtaps")?;
        let rtnl = &mut namespace.rtnl;
        let mut make = || -> io::Result<[Fd; 2]> {
            rtnl.add_veth(PARENT, PEER, None)?;
            let parent = [PARENT, PEER].map(|name| index(rtnl, name));
            let [parent, peer] = parent;
            let parent = parent?;
            rtnl.set_up(parent, true)?;
            rtnl.set_up(peer?, true)?;
            let mut open = |number: u8| -> io::Result<Fd> {
                let name = NAMES[usize::from(number)];
                rtnl.add_macvtap(name, parent)?;
                let index = index(rtnl, name)?;
                rtnl.set_mac(index, MacAddr::new(address(number)))?;
                rtnl.set_up(index, true)?;
                open_macvtap(index)
            };
            Ok([open(0)?, open(1)?])
        };
        let programs = make().context(|| "making macvtaps".to_owned())?;
        Self::new(namespace, programs, bytes)
    }

    fn new(namespace: Namespace, programs: [Fd; 2], bytes: usize) -> Result<Self> {
        let frame = frame(address(1), address(0), bytes);
        let frame = [&[0; VNET_LEN][..], &frame].concat();
        let buffer = vec![0; frame.len() + 1];
        let mut fds = Self { programs, frame, buffer, _namespace: namespace };
        fds.learn().context(|| "teaching the bridge an address".to_owned())?;
        Ok(fds)
    }

    /// Has the second program send a frame, from which a bridge learns its address.
    fn learn(&mut self) -> io::Result<()> {
        let mut unit = self.frame.clone();
        let (dst, src) = (VNET_LEN..VNET_LEN + 6, VNET_LEN + 6..VNET_LEN + 12);
        unit[dst].copy_from_slice(&address(0));
        unit[src].copy_from_slice(&address(1));
        let until = Instant::now() + WAIT;
        self.programs[1].send(&unit)?;
        loop {
            // Frames of the stack may come as well.
            if let Some(len) = self.programs[0].receive(&mut self.buffer)?
                && self.buffer[..len] == unit
            {
                break;
            }
            if Instant::now() > until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::yield_now();
        }
        while self.programs[1].receive(&mut self.buffer)?.is_some() {}
        Ok(())
    }

    /// Sends bursts, each of which has to arrive.
    ///
    /// # Errors
    /// Frames are lost, or a system call fails.
    pub fn rounds(&mut self, count: usize) -> io::Result<Cost> {
        let before = thread_cpu_time()?;
        for _ in 0..count {
            for _ in 0..BURST {
                self.programs[0].send(&self.frame)?;
            }
            self.receive_burst()?;
        }
        let all = thread_cpu_time()?.saturating_sub(before);
        Ok(Cost { frames: (count * BURST) as u64, all, forwarder: None })
    }

    fn receive_burst(&mut self) -> io::Result<()> {
        let (mut arrived, mut until) = (0, None);
        while arrived < BURST {
            match self.programs[1].receive(&mut self.buffer)? {
                Some(len) if self.buffer[..len] == self.frame => arrived += 1,
                Some(_) => {}
                None => {
                    if Instant::now() > *until.get_or_insert_with(|| Instant::now() + WAIT) {
                        return Err(lost(arrived));
                    }
                    std::thread::yield_now();
                }
            }
        }
        Ok(())
    }
}

impl Fd {
    fn send(&self, unit: &[u8]) -> io::Result<()> {
        match self {
            Self::Tap(tap) => tap.send(unit),
            Self::Macvtap(file) => (&mut &*file).write(unit).map(drop),
        }
    }

    fn receive(&self, unit: &mut [u8]) -> io::Result<Option<usize>> {
        match self {
            Self::Tap(tap) => tap.recv(unit),
            Self::Macvtap(file) => match (&mut &*file).read(unit) {
                Ok(len) => Ok(Some(len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error),
            },
        }
    }
}

/// Opens the character device of a macvtap, which the kernel names after the index of its interface. Its
/// headers have ten bytes, unless told otherwise.
fn open_macvtap(index: u32) -> io::Result<Fd> {
    let path = PathBuf::from(format!("/dev/tap{index}"));
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    Ok(Fd::Macvtap(opened))
}

/// The names of the interfaces of both programs.
const NAMES: [&str; 2] = ["program0", "program1"];
const PARENT: &str = "parent";
const PEER: &str = "wire";

#[cfg(test)]
mod tests {
    use umacvlan_testkit::{root_or_skip, skip};

    use super::super::Programs;
    use super::*;

    #[test]
    fn every_frame_of_a_burst_arrives() {
        for bytes in [60, 1514] {
            let cost = Programs::new(bytes).unwrap().rounds(3).unwrap();
            assert_eq!(cost.frames, 3 * BURST as u64);
            assert!(cost.forwarder.is_some());
        }
        if !root_or_skip() {
            return;
        }
        for bytes in [60, 1514] {
            match Fds::bridge(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    return skip("this kernel has no bridge");
                }
                fds => assert_eq!(fds.unwrap().rounds(3).unwrap().frames, 3 * BURST as u64),
            }
        }
    }

    #[test]
    fn the_device_side_of_a_queue_is_timed() {
        let [read, write] = super::super::Queue::new(60).unwrap().device(3).unwrap();
        assert!(read > 0.0 && write > 0.0);
    }
}
