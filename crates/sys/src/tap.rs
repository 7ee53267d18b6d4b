//! [`Tap`]: the descriptor behind a sub-interface.
//!
//! A TAP carries `[10-byte virtio_net_hdr | Ethernet frame]` in both directions, so GSO packets and
//! partial checksums pass unchanged. IFF_NAPI stays off: it halves the rate of single frames. Facts from `drivers/net/tun.c` and `Documentation/networking/tuntap.rst`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};

use umacvlan_core::MacAddr;
use umacvlan_core::offload::{Offloads, VNET_LEN};

use super::port_socket::SocketOwner;

/// The device that creates TAPs.
pub const TUN_DEVICE: &str = "/dev/net/tun";

/// The number of that device (`TUN_MINOR` in `linux/miscdevice.h`).
const TUN_NUMBER: u64 = libc::makedev(10, 200);

/// The flags of every queue: a TAP, without protocol information, with a vnet header.
const FLAGS: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

/// Not in the libc crate: refuse to attach to a TAP that is there already (`linux/if_tun.h`).
const IFF_TUN_EXCL: libc::c_short = 0x8000_u16.cast_signed();

/// Not in the libc crate: attach without switching the carrier on (`linux/if_tun.h`).
const IFF_NO_CARRIER: libc::c_short = 0x0040;

/// As the ioctl takes it: one of several queues of a TAP (`linux/if_tun.h`).
const IFF_MULTI_QUEUE: libc::c_short = 0x0100;

/// `_IOW('T', 204, int)`: who may attach, beside CAP_NET_ADMIN (`linux/if_tun.h`).
const TUNSETOWNER: libc::c_ulong = 0x4004_54cc;

/// `_IOW('T', 206, int)`: the group whose members may attach as well (`linux/if_tun.h`).
const TUNSETGROUP: libc::c_ulong = 0x4004_54ce;

/// `_IO('T', 227)`: the namespace of the TAP, as a descriptor (`linux/if_tun.h`).
const TUNGETDEVNETNS: libc::c_ulong = 0x54e3;

/// The namespace of a socket, as a descriptor (`linux/sockios.h`).
const SIOCGSKNS: libc::c_ulong = 0x894c;

/// `_IOW('T', 226, int)`: carrier on or off (`linux/if_tun.h`).
const TUNSETCARRIER: libc::c_ulong = 0x4004_54e2;

/// `_IOW('T', 217, int)`: whether a queue takes part (`linux/if_tun.h`).
const TUNSETQUEUE: libc::c_ulong = 0x4004_54d9;

/// As the ioctl takes it: it does not (`linux/if_tun.h`).
const IFF_DETACH_QUEUE: libc::c_short = 0x0400;

/// `TUN_F_*` of `linux/if_tun.h`.
const F_CSUM: u32 = 0x01;
const F_TSO4: u32 = 0x02;
const F_TSO6: u32 = 0x04;
const F_TSO_ECN: u32 = 0x08;
const F_USO4: u32 = 0x20;
const F_USO6: u32 = 0x40;

/// One queue of a TAP. The kernel deletes the interface with its last descriptor, unless it is
/// [persistent](Tap::set_persistent).
#[derive(Debug)]
pub struct Tap {
    file: File,
}

impl Tap {
    /// The ioctl requests of [`Tap::from_kept`] and [`Tap::set_carrier`], for a seccomp filter.
    pub const KEEPING_REQUESTS: [u64; 3] = [libc::TUNGETIFF, libc::TUNSETVNETHDRSZ, TUNSETCARRIER];

    /// Makes a TAP of that name in the namespace of the calling thread.
    ///
    /// # Errors
    /// `AlreadyExists` if any interface has that name; `NotFound` without `/dev/net/tun`;
    /// `PermissionDenied` without CAP_NET_ADMIN; else what the kernel says.
    pub fn create(name: &str) -> io::Result<Self> {
        Self::open(name, IFF_TUN_EXCL).map_err(in_use)
    }

