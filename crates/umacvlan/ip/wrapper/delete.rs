//! `ip link del` of an interface that is no link of umacvlan, but may be the parent of some.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use umacvlan_netlink::Rtnl;
use umacvlan_sys::netns::Netns;

use super::super::error::CommandError;
use super::super::options::Options;
use super::super::session::Session;
use super::{Wrapper, daemon};

/// The longest time for which links may outlive their parent.
const LIMIT: Duration = Duration::from_secs(2);

/// The time between two looks whether they are gone.
const PERIOD: Duration = Duration::from_millis(10);

/// Removes the interface by the real `ip`, and returns when a daemon that was started on demand has removed
/// the links on it, which end with it as those of the kernel do.
pub(super) fn run(wrapper: &Wrapper, words: &[String]) -> Result<u8, CommandError> {
    let remove = || wrapper.real.run(&wrapper.given, words);
    let Ok(netns) = daemon::namespace(wrapper.options.netns.as_deref()) else { return remove() };
    let Some(socket) = daemon::on_demand(&netns) else { return remove() };
    let before = interfaces(&netns);
    let status = remove()?;
    let after = interfaces(&netns);
    let gone: BTreeSet<_> = before.difference(&after).collect();
    // Links in all namespaces.
    let options = Options { socket: Some(socket), netns: None, ..wrapper.options.clone() };
    let Ok(mut session) = Session::new(options) else { return Ok(status) };
    let begun = Instant::now();
    while begun.elapsed() < LIMIT && !gone.is_empty() {
        match session.links() {
            Ok(links) if links.iter().any(|link| gone.contains(&link.umacvlan.parent)) => {
                sleep(PERIOD);
            }
            _ => break,
        }
    }
    Ok(status)
}

/// The names of all interfaces; none if they cannot be read.
fn interfaces(netns: &Netns) -> BTreeSet<String> {
    let names = || Rtnl::open().and_then(|mut rtnl| rtnl.links()).unwrap_or_default();
    let links = netns.run(names).unwrap_or_default();
    links.into_iter().map(|link| link.name).collect()
}
