//! The kind of port of a [`LinkSpec`], which is one word for interfaces and for programs.

use umacvlan_core::options::LinkPort;

use super::LinkSpec;

impl LinkSpec {
    /// The kind of its port, if one was given.
    pub fn link_port(&self) -> Option<LinkPort> {
        self.port.map(LinkPort::Program).or_else(|| self.interface.map(LinkPort::Interface))
    }

    /// Sets the kind of its port.
    pub fn set_port(&mut self, port: Option<LinkPort>) {
        (self.interface, self.port) = match port {
            None => (None, None),
            Some(LinkPort::Interface(kind)) => (Some(kind), None),
            Some(LinkPort::Program(kind)) => (None, Some(kind)),
        };
    }
}
