//! Adopting all sub-interfaces of an earlier engine by the queues that were kept of them.
//!
//! Nothing is forwarded before, so it takes as little time as possible. The queues are proof enough:
//! each interface is read by one request and without entering its namespace, and the workers get all
//! of them at once. What only a visit to a namespace tells is read later, while frames are forwarded.
//! Until its groups are read, a sub-interface has those that it had.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umacvlan_core::limit::Limiter;
use umacvlan_core::offload::Offloads;
use umacvlan_core::stats::SubStats;
use umacvlan_core::{MacAddr, Mode, MulticastFilter, SubConfig, SubIndex, SwitchError};
use umacvlan_sys::tap::Tap;

use super::Control;
use super::create::{agree, tap_error};
use super::follow::{Undo, apply};
use super::inventory::ParentId;
use super::kernel::Location;
use super::looks::Cause;
use super::sub::{FarEnd, InSwitch, Seen, Sub};
use crate::control::engine::{Adopt, KeptTap, SubId, SubStatus};
use crate::control::error::Error;
use umacvlan_datapath::SwitchId;
use umacvlan_datapath::port::PortLink;
use umacvlan_datapath::worker::{AddError, Worker};

/// The outcome for each requested sub-interface, by its position in the request.
type Outcomes = BTreeMap<usize, Result<SubStatus, Error>>;

/// A sub-interface whose interface was found, and that no worker has yet.
struct Found {
    /// Its position in the request.
    at: usize,
    id: SubId,
    queues: Vec<Arc<Tap>>,
    location: Location,
    wanted: Wanted,
}

/// What each worker needs of a sub-interface, beside its port.
#[derive(Clone)]
struct Wanted {
    config: SubConfig,
    offloads: Offloads,
    seen: Seen,
    /// Its groups, if they are known.
    groups: Option<Vec<MacAddr>>,
    /// Its limits, which are one for all workers.
    limiter: Arc<Limiter>,
}

/// A sub-interface in the switch of a worker.
struct Arrived {
    info: Option<InSwitch>,
    /// The state that the rules allow.
    seen: Seen,
    refused: Vec<(Undo, SwitchError)>,
}

impl Control {
    /// Adopts sub-interfaces, each on the parent of that name, and forwards when all of them are there.
    /// Returns the outcome for each.
    pub(crate) fn adopt_kept(&mut self, kept: &[(String, Adopt)]) -> Vec<Result<SubStatus, Error>> {
        self.hold_adopted = true;
        let mut outcomes = Outcomes::new();
        let mut found: BTreeMap<ParentId, Vec<Found>> = BTreeMap::new();
        let (mut numbers, mut pairs) = (BTreeSet::new(), Vec::new());
        for (at, (parent, adopt)) in kept.iter().enumerate() {
            // The kernel forwards for it meanwhile.
            if adopt.veth.is_some() {
                pairs.push(at);
                continue;
            }
            // A passthru sub-interface is alone on its parent, which follows its address.
            if adopt.settings.mode == Mode::Passthru || matches!(adopt.tap, KeptTap::Place { .. }) {
                outcomes.insert(at, self.adopt_sub(parent, adopt));
                continue;
            }
            match self.find_kept(at, parent, adopt) {
                Ok((parent, one)) if numbers.insert(one.id) => {
                    found.entry(parent).or_default().push(one);
                }
                Ok((_, one)) => _ = outcomes.insert(at, Err(Error::NumberTaken(one.id))),
                Err(error) => _ = outcomes.insert(at, Err(error)),
            }
        }
        for (parent, found) in found {
            self.serve_all(parent, found, kept, &mut outcomes);
        }
        for at in pairs {
            let (parent, adopt) = &kept[at];
            outcomes.insert(at, self.adopt_sub(parent, adopt));
        }
        for parent in self.inventory.parent_ids() {
            self.restore_neighbours(parent);
        }
        // Siblings hear each other while the parent's filter is still being filled.
        self.release_adopted();
        self.settle_memberships();
        self.settle_wire();
        self.note_all(Cause::Lost, outcomes.values().flatten().map(|sub| sub.number).collect());
        outcomes.into_values().collect()
    }

