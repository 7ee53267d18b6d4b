//! Captures: which parent or link is meant, and the lines about what its workers have captured.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, UNIX_EPOCH};

use umacvlan_core::{DropReason, FilterError, FrameFilter, SubIndex};
use umacvlan_datapath::capture::{Batch, Fate, Point, Record};
use umacvlan_engine::Engine;
use umacvlan_engine::engine::{CaptureRequest, Captured, SubId};
use umacvlan_sys::netns::NetnsId;

use super::netns::Names;
use super::problem::plain;
use super::{Entry, Selector, Service};
use crate::ServiceError;
use umacvlan_api::{CapturePoint, CaptureSpec, CaptureView, CapturedFrame, Code, FrameFate};

/// How long names of links are used before they are read again. A frame of an unknown link has them
/// read at once.
const NAMES_AGE: Duration = Duration::from_secs(1);

impl Service {
    /// Begins a capture for a client with this process id.
    pub(crate) fn capture(
        &mut self,
        spec: &CaptureSpec,
        caller: Option<u32>,
    ) -> Result<CaptureReader, ServiceError> {
        let (handle, sub) = self.find_captured(spec, caller)?;
        let default = match sub {
            None => &[CapturePoint::FromWire, CapturePoint::FromLink],
            Some(_) => &[CapturePoint::FromLink, CapturePoint::ToLink],
        };
        let points = spec.at.as_deref().unwrap_or(default);
        let request = CaptureRequest {
            sub,
            points: points.iter().copied().map(point).collect(),
            dropped: spec.dropped,
            reason: spec.reason.as_deref().map(reason).transpose()?,
            filter: spec.filter.as_deref().map(filter).transpose()?,
            snaplen: spec
                .snaplen
                .map_or(usize::MAX, |bytes| bytes.try_into().unwrap_or(usize::MAX)),
        };
        let shown = |id: u64| {
            let seen = &self.links.get(&id)?.seen;
            Some(shown(&seen.name, seen.netns, &Names::read(self.home)))
        };
        // The kernel drops nothing by itself.
        let forwarded = !spec.dropped && spec.reason.is_none();
        let in_kernel = self.links.iter().filter(|(id, entry)| {
            let wanted = forwarded && sub.is_none_or(|sub| sub.0 == **id);
            wanted && entry.seen.parent == handle && entry.seen.port.beside.is_some()
        });
        let started = CaptureView::Started {
            parent: self.parent_name(&handle),
            link: sub.and_then(|sub| shown(sub.0)),
            in_kernel: in_kernel.filter_map(|(&id, _)| shown(id)).collect(),
        };
        let mut reader = CaptureReader {
            captured: self.engine.capture(&handle, request)?,
            engine: Arc::downgrade(&self.engine),
            handle,
            home: self.home,
            names: HashMap::new(),
            named: Instant::now(),
            batch: Some(Batch::default()),
            left_out: 0,
            lines: Vec::new(),
        };
        reader.read_names();
        push_line(&mut reader.lines, &started);
        Ok(reader)
    }

    /// The handle of the parent, and the link if one is meant.
    fn find_captured(
        &mut self,
        spec: &CaptureSpec,
        caller: Option<u32>,
    ) -> Result<(String, Option<SubId>), ServiceError> {
        let CaptureSpec { dev, netns, .. } = spec;
        let parent = self.parents.iter().find(|(_, parent)| parent.name == *dev);
        if let (Some((handle, _)), None) = (parent, netns) {
            return Ok((handle.clone(), None));
        }
        // As it is shown. No interface has a slash in its name.
        let (netns, name) = match (netns, dev.rsplit_once('/')) {
            (None, Some((place, name))) => (Some(place.to_owned()), name.to_owned()),
            _ => (netns.clone(), dev.clone()),
        };
        let has_name = |link: &Entry| link.seen.name == name || link.given_name == name;
        let is_known = netns.is_some() || self.links.values().any(has_name);
        let which = Selector { name, netns, caller };
        let id = self.find(&which).map_err(|mut error| {
            if error.0.code == Code::NoDevice && !is_known {
                error.0.message = format!(
                    "{dev} is neither a parent nor a link: `umacvlan parent` and `umacvlan link` list them"
                );
            }
            error
        })?;
        let parent = self.links.get(&id).map(|link| link.seen.parent.clone());
        Ok((parent.unwrap_or_default(), Some(SubId(id))))
    }
}

/// The reader of a capture. It ends the capture when it is dropped.
#[derive(Debug)]
pub(crate) struct CaptureReader {
    captured: Captured,
    /// The engine ends before a slow client does.
    engine: Weak<Engine>,
    handle: String,
    home: NetnsId,
    names: HashMap<SubIndex, String>,
    /// When these were read.
    named: Instant,
    /// `None` while it is read.
    batch: Option<Batch>,
    /// Frames of which the client knows that they were left out.
    left_out: u64,
    lines: Vec<u8>,
}

