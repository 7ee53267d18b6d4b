//! [`HostFilter`] in a build without BPF programs: it cannot be made.

use std::convert::Infallible;
use std::io;

use umacvlan_core::switch::HostFilterRules;

use super::Attachment;
use super::SharedAddresses;

/// A filter that this build cannot attach.
#[derive(Debug)]
pub struct HostFilter(Infallible);

/// What this build cannot attach.
#[derive(Debug)]
pub struct NoHost(Infallible);

impl NoHost {
    /// Always fails.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn attach(name: &str) -> io::Result<Self> {
        HostFilter::attach(name, &HostFilterRules::default()).map(|filter| Self(filter.0))
    }
}

impl HostFilter {
    /// Always fails.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn attach(_name: &str, _view: &HostFilterRules) -> io::Result<Self> {
        let why = "this build has none: it was made without the feature af-xdp";
        Err(io::Error::new(io::ErrorKind::Unsupported, why))
    }

    /// Cannot be called: there is no filter.
    ///
    /// # Errors
    /// None.
    pub fn set_rules(&mut self, _view: &HostFilterRules) -> io::Result<()> {
        match self.0 {}
    }

    /// Cannot be called: there is no filter.
    ///
    /// # Errors
    /// None.
    pub fn move_last(&mut self, _name: &str) -> io::Result<()> {
        match self.0 {}
    }

    /// Cannot be called: there is no filter.
    pub fn take_shared(&mut self) -> Option<SharedAddresses> {
        match self.0 {}
    }

    /// Cannot be called: there is no filter.
    pub fn has_vlans(&self) -> bool {
        match self.0 {}
    }

    /// Cannot be called: there is no filter.
    ///
    /// # Errors
    /// None.
    pub fn set_vlans(&mut self, _vids: &[u16]) -> io::Result<()> {
        match self.0 {}
    }

    /// Cannot be called: there is no filter.
    pub fn attachment(&self) -> Attachment {
        match self.0 {}
    }
}
