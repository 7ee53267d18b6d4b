//! Chaos: an operator, tenants and faults act in random order on one machine, and after each of
//! their actions every link is as it was acknowledged, and two links that nobody touches ping each
//! other.
//!
//! In a round each action happens once. The test runs rounds for a minute; `make chaos` for 15 minutes,
//! and until each action has happened 20 times. `UMACVLAN_CHAOS_SECONDS` and `UMACVLAN_CHAOS_ROUNDS`
//! set these limits. `UMACVLAN_CHAOS_SEED` repeats a run: the seed decides the order of actions and
//! the links to which they happen. With `CI=true` it is always the same, so that a change is judged by
//! what it changes.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod counters;
mod fault;
mod operator;
mod tenant;
mod watchdog;
mod world;

use std::env;
use std::time::{Duration, Instant};

use fastrand::Rng;
use umacvlan_testkit::root_or_skip;

use world::World;

/// The seconds of a run without `UMACVLAN_CHAOS_SECONDS`.
const SECONDS: u64 = 60;

type Action = fn(&mut World);

/// What may happen, and what it is called in the report.
const ACTIONS: &[(&str, Action)] = &[
    ("operator adds a link", operator::add),
    ("operator adds another link", operator::add),
    ("operator removes a link", operator::remove),
    ("operator changes a mode", operator::set_mode),
    ("operator moves a link", operator::set_netns),
    ("tenant renames a link", tenant::rename),
    ("tenant changes an address", tenant::set_address),
    ("tenant steals an address", tenant::steal_address),
    ("tenant sets a link down and up", tenant::set_down_and_up),
    ("tenant lowers an MTU", tenant::set_mtu),
    ("tenant raises txqueuelen", tenant::set_txqueuelen),
    ("tenant moves a link", tenant::move_link),
    ("tenant toggles a flag", tenant::toggle_flag),
    ("tenant uses a name that is not UTF-8", tenant::strange_name),
    ("namespace ends", fault::end_namespace),
    ("daemon is killed", fault::kill),
    ("daemon is killed while it adds a link", fault::kill_while_adding),
    ("daemon ends", fault::terminate),
    ("tenants act while no daemon runs", fault::act_without_daemon),
    ("namespace ends while no daemon runs", fault::end_namespace_without_daemon),
    ("tenant prepares a hijack while no daemon runs", fault::hijack),
    ("state directory is full", fault::fill_disk),
    ("descriptors run out", fault::exhaust_descriptors),
    ("parent is renamed", fault::rename_parent),
    ("parent is renamed while no daemon runs", fault::rename_parent_without_daemon),
    ("parent and another interface swap names", fault::swap_names),
    ("they swap names while no daemon runs", fault::swap_names_without_daemon),
    ("parent loses its carrier", fault::parent_without_carrier),
];

#[test]
fn acknowledged_links_outlive_tenants_and_faults() {
    if !root_or_skip() {
        return;
    }
    let any = || if env::var("CI").is_ok_and(|ci| ci == "true") { 1 } else { Rng::new().u64(..) };
    let seed = variable("UMACVLAN_CHAOS_SEED").unwrap_or_else(any);
    let seconds = variable("UMACVLAN_CHAOS_SECONDS").unwrap_or(SECONDS);
    let least = variable("UMACVLAN_CHAOS_ROUNDS").unwrap_or(1);
    println!("to repeat this run: UMACVLAN_CHAOS_SEED={seed}");
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut world = World::new(Rng::with_seed(seed));
    let mut rounds = 0;
    while Instant::now() < end || rounds < least {
        let mut order: Vec<_> = ACTIONS.iter().collect();
        world.rng.shuffle(&mut order);
        for (name, act) in order {
            world.doing(name);
            act(&mut world);
            world.verify();
        }
        rounds += 1;
    }
    world.finish();
    println!("{rounds} rounds, each with every action once:");
    for (name, _) in ACTIONS {
        println!("{rounds:6} x {name}");
    }
}

/// The number in an environment variable.
fn variable(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}: {text:?} is not a number")))
}
