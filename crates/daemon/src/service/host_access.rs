//! Host access: the host's own link on a parent, through which it reaches other links there.
//!
//! The host and the links of a parent do not reach each other, as with the kernel's macvlan. A link can
//! name addresses at which the host is to reach it ([`HostAccess`]). For a parent that has such links
//! the service keeps one more link, in its own namespace, whose addresses, routes and neighbours
//! follow from all of them ([`HostPlan`]). Nothing about it is written down but the link itself: what
//! it is to have is computed from the records of the other links, and compared with what it has when
//! one of them changes, after a restart, and every few seconds.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use nix::libc::{EADDRNOTAVAIL, EEXIST, EINVAL, ENOENT, ESRCH};
use umacvlan_api::{Code, HostAccess, LinkChange, LinkSpec, Problem};
use umacvlan_core::mac::name_hash;
use umacvlan_core::{IpPrefix, MacAddr, MacvlanSettings, Mode};
use umacvlan_engine::engine::{LinkAttribute, SubId};
use umacvlan_netlink::{self as netlink, Route, set_sysctl, sysctl};
use umacvlan_sys::netns::{Netns, NetnsId};

use super::add::Ownership;
use super::events::LogKind;
use super::host_plan::{Host, HostPlan, Reached};
use super::problem::plain;
use super::{Entry, Service};
use crate::ServiceError;

/// The beginning of the owner tag of a link of the host, before the name of its parent in requests.
pub(super) const HOST_OWNER: &str = "host ";

/// The beginning of the name of such a link, before the name of its parent.
const NAME: &str = "host-";

/// The longest name of an interface (`IFNAMSIZ` of linux/if.h without the zero byte).
const NAME_MAX: usize = 15;

/// The maker of our routes, by which they are told from those of others (`RTPROT_*`); of no other
/// program in the list of iproute2, etc/iproute2/rt_protos.
const PROTOCOL: u8 = 117;

/// The time between two comparisons of what the host's links have with what they are to have.
const CHECK_AGAIN: Duration = Duration::from_secs(10);

/// The parts of a link on which the host's link depends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostRelevant {
    pub(super) parent: String,
    mac: MacAddr,
    /// Up or down, and where, if it is the host's own.
    own: Option<(bool, NetnsId)>,
}

/// Whether a link is one of the host.
pub(super) fn is_host_link(entry: &Entry) -> bool {
    entry.owner.as_deref().is_some_and(|owner| owner.starts_with(HOST_OWNER))
}

impl Service {
    /// Checks access to a link that is made, or changes to it; `id` is the link that changes.
    ///
    /// # Errors The reason why the host cannot have access.
    pub(super) fn check_host_access(
        &mut self,
        parent: &str,
        mode: Mode,
        access: &HostAccess,
        id: Option<u64>,
    ) -> Result<(), ServiceError> {
        if access == &HostAccess::default() {
            return Ok(());
        }
        check_mode(mode)?;
        let host = self.host_on(parent)?;
        let others = self.reached(parent, id);
        let own = self.host_link(parent).and_then(|id| self.links.get(&id));
        let own = own.map(|link| link.seen.index);
        let all = self.rtnl.addresses()?;
        // Addresses of the host's link are among those that the accesses have.
        let all = all.iter().filter(|at| Some(at.index) != own).map(|address| address.at);
        host.check(access, &all.collect::<Vec<_>>(), &others).map_err(refused)
    }

    /// Checks that the host can reach containers in these networks on a parent, from these addresses or
    /// derived ones.
    ///
    /// # Errors The mode forbids it, or the host has no address in one of the networks.
    pub fn check_host_network(
        &mut self,
        parent: &str,
        mode: Mode,
        from: &[IpAddr],
        networks: &[IpPrefix],
    ) -> Result<(), ServiceError> {
        check_mode(mode)?;
        let host = self.host_on(parent)?;
        networks.iter().try_for_each(|at| host.check_network(*at, from)).map_err(refused)
    }

    /// Refuses a mode in which the host cannot reach the link as it does.
    pub(super) fn check_host_stays(
        &self,
        id: u64,
        change: &LinkChange,
    ) -> Result<(), ServiceError> {
        let Some(link) = self.links.get(&id) else {
            return Ok(());
        };
        let access = change.host.as_ref().unwrap_or(&link.host);
        let mode = change.macvlan.as_ref().and_then(|macvlan| macvlan.mode);
        match mode.filter(|_| !access.is_off()) {
            Some(mode) => check_mode(mode),
            None => Ok(()),
        }
    }

