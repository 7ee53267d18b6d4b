//! Re-adopting links that are ends of veth pairs, for which the kernel has forwarded meanwhile.
//!
//! The other end and the TAP of such a link are in the daemon's own namespace, wherever the link is, so
//! nothing has to be searched: it is gone if one of both is, and what is left of it then is removed.

use umacvlan_engine::engine::KeptTap;
use umacvlan_netlink::Link;
use umacvlan_sys::netns::{self, Netns};

use super::Service;
use super::problem::{plain, storage_error};
use crate::ServiceError;
use crate::keeper::Kept;
use crate::link_record::{LinkRecord, VethRecord};
use crate::parent_record::ParentRecord;
use umacvlan_api::Code;

/// The start of the aliases of both interfaces.
const ALIAS: &str = "umacvlan: ";

impl Service {
    /// The links without those whose veth pair has ended, or cannot be looked for. These are left out
    /// of `kept`.
    pub(super) fn living_pairs<'r>(
        &mut self,
        links: Vec<&'r LinkRecord>,
        parents: &[ParentRecord],
        kept: &mut Kept,
    ) -> Vec<&'r LinkRecord> {
        let mut living = Vec::new();
        for record in links {
            match record.veth.as_ref().map_or(Ok(true), |veth| self.has_pair(veth)) {
                Ok(true) => living.push(record),
                Ok(false) => {
                    kept.remove(&record.id);
                    self.end_pair(record, parents);
                }
                Err(problem) => {
                    kept.remove(&record.id);
                    self.defer(record, &problem);
                }
            }
        }
        living
    }

    /// Re-adopts those of `left` that are ends of veth pairs, by the place of their TAPs: the keeper has
    /// none of them.
    pub(super) fn adopt_pairs(&mut self, left: &mut Vec<&LinkRecord>, parents: &[ParentRecord]) {
        let (pairs, others): (Vec<&LinkRecord>, _) =
            left.drain(..).partition(|record| record.veth.is_some());
        *left = others;
        if pairs.is_empty() {
            return;
        }
        // Without an engine every link fails.
        let _ = self.engine.hold_adopted();
        for record in pairs {
            let parent = parents.iter().find(|parent| parent.name == record.parent);
            if let Err(problem) = self.adopt_pair(record, parent) {
                self.defer(record, &problem);
            }
        }
        let _ = self.engine.release_adopted();
    }

    fn adopt_pair(
        &mut self,
        record: &LinkRecord,
        parent: Option<&ParentRecord>,
    ) -> Result<(), ServiceError> {
        let Some(veth) = &record.veth else {
            return Ok(());
        };
        let netns = Netns::current().map_err(|error| storage_error(&record.name, &error))?;
        self.try_adopt(record, parent, KeptTap::Place { netns, index: veth.tap })
    }

    /// True if the other end and the TAP are there.
    fn has_pair(&mut self, veth: &VethRecord) -> Result<bool, ServiceError> {
        if netns::cookie().ok() != Some(veth.netns_cookie) {
            let why = "its veth pair is in another network namespace than this daemon";
            return Err(plain(Code::Refused, why));
        }
        let host_end = self.rtnl.link_by_index(veth.host_end)?;
        let tap = self.rtnl.link_by_index(veth.tap)?;
        let is_veth = |link: Link| link.kind.as_deref() == Some("veth");
        Ok(host_end.is_some_and(is_veth) && tap.is_some_and(|link| link.persist == Some(true)))
    }

    /// Removes what is left of a link whose pair has ended.
    fn end_pair(&mut self, record: &LinkRecord, parents: &[ParentRecord]) {
        let LinkRecord { name, id, veth, .. } = record;
        tracing::warn!("link {name}, number {id}, is gone: its veth pair has ended");
        for index in veth.iter().flat_map(|veth| [veth.host_end, veth.tap]) {
            let found = self.rtnl.link_by_index(index).ok().flatten();
            if found.is_some_and(|link| link.alias.starts_with(ALIAS)) {
                // It has ended meanwhile, or its namespace is about to.
                let _ = self.rtnl.delete(index);
            }
        }
        let parent = parents.iter().find(|parent| parent.name == record.parent);
        self.drop_record(record, parent);
    }
}
