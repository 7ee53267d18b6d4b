//! Captures: copies of the frames of a worker, with what became of each, for a reader elsewhere.
//!
//! A worker without a capture pays for one comparison a turn. With one, a turn takes another way
//! (`crates/datapath/src/worker/captured.rs`), in which the forwarding code is the same and its outcome is read from the counters and
//! TX queues that it has changed. Copies go into a [`CaptureQueue`] of fixed size. When that is full,
//! or its reader just takes what is there, the frame is left out and counted: nothing waits.

mod losses;
mod queue;

use std::sync::Arc;
use std::time::SystemTime;

use umacvlan_core::{DropReason, Frame, FrameFilter, SubIndex};

pub(crate) use losses::{Loss, LossAt, Losses};
pub use queue::{Batch, CaptureQueue};

use crate::switches::SwitchId;

/// The captures that a worker may have at a time: each costs a comparison and a copy for each frame.
pub const CAPTURES_MAX: usize = 8;

/// Where a frame is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// A sub-interface has sent it.
    FromLink,
    /// It has come from the wire.
    FromWire,
    /// It is queued for a sub-interface.
    ToLink,
    /// It is queued for the wire.
    ToWire,
}

/// What becomes of a frame at its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// One sub-interface gets it, beside those whose source lists have its sender; `None` if that one
    /// is not known, because the frame waits for a limit or was lost on the way there.
    Deliver(Option<SubIndex>),
    /// It is dropped.
    Drop(DropReason),
    /// Several sub-interfaces get it, and the wire or the host.
    Flood,
    /// The host's stack gets it.
    Host,
    /// It is written.
    Send,
    /// It waits for a limit of its sender.
    Wait,
    /// It is sent to the wire.
    Wire,
}

/// A captured frame, without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When the worker had it.
    pub time: SystemTime,
    /// Where.
    pub point: Point,
    /// The sub-interface that has sent it or gets it; `None` at [`Point::FromWire`].
    pub sub: Option<SubIndex>,
    /// What becomes of it.
    pub fate: Fate,
    /// Bytes of the frame, or of all frames if the kernel has refused a merged one.
    pub len: u32,
    /// Bytes that were kept: none of a frame that the kernel has refused.
    pub kept: u32,
}

/// Which frames a capture has.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The parent's switch.
    pub switch: SwitchId,
    /// Only frames from and for this sub-interface.
    pub sub: Option<SubIndex>,
    /// At these points.
    pub points: Vec<Point>,
    /// Only dropped frames, at any point.
    pub dropped: bool,
    /// Only frames dropped for this reason.
    pub reason: Option<DropReason>,
    /// Only frames that this filter selects.
    pub filter: Option<FrameFilter>,
    /// The most bytes of a frame that are kept.
    pub snaplen: usize,
}

/// A capture, as a worker has it.
#[derive(Clone, Debug)]
pub struct Capture {
    /// Which frames it has.
    pub selection: Arc<Selection>,
    /// Where they go.
    pub queue: Arc<CaptureQueue>,
}

/// A frame at a point, for all captures of the worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting<'f> {
    pub(crate) point: Point,
    pub(crate) switch: SwitchId,
    pub(crate) sub: Option<SubIndex>,
    pub(crate) fate: Fate,
    pub(crate) len: usize,
    /// The frame without its vnet header; empty if it is not at hand any more.
    pub(crate) bytes: &'f [u8],
}

impl Selection {
    fn has(&self, seen: &Sighting<'_>) -> bool {
        let is_here =
            seen.switch == self.switch && self.sub.is_none_or(|sub| seen.sub == Some(sub));
        let is_wanted = match (seen.fate, self.dropped, self.reason) {
            (Fate::Drop(reason), _, Some(wanted)) => reason == wanted,
            (Fate::Drop(_), true, None) => true,
            (_, true, _) | (_, _, Some(_)) => false,
            (_, false, None) => self.points.contains(&seen.point),
        };
        let passes = |filter: &FrameFilter| {
            Frame::new(seen.bytes).is_some_and(|frame| filter.matches(frame))
        };
        is_here && is_wanted && self.filter.as_ref().is_none_or(passes)
    }
}

impl Capture {
    pub(crate) fn offer(&self, seen: &Sighting<'_>) {
        if !self.selection.has(seen) {
            return;
        }
        let kept = &seen.bytes[..seen.bytes.len().min(self.selection.snaplen)];
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let record = Record {
            time: SystemTime::now(),
            point: seen.point,
            sub: seen.sub,
            fate: seen.fate,
            len: length(seen.len),
            kept: length(kept.len()),
        };
        self.queue.push(record, kept);
    }
}