    /// Refuses to remove a link of the host that others need.
    pub(super) fn check_unneeded(&self, id: u64) -> Result<(), ServiceError> {
        let Some(link) = self.links.get(&id).filter(|link| is_host_link(link)) else {
            return Ok(());
        };
        match self.reached(&link.seen.parent, None).len() {
            0 => Ok(()),
            count => Err(refused(format!(
                "{} is the host's way to {count} of the links of {}, and goes with the last of them",
                link.seen.name,
                self.parent_name(&link.seen.parent)
            ))),
        }
    }

    /// Changes how the host reaches a link.
    pub(super) fn change_host_access(
        &mut self,
        id: u64,
        access: &HostAccess,
    ) -> Result<(), ServiceError> {
        let Some(link) = self.links.get(&id) else {
            return Ok(());
        };
        let (parent, mode) = (link.seen.parent.clone(), link.seen.settings.mode);
        self.check_host_access(&parent, mode, access, Some(id))?;
        let former = self.set_host_access(id, access.clone());
        self.sync_host(&parent).inspect_err(|_| {
            // The first error is reported.
            self.set_host_access(id, former);
            let _ = self.sync_host(&parent);
        })
    }

    /// Notes access to a link, to be written with its record; returns the former one.
    fn set_host_access(&mut self, id: u64, access: HostAccess) -> HostAccess {
        self.unsaved.insert(id);
        let link = self.links.get_mut(&id);
        link.map(|link| std::mem::replace(&mut link.host, access)).unwrap_or_default()
    }

    /// The parts of a link on which the host's link depends; `None` if there are none.
    pub(super) fn host_relevant(&self, id: u64) -> Option<HostRelevant> {
        let link = self.links.get(&id)?;
        let own = is_host_link(link);
        (own || !link.host.is_off()).then(|| HostRelevant {
            parent: link.seen.parent.clone(),
            mac: link.seen.mac,
            own: own.then_some((link.seen.up, link.seen.netns)),
        })
    }

    /// Compares the links of the host with what they are to be, after a start.
    pub(super) fn sync_hosts(&mut self) {
        let needed = self.links.values().filter(|link| is_host_link(link) || !link.host.is_off());
        let parents: BTreeSet<String> = needed.map(|link| link.seen.parent.clone()).collect();
        parents.iter().for_each(|parent| self.sync_host_or_log(parent));
        self.next_host_check = (!parents.is_empty()).then(|| Instant::now() + CHECK_AGAIN);
    }

    /// The same every few seconds: the parent may have got another address, and somebody may have
    /// removed a route. Returns the time until the next time, if there is anything to compare.
    pub(super) fn check_hosts(&mut self) -> Option<Duration> {
        let now = Instant::now();
        match self.next_host_check {
            Some(next) if now < next => Some(next - now),
            Some(_) => {
                self.sync_hosts();
                self.next_host_check.map(|_| CHECK_AGAIN)
            }
            None => None,
        }
    }

    /// As [`Self::sync_host`]; a failure is logged.
    pub(super) fn sync_host_or_log(&mut self, parent: &str) {
        if let Err(problem) = self.sync_host(parent) {
            let name = self.parent_name(parent);
            let what = format!("the host does not reach links of {name}: {problem}");
            self.trouble(LogKind::Text(what.clone()), what);
        }
    }

    /// Makes, changes or removes the host's link on a parent, so that the host reaches the links there
    /// that it is to reach.
    pub(super) fn sync_host(&mut self, parent: &str) -> Result<(), ServiceError> {
        let links = self.reached(parent, None);
        let mut link = self.host_link(parent);
        let elsewhere =
            |id: &u64| self.links.get(id).is_some_and(|link| link.seen.netns != self.home);
        if let Some(id) = link.filter(|id| links.is_empty() || elsewhere(id)) {
            self.remove_at_any_rate(id)?;
            // Removing it has brought everything in order, with another link if one is needed.
            return Ok(());
        }
        if links.is_empty() {
            return Ok(());
        }
        let (plan, problems) = HostPlan::new(&self.host_on(parent)?, &links);
        problems.into_iter().for_each(|what| self.trouble(LogKind::Text(what.clone()), what));
        let fresh = link.is_none();
        let id = match link.take() {
            Some(id) => id,
            None => self.add_host_link(parent)?,
        };
        let done = self.apply_host_plan(id, &plan);
        if fresh && done.is_err() {
            // The first error is reported; while other links need it, the next check tries again.
            let _ = self.engine.remove_sub(SubId(id));
            self.links.remove(&id);
            self.store.remove_link(id);
            self.keeper.release(id);
        }
        self.next_host_check.get_or_insert_with(|| Instant::now() + CHECK_AGAIN);
        done
    }

