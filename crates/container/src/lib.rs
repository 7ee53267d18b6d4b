//! Plugins for container runtimes: CNI (containerd, CRI-O, Kubernetes) and netavark (Podman).
//!
//! Both are clients of the daemon. They ask it for a link in the container's network namespace and
//! then set addresses and routes there themselves (`container_link`). A runtime starts the plugin
//! anew for each request, as `umacvlan-cni` or `umacvlan-netavark`, which are names of the
//! `umacvlan` program; requests and answers are JSON on standard input and output.
//!
//! The Docker driver is not here: Docker talks to the daemon (`umacvlan-docker`).
//!
//! Architecture invariant: never uses the engine; every link is created by the daemon.

pub mod cni;
mod container_link;
pub mod netavark;