    fn find_kept(
        &mut self,
        at: usize,
        parent: &str,
        adopt: &Adopt,
    ) -> Result<(ParentId, Found), Error> {
        let parent = self.inventory.parent_named(parent)?;
        let id = self.inventory.claim_sub(adopt.number)?;
        let KeptTap::Queues(kept) = &adopt.tap else {
            return Err(Error::TapGone);
        };
        let workers = self.inventory[parent].workers.count();
        let most = self.inventory[parent].info.mtu;
        let (queues, netns, mut location) = self.take_queues(kept, workers, adopt.netns)?;
        Self::fit_mtu(most, &netns, &mut location.link)?;
        let link = &location.link;
        let tap = &queues[0];
        if link.persist != Some(true) {
            // An engine that was killed may not have come to this.
            tap.set_persistent(true).map_err(tap_error(&link.name))?;
        }
        let offloads = tap.enable_offloads().map_err(tap_error(&link.name))?;
        let config = adopt.config(link);
        let limiter = Arc::new(Limiter::new(config.settings.limits));
        let wanted = Wanted {
            config,
            offloads,
            seen: Seen::of(link),
            groups: adopt.groups.clone(),
            limiter,
        };
        let queues = queues.into_iter().map(Arc::new).collect();
        Ok((parent, Found { at, id, queues, location, wanted }))
    }

    /// Has the workers of a parent serve what was found.
    fn serve_all(
        &mut self,
        parent: ParentId,
        found: Vec<Found>,
        kept: &[(String, Adopt)],
        outcomes: &mut Outcomes,
    ) {
        let mut added = match self.add_all(parent, &found) {
            Ok(added) => added.into_iter().map(Vec::into_iter).collect::<Vec<_>>(),
            Err(_) => Vec::new(),
        };
        for one in found {
            let (at, name) = (one.at, one.location.link.name.clone());
            // One of each worker; none if a worker has stopped.
            let answers: Vec<_> = added.iter_mut().filter_map(Iterator::next).collect();
            let agreed = match answers.is_empty() {
                true => Err(Error::Stopped),
                false => agree(&self.inventory[parent].workers, answers)
                    .map_err(|error| Error::add(&name, error)),
            };
            let outcome = agreed.and_then(|(index, arrived)| {
                self.note_arrived(parent, one, (index, arrived), &kept[at].1)
            });
            outcomes.insert(at, outcome);
        }
    }

