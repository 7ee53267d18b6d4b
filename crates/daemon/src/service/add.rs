//! Making and removing links.

use std::path::Path;

use nix::libc::EINVAL;
use umacvlan_core::ifname;
use umacvlan_core::options::ProgramKind;
use umacvlan_engine::engine::{FormerInterface, ProgramPlace, ProgramPort, SubId, SubOptions};
use umacvlan_netlink::Rtnl;
use umacvlan_sys::netns::Netns;
use umacvlan_sys::port_socket::SocketOwner;

use super::dhcp::check_dhcp;
use super::last_events::{Kind, LastEvents};
use super::problem::{plain, storage_error};
use super::{Entry, Service, host_access, netns};
use crate::ServiceError;
use crate::socket::create_parent_dirs;
use umacvlan_api::{Code, EventKind, LinkSpec, LinkView, Problem};

/// The name of a link that is made without one: the kernel's for macvlans.
const UNNAMED: &str = "macvlan%d";

/// The same for macvtaps.
const UNNAMED_PROGRAM: &str = "macvtap%d";

/// Who has requested a link.
#[derive(Debug, Default)]
pub(super) struct Ownership {
    /// Key of its entry in the configuration.
    pub(super) config: Option<String>,
    /// Opaque owner tag set by the creator.
    pub(super) owner: Option<String>,
}

/// What is said about the port of a link whose far end is a program.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortSpec<'s> {
    /// The socket at which the program listens.
    pub(super) client: Option<&'s str>,
    /// The interface behind which it is.
    pub(super) dev: Option<&'s str>,
    /// The owner of its socket or TAP, and the group.
    pub(super) user: Option<u32>,
    pub(super) group: Option<u32>,
    /// How a former daemon has found its interface.
    pub(super) former: Option<FormerInterface>,
}

impl Service {
    /// Makes a link.
    pub(super) fn add(
        &mut self,
        name: &str,
        spec: &LinkSpec,
        caller: Option<u32>,
        ownership: Ownership,
    ) -> Result<LinkView, ServiceError> {
        let netns = match &spec.netns {
            Some(place) => Some(netns::open(place, caller)?),
            None => None,
        };
        let name = self.concrete(name, spec, netns.as_ref())?;
        check_dhcp(spec)?;
        let parent = self.attach(&spec.parent, spec.macnat)?;
        let port = PortSpec {
            client: spec.client.as_deref(),
            dev: spec.dev.as_deref(),
            user: spec.user,
            group: spec.group,
            former: None,
        };
        let program = self.program_port(&name, spec.port, port)?;
        let mut options = sub_options(name, spec.clone(), netns);
        options.program = program;
        options.port = spec.interface.unwrap_or_else(|| self.config.parent(&spec.parent).port);
        // The owner sets the link up in a container, where nobody is told of a refusal.
        options.claims_mac = ownership.owner.is_some();
        let made = self
            .check_host_access(&parent, spec.settings.mode, &spec.host, None)
            .and_then(|()| self.make(&parent, options, spec, ownership));
        if made.is_err() {
            self.detach_idle(&parent);
        }
        let id = made?;
        if !spec.host.is_off()
            && let Err(problem) = self.sync_host(&parent)
        {
            self.remove_at_any_rate(id)?;
            return Err(problem);
        }
        let view = self.show(id)?;
        let what = format!(
            "parent {}, mode {}, {}{}",
            view.umacvlan.parent,
            spec.settings.mode,
            view.address.as_deref().unwrap_or_default(),
            view.umacvlan.netns.iter().map(|place| format!(", in {place}")).collect::<String>()
        );
        tracing::info!("link {} made, number {id}: {what}", view.ifname);
        self.note(id, Kind::Created, &what);
        if let Some(conflict) = &view.umacvlan.conflict {
            tracing::warn!("link {} cannot come up yet: {conflict}", view.ifname);
            self.note(id, Kind::State, &format!("cannot come up yet: {conflict}"));
        }
        self.publish(EventKind::LinkAdded { link: Box::new(view.clone()) });
        Ok(view)
    }