    /// Makes a TAP as [`Tap::create`] does, with `count` queues, each of which gets the frames of
    /// some flows. With `count` 1 it is not a multi-queue TAP, which costs less.
    ///
    /// A frame that the sub-interface sends is in the queue to which the last frame of its flow was
    /// written, in either direction, and else in queue `hash * count >> 32`, where the hash is that of
    /// [`PacketSocket::open_group`](super::packet::PacketSocket::open_group)
    /// (`tun_automq_select_queue` and `tun_flow_update` in `drivers/net/tun.c`).
    ///
    /// # Errors
    /// As [`Tap::create`].
    pub fn create_queues(name: &str, count: usize) -> io::Result<Vec<Self>> {
        if count == 1 {
            return Ok(vec![Self::create(name)?]);
        }
        let first = Self::open(name, IFF_TUN_EXCL | IFF_MULTI_QUEUE).map_err(in_use)?;
        first.more_queues(count)
    }

    /// Makes a TAP as [`Tap::create`] does, with a carrier but without an attached queue: the kernel
    /// drops every frame that its stack sends (`tun_net_xmit` in `drivers/net/tun.c`).
    ///
    /// # Errors
    /// As [`Tap::create`].
    pub fn create_without_rx(name: &str) -> io::Result<Self> {
        let tap = Self::open(name, IFF_TUN_EXCL | IFF_MULTI_QUEUE).map_err(in_use)?;
        let mut request = named(name)?;
        request.ifr_ifru.ifru_flags = IFF_DETACH_QUEUE;
        // SAFETY: TUNSETQUEUE reads an ifreq.
        unsafe { tap.control(TUNSETQUEUE, &mut request) }?;
        Ok(tap)
    }

    /// Makes a TAP as [`Tap::create`] does, for a program that attaches to it by its name: it stays, with
    /// no queue of this process. Its owner may attach, and the members of its group.
    ///
    /// # Errors
    /// As [`Tap::create`].
    pub fn create_for(name: &str, owner: SocketOwner) -> io::Result<()> {
        let tap = Self::open(name, IFF_TUN_EXCL | IFF_NO_CARRIER).map_err(in_use)?;
        if let Some(group) = owner.group {
            // SAFETY: TUNSETGROUP takes a group id by value.
            unsafe { tap.control_value(TUNSETGROUP, u64::from(group)) }?;
        }
        tap.set_persistent(true)?;
        if let Some(user) = owner.user {
            // SAFETY: TUNSETOWNER takes a user id by value.
            unsafe { tap.control_value(TUNSETOWNER, u64::from(user)) }?;
        }
        Ok(())
    }

    /// Attaches to the TAP of that name in the namespace of the calling thread, with the carrier off.
    /// If the TAP has disappeared, the kernel creates a new one: compare the interface index.
    ///
    /// # Errors
    /// `EBUSY` while another descriptor is attached, `EINVAL` for an interface of another kind or
    /// a multi-queue TAP; else as [`Tap::create`].
    pub fn attach(name: &str) -> io::Result<Self> {
        // Linux before 6.0 ignores the flag, and the carrier is on for a moment.
        Self::open(name, IFF_NO_CARRIER)
    }

    /// Attaches as [`Tap::attach`] does, to a multi-queue TAP, with `count` queues.
    ///
    /// # Errors
    /// As [`Tap::attach`], but `EINVAL` for a TAP of one queue.
    pub fn attach_queues(name: &str, count: usize) -> io::Result<Vec<Self>> {
        Self::open(name, IFF_NO_CARRIER | IFF_MULTI_QUEUE)?.more_queues(count)
    }

