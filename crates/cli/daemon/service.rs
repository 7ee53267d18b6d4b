//! [`Service`]: everything that the daemon can be asked, whoever asks. No HTTP here.
#![allow(dead_code, unused_variables, reason = "filled in by the next commits")]

use tokio::sync::broadcast;

use crate::api::{EventView, LinkChange, LinkSpec, LinkView, ParentView, Problem};

/// Which link is meant: its name, and where.
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    /// The name of its interface now.
    pub(crate) name: String,
    /// The namespace it must be in: a name, a path, the id of a process.
    pub(crate) netns: Option<String>,
    /// The id of the client's process: without `netns`, a link in its namespace comes first, then
    /// one in the daemon's, then the only one of that name anywhere.
    pub(crate) caller: Option<u32>,
}

/// The engine, what it was asked for, and where that is written down. Calls may take
/// milliseconds: never from an async task without `spawn_blocking`.
#[derive(Debug)]
pub(crate) struct Service {}

impl Service {
    /// Makes a link. `caller` is the id of the client's process, for `@caller`.
    pub(crate) fn add_link(
        &mut self,
        name: &str,
        spec: &LinkSpec,
        caller: Option<u32>,
    ) -> Result<LinkView, Problem> {
        unimplemented!()
    }

    /// Changes a link.
    pub(crate) fn change_link(
        &mut self,
        which: &Selector,
        change: &LinkChange,
    ) -> Result<LinkView, Problem> {
        unimplemented!()
    }

    /// Removes a link.
    pub(crate) fn remove_link(&mut self, which: &Selector) -> Result<(), Problem> {
        unimplemented!()
    }

    /// One link.
    pub(crate) fn link(&mut self, which: &Selector) -> Result<LinkView, Problem> {
        unimplemented!()
    }

    /// All links, in the order of their numbers; with `netns` only those in that namespace.
    pub(crate) fn links(
        &mut self,
        netns: Option<&str>,
        caller: Option<u32>,
    ) -> Result<Vec<LinkView>, Problem> {
        unimplemented!()
    }

    /// All parents, in the order of their names.
    pub(crate) fn parents(&mut self) -> Result<Vec<ParentView>, Problem> {
        unimplemented!()
    }

    /// What happens from now on. A receiver that lags loses the oldest, and is told how many.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<EventView> {
        unimplemented!()
    }

    /// The running configuration as TOML that would make it again.
    pub(crate) fn running_config(&mut self) -> Result<String, Problem> {
        unimplemented!()
    }

    /// Reads the configuration file again and does what has changed in it; what did not change in
    /// the file is not touched. Returns what was done, one line each. On failure everything is as
    /// it was.
    pub(crate) fn reload(&mut self) -> Result<Vec<String>, Problem> {
        unimplemented!()
    }

    /// What a reload of the file, or of `text` instead of it, would do, one line each.
    pub(crate) fn diff(&mut self, text: Option<&str>) -> Result<Vec<String>, Problem> {
        unimplemented!()
    }

    /// Writes the running configuration into the file, atomically. Returns its path.
    pub(crate) fn save(&mut self) -> Result<String, Problem> {
        unimplemented!()
    }
}
