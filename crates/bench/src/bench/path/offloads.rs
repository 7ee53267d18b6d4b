//! Records the offloads of the interfaces of a run, for the report.

use std::io;

use umacvlan_lab::station::{Member, Station};
use umacvlan_sys::ethtool::Ethtool;

use super::peer::Testbed;
use crate::bench::progress::Progress;

/// Records the offloads of the parent, of the far end of its veth pair and of a sub-interface. The
/// first two are recorded once for all peers, and again for a peer that differs.
pub(super) fn record(testbed: &Testbed, progress: &mut Progress) {
    let peer = testbed.peer;
    for station in testbed.stations() {
        let name = match station.member {
            Member::Host => "parent",
            Member::External => "wire",
            Member::Sub(1) => "sub",
            Member::Sub(_) => continue,
        };
        // Offloads that the kernel does not report are absent.
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
    let interface = station.member.interface_name();
    Ok(format!("{}, {}", ethtool.driver(interface)?, ethtool.features(interface)?))
}
