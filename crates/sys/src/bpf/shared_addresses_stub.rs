//! [`SharedAddresses`] in a build without BPF programs: there are none.

use std::convert::Infallible;
use std::net::IpAddr;

/// The addresses of a filter that this build cannot attach.
#[derive(Debug)]
pub struct SharedAddresses(Infallible);

impl SharedAddresses {
    /// Cannot be called: there is no filter.
    pub fn insert(&mut self, _address: IpAddr) -> bool {
        match self.0 {}
    }

    /// Cannot be called: there is no filter.
    pub fn retain(&mut self, _keep: impl Fn(IpAddr) -> bool) {
        match self.0 {}
    }
}
