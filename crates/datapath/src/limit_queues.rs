//! [`LimitQueues`]: frames that wait until a limit of their sub-interface lets them pass.
//!
//! A frame over the limit is copied into a queue of the sub-interface and the direction, which is bounded
//! by time: TCP then meets a router with a short queue, and not a policer that cuts its windows. The
//! queues are looked at once a turn, with the turn's time, so a limit needs no timer.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use umacvlan_core::SubIndex;
use umacvlan_core::limit::{Direction, Gate, Limiter, Moment};
use umacvlan_core::offload::{VNET_LEN, VnetHeader};
use umacvlan_core::ring_alloc::find_gap;
use umacvlan_core::stats::Counters;

/// Frames that may wait in one queue.
const FRAMES_MAX: usize = 4096;

/// Bytes of the longest frame with its vnet header, and some more: the last one may exceed the bound.
const LONGEST: usize = 128 * 1024;

/// Moments are counted from here, in all workers.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// It passes now.
    Pass,
    /// It was copied and waits.
    Waits,
    /// There is no room to wait.
    Full,
}

/// The limits of a worker's sub-interfaces, and the frames that wait for them.
#[derive(Debug, Default)]
pub(crate) struct LimitQueues {
    now: Moment,
    /// By sub-interface; `None` without a limit.
    subs: Vec<Option<Box<SubQueues>>>,
    /// Sub-interfaces with a limit.
    limited: usize,
    /// Queues with frames.
    waiting: Vec<(SubIndex, Direction)>,
}

#[derive(Debug)]
struct SubQueues {
    limiter: Arc<Limiter>,
    rx: WaitQueue,
    tx: WaitQueue,
}

/// The frames of one sub-interface that wait in one direction.
#[derive(Debug, Default)]
pub(crate) struct WaitQueue {
    memory: Box<[u8]>,
    frames: VecDeque<Waiting>,
    /// Their bytes on the wire, and how many may wait.
    bytes: u64,
    most: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    start: usize,
    len: usize,
    load: Counters,
}

impl LimitQueues {
    /// True when a sub-interface has a limit.
    #[inline]
    pub(crate) const fn is_active(&self) -> bool {
        self.limited > 0
    }

    /// Sets the limits of a sub-interface, of which no frame waits.
    pub(crate) fn set(&mut self, id: SubIndex, limiter: Option<Arc<Limiter>>) {
        if self.subs.len() <= id.index() {
            self.subs.resize_with(id.index() + 1, || None);
        }
        self.waiting.reserve(2 * self.subs.len());
        let queues = limiter.map(|limiter| {
            let [rx, tx] = [Direction::Rx, Direction::Tx]
                .map(|direction| limiter.gate(direction).map(WaitQueue::new).unwrap_or_default());
            Box::new(SubQueues { limiter, rx, tx })
        });
        self.limited += usize::from(queues.is_some());
        let former = std::mem::replace(&mut self.subs[id.index()], queues);
        self.limited -= usize::from(former.is_some());
        self.waiting.retain(|&(other, _)| other != id);
        LazyLock::force(&START);
    }

    /// Notes the time of this turn.
    pub(crate) fn begin_turn(&mut self, now: Instant) {
        self.now = Moment::after(now.saturating_duration_since(*START));
    }

    /// The limits of a sub-interface.
    pub(crate) fn limiter(&self, id: SubIndex) -> Option<&Limiter> {
        self.queues(id).map(|queues| &*queues.limiter)
    }

    /// Whether a sub-interface may send a group frame now that stands for `frames` frames.
    pub(crate) fn admits_group(&self, id: SubIndex, frames: u64) -> bool {
        self.limiter(id).is_none_or(|limiter| limiter.admits_group(self.now, frames))
    }

    /// Whether a frame passes now. If not, it waits behind those that wait already.
    pub(crate) fn offer(
        &mut self,
        (id, direction): (SubIndex, Direction),
        load: Counters,
        header: VnetHeader,
        frame: &[u8],
    ) -> Offer {
        let Some(queues) = self.subs.get_mut(id.index()).and_then(Option::as_deref_mut) else {
            return Offer::Pass;
        };
        let Some(gate) = queues.limiter.gate(direction) else {
            return Offer::Pass;
        };
        let queue = match direction {
            Direction::Rx => &mut queues.rx,
            Direction::Tx => &mut queues.tx,
        };
        let is_first = queue.frames.is_empty();
        if is_first && gate.admit(self.now, load, false) {
            return Offer::Pass;
        }
        if !queue.push(load, header, frame) {
            return Offer::Full;
        }
        if is_first {
            self.waiting.push((id, direction));
        }
        Offer::Waits
    }

