//! Docker: whether it is installed and finds the network driver.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::check::Check;
use umacvlan_docker::DEFAULT_SOCKET;

/// Looks for Docker below `root`, and for the socket of its driver.
pub(super) fn docker(root: &Path) -> Check {
    let name = "docker";
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    if !DOCKERD.iter().any(|path| below(path).exists()) {
        return Check::info(name, "dockerd is not installed");
    }
    match UnixStream::connect(below(DEFAULT_SOCKET)) {
        Ok(_) => Check::ok(name, format!("dockerd finds the driver umacvlan: {DEFAULT_SOCKET}")),
        Err(error) => match error.kind() {
            ErrorKind::NotFound => {
                Check::info(name, "dockerd is installed, and umacvlan is not asked to serve it")
                    .fix(
                        "put [docker] into /etc/umacvlan/umacvlan.toml; systemctl restart umacvlan",
                    )
            }
            ErrorKind::PermissionDenied => {
                Check::info(name, format!("{DEFAULT_SOCKET} is there; only root can try it"))
            }
            _ => Check::warn(name, format!("{DEFAULT_SOCKET}: {error}: Docker waits for it"))
                .fix("systemctl restart umacvlan: links outlive that"),
        },
    }
}

/// The program or the socket of dockerd.
const DOCKERD: [&str; 5] = [
    "usr/bin/dockerd",
    "usr/sbin/dockerd",
    "usr/local/bin/dockerd",
    "snap/bin/docker",
    "run/docker.sock",
];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use umacvlan_testkit::Scratch;

    use super::*;
    use crate::doctor::check::State;

    #[test]
    fn docker_is_found_by_its_files_and_the_driver_by_its_socket() {
        let root = Scratch::new();
        let seen = || docker(root.path());
        assert!(seen().found.contains("not installed"));
        fs::create_dir_all(root.path().join("usr/bin")).unwrap();
        fs::write(root.path().join("usr/bin/dockerd"), "").unwrap();
        assert!(seen().fix.unwrap().contains("[docker]"));
        let socket = root.path().join(&DEFAULT_SOCKET[1..]);
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(seen().state, State::Ok);
        drop(listener);
        assert_eq!(seen().state, State::Warn);
    }
}