    /// Makes the interface, saves its record, and only then makes the interface persistent: an
    /// interface without a record never outlives this process. The room for the records is taken
    /// first.
    fn make(
        &mut self,
        parent: &str,
        options: SubOptions,
        spec: &LinkSpec,
        ownership: Ownership,
    ) -> Result<u64, ServiceError> {
        let (name, sets_limit) = (options.name.clone(), options.settings.bclim.is_some());
        let no_room = |error| storage_error(&name, &error);
        let id = self.store.next_id().map_err(no_room)?;
        let room = self.store.reserve_new_link(id, spec).map_err(no_room)?;
        let parent_room = match sets_limit {
            true => self.reserve_parent(parent).map_err(no_room)?,
            false => None,
        };
        let number = SubId(id);
        let seen = self.engine.add_sub(parent, SubOptions { number: Some(number), ..options })?;
        let Ownership { config, owner } = ownership;
        let (dhcp, host) = (spec.dhcp.clone(), spec.host.clone());
        let last_events = LastEvents::default();
        let entry =
            Entry { config, owner, given_name: name.clone(), dhcp, host, seen, last_events };
        let kept = room
            .write(&entry.record())
            .and_then(|()| match sets_limit {
                true => self.write_parent(parent, parent_room),
                false => Ok(()),
            })
            .map_err(no_room)
            .and_then(|()| match spec.port {
                // There is no interface to keep.
                Some(kind) if !kind.has_interface() => Ok(()),
                Some(_) => Ok(self.engine.keep_sub(number)?),
                None => self.keep_queues(id).and_then(|()| Ok(self.engine.keep_sub(number)?)),
            });
        if let Err(problem) = kept {
            // Closing its descriptor removes it at the latest.
            let _ = self.engine.remove_sub(number);
            self.keeper.release(id);
            self.store.remove_link(id);
            return Err(problem);
        }
        self.links.insert(id, entry);
        self.follow_lease(id);
        Ok(id)
    }

    /// The name itself, or, for a pattern that ends in `%d`, the first free name, as the kernel chooses
    /// it. An empty name stands for the pattern of the type of link.
    fn concrete(
        &self,
        name: &str,
        spec: &LinkSpec,
        netns: Option<&Netns>,
    ) -> Result<String, ServiceError> {
        let unnamed = if spec.port.is_some() { UNNAMED_PROGRAM } else { UNNAMED };
        let pattern = if name.is_empty() { unnamed } else { name };
        let Some(stem) = pattern.strip_suffix("%d") else {
            return Ok(name.to_owned());
        };
        let mut rtnl = match netns {
            Some(netns) => Rtnl::open_in(netns)?,
            None => Rtnl::open()?,
        };
        let links = rtnl.links()?;
        // Those of programs are no interfaces.
        let own = self.links.values().map(|link| &link.seen.name);
        let names = links.iter().map(|link| &link.name).chain(own);
        let taken: Vec<u64> =
            names.filter_map(|name| name.strip_prefix(stem)?.parse().ok()).collect();
        // There are more numbers than interfaces.
        let free = (0..).find(|number| !taken.contains(number)).unwrap_or(0);
        Ok(format!("{stem}{free}"))
    }

    /// Where the program of a link and the engine meet: the interface `dev`, the socket `client` that the
    /// program makes, a TAP with the name of the link, or a socket named after it in the directory of these,
    /// which is made if it is missing; `None` if the far end is an interface of the link itself.
    pub(super) fn program_port(
        &self,
        name: &str,
        kind: Option<ProgramKind>,
        port: PortSpec<'_>,
    ) -> Result<Option<ProgramPort>, ServiceError> {
        let PortSpec { client, dev, user, group, former } = port;
        check_port(kind, port)?;
        let Some(kind) = kind else {
            return Ok(None);
        };
        let owner = SocketOwner { user, group };
        let place = match (kind, dev, client) {
            (ProgramKind::Dev | ProgramKind::Tap, dev, _) => {
                ProgramPlace::Interface { name: dev.unwrap_or(name).to_owned(), former }
            }
            (_, _, Some(path)) => {
                if Path::new(path).starts_with(&self.ports_dir) {
                    let text =
                        format!("client {path:?} is where the daemon itself listens for programs");
                    return Err(invalid(text));
                }
                ProgramPlace::Connect(path.into())
            }
            (_, _, None) => {
                let path = self.ports_dir.join(format!("{name}.sock"));
                create_parent_dirs(&path).map_err(|error| {
                    let dir = self.ports_dir.display();
                    plain(Code::Storage, format!("the directory {dir} cannot be made: {error}"))
                })?;
                ProgramPlace::Listen(path)
            }
        };
        Ok(Some(ProgramPort { kind, place, owner }))
    }

    /// Gives the keeper the queues of a link.
    pub(super) fn keep_queues(&mut self, id: u64) -> Result<(), ServiceError> {
        let queues = self.engine.queues(SubId(id))?;
        self.keeper.put(id, &queues);
        Ok(())
    }

    /// Removes a link with its interface, and detaches its parent if that was attached for it only.
    pub(super) fn remove(&mut self, id: u64) -> Result<(), ServiceError> {
        if let Some(link) = self.links.get(&id) {
            self.check_removable(&link.seen.name)?;
        }
        self.remove_at_any_rate(id)
    }

    /// Refuses what needs the removal of a record, where that is not possible.
    pub(super) fn check_removable(&self, what: &str) -> Result<(), ServiceError> {
        self.store.check_removable().map_err(|error| storage_error(what, &error))
    }

    /// As [`Self::remove`], also if its record stays.
    pub(super) fn remove_at_any_rate(&mut self, id: u64) -> Result<(), ServiceError> {
        self.release_lease(id);
        self.engine.remove_sub(SubId(id))?;
        self.forget(id);
        Ok(())
    }

