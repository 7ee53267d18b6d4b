//! [`Error`]: what the engine could not do, on what, why, and what to do about it.

use std::io;

use umacvlan_core::options::WORKERS_MAX;
use umacvlan_core::{SwitchError, VlanNameError};
use umacvlan_sys::tap::TUN_DEVICE;

use crate::control::engine::SubId;
use crate::datapath::worker::{AddError, Stopped};

/// Something that was asked of the engine and not done. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another interface, or another sub-interface of the engine's, has the name.
    #[error(
        "cannot make {name}: the name is in use{place}; choose another one, or remove that interface"
    )]
    NameInUse {
        /// The name.
        name: String,
        /// Where it is in use, with a space in front, or nothing: here.
        place: &'static str,
    },
    /// No interface may have the name.
    #[error(
        "cannot make \"{0}\": an interface name has 1 to 15 characters, none of them a space, a slash or a colon"
    )]
    NameInvalid(String),
    /// AF_XDP was demanded and is not to be had.
    #[error("cannot use AF_XDP on {parent}: {why}; use backend auto or af-packet")]
    NoAfXdp {
        /// The parent.
        parent: String,
        /// Why, for each of its modes.
        why: String,
    },
    /// The namespace could not be entered or found.
    #[error("cannot move {name} to its namespace: {source}")]
    Namespace {
        /// The sub-interface.
        name: String,
        /// Why.
        source: umacvlan_netlink::Error,
    },
    /// A request by netlink failed.
    #[error(transparent)]
    Netlink(#[from] umacvlan_netlink::Error),
    /// A sub-interface of the engine's has the number.
    #[error("number {0} is that of another sub-interface of this engine")]
    NumberTaken(SubId),
    /// There is no kept TAP with the index.
    #[error(
        "cannot attach to interface {0}: there is none of that index in its namespace that is a kept TAP"
    )]
    NoTap(u32),
    /// There is no such parent among the engine's.
    #[error("{0} is no parent of this engine: attach it first")]
    NoSuchParent(String),
    /// There is no such sub-interface among the engine's.
    #[error("{0} is no sub-interface of this engine")]
    NoSuchSub(String),
    /// The interface does not exist.
    #[error("parent {0} does not exist in this network namespace: see `ip link` for those that do")]
    ParentAbsent(String),
    /// The interface belongs to another driver.
    #[error(
        "parent {parent} is a port of {master}: take it out of {master} first, or use {master} itself as parent"
    )]
    ParentBusy {
        /// The interface.
        parent: String,
        /// The bridge or bond that has it.
        master: String,
    },
    /// The kernel has a device for its VLAN, which takes the same frames.
    #[error(
        "cannot use {parent}: the kernel has a device for VLAN {vid} on {link}, which takes its frames: use that device as parent, or delete it"
    )]
    ParentRival {
        /// The parent.
        parent: String,
        /// The interface that carries it.
        link: String,
        /// The VLAN, or the outer one.
        vid: u16,
    },
    /// It asks for settings that all parents on its interface share, and there are others.
    #[error(
        "{parent} cannot have {what}: it shares those of {link}, which is attached already; leave the setting out, or set it for the first parent on {link}"
    )]
    ParentShared {
        /// The parent.
        parent: String,
        /// The interface that carries it.
        link: String,
        /// What it cannot have.
        what: &'static str,
    },
    /// There is no such interface, and its name is not that of a VLAN either.
    #[error(transparent)]
    ParentVlan(VlanNameError),
    /// Its interface is another parent's, which has been renamed since.
    #[error("{name} is the interface of parent {parent}, by another name: use parent {parent}")]
    ParentRenamed {
        /// The name that it has now.
        name: String,
        /// The parent that has it.
        parent: String,
    },
    /// It is attached already.
    #[error("parent {0} is attached already")]
    ParentTaken(String),
    /// The interface does not carry Ethernet frames.
    #[error("parent {parent} {what}: sub-interfaces need an Ethernet interface")]
    ParentUnsuitable {
        /// The interface.
        parent: String,
        /// What it is instead.
        what: &'static str,
    },
    /// It cannot have so many workers.
    #[error("parent {parent} cannot have {count} workers: from 1 to {WORKERS_MAX}")]
    ParentWorkers {
        /// The parent.
        parent: String,
        /// How many it was to have.
        count: usize,
    },
    /// The rules of macvlan forbid it.
    #[error("{name}: {refusal}")]
    Refused {
        /// The sub-interface.
        name: String,
        /// The rule.
        refusal: SwitchError,
    },
    /// A socket, a ring or a thread that the engine needs was not to be had.
    #[error("cannot {what}: {}", explain(source))]
    System {
        /// What the engine wanted to do.
        what: String,
        /// Why it could not.
        source: io::Error,
    },
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
    /// Another process, or another engine, is attached to the TAP.
    #[error("cannot attach to {0}: another process forwards for it; end that one first")]
    TapBusy(String),
    /// A TAP was not to be had.
    #[error("cannot make TAP {name}: {}", explain_tap(source))]
    Tap {
        /// The sub-interface.
        name: String,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// The error number that describes it, as the kernel would tell it of its own macvlan.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::NameInUse { .. } | Self::NumberTaken(_) | Self::ParentTaken(_) => {
                Some(libc::EEXIST)
            }
            Self::NameInvalid(_)
            | Self::ParentShared { .. }
            | Self::ParentUnsuitable { .. }
            | Self::ParentVlan(_)
            | Self::ParentWorkers { .. } => Some(libc::EINVAL),
            Self::Namespace { source, .. } | Self::Netlink(source) => source.errno(),
            Self::NoTap(_) | Self::NoSuchParent(_) | Self::NoSuchSub(_) | Self::ParentAbsent(_) => {
                Some(libc::ENODEV)
            }
            Self::ParentBusy { .. }
            | Self::ParentRenamed { .. }
            | Self::ParentRival { .. }
            | Self::TapBusy(_) => Some(libc::EBUSY),
            Self::Refused { refusal, .. } => Some(refusal.errno()),
            Self::System { source, .. } | Self::Tap { source, .. } => source.raw_os_error(),
            Self::NoAfXdp { .. } => Some(libc::EOPNOTSUPP),
            Self::Stopped => None,
        }
    }

    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }

    pub(crate) fn refused(name: &str) -> impl FnOnce(SwitchError) -> Self {
        let name = name.to_owned();
        move |refusal| Self::Refused { name, refusal }
    }

    pub(crate) fn add(name: &str, error: AddError) -> Self {
        match error {
            AddError::Port(source) => Self::Tap { name: name.to_owned(), source },
            AddError::Refused(refusal) => Self::refused(name)(refusal),
        }
    }
}

impl From<Stopped> for Error {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// The kernel's word, and what to do about it where that is known.
fn explain(error: &io::Error) -> String {
    let advice = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BROADCAST are needed: run as root, or `setcap cap_net_admin,cap_net_raw,cap_net_broadcast+ep` the binary"
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            "too few file descriptors: raise the limit with `ulimit -n`, one is needed for each sub-interface and worker"
        }
        Some(libc::ENOMEM) => {
            "free some memory: a parent needs about 2 MB of the kernel's for each worker, and a sub-interface 200 KB"
        }
        _ => return error.to_string(),
    };
    format!("{error}; {advice}")
}

fn explain_tap(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            format!(
                "{TUN_DEVICE} is not there; load the driver with `modprobe tun`, or give the container that device"
            )
        }
        Some(libc::EACCES) => {
            format!(
                "{error}; this user may not open {TUN_DEVICE}: `chmod 0666 {TUN_DEVICE}` as root, which is harmless"
            )
        }
        _ => explain(error),
    }
}
