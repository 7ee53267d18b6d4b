//! [`Error`]: a request that failed, on what, why, and what to do about it.

use std::io;
use std::path::PathBuf;

use umacvlan_core::options::WORKERS_MAX;
use umacvlan_core::{SwitchError, VlanNameError};
use umacvlan_sys::tap::TUN_DEVICE;

use crate::control::engine::SubId;
use umacvlan_datapath::worker::{AddError, Stopped};

/// A request that failed. It leaves nothing behind.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another interface, or another sub-interface of the engine's, has the name.
    #[error(
        "cannot make {name}: the name is in use{place}; choose another one, or remove that interface"
    )]
    NameInUse {
        /// The name.
        name: String,
        /// Where it is in use, after a space; empty for the engine's namespace.
        place: &'static str,
    },
    /// The name is not valid for an interface.
    #[error(
        "cannot make \"{0}\": an interface name has 1 to 15 characters, none of them a space, a slash or a colon"
    )]
    NameInvalid(String),
    /// It cannot be with links that share the address of their parent.
    #[error("{name}: {why}")]
    MacNat {
        /// The parent or the sub-interface.
        name: String,
        /// The reason, and what to do.
        why: &'static str,
    },
    /// AF_XDP was requested and does not work.
    #[error("cannot use AF_XDP on {parent}: {why}; use backend auto or af-packet")]
    NoAfXdp {
        /// The parent.
        parent: String,
        /// The reason, for each of its modes.
        why: String,
    },
    /// The namespace could not be entered or found.
    #[error("cannot move {name} to its namespace: {source}")]
    Namespace {
        /// The sub-interface.
        name: String,
        /// The reason.
        source: umacvlan_netlink::Error,
    },
    /// A request by netlink failed.
    #[error(transparent)]
    Netlink(#[from] umacvlan_netlink::Error),
    /// Another sub-interface of the engine has the number.
    #[error("number {0} is in use by another sub-interface of this engine")]
    NumberTaken(SubId),
    /// A veth pair was requested, and the programs that forward for it cannot be had.
    #[error("cannot make {name} one end of a veth pair: {why}; use port tap")]
    NoVeth {
        /// The sub-interface.
        name: String,
        /// The reason.
        why: String,
    },
    /// There is no interface, because its far end is a program.
    #[error(
        "{name} cannot {what}: its far end is a program, and there is no interface; delete it and make it again"
    )]
    NoInterface {
        /// The sub-interface.
        name: String,
        /// The request.
        what: &'static str,
    },
    /// No kept TAP has the index.
    #[error("cannot attach to interface {0}: no kept TAP in its namespace has that index")]
    NoTap(u32),
    /// As many captures as possible run on the interface.
    #[error(
        "{0} has {max} captures already, which is the limit: end one of them first",
        max = umacvlan_datapath::capture::CAPTURES_MAX
    )]
    TooManyCaptures(String),
    /// The engine has no such parent.
    #[error("{0} is not a parent of this engine: attach it first")]
    NoSuchParent(String),
    /// The engine has no such sub-interface.
    #[error("{0} is not a sub-interface of this engine")]
    NoSuchSub(String),
    /// The interface does not exist.
    #[error("parent {0} does not exist in this network namespace: see `ip link` for those that do")]
    ParentAbsent(String),
    /// The name is that of another interface than the parent's.
    #[error("{0}")]
    ParentAnother(String),
    /// The interface is a port of a bridge or bond.
    #[error(
        "parent {parent} is a port of {master}: take it out of {master} first, or use {master} itself as parent"
    )]
    ParentBusy {
        /// The interface.
        parent: String,
        /// The bridge or bond.
        master: String,
    },
    /// Another engine serves the interface.
    #[error(
        "parent {parent} is served by another umacvlan, {}: end that one first, or use another parent",
        explain_holder(*.process)
    )]
    ParentHeld {
        /// The interface.
        parent: String,
        /// The process of the other engine; `None` if it is not visible from here.
        process: Option<u32>,
    },
    /// The kernel has a device for the same VLAN, which takes its frames.
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
    /// Its settings differ from those that all parents on its interface share.
    #[error(
        "{parent} cannot have {what}: it shares those of {link}, which is attached already; leave the setting out, or set it for the first parent on {link}"
    )]
    ParentShared {
        /// The parent.
        parent: String,
        /// The interface that carries it.
        link: String,
        /// The setting.
        what: &'static str,
    },
    /// There is no such interface, and the name is not that of a VLAN either.
    #[error(transparent)]
    ParentVlan(VlanNameError),
    /// The interface is another parent, under another name.
    #[error("{name} is the interface of parent {parent}, under another name: use parent {parent}")]
    ParentRenamed {
        /// Its present name.
        name: String,
        /// The name of the parent.
        parent: String,
    },
    /// The programs of a veth pair end with the engine.
    #[error(
        "cannot keep {0} over the end of this process: only a link with port tap can be without a directory for its programs"
    )]
    VethKept(String),
    /// Nothing proves that an interface is that of a sub-interface of an earlier engine.
    #[error(
        "{0} is not served: its programs are gone, and its place or its address is another one than then"
    )]
    VethUnproven(String),
    /// It is attached already.
    #[error("parent {0} is attached already")]
    ParentTaken(String),
    /// The interface does not carry Ethernet frames for other addresses than its own.
    #[error("parent {parent} {what}")]
    ParentUnsuitable {
        /// The interface.
        parent: String,
        /// Its kind, and what to do.
        what: &'static str,
    },
    /// The number of workers is out of range.
    #[error("parent {parent} cannot have {count} workers: from 1 to {WORKERS_MAX}")]
    ParentWorkers {
        /// The parent.
        parent: String,
        /// The requested number.
        count: usize,
    },
    /// The interface of a program cannot be used.
    #[error("cannot make {name}: interface {interface} {why}")]
    ProgramInterface {
        /// The sub-interface.
        name: String,
        /// The interface.
        interface: String,
        /// What is wrong with it.
        why: String,
        /// An errno for it.
        errno: i32,
    },
    /// The socket of a program cannot be made.
    #[error("cannot make {name}: its socket {}: {}", path.display(), explain_socket(source))]
    ProgramSocket {
        /// The sub-interface.
        name: String,
        /// The path of the socket.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The frames of a program are in one order, which several workers cannot keep.
    #[error(
        "cannot make {name}: {parent} has {count} workers, and a program is served by one: use a parent with one worker, or type macvlan"
    )]
    ProgramWorkers {
        /// The sub-interface.
        name: String,
        /// The parent.
        parent: String,
        /// The number of its workers.
        count: usize,
    },
    /// A rule of macvlan forbids it.
    #[error("{name}: {refusal}")]
    Refused {
        /// The sub-interface.
        name: String,
        /// The rule.
        refusal: SwitchError,
    },
    /// Another sub-interface has the address, and is about to end with its namespace.
    #[error("{name}, whose namespace is ending: {refusal}")]
    RivalEnding {
        /// The other sub-interface.
        name: String,
        /// The rule.
        refusal: SwitchError,
    },
    /// The engine could not open a socket, ring or thread that it needs.
    #[error("cannot {what}: {}", explain(source))]
    System {
        /// The operation.
        what: String,
        /// The reason.
        source: io::Error,
    },
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
    /// Another process or engine is attached to the TAP.
    #[error(
        "cannot attach to {0}: another process forwards for it, or the keeper of another state directory holds it; end that one first"
    )]
    TapBusy(String),
    /// The interface of the queues is gone, or its namespace is being removed.
    #[error("cannot attach to a TAP by its queues: the interface is gone")]
    TapGone,
    /// A TAP could not be opened.
    #[error("cannot make TAP {name}: {}", explain_tap(source))]
    Tap {
        /// The sub-interface.
        name: String,
        /// The reason.
        source: io::Error,
    },
}

