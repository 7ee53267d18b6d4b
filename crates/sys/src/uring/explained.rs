//! Why io_uring does not work, in words.

use std::io;

/// An error of io_uring with its likely cause and the remedy.
pub fn explained(error: io::Error) -> io::Error {
    use io::ErrorKind as Kind;
    let cause = match error.kind() {
        Kind::InvalidInput | Kind::Unsupported => {
            "this kernel's io_uring lacks what a worker needs: boot Linux 6.7 or later, or use io auto"
        }
        Kind::OutOfMemory => {
            "before Linux 5.12 its rings count as locked memory: raise that limit, or use io auto"
        }
        Kind::PermissionDenied => {
            "io_uring is forbidden: set the sysctl kernel.io_uring_disabled to 0, in a container use a \
             seccomp profile that allows it, or use io auto"
        }
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{cause} ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_io_uring_names_its_cause_and_what_to_do() {
        let told = |errno| explained(io::Error::from_raw_os_error(errno)).to_string();
        for (errno, cause) in [(22, "Linux 6.7"), (38, "Linux 6.7"), (1, "io_uring_disabled")] {
            let told = told(errno);
            assert!(told.contains(cause) && told.contains("io auto"), "{told}");
            assert!(told.contains("(os error "), "the error itself: {told}");
        }
        assert_eq!(told(24), io::Error::from_raw_os_error(24).to_string());
    }
}
