//! What the interfaces of a run do instead of the network stack, for the report.

use std::io;

use umacvlan_lab::station::{Member, Station};
use umacvlan_sys::ethtool::Ethtool;

use super::peer::Testbed;
use crate::bench::progress::Progress;

/// Records the parent, the far end of its cable and a sub-interface: the first two once for all who
/// forward, and again for whoever has others.
pub(super) fn record(testbed: &Testbed, progress: &mut Progress) {
    let peer = testbed.peer;
    for station in testbed.stations() {
        let name = match station.member {
            Member::Host => "parent",
            Member::External => "wire",
            Member::Sub(1) => "sub",
            Member::Sub(_) => continue,
        };
        // What the kernel does not tell is absent.
        let Ok(found) = ask(&station) else {
            continue;
        };
        let offloads = &mut progress.offloads;
        if station.member == Member::Sub(1) || offloads.get(name).is_some_and(|is| *is != found) {
            offloads.insert(format!("{name} of {peer}"), found);
        } else {
            offloads.insert(name.to_owned(), found);
        }
    }
}

/// The driver and the offloads of a station's interface.
fn ask(station: &Station<'_>) -> io::Result<String> {
    let ethtool = station.netns.run(Ethtool::open)??;
    let interface = station.member.interface();
    Ok(format!("{}, {}", ethtool.driver(interface)?, ethtool.features(interface)?))
}
