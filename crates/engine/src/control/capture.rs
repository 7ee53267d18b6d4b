//! Captures: given to all workers of a parent, also to new ones, until their reader, their link or
//! their parent is gone.

use std::sync::Arc;

use umacvlan_core::{DropReason, FrameFilter, SubIndex};
use umacvlan_datapath::capture::{CAPTURES_MAX, Capture, CaptureQueue, Point, Selection};
use umacvlan_datapath::worker::Worker;
use umacvlan_sys::netns::NetnsId;

use super::Control;
use super::inventory::{DeviceId, ParentId};
use crate::control::engine::SubId;
use crate::control::error::Error;

/// Which frames of a parent are captured.
#[derive(Clone, Debug, Default)]
pub struct CaptureRequest {
    /// Only those from and for this sub-interface.
    pub sub: Option<SubId>,
    /// At these points.
    pub points: Vec<Point>,
    /// Only dropped ones, at any point.
    pub dropped: bool,
    /// Only those dropped for this reason.
    pub reason: Option<DropReason>,
    /// Only those that this filter selects.
    pub filter: Option<FrameFilter>,
    /// The most bytes of a frame that are kept.
    pub snaplen: usize,
}

/// The reader's end of a capture, which ends when this is dropped.
///
/// # Threads
/// A queue for each worker, so that workers share nothing.
#[derive(Debug)]
pub struct Captured {
    /// The queues, in the order of the workers.
    pub queues: Vec<Arc<CaptureQueue>>,
}

impl Drop for Captured {
    fn drop(&mut self) {
        self.queues.iter().for_each(|queue| queue.close("its reader has gone"));
    }
}

/// The control thread's note of a capture.
#[derive(Debug)]
pub(super) struct LiveCapture {
    parent: ParentId,
    request: CaptureRequest,
    queues: Vec<Arc<CaptureQueue>>,
}

impl LiveCapture {
    /// Whether frames are captured that the kernel could forward by itself: it drops none.
    const fn sees_forwarded(&self) -> bool {
        !self.request.dropped && self.request.reason.is_none()
    }

    fn is_closed(&self) -> bool {
        self.queues.iter().any(|queue| queue.closed().is_some())
    }

    fn close(&self, why: &'static str) {
        self.queues.iter().for_each(|queue| queue.close(why));
    }
}

impl Control {
    /// Captures frames of a parent from now on.
    pub(crate) fn capture(
        &mut self,
        parent: &str,
        request: CaptureRequest,
    ) -> Result<Captured, Error> {
        let id = self.inventory.parent_named(parent)?;
        self.end_captures();
        let device = self.inventory[id].device;
        let here = |one: &&LiveCapture| self.inventory[one.parent].device == device;
        if self.captures.iter().filter(here).count() >= CAPTURES_MAX {
            return Err(Error::TooManyCaptures(self.inventory[device].name.clone()));
        }
        let count = self.inventory[id].workers.count();
        let queues: Vec<_> = (0..count).map(|_| Arc::default()).collect();
        let live = LiveCapture { parent: id, request, queues: queues.clone() };
        let captured = Captured { queues };
        self.give_capture(&live)?;
        self.captures.push(live);
        // The kernel is to leave these frames to the workers before the reader is told of the beginning.
        self.settle_kernel_answers();
        Ok(captured)
    }

    /// What of a parent is captured that the kernel could forward by itself: a sub-interface each, or
    /// `None` for all of it.
    pub(super) fn captured(&self, id: ParentId) -> Vec<Option<SubIndex>> {
        let here = |live: &&LiveCapture| live.parent == id && live.sees_forwarded();
        let index = |live: &LiveCapture| match live.request.sub {
            None => Some(None),
            // One that is gone has nothing to be captured.
            Some(sub) => Some(Some(self.inventory.sub(sub)?.index)),
        };
        self.captures.iter().filter(here).filter_map(index).collect()
    }

    /// The present names of the sub-interfaces of a parent, by the index that captured frames have.
    pub(crate) fn capture_names(
        &self,
        parent: &str,
    ) -> Result<Vec<(SubIndex, String, NetnsId)>, Error> {
        let subs = self.inventory.subs_of(self.inventory.parent_named(parent)?);
        Ok(subs.map(|sub| (sub.index, sub.name.clone(), sub.netns)).collect())
    }

    fn give_capture(&self, live: &LiveCapture) -> Result<(), Error> {
        let CaptureRequest { sub, points, dropped, reason, filter, snaplen } = live.request.clone();
        let sub = match sub {
            Some(sub) => Some(self.inventory.sub_and_parent(sub)?.0.index),
            None => None,
        };
        let parent = &self.inventory[live.parent];
        let switch = parent.switch;
        let selection =
            Arc::new(Selection { switch, sub, points, dropped, reason, filter, snaplen });
        let captures = live
            .queues
            .iter()
            .map(|queue| Capture { selection: Arc::clone(&selection), queue: Arc::clone(queue) });
        parent.workers.give(captures.collect::<Vec<_>>(), Worker::capture)?;
        Ok(())
    }

    /// Gives new workers of a device the captures that the former ones had.
    pub(super) fn renew_captures(&mut self, device: DeviceId) -> Result<(), Error> {
        self.end_captures();
        for live in &self.captures {
            if self.inventory[live.parent].device == device {
                self.give_capture(live)?;
            }
        }
        Ok(())
    }

    /// Ends the captures whose reader, link or parent has gone.
    pub(super) fn end_captures(&mut self) {
        if self.captures.is_empty() {
            return;
        }
        for live in &self.captures {
            let parent = self.inventory.parents().find(|(id, _)| *id == live.parent);
            match parent {
                None => live.close("the parent has no links any more"),
                Some((_, parent)) if parent.index.is_none() => live.close("the parent is gone"),
                Some(_)
                    if live.request.sub.is_some_and(|sub| self.inventory.sub(sub).is_none()) =>
                {
                    live.close("the link is gone");
                }
                Some(_) => {}
            }
        }
        let ended = self.captures.extract_if(.., |live| live.is_closed());
        let parents: Vec<ParentId> = ended.map(|live| live.parent).collect();
        for (_, parent) in self.inventory.parents().filter(|(id, _)| parents.contains(id)) {
            // A worker that has stopped has no captures.
            let _ = parent.workers.tell(Worker::end_captures);
        }
    }
}
