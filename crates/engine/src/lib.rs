//! The engine of umacvlan: workers that forward frames, and a thread that makes parents and
//! sub-interfaces and follows what their users do to them.
//!
//! `datapath` is the way of a frame. One [`worker::Worker`] serves one wire, with all parents on it:
//! it reads frames from the [`uplink::Uplink`] and from the [`port`]s, asks the switch of
//! `umacvlan-core`, and writes the frames at the end of a turn. `control` is everything else:
//! [`Engine`] is its handle, and one thread behind it does the work.
//!
//! The engine decides about no frame (`umacvlan-core` does) and keeps nothing on disk. It reads no
//! configuration and serves no API; the daemon does.
//!
//! Architecture invariant: `control` uses `datapath`, and `datapath` never uses `control`; there is
//! no allocation, no lock and no log on the way of a frame.
//!
//! A worker also runs without a kernel, with ports in memory:
//!
//! ```
//! use umacvlan_core::offload::{Offloads, VNET_LEN};
//! use umacvlan_core::{MacAddr, Mode, ParentInfo, Semantics, SubConfig, Switch};
//! use umacvlan_engine::memory_link::MemoryLink;
//! use umacvlan_engine::port::PortLink;
//! use umacvlan_engine::worker::{Worker, WorkerConfig};
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

mod control;
pub mod cpus;
mod datapath;

pub use control::engine::{self, Engine};
pub use control::error::{self, Error};
pub use control::{check_suitable, try_af_xdp, why_af_packet, zero_copy_memory};
pub use datapath::{SwitchId, idle, memory_link, port, uplink, worker};
