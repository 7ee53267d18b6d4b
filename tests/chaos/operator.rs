//! What an operator does through the daemon. A request that succeeds is an acknowledged change.

use crate::world::World;

const MODES: [&str; 3] = ["bridge", "vepa", "private"];

pub(crate) fn add(world: &mut World) {
    if world.is_full() {
        return remove(world);
    }
    let mode = MODES[world.rng.usize(..MODES.len())];
    let (tenant, up) = (world.any_tenant(), world.rng.bool());
    world.add_link("l", mode, tenant, up);
}

pub(crate) fn remove(world: &mut World) {
    let id = world.any_link();
    let link = world.links.remove(&id).unwrap();
    world.ok(&format!("umacvlan -n {} link del {}", link.netns, link.name));
}

pub(crate) fn set_mode(world: &mut World) {
    let id = world.any_link();
    let mode = MODES[world.rng.usize(..MODES.len())];
    let link = &world.links[&id];
    let line =
        format!("umacvlan -n {} link set {} type macvlan mode {mode}", link.netns, link.name);
    world.ok(&line);
    world.links.get_mut(&id).unwrap().mode = mode.to_owned();
}

pub(crate) fn set_netns(world: &mut World) {
    let (id, to) = (world.any_link(), world.any_tenant());
    let link = world.links[&id].clone();
    if link.netns != to {
        world.ok(&format!("umacvlan -n {} link set {} netns {to}", link.netns, link.name));
        world.moved(id, to);
    }
}
