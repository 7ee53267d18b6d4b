//! Views of links, for clients.

use umacvlan_api::LinkView;
use umacvlan_engine::engine::{ParentStatus, SubId, SubStatus};

use super::netns::Names;
use super::{Service, problem};
use crate::ServiceError;
use crate::to_api::{self, LinkContext};

impl Service {
    /// The view of a link.
    pub(super) fn show(&mut self, id: u64) -> Result<LinkView, ServiceError> {
        let parent = self.engine.parent_of(SubId(id))?;
        let up = self.is_up(&parent);
        let names = Names::read(self.home);
        let view = self.views(&parent, &names, up, |_| true).next();
        view.ok_or_else(|| {
            problem::no_device("", format!("link number {id} is gone by now: try again"))
        })
    }

    /// The views of those links of a parent that are wanted.
    pub(super) fn views(
        &self,
        parent: &ParentStatus,
        names: &Names,
        parent_up: bool,
        wanted: impl Fn(&SubStatus) -> bool,
    ) -> impl Iterator<Item = LinkView> {
        let counted = parent.subs.iter().zip(&parent.counters.subs);
        counted.filter(move |(sub, _)| wanted(sub)).map(move |(sub, (_, stats))| {
            let context = LinkContext {
                config: self.links.get(&sub.number.0).and_then(|link| link.config.clone()),
                owner: self.links.get(&sub.number.0).and_then(|link| link.owner.clone()),
                given_name: self.links.get(&sub.number.0).map(|link| link.given_name.clone()),
                dhcp: self.lease(sub.number.0),
                host: self.links.get(&sub.number.0).map(|l| l.host.clone()).unwrap_or_default(),
                netns: names.shown(sub.netns),
                parent_up,
            };
            to_api::link(sub, parent, stats, context)
        })
    }

    /// Whether a parent is administratively up.
    pub(super) fn is_up(&mut self, parent: &ParentStatus) -> bool {
        let link = parent.index.and_then(|index| self.rtnl.link_by_index(index).ok().flatten());
        link.is_some_and(|link| link.is_up())
    }
}
