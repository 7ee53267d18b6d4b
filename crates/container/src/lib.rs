//! Plugins for container runtimes: CNI (containerd, CRI-O, Kubernetes) and netavark (Podman).
//!
//! Both are clients of the daemon. They ask it for a link in the container's network namespace and
//! set addresses and routes there themselves ([`container_link`]).
//!
//! Architecture invariant: never uses the engine; every link is made by the daemon.
#![allow(missing_docs, reason = "TEMPORARY")]

pub mod cni;
mod container_link;
pub mod netavark;