    /// The links of a parent that the host is to reach, but `without`.
    fn reached(&self, parent: &str, without: Option<u64>) -> Vec<Reached> {
        let links = self.links.iter().filter(|(id, _)| Some(**id) != without);
        let links = links.map(|(_, link)| (&link.seen.parent, link.seen.mac, &link.host));
        let waiting = self.waiting.iter().filter(|one| !one.removed).map(|one| &one.record);
        let waiting = waiting.map(|record| (&record.parent, record.mac, &record.host));
        let here = links.chain(waiting).filter(|(on, _, host)| *on == parent && !host.is_off());
        here.map(|(_, mac, host)| Reached { access: host.clone(), mac }).collect()
    }

    /// The link of the host on a parent.
    fn host_link(&self, parent: &str) -> Option<u64> {
        let owner = format!("{HOST_OWNER}{parent}");
        let owned = |link: &Entry| link.owner.as_deref() == Some(&owner);
        self.links.iter().find(|(_, link)| owned(link)).map(|(&id, _)| id)
    }

    /// The host, with the addresses of the parent's interface.
    fn host_on(&mut self, parent: &str) -> Result<Host, ServiceError> {
        let name = self.parent_name(parent);
        let index = self.rtnl.link(&name)?.map(|link| link.index);
        let all = self.rtnl.addresses()?.into_iter();
        let own = all.filter(|at| Some(at.index) == index && !at.duplicate);
        Ok(Host {
            parent: name,
            addresses: own.map(|address| address.at).collect(),
            mac: self.host_mac(parent),
        })
    }

    /// The MAC address of the host's link on a parent: the same each time.
    fn host_mac(&self, parent: &str) -> MacAddr {
        let own = self.parents.get(parent).map(|attached| attached.record.own_mac);
        let [a, b, c, d, e, f, ..] =
            name_hash(&format!("{HOST_OWNER}{parent} {}", own.unwrap_or_default())).to_be_bytes();
        MacAddr::new([a & 0xfc | 2, b, c, d, e, f])
    }

    /// Makes the host's link on a parent, down and without addresses.
    fn add_host_link(&mut self, parent: &str) -> Result<u64, ServiceError> {
        let name = self.parent_name(parent);
        let spec = LinkSpec {
            parent: name.clone(),
            address: Some(self.host_mac(parent)),
            settings: MacvlanSettings::new(Mode::Bridge),
            alias: Some(format!("the host on {name}, of umacvlan")),
            ..LinkSpec::default()
        };
        let whose = Ownership { config: None, owner: Some(format!("{HOST_OWNER}{parent}")) };
        let made = self.add(&link_name(&name), &spec, None, whose)?;
        let index = made.ifindex;
        self.rtnl.set_arp_filter(index)?;
        if let Err(error) = ignore_routers(&made.ifname) {
            tracing::warn!(
                "the host may get a second IPv6 default route, through its link {}: {error}; \
                 docs/docker.md has the remedy",
                made.ifname
            );
        }
        Ok(made.umacvlan.id)
    }

    /// Gives the host's link its addresses, routes and neighbours, and takes off those of an earlier
    /// plan.
    fn apply_host_plan(&mut self, id: u64, plan: &HostPlan) -> Result<(), ServiceError> {
        let number = SubId(id);
        let seen = self.engine.sub(number)?;
        if !seen.up {
            self.engine.set_link(number, vec![LinkAttribute::Up(true)])?;
        }
        let index = seen.index;
        let has = self.rtnl.addresses()?.into_iter();
        let has = has.filter(|address| address.index == index && address.at.is_single());
        let has: BTreeSet<_> = has.map(|address| address.at.ip()).collect();
        for &ip in plan.addresses.difference(&has) {
            tolerate(self.rtnl.add_single_address(index, ip), &[EEXIST])?;
        }
        // The kernel removes all IPv4 routes and neighbours with the last IPv4 address (`fib_disable_ip`
        // of net/ipv4/fib_frontend.c), so these come afterwards.
        for &ip in has.difference(&plan.addresses) {
            tolerate(self.rtnl.del_single_address(index, ip), &[EADDRNOTAVAIL])?;
        }
        self.apply_routes(index, plan)?;
        for &(ip, mac) in &plan.neighbours {
            self.rtnl.add_neighbour(index, ip, mac, true)?;
        }
        Ok(())
    }

