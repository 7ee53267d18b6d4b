//! Captures: the request, and the lines of the response.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use utoipa::ToSchema;

/// Body of a request for a capture.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CaptureSpec {
    /// Name of a parent or of a link. A parent comes first, unless `netns` is given.
    pub dev: String,
    /// Namespace of the link: a name, a path, a process id, or `@caller`.
    pub netns: Option<String>,
    /// The points at which frames are captured. By default `from_wire` and `from_link` of a parent, so
    /// that each frame comes once, and `from_link` and `to_link` of a link.
    pub at: Option<Vec<CapturePoint>>,
    /// Only dropped frames, at all points.
    #[serde(default)]
    pub dropped: bool,
    /// Only frames dropped for this reason, by its name in the counters.
    pub reason: Option<String>,
    /// Only frames that this filter selects, a part of pcap's filter language.
    pub filter: Option<String>,
    /// The most bytes of a frame that are sent; all by default.
    pub snaplen: Option<u32>,
}

/// Where a frame is captured.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CapturePoint {
    /// A link has sent it.
    FromLink,
    /// It has come from the wire.
    FromWire,
    /// It is queued for a link.
    ToLink,
    /// It is queued for the wire.
    ToWire,
}

/// What becomes of a captured frame.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FrameFate {
    /// One link gets it.
    Deliver,
    /// It is dropped.
    Drop,
    /// Several links get it, and the wire or the host.
    Flood,
    /// Only the host gets it.
    Host,
    /// It is written to its link or to the wire.
    Send,
    /// It waits for a limit of its sender.
    Wait,
    /// The wire gets it.
    Wire,
}

/// A line of a capture.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum CaptureView {
    /// The capture has begun; always the first line.
    Started {
        /// Name of the parent.
        parent: String,
        /// Name of the link, if only its frames are captured.
        link: Option<String>,
        /// Links whose frames the kernel forwards without the daemon else (`port veth`): while they are
        /// captured, the daemon does.
        in_kernel: Vec<String>,
    },
    /// A frame.
    Frame(CapturedFrame),
    /// How many frames were left out so far, because the client reads too slowly.
    LeftOut {
        /// How many.
        count: u64,
    },
    /// The capture has ended; the last line.
    Ended {
        /// Why.
        why: String,
    },
}

/// A captured frame.
#[skip_serializing_none]
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct CapturedFrame {
    /// Time of the capture: nanoseconds since 1970.
    pub time_ns: u64,
    /// Where.
    pub at: CapturePoint,
    /// The link that has sent it or gets it; absent at `from_wire`. A link in another namespace than
    /// the daemon's has that behind an `@`.
    pub link: Option<String>,
    /// What becomes of it.
    pub fate: FrameFate,
    /// The link that gets it, if its fate is `deliver` and the link is known.
    pub to: Option<String>,
    /// Why it is dropped, by the name of the counter.
    pub reason: Option<String>,
    /// Bytes of the frame.
    pub len: u32,
    /// The frame in hexadecimal digits, at most `snaplen` bytes of it; empty if the kernel has refused
    /// the frame, because it is not at hand any more then.
    pub frame: String,
}
