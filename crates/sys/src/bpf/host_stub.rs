//! [`HostFilter`] in a build without programs for the kernel: there is never one.

use std::convert::Infallible;
use std::io;

use umacvlan_core::switch::HostFilterRules;

use super::Attachment;

/// What cannot be had in this build.
#[derive(Debug)]
pub struct HostFilter(Infallible);

impl HostFilter {
    /// Always refuses.
    ///
    /// # Errors
    /// This build has no filter.
    pub fn attach(_name: &str, _view: &HostFilterRules) -> io::Result<Self> {
        let why = "this build has none: it was made without the feature af-xdp";
        Err(io::Error::new(io::ErrorKind::Unsupported, why))
    }

    /// Never called: there is no filter.
    ///
    /// # Errors
    /// None.
    pub fn set_rules(&mut self, _view: &HostFilterRules) -> io::Result<()> {
        match self.0 {}
    }

    /// Never called: there is no filter.
    pub fn has_vlans(&self) -> bool {
        match self.0 {}
    }

    /// Never called: there is no filter.
    ///
    /// # Errors
    /// None.
    pub fn set_vlans(&mut self, _vids: &[u16]) -> io::Result<()> {
        match self.0 {}
    }

    /// Never called: there is no filter.
    pub fn attachment(&self) -> Attachment {
        match self.0 {}
    }
}