    fn apply_routes(&mut self, index: u32, plan: &HostPlan) -> Result<(), ServiceError> {
        let all = self.rtnl.routes()?.into_iter();
        let ours = all.filter(|route| route.index == Some(index) && route.protocol == PROTOCOL);
        let ours: Vec<_> = ours.filter(|route| route.table == Route::MAIN_TABLE).collect();
        let is = |route: &Route, (to, source): (IpPrefix, _)| {
            route.to == to && route.source == Some(source)
        };
        for stale in ours.iter().filter(|has| !plan.routes.iter().any(|&it| is(has, it))) {
            tolerate(self.rtnl.del_route(stale), &[ESRCH])?;
            // A permanent neighbour would stay.
            if stale.to.is_single() {
                tolerate(self.rtnl.del_neighbour(index, stale.to.ip()), &[ENOENT])?;
            }
        }
        for &(to, source) in &plan.routes {
            if !ours.iter().any(|has| is(has, (to, source))) {
                let index = Some(index);
                let route =
                    Route { index, source: Some(source), protocol: PROTOCOL, ..Route::new(to) };
                tolerate(self.rtnl.add_route(&route), &[EEXIST])?;
            }
        }
        Ok(())
    }
}

/// The reason why a link of this mode cannot be reached by the host.
fn check_mode(mode: Mode) -> Result<(), ServiceError> {
    let why = match mode {
        Mode::Bridge | Mode::Vepa => return Ok(()),
        Mode::Passthru => "has its parent to itself, so the host cannot have a link beside it",
        Mode::Private => "reaches no other link of its parent, and the host's is one",
        Mode::Source => "hears the addresses of its list only, and those on the wire",
    };
    Err(refused(format!("a link in mode {mode} {why}: host access is for mode bridge and vepa")))
}

/// Router advertisements are for the parent: with them the host would get a second default route, and
/// another address.
fn ignore_routers(name: &str) -> io::Result<()> {
    let own = Netns::current()?;
    let setting = |of: &str| format!("ipv6/conf/{name}/{of}");
    // Without IPv6 the file is missing, and a host that forwards ignores them.
    let is = |of: &str| sysctl(&own, &setting(of)).ok();
    match (is("accept_ra").as_deref(), is("forwarding").as_deref()) {
        (None | Some("0"), _) | (Some("1"), Some("1")) => Ok(()),
        _ => set_sysctl(&own, &setting("accept_ra"), "0"),
    }
}

fn refused(message: String) -> ServiceError {
    let problem = plain(Code::Refused, message).0;
    ServiceError(Problem { errno: Some(EINVAL), ..problem })
}

/// The name of the host's link on a parent.
fn link_name(parent: &str) -> String {
    let name = format!("{NAME}{parent}");
    match name.len() <= NAME_MAX {
        true => name,
        false => format!("{NAME}{:08x}", name_hash(parent) & 0xffff_ffff),
    }
}

/// These errors mean that it is done already.
fn tolerate(done: netlink::Result<()>, errors: &[i32]) -> netlink::Result<()> {
    match done {
        Err(error) if error.errno().is_some_and(|errno| errors.contains(&errno)) => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use umacvlan_core::ifname;

    use super::*;

    #[test]
    fn the_name_of_the_hosts_link_is_that_of_an_interface() {
        assert_eq!(link_name("eth0.50"), "host-eth0.50");
        let long = ["enp0s31f6.4094", "enp0s31f6.4093"].map(link_name);
        assert!(long[0] != long[1] && long.iter().all(|name| ifname::check(name).is_ok()));
    }

    #[test]
    fn modes_without_siblings_are_refused_with_the_reason() {
        for mode in Mode::ALL {
            let checked = check_mode(mode).map_err(|problem| problem.to_string());
            match mode {
                Mode::Bridge | Mode::Vepa => assert_eq!(checked, Ok(())),
                _ => assert!(checked.unwrap_err().contains(&format!("in mode {mode} "))),
            }
        }
    }
}
