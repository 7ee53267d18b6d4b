//! The way of a frame: uplinks, ports, and the workers that forward between them.
//!
//! A [`worker::Worker`] reads frames from the [`uplink::Uplink`] and from the [`port`]s, asks the
//! switch of `umacvlan-core`, and writes them where it says, all at the end of a turn.
//!
//! Architecture invariant: there is no allocation, no lock and no log on the way of a frame, and
//! nothing here knows how interfaces are made or followed (`umacvlan-engine` does).
//!
//! A worker also runs without a kernel, with ports in memory:
//!
//! ```
//! use umacvlan_core::offload::{Offloads, VNET_LEN};
//! use umacvlan_core::{MacAddr, Mode, ParentInfo, Semantics, SubConfig, Switch};
//! use umacvlan_datapath::memory_link::MemoryLink;
//! use umacvlan_datapath::port::PortLink;
//! use umacvlan_datapath::worker::{Worker, WorkerConfig};
//!
//! let mac = |n| MacAddr::new([2, 0, 0, 0, 0, n]);
//! let parent = ParentInfo { mac: mac(0), mtu: 1500, promisc: false };
//! let switch = Switch::new(parent, Semantics::default());
//! let mut worker = Worker::new(switch, WorkerConfig::default())?;
//! let mut add_port = |n| -> Result<MemoryLink, Box<dyn std::error::Error>> {
//!     let (near, far) = MemoryLink::pair(16, 16 * 1024);
//!     let config = SubConfig::new(mac(n), Mode::Bridge);
//!     let sub = worker.add(&config, PortLink::Memory(near), Offloads::ALL)?;
//!     worker.set_up(sub, true)?;
//!     Ok(far)
//! };
//! let (one, two) = (add_port(1)?, add_port(2)?);
//!
//! let frame = [&mac(2).octets()[..], &mac(1).octets(), &[0x88, 0xb5], b"hello"].concat();
//! assert!(one.push(&frame));
//! worker.turn()?;
//! let unit = two.pop().expect("a frame for port 2");
//! assert_eq!(unit[VNET_LEN..], frame);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod capture;
mod flood_queue;
mod forwarder;
mod frame_ref;
mod gro;
pub mod idle;
mod igmp_mld;
mod limit_queues;
mod limits;
pub mod memory_link;
mod merge_buffer;
pub mod port;
mod segment_buffer;
mod switches;
mod translation;
mod tx_queues;
pub mod uplink;
mod wire_gro;
pub mod worker;

pub use switches::SwitchId;
