//! Plain data of the programs of the port kind veth, with or without them in this build.

use umacvlan_core::{MacAddr, SubIndex};

/// The most sub-interfaces of kind veth on one parent (`MAX_PORTS` in `bpf/port.c`).
pub const PORTS_MAX: usize = 4096;

/// An interface in the namespace of the calling thread.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its index.
    pub index: u32,
}

/// A sub-interface of kind veth, as the programs know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelPort {
    /// Its index in the switch.
    pub sub: SubIndex,
    /// Its slot in the programs.
    pub slot: u32,
    /// True while its interface is in the namespace of the parent.
    pub at_home: bool,
    /// Its address.
    pub mac: MacAddr,
}
