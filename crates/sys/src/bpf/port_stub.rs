//! [`PortPrograms`] in a build without BPF programs: they cannot be loaded.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use umacvlan_core::stats::KernelStats;
use umacvlan_core::switch::KernelAnswers;

use super::port_types::{End, KernelPort};

/// Always fails.
///
/// # Errors
/// `Unsupported`.
pub fn probe_pins(_dir: &Path) -> io::Result<()> {
    PortPrograms::load(None).map(drop)
}

/// Nothing is pinned by this build.
pub fn remove_unused_pins(_dir: &Path, _used: &[PathBuf]) {}

/// Programs that this build does not have.
#[derive(Debug)]
pub struct PortPrograms(Infallible);

impl PortPrograms {
    /// Always fails.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn load(_pins: Option<&Path>) -> io::Result<Self> {
        let why = "this build has no BPF programs: it was made without the feature af-xdp";
        Err(io::Error::new(io::ErrorKind::Unsupported, why))
    }

    /// Cannot be called: there are no programs.
    ///
    /// # Errors
    /// None.
    pub fn uplink_filter(&mut self) -> io::Result<OwnedFd> {
        match self.0 {}
    }

    /// Cannot be called: there are no programs.
    ///
    /// # Errors
    /// None.
    pub fn attach_wire(&mut self, _parent: End<'_>) -> io::Result<bool> {
        match self.0 {}
    }

    /// Cannot be called: there are no programs.
    pub fn answers_wire(&self) -> bool {
        match self.0 {}
    }

    /// Cannot be called: there are no programs.
    pub fn is_empty(&self) -> bool {
        match self.0 {}
    }

    /// Cannot be called: there are no programs.
    pub fn drop_others(&mut self) {
        match self.0 {}
    }

    /// Cannot be called: there are no programs.
    pub fn detach_wire(&mut self) {
        match self.0 {}
    }

    /// Cannot be called: there are no programs.
    ///
    /// # Errors
    /// None.
    pub fn add_port(&mut self, _host_end: End<'_>, _tap: End<'_>) -> io::Result<(u32, bool)> {
        match self.0 {}
    }

    /// Cannot be called: there are no programs.
    pub fn remove_port(&mut self, _slot: u32) -> KernelStats {
        match self.0 {}
    }

    /// Cannot be called: there are no programs.
    pub fn stats(&self, _slot: u32) -> KernelStats {
        match self.0 {}
    }

    /// Cannot be called: there are no programs.
    ///
    /// # Errors
    /// None.
    pub fn set_answers(
        &mut self,
        _answers: &KernelAnswers,
        _ports: &[KernelPort],
        _parent: u32,
        _ingress: bool,
    ) -> io::Result<()> {
        match self.0 {}
    }

    /// Cannot be called: there are no programs.
    ///
    /// # Errors
    /// None.
    pub fn withdraw(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}
