//! Docker's network driver: by hand, message by message, and with a real dockerd. Everything happens
//! on machines of the tests' own: private namespaces, which end with them.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod compared;
mod crowd;
mod dockerd;
mod documented;
mod life;
mod messages;
mod plugin;
mod refused;
mod restarts;
