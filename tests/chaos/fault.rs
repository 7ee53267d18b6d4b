//! Faults: the daemon, the kernel's resources, and namespaces that end.

use crate::operator;
use crate::tenant;
use crate::world::{Link, World};

/// What tenants may do while no daemon runs.
const WITHOUT_DAEMON: [fn(&mut World); 5] = [
    tenant::rename,
    tenant::set_address,
    tenant::set_down_and_up,
    tenant::set_mtu,
    tenant::move_link,
];

pub(crate) fn kill(world: &mut World) {
    world.end_daemon("KILL");
    world.start();
}

pub(crate) fn terminate(world: &mut World) {
    world.end_daemon("TERM");
    world.start();
}

/// Whether the link exists afterwards is open, because nobody was told.
pub(crate) fn kill_while_adding(world: &mut World) {
    if world.is_full() {
        operator::remove(world);
    }
    let tenant = world.any_tenant();
    let (link, line) = world.plan_link("l", "bridge", tenant);
    world.run(&format!("{line} & kill -s KILL $(cat /run/pid); wait $!"));
    world.start();
    if let Some(id) = world.find(&link.name) {
        world.links.insert(id, link);
    }
}

pub(crate) fn end_namespace(world: &mut World) {
    let tenant = world.any_tenant();
    world.ok(&format!("ip netns del {tenant}"));
    world.links.retain(|_, link| link.netns != tenant);
    world.verify();
    world.make_namespace(tenant);
}

pub(crate) fn act_without_daemon(world: &mut World) {
    // There has to be a link before the daemon ends.
    world.any_link();
    world.end_daemon("KILL");
    for _ in 0..3 {
        WITHOUT_DAEMON[world.rng.usize(..WITHOUT_DAEMON.len())](world);
    }
    world.start();
}

pub(crate) fn end_namespace_without_daemon(world: &mut World) {
    let signal = if world.rng.bool() { "KILL" } else { "TERM" };
    world.end_daemon(signal);
    let tenant = world.any_tenant();
    world.ok(&format!("ip netns del {tenant}"));
    world.links.retain(|_, link| link.netns != tenant);
    world.start();
    world.make_namespace(tenant);
}

/// A tenant makes a TAP with the address of a link that has just ended.
pub(crate) fn hijack(world: &mut World) {
    let id = world.any_link();
    let Link { netns: victim, address, .. } = world.links[&id].clone();
    world.end_daemon("KILL");
    world.ok(&format!("ip netns del {victim}"));
    world.links.retain(|_, link| link.netns != victim);
    world.make_namespace(&victim);
    let (thief, number) = (world.any_tenant(), world.next_number());
    world.ok(&format!("ip -n {thief} tuntap add name evil{number} mode tap"));
    world.ok(&format!("ip -n {thief} link set evil{number} address {address} up"));
    world.start();
    world.verify();
    let shown = world.ok(&format!("ip -n {thief} -o link show evil{number}"));
    assert!(shown.contains("NO-CARRIER"), "{shown}\n{}", world.report());
    world.ok(&format!("ip -n {thief} tuntap del name evil{number} mode tap"));
}

/// Requests fail, and change nothing.
pub(crate) fn fill_disk(world: &mut World) {
    world.any_link();
    world.ok("dd if=/dev/zero of=/run/small/ballast bs=1k count=1000 2>/dev/null; true");
    let tenant = world.any_tenant();
    let (link, line) = world.plan_link("l", "bridge", tenant);
    let added = world.run(&line);
    acknowledge(world, link, added.status);
    let id = world.any_link();
    let Link { netns, name, .. } = world.links[&id].clone();
    let set = format!("umacvlan -n {netns} link set {name} type macvlan mode vepa");
    if world.run(&set).status == 0 {
        world.links.get_mut(&id).unwrap().mode = "vepa".to_owned();
    }
    world.verify();
    world.end_daemon("KILL");
    world.ok("rm /run/small/ballast");
    world.start();
}

/// The daemon may open no more files than it has; requests fail or succeed as a whole.
pub(crate) fn exhaust_descriptors(world: &mut World) {
    let limit = world.ok("prlimit --pid $(cat /run/pid) --nofile --noheadings -o SOFT");
    let more = world.rng.u32(1..12);
    world.ok(&format!(
        "prlimit --pid $(cat /run/pid) --nofile=$(($(ls /proc/$(cat /run/pid)/fd | wc -l) + {more})):"
    ));
    for _ in 0..3 {
        let tenant = world.any_tenant();
        let (link, line) = world.plan_link("l", "bridge", tenant);
        let added = world.run(&line);
        acknowledge(world, link, added.status);
    }
    world.ok(&format!("prlimit --pid $(cat /run/pid) --nofile={}:", limit.trim()));
}

pub(crate) fn parent_without_carrier(world: &mut World) {
    world.ok("ip link set q0 down");
    world.verify_links();
    world.ok("ip link set q0 up");
}

pub(crate) fn rename_parent(world: &mut World) {
    let (from, other) = (world.parent.clone(), world.other.clone());
    let to = format!("p{}", world.next_number());
    rename(world, &from, &to);
    world.renamed(&to, &other);
}

pub(crate) fn rename_parent_without_daemon(world: &mut World) {
    world.end_daemon("KILL");
    rename_parent(world);
    world.start();
}

pub(crate) fn swap_names(world: &mut World) {
    let (parent, other) = (world.parent.clone(), world.other.clone());
    rename(world, &parent, "between");
    rename(world, &other, &parent);
    rename(world, "between", &other);
    world.renamed(&other, &parent);
}

pub(crate) fn swap_names_without_daemon(world: &mut World) {
    world.end_daemon("TERM");
    swap_names(world);
    world.start();
}

/// Renames an interface. Before Linux 6.2 it has to be down.
fn rename(world: &mut World, from: &str, to: &str) {
    world.ok(&format!("ip link set {from} down && ip link set {from} name {to} up"));
}

/// The link exists if the request for it succeeded.
fn acknowledge(world: &mut World, link: Link, status: i32) {
    if status == 0 {
        let id = world.find(&link.name).expect("the link was acknowledged");
        world.links.insert(id, link);
    }
}
