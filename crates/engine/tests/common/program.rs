//! Sub-interfaces whose far end is a program on a socket.

use std::path::{Path, PathBuf};

use umacvlan_core::options::ProgramKind;
use umacvlan_core::{MacvlanSettings, Mode};
use umacvlan_engine::engine::{ProgramPlace, ProgramPort, SubOptions, SubStatus};
use umacvlan_sys::port_socket::SocketOwner;
use umacvlan_testkit::Scratch;

use super::{Lab, PARENT, mac};

/// A sub-interface with the address `n`, up, and the path of its socket.
pub(crate) fn add(lab: &Lab, dir: &Scratch, kind: ProgramKind, name: &str, n: u8) -> PathBuf {
    let path = dir.path().join(name);
    lab.engine().add_sub(PARENT, options(kind, &path, name, n)).unwrap();
    path
}

pub(crate) fn options(kind: ProgramKind, path: &Path, name: &str, n: u8) -> SubOptions {
    let place = ProgramPlace::Listen(path.to_owned());
    SubOptions {
        name: name.to_owned(),
        mac: Some(mac(n)),
        settings: MacvlanSettings::new(Mode::Bridge),
        program: Some(ProgramPort { kind, place, owner: SocketOwner::default() }),
        up: true,
        ..SubOptions::default()
    }
}

pub(crate) fn is_connected(sub: &SubStatus) -> bool {
    sub.program.as_ref().is_some_and(|program| program.program.is_some())
}

/// Why the last connection has ended; empty if there is one, or was none.
pub(crate) fn ended(sub: &SubStatus) -> String {
    sub.program.as_ref().and_then(|program| program.ended.clone()).unwrap_or_default()
}
