//! The parts of the daemon: the service, its HTTP server, its state files and its sandbox.
//!
//! * [`service`]: [`Service`] owns the engine, the desired state and the state files. It knows no
//!   HTTP.
//! * [`store`]: the state files of links and parents, on [`RecordStore`], a directory of records.
//! * `leases`: the thread that gets addresses for links by DHCP.
//! * [`keeper`]: the process that holds TAPs open while the daemon restarts, and the connection to it.
//! * [`http`]: serves the service on a Unix socket; routes, limits, authorization, metrics.
//! * [`socket`]: the listening socket. [`sandbox`]: capabilities and seccomp. [`log`]: the log and
//!   its filter. [`systemd`]: readiness, status and watchdog.
//!
//! The command `umacvlan daemon` puts the parts together, and with them Docker's driver.
//!
//! Architecture invariant: knows no container engine; the driver of one is an extra router.

mod error;
#[cfg(test)]
mod fixtures;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod http;
pub mod keeper;
mod leases;
mod link_record;
pub mod log;
mod neighbours;
mod parent_record;
mod port_view;
mod record_store;
pub mod sandbox;
pub mod service;
pub mod socket;
pub mod store;
pub mod systemd;
mod to_api;

pub use error::ServiceError;
pub use record_store::{Durability, RecordStore, Reservation};
pub use service::{Service, Shared, lock_service, sub_options};