impl CaptureReader {
    /// The lines about what was captured since the last time, and whether they are the last ones.
    pub(crate) fn read(&mut self) -> (Vec<u8>, bool) {
        let ended = self.captured.queues.iter().find_map(|queue| queue.closed());
        let mut frames: Vec<CapturedFrame> = Vec::new();
        for queue in self.captured.queues.clone() {
            // It has its memory back before the next queue is read.
            let Some(mut batch) = self.batch.take() else {
                break;
            };
            queue.take(&mut batch);
            frames.extend(batch.frames().map(|(record, bytes)| self.frame(&record, bytes)));
            self.batch = Some(batch);
        }
        // Each worker has its frames in order; several have them at the same time.
        frames.sort_by_key(|frame| frame.time_ns);
        let mut lines = std::mem::take(&mut self.lines);
        frames.into_iter().for_each(|frame| push_line(&mut lines, &CaptureView::Frame(frame)));
        let left_out = self.captured.queues.iter().map(|queue| queue.left_out()).sum();
        if left_out != self.left_out {
            self.left_out = left_out;
            push_line(&mut lines, &CaptureView::LeftOut { count: left_out });
        }
        if let Some(why) = ended {
            push_line(&mut lines, &CaptureView::Ended { why: why.to_owned() });
        }
        (lines, ended.is_some())
    }

    fn frame(&mut self, record: &Record, bytes: &[u8]) -> CapturedFrame {
        let Record { time, point, sub, fate, len, .. } = *record;
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (fate, to, reason) = match fate {
            Fate::Deliver(to) => (FrameFate::Deliver, to, None),
            Fate::Drop(reason) => (FrameFate::Drop, None, Some(reason.name().to_owned())),
            Fate::Flood => (FrameFate::Flood, None, None),
            Fate::Host => (FrameFate::Host, None, None),
            Fate::Send => (FrameFate::Send, None, None),
            Fate::Wait => (FrameFate::Wait, None, None),
            Fate::Wire => (FrameFate::Wire, None, None),
        };
        CapturedFrame {
            time_ns: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
            at: view(point),
            link: sub.map(|sub| self.name(sub)),
            fate,
            to: to.map(|to| self.name(to)),
            reason,
            len,
            frame: hex(bytes),
        }
    }

    fn name(&mut self, sub: SubIndex) -> String {
        if !self.names.contains_key(&sub) || self.named.elapsed() > NAMES_AGE {
            self.read_names();
        }
        // A link that was deleted meanwhile has no name any more.
        self.names.entry(sub).or_insert_with(|| "?".to_owned()).clone()
    }

    fn read_names(&mut self) {
        self.named = Instant::now();
        let names = self.engine.upgrade().map(|engine| engine.capture_names(&self.handle));
        let Some(Ok(now)) = names else {
            return;
        };
        let places = Names::read(self.home);
        // A link that is gone keeps its name until another one has its index.
        let now = now.into_iter().map(|(sub, name, netns)| (sub, shown(&name, netns, &places)));
        self.names.extend(now);
    }
}

/// A link as captures name it.
fn shown(name: &str, netns: NetnsId, places: &Names) -> String {
    match places.shown(netns) {
        Some(place) => format!("{place}/{name}"),
        None => name.to_owned(),
    }
}

fn push_line(lines: &mut Vec<u8>, view: &CaptureView) {
    // Plain data can always be serialized, and memory takes all of it.
    let _ = serde_json::to_writer(&mut *lines, view);
    lines.push(b'\n');
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn point(point: CapturePoint) -> Point {
    match point {
        CapturePoint::FromLink => Point::FromLink,
        CapturePoint::FromWire => Point::FromWire,
        CapturePoint::ToLink => Point::ToLink,
        CapturePoint::ToWire => Point::ToWire,
    }
}

fn view(point: Point) -> CapturePoint {
    match point {
        Point::FromLink => CapturePoint::FromLink,
        Point::FromWire => CapturePoint::FromWire,
        Point::ToLink => CapturePoint::ToLink,
        Point::ToWire => CapturePoint::ToWire,
    }
}

fn reason(name: &str) -> Result<DropReason, ServiceError> {
    let found = DropReason::ALL.into_iter().find(|reason| reason.name() == name);
    found.ok_or_else(|| {
        let all: Vec<&str> = DropReason::ALL.into_iter().map(DropReason::name).collect();
        let all = all.join(", ");
        plain(Code::Malformed, format!("\"{name}\" is not a drop reason; the reasons are {all}"))
    })
}

fn filter(text: &str) -> Result<FrameFilter, ServiceError> {
    text.parse()
        .map_err(|error: FilterError| plain(Code::Malformed, format!("the filter: {error}")))
}