    /// The number of queues with frames.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a queue with frames out, to release some of them; [`Self::give_back`] returns it.
    pub(crate) fn take(&mut self, number: usize) -> Option<(SubIndex, Direction, WaitQueue)> {
        let &(id, direction) = self.waiting.get(number)?;
        Some((id, direction, std::mem::take(self.queue_mut(id, direction)?)))
    }

    /// Takes both queues of a sub-interface out.
    pub(crate) fn take_all(&mut self, id: SubIndex) -> [(Direction, WaitQueue); 2] {
        self.waiting.retain(|&(other, _)| other != id);
        [Direction::Rx, Direction::Tx].map(|direction| {
            (direction, self.queue_mut(id, direction).map(std::mem::take).unwrap_or_default())
        })
    }

    /// Whether the first frame of a queue that was taken out passes now.
    pub(crate) fn admits(&self, id: SubIndex, direction: Direction, queue: &WaitQueue) -> bool {
        let Some(first) = queue.frames.front() else {
            return false;
        };
        let gate = self.limiter(id).and_then(|limiter| limiter.gate(direction));
        gate.is_none_or(|gate| gate.admit(self.now, first.load, true))
    }

    /// Returns a queue.
    pub(crate) fn give_back(&mut self, id: SubIndex, direction: Direction, queue: WaitQueue) {
        if let Some(place) = self.queue_mut(id, direction) {
            *place = queue;
        }
    }

    /// Forgets the queues without frames.
    pub(crate) fn forget_empty(&mut self) {
        let Self { subs, waiting, .. } = self;
        waiting.retain(|&(id, direction)| {
            let queues = subs.get(id.index()).and_then(Option::as_deref);
            queues.is_some_and(|queues| !queues.queue(direction).frames.is_empty())
        });
    }

    /// How long it takes until the next frame passes; `None` if none waits.
    pub(crate) fn wait(&self) -> Option<Duration> {
        let opens = |&(id, direction): &(SubIndex, Direction)| {
            self.limiter(id)?.gate(direction).map(Gate::opens_at)
        };
        let next = self.waiting.iter().filter_map(opens).min()?;
        Some(next.since(self.now))
    }

    fn queues(&self, id: SubIndex) -> Option<&SubQueues> {
        self.subs.get(id.index())?.as_deref()
    }

    fn queue_mut(&mut self, id: SubIndex, direction: Direction) -> Option<&mut WaitQueue> {
        let queues = self.subs.get_mut(id.index())?.as_deref_mut()?;
        Some(match direction {
            Direction::Rx => &mut queues.rx,
            Direction::Tx => &mut queues.tx,
        })
    }
}

impl SubQueues {
    const fn queue(&self, direction: Direction) -> &WaitQueue {
        match direction {
            Direction::Rx => &self.rx,
            Direction::Tx => &self.tx,
        }
    }
}

impl WaitQueue {
    fn new(gate: &Gate) -> Self {
        let most = gate.queue_bytes();
        let memory = usize::try_from(most).unwrap_or(0) + LONGEST;
        Self {
            memory: vec![0; memory].into_boxed_slice(),
            frames: VecDeque::with_capacity(FRAMES_MAX),
            bytes: 0,
            most,
        }
    }

    /// Copies a frame; false if there is no room.
    fn push(&mut self, load: Counters, header: VnetHeader, frame: &[u8]) -> bool {
        let len = VNET_LEN + frame.len();
        let ends = self.frames.front().zip(self.frames.back());
        let occupied = ends.map(|(oldest, newest)| (oldest.start, newest.start + newest.len));
        if self.bytes >= self.most || self.frames.len() == FRAMES_MAX {
            return false;
        }
        let Some(start) = find_gap(occupied, self.memory.len(), len) else {
            return false;
        };
        let Some((head, body)) = self.memory[start..start + len].split_first_chunk_mut() else {
            return false;
        };
        header.write_to(head);
        body.copy_from_slice(frame);
        self.frames.push_back(Waiting { start, len, load });
        self.bytes += load.bytes;
        true
    }

    /// The first frame with its vnet header.
    pub(crate) fn first(&self) -> Option<&[u8]> {
        let Waiting { start, len, .. } = self.frames.front()?;
        Some(&self.memory[*start..start + len])
    }

    /// Removes the first frame.
    pub(crate) fn pop(&mut self) {
        if let Some(Waiting { load, .. }) = self.frames.pop_front() {
            self.bytes -= load.bytes;
        }
    }
}
