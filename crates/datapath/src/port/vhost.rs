//! [`VhostPort`]: a port whose far end is a program, by two rings in its memory.
//!
//! Frames are copied: into a buffer of the turn, or into buffers of the program, where there is room
//! for them or they are lost as at any full queue. While the worker looks at the ring by itself the
//! program is asked not to kick; before it sleeps, it asks for kicks again.

use std::sync::Arc;

use umacvlan_core::length_prefix::FRAME_MAX;
use umacvlan_core::offload::{Offloads, VNET_LEN, VnetHeader};
use umacvlan_core::{DropReason, SubIndex};
use umacvlan_sys::buffer_pool::{BUFFER_LEN, BufferPool};
use umacvlan_sys::vhost::{KickEvent, ReadFrame, Ring, RingError, WriteFrame};

use super::socket::PortClosed;
use crate::frame_ref::{FrameRef, StorageKind};

const _: () = assert!(VNET_LEN + FRAME_MAX <= BUFFER_LEN, "a buffer holds the longest frame");

/// The flags of a vnet header that are left of those of a program: only the NIC or the kernel can
/// have verified a checksum.
const FLAGS: u8 = !VnetHeader::DATA_VALID;

/// Descriptors of a frame that cost nothing beside its bytes: those of a driver are one for each page.
const USUAL_DESCRIPTORS: usize = 18;

/// What each further descriptor costs of the share of a turn, in bytes of frames: reading it takes as
/// long as copying so many. Without it a thousand empty ones before each short frame would be free.
const DESCRIPTOR_BYTES: usize = 64;

/// A port for the rings of one program at a time; without them at first.
#[derive(Debug, Default)]
pub struct VhostPort {
    /// Boxed: a port without a program is as small as any.
    pub(super) queues: Option<Box<Running>>,
}

/// The rings of a program, to be served.
#[derive(Debug)]
pub struct VhostQueues {
    /// Tells its connection from others of the same port.
    pub number: u64,
    /// The ring that the program reads.
    pub to_program: Ring,
    /// The ring that the program fills.
    pub from_program: Ring,
    /// The eventfd by which it tells that it has filled it; `None` if it never does.
    pub kick: Option<Arc<KickEvent>>,
    /// The offloads that the program takes.
    pub offloads: Offloads,
}

/// Rings that are served.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) queues: VhostQueues,
    /// True while the ring is looked at each turn.
    pub(super) polled: bool,
    /// Turns in a row in which it had nothing.
    pub(super) idle_turns: u16,
    /// True while it has frames of this turn that are not handed over.
    pub(super) written: bool,
}

/// What one turn has read from a ring.
pub(super) struct VhostRead {
    pub(super) frames: usize,
    pub(super) bytes: usize,
    /// Whether there may be more, or why there will be none.
    pub(super) more: Result<bool, PortClosed>,
}

impl From<RingError> for PortClosed {
    fn from(error: RingError) -> Self {
        Self::Ring(error)
    }
}

impl Running {
    pub(super) const fn new(queues: VhostQueues) -> Self {
        Self { queues, polled: false, idle_turns: 0, written: false }
    }

    /// Reads the frames that wait, at most `budget`, each into a buffer of its own.
    pub(super) fn read(
        &mut self,
        id: SubIndex,
        pool: &mut BufferPool,
        budget: usize,
        on: &mut dyn FnMut(SubIndex, FrameRef, &[u8]),
    ) -> VhostRead {
        let ring = &mut self.queues.from_program;
        let mut read = VhostRead { frames: 0, bytes: 0, more: Ok(true) };
        while read.frames < budget
            && let Some(buffer) = pool.acquire()
        {
            let unit = pool.bytes_mut(buffer, 0, VNET_LEN + FRAME_MAX);
            match ring.read(unit) {
                Ok(ReadFrame::Frame { len, descriptors }) => {
                    unit[0] &= FLAGS;
                    on(id, FrameRef::new(StorageKind::Pool { buffer }, 0, len), &unit[..len]);
                    read.frames += 1;
                    let many = descriptors.saturating_sub(USUAL_DESCRIPTORS);
                    read.bytes += len + many * DESCRIPTOR_BYTES;
                    continue;
                }
                Ok(ReadFrame::None) => read.more = Ok(false),
                Err(error) => read.more = Err(error.into()),
            }
            pool.release_last();
            break;
        }
        ring.publish();
        if self.is_memory_lost() {
            read.more = Err(PortClosed::MemoryLost);
        }
        read
    }

    /// Copies a frame behind its vnet header into buffers of the program.
    ///
    /// # Errors
    /// The reason why it is lost. The port has to be closed after the second kind.
    #[inline]
    pub(super) fn write(&mut self, unit: &[u8]) -> Result<(), (DropReason, Option<PortClosed>)> {
        match self.queues.to_program.write(unit) {
            Ok(WriteFrame::Written) => {
                self.written = true;
                Ok(())
            }
            Ok(WriteFrame::Full) => {
                // Memory that is gone reads as an empty ring.
                let lost = self.is_memory_lost().then_some(PortClosed::MemoryLost);
                Err((DropReason::Full, lost))
            }
            Ok(WriteFrame::TooLong) => Err((DropReason::TooLong, None)),
            Err(_) if self.is_memory_lost() => {
                Err((DropReason::Down, Some(PortClosed::MemoryLost)))
            }
            Err(error) => Err((DropReason::Down, Some(error.into()))),
        }
    }

    /// True if memory of the program was gone when it was used. Both rings are in the same memory.
    #[inline]
    pub(super) fn is_memory_lost(&self) -> bool {
        self.queues.from_program.memory().is_lost()
    }

    /// Hands over what this turn has written.
    ///
    /// # Errors
    /// The memory is gone.
    pub(super) fn publish(&mut self) -> Result<(), PortClosed> {
        self.written = false;
        self.queues.to_program.publish();
        if self.is_memory_lost() { Err(PortClosed::MemoryLost) } else { Ok(()) }
    }
}