    /// Adds sub-interfaces to all workers of a parent, with one request for each worker. Returns the
    /// answers of each.
    #[allow(
        clippy::type_complexity,
        reason = "answers of workers, each with one for each of `found`"
    )]
    fn add_all(
        &self,
        parent: ParentId,
        found: &[Found],
    ) -> Result<Vec<Vec<Result<(SubIndex, Arrived), AddError>>>, Error> {
        let parent = &self.inventory[parent];
        let switch = parent.switch;
        let wanted: Arc<[Wanted]> = found.iter().map(|one| one.wanted.clone()).collect();
        let ports = |worker: usize| -> Vec<PortLink> {
            let port = |one: &Found| match one.queues.get(worker) {
                Some(queue) => PortLink::Tap(Arc::clone(queue)),
                None => PortLink::Writer(Arc::clone(&one.queues[0])),
            };
            found.iter().map(port).collect()
        };
        let added = parent.workers.give((0..).map(ports), move |worker, ports| {
            worker.hold_rx();
            let both = wanted.iter().zip(ports);
            both.map(|(wanted, port)| add(worker, switch, wanted, port)).collect()
        })?;
        Ok(added)
    }

    /// Notes a sub-interface that the workers have.
    fn note_arrived(
        &mut self,
        parent: ParentId,
        found: Found,
        (index, arrived): (SubIndex, Arrived),
        adopt: &Adopt,
    ) -> Result<SubStatus, Error> {
        let Found { id, queues, location, wanted, .. } = found;
        let interface = location.interface();
        let Location { netns, netns_cookie, parent_nsid, link, .. } = location;
        let name = link.name.clone();
        let carrier = self.inventory[parent].carrier;
        self.inventory.add_sub(Sub {
            id,
            parent,
            index,
            settings: wanted.config.settings,
            far: FarEnd::tap(&queues),
            veth: None,
            instead_of_veth: String::new(),
            extra_queues: 0,
            pins: self.kernel.pins(&queues),
            carried: SubStats::default(),
            kept: true,
            claims_mac: adopt.claims_mac,
            txqlen_max: adopt.txqlen_max.unwrap_or(umacvlan_core::options::TAP_QUEUE_LEN),
            interface,
            netns,
            netns_cookie,
            parent_nsid,
            name: name.clone(),
            seen: arrived.seen,
            link,
            secondary: Vec::new(),
            groups_known: wanted.groups.is_some(),
            groups: wanted.groups.unwrap_or_default(),
        });
        if let Some(sub) = self.inventory.sub_mut(id) {
            // Perhaps those of a former engine with more workers, which are about to be closed.
            sub.extra_queues = sub.count_extra_queues();
        }
        self.groups.mark_stale([id]);
        self.inventory[parent].memberships.mark_stale();
        self.limit_tx_queue(id);
        for &(undo, refusal) in &arrived.refused {
            self.undo(id, undo, refusal);
        }
        if let (Some(&(_, refusal)), false) = (arrived.refused.last(), self.held.contains_key(&id))
        {
            self.leave(id);
            return Err(Error::refused(&name)(refusal));
        }
        if adopt.held {
            self.hold_down_again(id);
        }
        let held = self.held.contains_key(&id);
        let (sub, parent) = self.inventory.sub_and_parent(id)?;
        sub.tap().map_or(Ok(()), |tap| tap.set_carrier(carrier)).map_err(tap_error(&name))?;
        arrived.info.map(|info| sub.status(&parent.handle, &info, held)).ok_or(Error::Stopped)
    }
}

