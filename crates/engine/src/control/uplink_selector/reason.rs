//! The errors of AF_XDP, with their likely cause and the remedy. Drivers return few errors for many
//! causes, and write the cause into the kernel's log at best.

use std::io;

use umacvlan_core::options::XdpMode;
use umacvlan_netlink::Link;
use umacvlan_sys::xdp::is_multi_buffer;

/// The reason why no program can be attached.
pub(super) const OTHER_PROGRAM: &str = "another XDP program is on the interface";

/// The reason why frames cannot come in several buffers.
pub(super) const OLD: &str = "frames of this MTU need Linux 6.6";

/// The largest MTU that every driver with XDP carries.
const USUAL_MTU: u32 = 1500;

/// What was refused.
pub(super) struct Refused<'a> {
    pub(super) link: &'a Link,
    pub(super) driver: &'a str,
    pub(super) mode: XdpMode,
    /// Bytes of the longest frame.
    pub(super) longest: usize,
}

impl Refused<'_> {
    /// Why a socket was not bound.
    pub(super) fn to_bind(&self, error: &io::Error) -> String {
        let mtu = self.link.mtu;
        match error.raw_os_error() {
            Some(libc::EBUSY) => "another AF_XDP socket has the queue".to_owned(),
            Some(libc::EINVAL) if self.mode == XdpMode::ZeroCopy && self.driver == "virtio_net" => {
                "virtio-net has it only if its hypervisor lets it use DMA addresses: start QEMU with \
                 iommu_platform=on for this NIC"
                    .to_owned()
            }
            Some(libc::EINVAL) if is_multi_buffer(self.longest) => OLD.to_owned(),
            Some(libc::EOPNOTSUPP) if is_multi_buffer(self.longest) => {
                format!(
                    "the driver does not support it, or not with an MTU of {mtu}, whose frames need \
                     several buffers"
                )
            }
            Some(libc::EINVAL) => self.refused_by_driver(error),
            _ => reason(error),
        }
    }

    /// Why the program was not attached.
    pub(super) fn to_attach(&self, error: &io::Error) -> String {
        match error.raw_os_error() {
            Some(libc::EBUSY | libc::EEXIST) => OTHER_PROGRAM.to_owned(),
            Some(libc::EINVAL) => self.refused_by_driver(error),
            _ => reason(error),
        }
    }

    /// An error that says nothing but that the driver does not like something.
    fn refused_by_driver(&self, error: &io::Error) -> String {
        match self.link.mtu {
            mtu if mtu > USUAL_MTU => format!(
                "the driver refuses it, probably because a frame with an MTU of {mtu} does not fit its \
                 buffers for XDP: lower the MTU of {}, or use af-packet; dmesg may tell ({error})",
                self.link.name
            ),
            _ => format!("the driver refuses it; dmesg may tell why ({error})"),
        }
    }
}

/// The meaning of an error of the kernel here, and what to do about it.
pub(super) fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "needs the capabilities BPF, NET_ADMIN and NET_RAW".to_owned()
        }
        Some(libc::ENOBUFS) => "the limit on locked memory is too low: raise it \
             (LimitMEMLOCK= in the unit, ulimit -l in a shell), or a process that was killed has not \
             given its memory back yet"
            .to_owned(),
        Some(libc::ENOMEM) => "the kernel has not enough memory for it now, or not in one piece: give the \
             machine more, or use fewer queues (ethtool -L)"
            .to_owned(),
        Some(libc::EOPNOTSUPP) => "the driver does not support it".to_owned(),
        Some(libc::ERANGE) => "its XDP does not carry this MTU".to_owned(),
        Some(libc::EAFNOSUPPORT) => "this kernel has no AF_XDP".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(driver: &str, mode: XdpMode, mtu: u32, errno: i32) -> [String; 2] {
        let link = Link { name: "e0".to_owned(), mtu, ..Link::default() };
        let error = io::Error::from_raw_os_error(errno);
        let refused = Refused { link: &link, driver, mode, longest: mtu as usize + 22 };
        [refused.to_bind(&error), refused.to_attach(&error)]
    }

    #[test]
    fn an_error_of_a_driver_names_the_likely_cause_and_the_remedy() {
        let [bind, _] = told("virtio_net", XdpMode::ZeroCopy, 1500, libc::EINVAL);
        assert!(bind.contains("iommu_platform=on"), "{bind}");
        // The same NIC in another mode, and another one in the same.
        for (driver, mode) in [("virtio_net", XdpMode::Native), ("igb", XdpMode::ZeroCopy)] {
            for told in told(driver, mode, 1500, libc::EINVAL) {
                assert!(told.contains("dmesg") && !told.contains("MTU"), "{told}");
            }
        }
        let [_, attach] = told("igb", XdpMode::Native, 9000, libc::EINVAL);
        assert!(attach.contains("MTU of 9000") && attach.contains("lower the MTU of e0"));
        let [bind, _] = told("igb", XdpMode::ZeroCopy, 9000, libc::EOPNOTSUPP);
        assert!(bind.contains("MTU of 9000"), "{bind}");
        let [bind, _] = told("veth", XdpMode::ZeroCopy, 1500, libc::EOPNOTSUPP);
        assert_eq!(bind, "the driver does not support it");
    }
}