impl Error {
    /// The errno that the kernel's macvlan would return.
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
            Self::NoTap(_)
            | Self::NoSuchParent(_)
            | Self::NoSuchSub(_)
            | Self::ParentAbsent(_)
            | Self::ParentAnother(_)
            | Self::TapGone => Some(libc::ENODEV),
            Self::ParentBusy { .. }
            | Self::ParentHeld { .. }
            | Self::ParentRenamed { .. }
            | Self::ParentRival { .. }
            | Self::TapBusy(_)
            | Self::TooManyCaptures(_) => Some(libc::EBUSY),
            Self::Refused { refusal, .. } | Self::RivalEnding { refusal, .. } => {
                Some(refusal.errno())
            }
            Self::System { source, .. } | Self::Tap { source, .. } => source.raw_os_error(),
            Self::ProgramInterface { errno, .. } => Some(*errno),
            Self::ProgramSocket { source, .. } => source.raw_os_error().or(Some(libc::EADDRINUSE)),
            Self::MacNat { .. }
            | Self::NoAfXdp { .. }
            | Self::NoInterface { .. }
            | Self::NoVeth { .. }
            | Self::ProgramWorkers { .. }
            | Self::VethKept(_) => Some(libc::EOPNOTSUPP),
            Self::VethUnproven(_) => Some(libc::ENODEV),
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

/// The text of an error of the kernel, with advice where there is some.
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

fn explain_holder(process: Option<u32>) -> String {
    match process {
        Some(id) => format!("process {id}"),
        None => "a process that is not visible from here (in another container?)".to_owned(),
    }
}

fn explain_socket(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there; end that one first, or choose another name".to_owned()
        }
        io::ErrorKind::AlreadyExists => {
            "there is a file that is no socket; remove it, or choose another name".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            format!("{error}; CAP_CHOWN is needed to give it to another user or group")
        }
        _ => error.to_string(),
    }
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
