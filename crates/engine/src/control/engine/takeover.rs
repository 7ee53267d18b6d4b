//! Requests by which an engine goes on with what an earlier one has left: sub-interfaces whose interfaces
//! were kept, and sockets on parents.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;

use super::{Adopt, Engine, SubStatus, UplinkSockets};
#[cfg(doc)]
use super::{EngineOptions, KeptTap};
use crate::control::Control;
use crate::control::error::Error;

impl Engine {
    /// Adopts sub-interfaces by their [kept queues](KeptTap::Queues), each on the parent of that name,
    /// as [`Engine::adopt_sub`] does, but all at once: nothing that they send is forwarded before all
    /// are there. Their groups, and whatever else only a visit to their namespaces tells, are read
    /// afterwards. Returns the outcome for each.
    ///
    /// # Errors
    /// The engine has stopped.
    pub fn adopt_kept(
        &self,
        kept: Vec<(String, Adopt)>,
    ) -> Result<Vec<Result<SubStatus, Error>>, Error> {
        self.ask(move |control| control.adopt_kept(&kept))
    }

    /// Until [`release_adopted`](Self::release_adopted) or [`adopt_kept`](Self::adopt_kept), the frames
    /// that adopted sub-interfaces send wait in their TAPs: siblings, to which they send, may not be
    /// adopted yet. Meanwhile the host gets the frames of sub-interfaces from the wire, too.
    ///
    /// # Errors
    /// The engine has stopped.
    pub fn hold_adopted(&self) -> Result<(), Error> {
        self.ask(|control| control.hold_adopted = true)
    }

    /// Forwards the frames that adopted sub-interfaces send.
    ///
    /// # Errors
    /// The engine has stopped.
    pub fn release_adopted(&self) -> Result<(), Error> {
        self.ask(Control::release_adopted)
    }

    /// Offers the packet sockets of an earlier engine, by the index of their interface, as
    /// [`uplink_sockets`](Self::uplink_sockets) has returned them. The first parent there goes on with what
    /// waits in them.
    ///
    /// # Errors
    /// The engine has stopped.
    pub fn offer_uplinks(&self, kept: BTreeMap<u32, Vec<OwnedFd>>) -> Result<(), Error> {
        self.ask(move |control| control.offer_uplinks(kept))
    }

    /// The packet sockets on every parent, with descriptors of those whose number is another one than in
    /// `known`. Sockets that were offered and not used are closed. They may be others after a parent was
    /// attached or detached, and after each event about one.
    ///
    /// As long as another process has them, the parent's filter passes what it does now, and frames from
    /// the wire wait in them, also when this engine has ended.
    ///
    /// # Errors
    /// The engine has stopped, or no descriptor is left.
    pub fn uplink_sockets(
        &self,
        known: BTreeMap<u32, NonZeroU64>,
    ) -> Result<Vec<UplinkSockets>, Error> {
        self.ask(move |control| control.uplink_sockets(&known))?
    }

    /// Ends the adoption of sub-interfaces: what the kernel forwards for others of an earlier engine
    /// ([`EngineOptions::pins`]) ends, and from now on it follows the rules of this one.
    ///
    /// # Errors
    /// The engine has stopped.
    pub fn end_takeover(&self) -> Result<(), Error> {
        self.ask(Control::end_takeover)
    }
}
