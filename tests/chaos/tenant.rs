//! What root in a tenant's namespace does to the interfaces there.

use crate::world::{Link, World};

/// Runs `ip link set` on a tenant's link, inside. Returns its number.
fn set(world: &mut World, words: &str) -> u64 {
    let id = world.any_link();
    let Link { netns, name, .. } = world.links[&id].clone();
    world.ok(&format!("ip -n {netns} link set {name} {words}"));
    id
}

pub(crate) fn rename(world: &mut World) {
    let name = format!("r{}", world.next_number());
    let id = world.any_link();
    let link = world.links[&id].clone();
    // An interface that is up can be renamed from Linux 6.2 on.
    world.ok(&format!("ip -n {} link set {} down", link.netns, link.name));
    world.ok(&format!("ip -n {} link set {} name {name}", link.netns, link.name));
    if link.up {
        world.ok(&format!("ip -n {} link set {name} up", link.netns));
    }
    world.links.get_mut(&id).unwrap().name = name;
}

pub(crate) fn set_address(world: &mut World) {
    let address = world.next_address();
    let id = set(world, &format!("address {address}"));
    world.links.get_mut(&id).unwrap().address = address;
}

/// The address of an observer's link, which stays the observer's.
pub(crate) fn steal_address(world: &mut World) {
    let id = world.any_link();
    let Link { netns, name, address, up, .. } = world.links[&id].clone();
    let stolen = world.links.values().find(|link| link.netns == "o1").unwrap().address.clone();
    world.ok(&format!("ip -n {netns} link set {name} address {stolen}"));
    world.ok(&format!("ip -n {netns} link set {name} address {address}"));
    // The thief's link was set down, unless the daemon saw both changes at once.
    world.settle(id);
    if up {
        world.ok(&format!("ip -n {netns} link set {name} up"));
    }
}

pub(crate) fn set_down_and_up(world: &mut World) {
    let id = set(world, "down");
    let up = world.rng.bool();
    if up {
        let Link { netns, name, .. } = world.links[&id].clone();
        world.ok(&format!("ip -n {netns} link set {name} up"));
    }
    world.links.get_mut(&id).unwrap().up = up;
}

pub(crate) fn set_mtu(world: &mut World) {
    let mtu = world.rng.u64(1280..=1500);
    let id = set(world, &format!("mtu {mtu}"));
    world.links.get_mut(&id).unwrap().mtu = mtu;
}

pub(crate) fn set_txqueuelen(world: &mut World) {
    set(world, "txqueuelen 100000");
}

pub(crate) fn move_link(world: &mut World) {
    let (id, to) = (world.any_link(), world.any_tenant());
    let Link { netns, name, .. } = world.links[&id].clone();
    if netns != to {
        world.ok(&format!("ip -n {netns} link set {name} netns {to}"));
        world.moved(id, to);
    }
}

pub(crate) fn toggle_flag(world: &mut World) {
    let id = world.any_link();
    let Link { netns, name, .. } = world.links[&id].clone();
    let toggle = "for n in 1 2 3 4 5 6 7 8 9 10; do for state in on off; do echo";
    world.ok(&format!(
        "{toggle} link set {name} allmulticast $state; done; done | ip -n {netns} -batch -"
    ));
}

/// A name that no UTF-8 decoder accepts, on an interface of the tenant's own.
pub(crate) fn strange_name(world: &mut World) {
    let tenant = world.any_tenant();
    world.ok(&format!("ip -n {tenant} link add \"$(printf '\\377\\376A')\" type veth peer name v"));
    world.verify();
    world.ok(&format!("ip -n {tenant} link del v"));
}
