//! Everything that reads bytes of others, as functions of any bytes: the targets of `make fuzz`.
//!
//! A target ([`Target`]) panics if a parser does, or if what it has read is not the same after it
//! was written again. Each has seeds in `fuzz/seeds/NAME`: inputs from which the fuzzer starts, and
//! those that made it fail. The tests of this crate run all seeds and some mutations of each, so that a
//! failure that was mended stays so; `fuzz/` has the program that searches for new ones with the
//! help of libFuzzer.
//!
//! Parsers that are private to their crates are reached through a module `fuzzing` there, which the
//! feature of that name compiles.
//!
//! Architecture invariant: no other crate depends on this one.

mod core;
mod ip;
mod macnat;

/// A parser, as a function of any bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of the directory of its seeds.
    pub name: &'static str,
    /// Reads the bytes, and panics if anything is wrong with the parser.
    pub run: fn(&[u8]),
}

/// All targets, by name.
pub const TARGETS: &[Target] = &[
    Target { name: "capture", run: umacvlan_offline::replay::fuzzing::capture },
    Target { name: "cni", run: umacvlan_container::cni::fuzzing::stdin },
    Target { name: "config", run: config },
    Target { name: "dhcp", run: dhcp },
    Target { name: "docker", run: umacvlan_docker::fuzzing::body },
    Target { name: "docker_state", run: umacvlan_docker::fuzzing::state_file },
    Target { name: "explain", run: explain },
    Target { name: "filter", run: core::filter },
    Target { name: "frame", run: core::frame },
    Target { name: "http", run: umacvlan_daemon::fuzzing::body },
    Target { name: "ip", run: ip::words },
    Target { name: "keeper", run: umacvlan_daemon::fuzzing::keeper_message },
    Target { name: "length_prefix", run: core::length_prefix },
    Target { name: "macnat", run: macnat::frames },
    Target { name: "netavark", run: umacvlan_container::netavark::fuzzing::stdin },
    Target { name: "netlink_events", run: umacvlan_netlink::fuzzing::events },
    Target { name: "netlink_groups", run: umacvlan_netlink::fuzzing::groups },
    Target { name: "netlink_reply", run: umacvlan_netlink::fuzzing::reply },
    Target { name: "state", run: umacvlan_daemon::fuzzing::state_file },
    Target { name: "switch", run: core::switch },
    Target { name: "vhost_ring", run: umacvlan_sys::vhost::fuzzing::ring },
    Target { name: "vhost_user", run: core::vhost_user },
    Target { name: "vnet", run: core::vnet },
];

/// The target of that name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|target| target.name == name).copied()
}

/// A configuration that is accepted is written and read without a change.
fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(parsed) = umacvlan_config::Config::parse("the input", &text, &[0, 1]) {
        let written = parsed.config.to_toml();
        match umacvlan_config::Config::parse("what was written", &written, &[0, 1]) {
            Ok(again) => assert_eq!(again.config, parsed.config, "{written}"),
            Err(error) => panic!("{error}\n{written}"),
        }
    }
}

/// What is read of a message names no more than its bytes have room for.
fn dhcp(bytes: &[u8]) {
    if let Some(reply) = umacvlan_dhcp::message::decode(bytes) {
        assert!(4 * reply.dns.len() + reply.routes.len() <= bytes.len(), "{reply:?}");
    }
}

fn explain(bytes: &[u8]) {
    umacvlan_offline::explain::fuzzing::question(&String::from_utf8_lossy(bytes));
}
