//! Offloads: the virtio_net header in front of a frame, and the work that it defers.
//!
//! A frame travels as one unit, `[10-byte header | Ethernet frame]`, as TAPs and AF_PACKET sockets
//! read and write it. The header may say that the transport checksum is partial, and that up to
//! 64 KB of payload are to be segmented later (a GSO packet). Passing this on unchanged makes bulk
//! traffic cheap; the functions here are for the other cases:
//!
//! * the header comes from an untrusted sender: [`VnetHeader::validate`];
//! * the receiver lacks an [offload](Offloads): [`complete_checksum`] and [`segment()`] do the
//!   work, with the same result as Linux;
//! * frames of one flow become one GSO packet: [`GroBuilder`];
//! * a frame without a header has a partial checksum: [`partial_checksum()`] detects it;
//! * VLAN tags: [`insert_tag`] restores the tag that Linux removes before AF_PACKET sees a frame,
//!   [`pop_tag`] removes one, and [`TaggedPrefix`] sends a frame with tags that it does not
//!   contain.

mod capabilities;
mod checksum;
mod flow;
mod gro;
mod header;
mod layout;
mod partial_checksum;
mod segment;
mod tag;
mod tunnel;

pub use capabilities::Offloads;
pub use checksum::{checksum, complete_checksum};
pub use flow::flow_hash;
pub use gro::GroBuilder;
pub use header::{VNET_LEN, VnetError, VnetHeader};
pub use partial_checksum::partial_checksum;
pub(crate) use segment::headers_len;
pub use segment::{SEGMENT_BUFFER_LEN, segment, segment_count};
pub use tag::{TaggedPrefix, UNTAGGED_PREFIX_LEN, insert_tag, pop_tag};