/// Adds a sub-interface to the switch of a worker, in the state of its interface.
fn add(
    worker: &mut Worker,
    switch: SwitchId,
    wanted: &Wanted,
    port: PortLink,
) -> Result<(SubIndex, Arrived), AddError> {
    let Wanted { config, offloads, seen, groups, limiter } = wanted;
    let index = worker.add_to(switch, config, port, *offloads)?;
    worker.limit(index, limiter)?;
    let before =
        Seen { mac: config.mac, mtu: seen.mtu, up: false, promisc: false, allmulti: false };
    let refused = apply(worker, (switch, index), before, *seen);
    let filter = MulticastFilter {
        groups: groups.clone().unwrap_or_default(),
        allmulti: seen.allmulti || groups.is_none(),
        promisc: seen.promisc,
    };
    // The only refusal is that of a sub-interface that is gone.
    let _ = worker.switch_at_mut(switch).set_filter(index, filter);
    let mut seen = *seen;
    for (undo, _) in &refused {
        undo.restore(&mut seen, before);
    }
    let info = InSwitch::read(worker.switch_at(switch), index);
    Ok((index, Arrived { info, seen, refused }))
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;
    use umacvlan_core::MacvlanSettings;
    use umacvlan_core::options::Backend;
    use umacvlan_netlink::Rtnl;
    use umacvlan_sys::eventfd::EventFd;
    use umacvlan_sys::netns::Netns;
    use umacvlan_testkit::root_or_skip;

    use super::*;
    use crate::control::engine::{EngineOptions, ParentOptions, SubOptions};

    const LINKS: usize = 50;
    const PARENT: &str = "p0";

    fn control() -> Control {
        let ((_sender, inbox), (outbox, _events)) = (unbounded(), unbounded());
        let bell = Arc::new(EventFd::new().unwrap());
        let mut control = Control::new(inbox, bell, outbox, EngineOptions::default()).unwrap();
        let name = PARENT.to_owned();
        let parent = ParentOptions { name, backend: Backend::AfPacket, ..ParentOptions::default() };
        control.add_parent(parent).unwrap();
        control
    }

    /// What an engine has kept of a sub-interface.
    fn keep(control: &mut Control, number: usize, guest: &Netns) -> (String, Adopt) {
        let settings = MacvlanSettings::new(Mode::Bridge);
        let options = SubOptions {
            name: format!("s{number}"),
            settings: settings.clone(),
            netns: (number % 2 == 1).then(|| guest.try_clone().unwrap()),
            up: true,
            ..SubOptions::default()
        };
        let made = control.add_sub(PARENT, options).unwrap();
        control.keep_sub(made.number).unwrap();
        let queues = control.queues(made.number).unwrap();
        let queues = queues.into_iter().map(|queue| Tap::from_kept(queue).unwrap()).collect();
        let adopt = Adopt {
            tap: KeptTap::Queues(queues),
            veth: None,
            netns: made.netns_cookie.map(|cookie| (made.netns, cookie)),
            number: Some(made.number),
            settings,
            txqlen_max: None,
            groups: (number < LINKS - 1).then(|| made.groups.clone()),
            claims_mac: false,
            held: false,
        };
        (PARENT.to_owned(), adopt)
    }

    /// Whether the switch takes the frames of every group for a sub-interface.
    fn takes_all(control: &mut Control, id: SubId) -> bool {
        control.sub(id).unwrap().all_groups
    }

    #[test]
    fn many_are_adopted_with_two_requests_for_each_and_no_visit_to_a_namespace() {
        if !root_or_skip() {
            return;
        }
        let (host, guest) = (Netns::create().unwrap(), Netns::create().unwrap());
        let run = || {
            Rtnl::open().unwrap().add_veth(PARENT, "x0", None).unwrap();
            let mut first = control();
            let mut kept: Vec<_> = (0..LINKS).map(|it| keep(&mut first, it, &guest)).collect();
            let last = kept[LINKS - 1].1.number.unwrap();
            first.stop();
            drop(first);

            let mut next = control();
            let again = kept.pop().map(|(parent, adopt)| {
                let KeptTap::Queues(queues) = &adopt.tap else { unreachable!() };
                let tap = KeptTap::Queues(vec![queues[0].try_clone().unwrap()]);
                let twice = Adopt { tap, groups: None, ..keep_place(&adopt) };
                [(parent.clone(), adopt), (parent, twice)]
            });
            kept.extend(again.into_iter().flatten());
            let before = next.kernel.rtnl.requests();
            let adopted = next.adopt_kept(&kept);
            let requests = usize::try_from(next.kernel.rtnl.requests() - before).unwrap();
            // Each is read, and those in the other namespace are found there by its id.
            assert!(requests <= 2 * LINKS + 20, "{requests}");
            assert_eq!(adopted.len(), LINKS + 1);
            assert!(matches!(adopted[LINKS], Err(Error::NumberTaken(_))), "{:?}", adopted[LINKS]);
            for status in adopted[..LINKS].iter().flatten() {
                assert!(status.up && status.kept, "{status:?}");
            }
            // The groups of the last are not known, and those of the others need not be read.
            assert!(takes_all(&mut next, last));
            assert!(!takes_all(&mut next, SubId(last.0 - 1)));
            next.settle_groups();
            assert!(!takes_all(&mut next, last));
            next.stop();
        };
        host.run(run).unwrap();
    }

    /// All but the queues.
    fn keep_place(adopt: &Adopt) -> Adopt {
        Adopt {
            tap: KeptTap::Queues(Vec::new()),
            veth: None,
            netns: adopt.netns,
            number: adopt.number,
            settings: adopt.settings.clone(),
            txqlen_max: adopt.txqlen_max,
            groups: adopt.groups.clone(),
            claims_mac: adopt.claims_mac,
            held: adopt.held,
        }
    }
}