    /// Takes over a queue that [`Tap`] has opened in this process or another one. `EBADFD` means that
    /// its interface was deleted.
    ///
    /// # Errors
    /// `InvalidInput` for a descriptor of another kind, or a TAP that was opened in another way;
    /// `EBADFD` if the interface was deleted.
    pub fn from_kept(descriptor: OwnedFd) -> io::Result<Self> {
        let file = File::from(descriptor);
        let metadata = file.metadata()?;
        let is_tun = metadata.file_type().is_char_device() && metadata.rdev() == TUN_NUMBER;
        // SAFETY: F_GETFL takes no argument.
        let mode = super::checked(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) })?;
        if !is_tun || mode & libc::O_ACCMODE != libc::O_RDWR || mode & libc::O_NONBLOCK == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let tap = Self { file };
        if tap.flags()? & (FLAGS | libc::IFF_TUN) != FLAGS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        tap.set_header_len(VNET_LEN)?;
        Ok(tap)
    }

    /// Opens queues after these until there are `count`; the thread is in the namespace of the TAP. The
    /// kernel numbers them in this order, and renumbers them when one other than the last is closed.
    ///
    /// # Errors
    /// As [`Tap::attach_queues`].
    pub fn add_queues(queues: &mut Vec<Self>, count: usize) -> io::Result<()> {
        while !queues.is_empty() && queues.len() < count {
            let name = queues[0].name()?;
            let next = Self::open(&name, IFF_NO_CARRIER | IFF_MULTI_QUEUE)?;
            // After a rename in between, another TAP may have got the queue.
            if queues[0].name()? != name {
                return Err(io::Error::from_raw_os_error(libc::EBUSY));
            }
            queues.push(next);
        }
        Ok(())
    }

    fn more_queues(self, count: usize) -> io::Result<Vec<Self>> {
        let mut queues = vec![self];
        Self::add_queues(&mut queues, count)?;
        Ok(queues)
    }

    /// A second descriptor of the same queue.
    ///
    /// # Errors
    /// `EMFILE` when the process has too many files open.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()? })
    }

    fn open(name: &str, flag: libc::c_short) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(TUN_DEVICE)?;
        let tap = Self { file };
        let mut request = named(name)?;
        request.ifr_ifru.ifru_flags = libc::c_short::try_from(FLAGS).unwrap_or(0) | flag;
        // SAFETY: TUNSETIFF reads and writes an ifreq.
        unsafe { tap.control(libc::TUNSETIFF, &mut request) }?;
        tap.set_header_len(VNET_LEN)?;
        Ok(tap)
    }

    /// Sets the length in bytes of the vnet header, for all queues: each of them can. The engine's is
    /// [`VNET_LEN`], and a new TAP has it.
    ///
    /// # Errors
    /// `EINVAL` for a header that is too short, `EBADFD` after the interface was deleted.
    pub fn set_header_len(&self, len: usize) -> io::Result<()> {
        let mut header = libc::c_int::try_from(len).unwrap_or(0);
        // SAFETY: TUNSETVNETHDRSZ reads an int.
        unsafe { self.control(libc::TUNSETVNETHDRSZ, &mut header) }
    }

    /// Sets whether the interface stays, without carrier, when its last descriptor is closed. Its
    /// owner becomes the user of this process: every user who can open [`TUN_DEVICE`], on most
    /// machines everybody, may attach to a TAP without an owner.
    ///
    /// # Errors
    /// `EBADFD` after the interface was deleted.
    pub fn set_persistent(&self, on: bool) -> io::Result<()> {
        if on {
            let (user, _) = super::netns::effective_ids();
            // SAFETY: TUNSETOWNER takes a user id by value.
            unsafe { self.control_value(TUNSETOWNER, u64::from(user)) }?;
        }
        // SAFETY: TUNSETPERSIST takes a boolean by value.
        unsafe { self.control_value(libc::TUNSETPERSIST, u64::from(on)) }
    }

    /// Enables the offloads that the sub-interface's stack may use, as far as the kernel supports them:
    /// checksums, TCP segmentation, UDP segmentation (Linux 6.2). Returns those that are on.
    ///
    /// # Errors
    /// The kernel refuses even checksum offload.
    pub fn enable_offloads(&self) -> io::Result<Offloads> {
        let tso = F_CSUM | F_TSO4 | F_TSO6 | F_TSO_ECN;
        let steps = [
            (tso | F_USO4 | F_USO6, Offloads::ALL),
            (tso, Offloads { uso4: false, uso6: false, ..Offloads::ALL }),
            (F_CSUM, Offloads { csum: true, ..Offloads::NONE }),
        ];
        let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
        for (bits, offloads) in steps {
            // SAFETY: TUNSETOFFLOAD takes its bits by value.
            match unsafe { self.control_value(libc::TUNSETOFFLOAD, u64::from(bits)) } {
                Ok(()) => return Ok(offloads),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Sets the carrier that the sub-interface's stack sees.
    ///
    /// # Errors
    /// `EBADFD` after the interface was deleted.
    pub fn set_carrier(&self, on: bool) -> io::Result<()> {
        // SAFETY: TUNSETCARRIER reads an int.
        unsafe { self.control(TUNSETCARRIER, &mut libc::c_int::from(on)) }
    }

    /// Sets the MAC address of the interface, in whichever namespace it is.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` if it is not a unicast address, `EBADFD` after the interface was deleted.
    pub fn set_mac(&self, mac: MacAddr) -> io::Result<()> {
        // SAFETY: all-zero is a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        let mut address = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: [0; 14] };
        for (to, from) in address.sa_data.iter_mut().zip(mac.octets()) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_hwaddr = address;
        // SAFETY: SIOCSIFHWADDR reads an ifreq.
        unsafe { self.control(libc::SIOCSIFHWADDR, &mut request) }
    }

    /// The current name of the interface.
    ///
    /// # Errors
    /// `EBADFD` after the interface was deleted.
    pub fn name(&self) -> io::Result<String> {
        let bytes = self.interface()?.ifr_name.map(libc::c_char::cast_unsigned);
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    /// True if it may have several queues.
    ///
    /// # Errors
    /// `EBADFD` after the interface was deleted.
    pub fn is_multi_queue(&self) -> io::Result<bool> {
        Ok(self.flags()? & libc::c_int::from(IFF_MULTI_QUEUE) != 0)
    }

    /// The `IFF_*` flags with which it was opened, as an int.
    fn flags(&self) -> io::Result<libc::c_int> {
        let request = self.interface()?;
        // SAFETY: TUNGETIFF has set this member.
        Ok(libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags }))
    }

    fn interface(&self) -> io::Result<libc::ifreq> {
        // SAFETY: all-zero is a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // SAFETY: TUNGETIFF writes an ifreq.
        unsafe { self.control(libc::TUNGETIFF, &mut request) }?;
        Ok(request)
    }

    /// The network namespace in which this queue was opened, which it keeps alive wherever its
    /// interface is.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_ADMIN there.
    pub fn opened_in(&self) -> io::Result<OwnedFd> {
        // SAFETY: this request takes no argument.
        let fd = super::checked(unsafe { libc::ioctl(self.file.as_raw_fd(), SIOCGSKNS) })?;
        // SAFETY: the ioctl has just made this descriptor, and nothing else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// The current network namespace of the interface. The descriptor keeps the namespace alive.
    ///
    /// # Errors
    /// `EBADFD` after the interface was deleted, `EINVAL` while the kernel removes its namespace.
    pub fn namespace(&self) -> io::Result<OwnedFd> {
        // SAFETY: this request takes no argument.
        let fd = super::checked(unsafe { libc::ioctl(self.file.as_raw_fd(), TUNGETDEVNETNS) })?;
        // SAFETY: the ioctl has just made this descriptor, and nothing else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Reads one waiting frame with its vnet header; `None` if no frame waits.
    ///
    /// # Errors
    /// `EBADFD` after the interface was deleted.
    #[inline]
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        super::syscall_count::record();
        match (&self.file).read(buffer) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Delivers one frame with its vnet header to the sub-interface's stack.
    ///
    /// # Errors
    /// `EIO` while the interface is down, `EINVAL` for an invalid header or frame.
    #[inline]
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        super::syscall_count::record();
        (&self.file).write(frame).map(drop)
    }

    /// # Safety
    /// `request` takes a pointer to a `T` (`linux/if_tun.h`).
    unsafe fn control<T>(&self, request: libc::c_ulong, argument: &mut T) -> io::Result<()> {
        // SAFETY: the argument is of the type that the request takes, and outlives the call.
        super::checked(unsafe {
            libc::ioctl(self.file.as_raw_fd(), request, std::ptr::from_mut(argument))
        })?;
        Ok(())
    }

    /// # Safety
    /// `request` takes its argument by value (`linux/if_tun.h`).
    unsafe fn control_value(&self, request: libc::c_ulong, argument: u64) -> io::Result<()> {
        // SAFETY: the kernel does not use the argument as an address.
        super::checked(unsafe { libc::ioctl(self.file.as_raw_fd(), request, argument) })?;
        Ok(())
    }
}

impl From<Tap> for OwnedFd {
    fn from(tap: Tap) -> Self {
        tap.file.into()
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Translates the error of `TUNSETIFF` for a name that is taken.
fn in_use(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        // EBUSY: a TAP of that name; EINVAL: an interface of another kind.
        Some(libc::EBUSY | libc::EINVAL) => io::Error::from(io::ErrorKind::AlreadyExists),
        _ => error,
    }
}

/// An `ifreq` with that interface name; `ENAMETOOLONG` if it is empty or too long.
pub(super) fn named(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}