    /// Removes all links, also if their records stay. A link that cannot be removed is logged and
    /// stays.
    pub fn remove_all(&mut self) {
        // Links of the host go with the last link that needs them.
        let of_host = |entry: &Entry| host_access::is_host_link(entry);
        let (last, first): (Vec<_>, Vec<_>) =
            self.links.iter().partition(|(_, entry)| of_host(entry));
        let ids: Vec<u64> = first.into_iter().chain(last).map(|(&id, _)| id).collect();
        for id in ids {
            self.remove_or_log(id);
        }
    }

    /// Removes the links on a parent, as [`Self::remove_all`].
    pub(super) fn remove_links_on(&mut self, parent: &str) {
        let on = |entry: &Entry| self.parent_name(&entry.seen.parent) == parent;
        let ids: Vec<u64> =
            self.links.iter().filter(|(_, entry)| on(entry)).map(|(&id, _)| id).collect();
        ids.into_iter().for_each(|id| self.remove_or_log(id));
    }

    fn remove_or_log(&mut self, id: u64) {
        if self.links.contains_key(&id)
            && let Err(problem) = self.remove_at_any_rate(id)
        {
            tracing::error!("link number {id} stays: {problem}");
        }
    }

    /// Forgets a link whose interface is gone.
    pub(super) fn forget(&mut self, id: u64) {
        let Some(entry) = self.links.remove(&id) else {
            return;
        };
        if entry.dhcp.is_some() {
            self.leases.forget(id);
        }
        let concerns_host = !entry.host.is_off() || host_access::is_host_link(&entry);
        let Entry { seen, .. } = entry;
        self.store.remove_link(id);
        self.unsaved.remove(&id);
        self.keeper.release(id);
        let parent = self.parent_name(&seen.parent);
        tracing::info!("link {} removed, number {id}: parent {parent}", seen.name);
        if concerns_host {
            self.sync_host_or_log(&seen.parent);
        }
        self.detach_idle(&seen.parent);
        self.publish(EventKind::LinkDeleted { id, ifname: seen.name, parent });
    }
}

/// The options of the engine for a link of this name. `netns` is the namespace of the spec, opened.
pub fn sub_options(name: String, spec: LinkSpec, netns: Option<Netns>) -> SubOptions {
    SubOptions {
        number: None,
        name,
        settings: spec.settings,
        mac: spec.address,
        mtu: spec.mtu,
        netns,
        promisc: spec.promisc,
        allmulti: spec.allmulticast,
        alias: spec.alias,
        txqlen: spec.txqueuelen,
        port: spec.interface.unwrap_or_default(),
        up: spec.up.unwrap_or(false),
        program: None,
        claims_mac: false,
    }
}

/// Checks that what is given about a port is of its kind.
fn check_port(kind: Option<ProgramKind>, port: PortSpec<'_>) -> Result<(), ServiceError> {
    let PortSpec { client, dev, user, group, .. } = port;
    let owned = user.or(group).is_some();
    match (kind, client, dev) {
        (None, None, None) if !owned => Ok(()),
        (None, ..) => Err(invalid(
            "user, group, client and dev are of the program of a link: leave them out, or give the link a \
             port of such a kind",
        )),
        (Some(ProgramKind::Dev), None, Some(dev)) if !owned => {
            ifname::check(dev).map_err(|error| invalid(format!("dev {dev:?} {error}")))
        }
        (Some(ProgramKind::Dev), ..) => Err(invalid(
            "port dev takes the name of an interface as dev, and neither user, group nor client",
        )),
        (Some(ProgramKind::Tap), None, None) => Ok(()),
        (Some(ProgramKind::Tap), ..) => Err(invalid(
            "the TAP of port program-tap has the name of the link: leave client and dev out",
        )),
        (Some(_), _, Some(_)) => Err(invalid("dev is for port dev: leave it out")),
        (Some(_), None, None) => Ok(()),
        (Some(kind), Some(_), None) if !kind.can_listen() => Err(invalid(
            "client is for port stream and vhost-user: with port dgram the program sends to the socket of \
             the daemon",
        )),
        // A socket has at most 107 bytes of path.
        (Some(_), Some(path), None)
            if !path.starts_with('/') || path.len() > 107 || path.contains('\0') =>
        {
            Err(invalid(format!(
                "client {path:?} is no path of a socket: expected an absolute path of at most 107 bytes"
            )))
        }
        (Some(_), Some(_), None) if owned => Err(invalid(
            "user and group are of a socket that the daemon makes, and with client the program makes \
             it: leave them out",
        )),
        (Some(_), Some(_), None) => Ok(()),
    }
}

/// A request that makes no sense.
fn invalid(message: impl Into<String>) -> ServiceError {
    let problem = plain(Code::Refused, message).0;
    ServiceError(Problem { errno: Some(EINVAL), ..problem })
}
