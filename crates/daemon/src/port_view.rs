//! The port of a link whose far end is a program, as clients see it.

use umacvlan_api::{PortView, VhostView};
use umacvlan_engine::engine::{ProgramPlace, ProgramStatus};

/// What clients see of a port.
pub(crate) fn port_view(status: &ProgramStatus) -> PortView {
    let ProgramStatus { port, program, connections, ended, interface, vhost, peer } = status;
    PortView {
        kind: port.kind.name().to_owned(),
        socket: port.place.socket().map(|path| path.display().to_string()).unwrap_or_default(),
        dev: port.place.interface().map(str::to_owned),
        dev_index: Some(*interface).filter(|&index| index > 0),
        client: matches!(port.place, ProgramPlace::Connect(_)),
        user: port.owner.user,
        group: port.owner.group,
        pid: program.map(|program| program.pid),
        uid: program.map(|program| program.uid),
        peer: peer.clone(),
        connections: *connections,
        ended: ended.clone(),
        vhost: vhost.as_ref().map(|vhost| VhostView {
            features: vhost.features.iter().map(|&name| name.to_owned()).collect(),
            memory: vhost.memory,
            regions: vhost.regions as u64,
            queues: 1,
            running: vhost.running,
        }),
    }
}
