//! Offloads: the virtio_net header in front of a frame, and the work it stands for.
//!
//! A frame travels as one unit, `[10-byte header | Ethernet frame]`, because TAPs and AF_PACKET
//! sockets both take and give it so. The header may say that the transport checksum is still open,
//! and that up to 64 KB of payload are to be cut into segments later. Carried along untouched, this
//! is what makes bulk traffic cheap; so the functions here are for the two other cases:
//!
//! * the header was written by somebody untrusted: [`VnetHeader::validate`];
//! * the receiver lacks an [offload](Offloads): [`complete_checksum`] and [`segment()`] do its work,
//!   with the result that Linux would have had.
//!
//! [`partial_checksum`] finds out what nobody tells: that a frame is not finished. [`insert_tag`] puts
//! back the VLAN tag that Linux takes off before AF_PACKET sees the frame, [`pop_tag`] takes one
//! off, and [`TaggedPrefix`] sends a frame with tags that it does not have.

mod capabilities;
mod checksum;
mod gro;
mod header;
mod layout;
mod partial_checksum;
mod segment;
mod tag;

pub use capabilities::Offloads;
pub use checksum::{checksum, complete_checksum};
pub use gro::GroBuilder;
pub use header::{VNET_LEN, VnetError, VnetHeader};
pub use partial_checksum::partial_checksum;
pub use segment::{SEGMENT_BUFFER_LEN, segment, segment_count};
pub use tag::{TaggedPrefix, UNTAGGED_PREFIX_LEN, insert_tag, pop_tag};
