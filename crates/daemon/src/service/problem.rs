//! [`Problem`]s of errors, with the error numbers of the kernel's macvlan.

use std::io;

use nix::libc;
use umacvlan_core::SwitchError;
use umacvlan_engine::Error;
use umacvlan_netlink as netlink;

use crate::ServiceError;
use umacvlan_api::{Code, Problem};
use umacvlan_text::output::one_line;

impl From<Error> for ServiceError {
    fn from(error: Error) -> Self {
        Self(Problem {
            code: kind(&error),
            errno: error.errno(),
            kernel: explanation(&error),
            device: device(&error),
            message: one_line(&error.into()),
        })
    }
}

impl From<netlink::Error> for ServiceError {
    fn from(error: netlink::Error) -> Self {
        Error::from(error).into()
    }
}

/// A problem without an error number.
pub(super) fn plain(code: Code, message: impl Into<String>) -> ServiceError {
    ServiceError(Problem { code, message: message.into(), errno: None, kernel: None, device: None })
}

/// There is no such link or parent.
pub(super) fn no_device(name: &str, message: impl Into<String>) -> ServiceError {
    let errno = Some(libc::ENODEV);
    let problem = plain(Code::NoDevice, message).0;
    ServiceError(Problem { errno, device: Some(name.to_owned()), ..problem })
}

/// The state of `what` cannot be written.
pub(super) fn storage_error(what: &str, error: &io::Error) -> ServiceError {
    let message = format!(
        "the state of {what} cannot be written: {error}; make room in the state directory, and \
         try again"
    );
    let problem = plain(Code::Storage, message).0;
    ServiceError(Problem { errno: error.raw_os_error(), ..problem })
}

/// The kind of the problem.
fn kind(error: &Error) -> Code {
    match error {
        Error::MacNat { .. }
        | Error::NameInUse { .. }
        | Error::NameInvalid(_)
        | Error::Namespace { .. }
        | Error::Netlink(_)
        | Error::NoAfXdp { .. }
        | Error::NoVeth { .. }
        | Error::NoInterface { .. }
        | Error::ParentBusy { .. }
        | Error::ParentHeld { .. }
        | Error::ParentRenamed { .. }
        | Error::ParentRival { .. }
        | Error::ParentShared { .. }
        | Error::ParentTaken(_)
        | Error::ParentUnsuitable { .. }
        | Error::ParentVlan(_)
        | Error::ParentWorkers { .. }
        | Error::ProgramInterface { .. }
        | Error::ProgramSocket { .. }
        | Error::ProgramWorkers { .. }
        | Error::Refused { .. }
        | Error::RivalEnding { .. }
        | Error::TapBusy(_)
        | Error::TooManyCaptures(_)
        | Error::VethKept(_)
        | Error::VethUnproven(_) => Code::Refused,
        Error::NoTap(_)
        | Error::NoSuchParent(_)
        | Error::NoSuchSub(_)
        | Error::ParentAbsent(_)
        | Error::ParentAnother(_)
        | Error::TapGone => Code::NoDevice,
        Error::NumberTaken(_) | Error::Stopped | Error::System { .. } | Error::Tap { .. } => {
            Code::Internal
        }
    }
}

/// The kernel's message beside the error number.
fn explanation(error: &Error) -> Option<String> {
    match error {
        Error::Namespace { source, .. } | Error::Netlink(source) => {
            source.explanation().map(str::to_owned)
        }
        Error::Refused { refusal: SwitchError::MtuTooSmall(_), .. } => {
            Some("mtu less than device minimum".to_owned())
        }
        _ => None,
    }
}

/// The interface of the problem.
fn device(error: &Error) -> Option<String> {
    match error {
        Error::MacNat { name, .. }
        | Error::NameInUse { name, .. }
        | Error::NameInvalid(name)
        | Error::Namespace { name, .. }
        | Error::NoSuchParent(name)
        | Error::NoSuchSub(name)
        | Error::ParentAbsent(name)
        | Error::ParentRenamed { name, .. }
        | Error::ParentTaken(name)
        | Error::Refused { name, .. }
        | Error::RivalEnding { name, .. }
        | Error::Tap { name, .. }
        | Error::NoVeth { name, .. }
        | Error::VethKept(name)
        | Error::VethUnproven(name)
        | Error::NoAfXdp { parent: name, .. }
        | Error::ParentBusy { parent: name, .. }
        | Error::ParentHeld { parent: name, .. }
        | Error::ParentRival { parent: name, .. }
        | Error::ParentShared { parent: name, .. }
        | Error::ParentUnsuitable { parent: name, .. } => Some(name.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use umacvlan_core::MacAddr;

    use super::*;

    fn problem(error: Error) -> (Code, Option<i32>, Option<String>, Option<String>) {
        let Problem { code, errno, kernel, device, message } = ServiceError::from(error).0;
        assert!(!message.is_empty() && !message.contains('\n'), "{message}");
        (code, errno, kernel, device)
    }

    #[test]
    fn error_numbers_are_those_of_the_kernels_macvlan() {
        let name = || "mac1".to_owned();
        let device = Some(name());
        let in_use = Error::NameInUse { name: name(), place: "" };
        assert_eq!(problem(in_use), (Code::Refused, Some(17), None, device.clone()));
        let busy = Error::ParentBusy { parent: name(), master: "br0".to_owned() };
        assert_eq!(problem(busy), (Code::Refused, Some(16), None, device.clone()));
        let absent = Error::ParentAbsent(name());
        assert_eq!(problem(absent), (Code::NoDevice, Some(19), None, device.clone()));
        let refused = |refusal| problem(Error::Refused { name: name(), refusal });
        let mac = MacAddr::default();
        for (refusal, errno) in [
            (SwitchError::AddressOfSub(mac), 98),
            (SwitchError::NotUnicast(mac), 99),
            (SwitchError::FixedPassthru, 22),
        ] {
            assert_eq!(refused(refusal), (Code::Refused, Some(errno), None, device.clone()));
        }
        let words = Some("mtu less than device minimum".to_owned());
        assert_eq!(refused(SwitchError::MtuTooSmall(67)), (Code::Refused, Some(22), words, device));
    }

    #[test]
    fn running_out_of_descriptors_is_an_internal_problem() {
        let source = io::Error::from_raw_os_error(libc::EMFILE);
        let error = Error::Tap { name: "mac1".to_owned(), source };
        assert_eq!(problem(error).0, Code::Internal);
    }
}
