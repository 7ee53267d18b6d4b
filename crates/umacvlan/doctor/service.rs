//! The daemon: its socket, its links, and its systemd unit.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User};
use serde_json::Value;

use super::check::Check;
use umacvlan_api::{LinkView, ParentView};
use umacvlan_client::{Absent, Client, ConnectError, RequestError};

/// The checks of the daemon.
pub(super) struct Daemon {
    /// It listens and answers this user.
    pub(super) listens: bool,
    pub(super) checks: Vec<Check>,
}

/// Queries the daemon at `socket` and looks for the files of its unit.
pub(super) fn inspect(socket: &Path) -> Daemon {
    let (listens, mut checks) = match Client::connect(socket, Absent::Fail) {
        Ok(client) => query(client),
        Err(error) => (false, vec![unreachable(&error, socket)]),
    };
    checks.extend(permissions(socket));
    checks.push(unit(Path::new("/")));
    Daemon { listens, checks }
}

/// The check for a daemon that cannot be reached. No daemon is no fault: `run` and `lab` need none.
fn unreachable(error: &ConnectError, socket: &Path) -> Check {
    let name = "daemon";
    match error {
        ConnectError::NotRunning { .. } => Check::info(name, error.to_string()),
        ConnectError::PermissionDenied { group, .. } => {
            let fix = match group.as_deref().filter(|group| *group != "root") {
                Some(group) => format!("usermod -aG {group} USER, as root"),
                None => {
                    "run this as root, or have the socket belong to a group: group in umacvlan.toml"
                        .to_owned()
                }
            };
            Check::warn(name, error.to_string()).fix(fix)
        }
        ConnectError::NoSocket { .. } => Check::warn(name, error.to_string()).fix("--socket PATH"),
        ConnectError::Other { .. } => Check::warn(name, error.to_string())
            .fix(format!("look whose socket {} is", socket.display())),
    }
}

fn query(mut client: Client) -> (bool, Vec<Check>) {
    match answers(&mut client) {
        Ok(checks) => (true, checks),
        Err(error) => {
            let fix = "systemctl restart umacvlan: links outlive that";
            (false, vec![Check::fail("daemon", error.to_string()).fix(fix)])
        }
    }
}

fn answers(client: &mut Client) -> Result<Vec<Check>, RequestError> {
    let links: Vec<LinkView> = client.get("/v1/links", &[])?;
    let parents: Vec<ParentView> = client.get("/v1/parents", &[])?;
    let health: Value = client.get("/healthz", &[])?;
    let version = health["version"].as_str().unwrap_or("unknown").to_owned();
    let found = format!(
        "{version} listens: {} on {}",
        count(links.len(), "link"),
        count(parents.len(), "parent")
    );
    let mut checks = vec![if version == env!("CARGO_PKG_VERSION") {
        Check::ok("daemon", found)
    } else {
        Check::warn("daemon", format!("{found}; this command is {}", env!("CARGO_PKG_VERSION")))
            .fix("systemctl restart umacvlan: links outlive that")
    }];
    checks.extend(parents.iter().map(parent_check));
    Ok(checks)
}

/// The check of a parent that the daemon serves: its backend, and what is wrong with it.
fn parent_check(parent: &ParentView) -> Check {
    let ParentView { name, backend, .. } = parent;
    let check = "parent";
    if let Some(notice) = &parent.notice {
        return Check::warn(check, format!("{name}: {notice}"));
    }
    if !parent.present {
        return Check::warn(check, format!("{name} is gone; its links wait for it"));
    }
    let mode = parent.xdp.as_ref().map(|mode| format!(" ({mode})")).unwrap_or_default();
    let served = format!("{name}: {} by {backend}{mode}", count(parent.links, "link"));
    match (parent.unproven, &parent.backend_why) {
        (Some(true), _) => Check::info(
            check,
            format!("{served}, unproven: no frame of full size has come through it so far"),
        ),
        (_, Some(why)) => Check::ok(check, format!("{served}: {why}")),
        _ => Check::ok(check, served),
    }
}

/// A number of things.
fn count(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The owner and the mode of the socket, if it exists.
fn permissions(socket: &Path) -> Option<Check> {
    let file = fs::metadata(socket).ok()?;
    let mode = file.permissions().mode() & 0o777;
    let user = User::from_uid(Uid::from_raw(file.uid())).ok().flatten();
    let group = Group::from_gid(Gid::from_raw(file.gid())).ok().flatten();
    let found = format!(
        "{} of {}:{}, mode {mode:04o}",
        socket.display(),
        user.map_or_else(|| file.uid().to_string(), |user| user.name),
        group.map_or_else(|| file.gid().to_string(), |group| group.name)
    );
    Some(match mode & 0o002 {
        0 => Check::ok("socket", found),
        _ => Check::warn("socket", format!("{found}: everybody may read the state"))
            .fix(format!("chmod o-rwx {}", socket.display())),
    })
}

/// The state of the systemd unit from the files below `root`; systemd need not run.
fn unit(root: &Path) -> Check {
    let name = "systemd";
    let has = |path: &str| fs::symlink_metadata(root.join(path)).is_ok();
    let Some(folder) = UNIT_FOLDERS.iter().find(|folder| has(&format!("{folder}/{UNIT}"))) else {
        return Check::info(name, format!("{UNIT} is not installed"))
            .fix("make install, or the package");
    };
    let enabled = WANTED.iter().any(|wanted| has(&format!("etc/systemd/system/{wanted}")));
    let found = |state: &str| format!("/{folder}/{UNIT} is installed{state}");
    match (has("run/systemd/system"), enabled) {
        (false, _) => Check::info(name, found(", but systemd does not run here")),
        (true, false) => {
            Check::info(name, found(", not enabled")).fix("systemctl enable --now umacvlan")
        }
        (true, true) if has(&format!("run/systemd/units/invocation:{UNIT}")) => {
            Check::ok(name, found(", enabled and active"))
        }
        (true, true) => Check::warn(name, found(" and enabled, not active"))
            .fix("systemctl start umacvlan; systemctl status umacvlan tells more"),
    }
}

const UNIT: &str = "umacvlan.service";

/// The directories of units in order of precedence: systemd.unit(5).
const UNIT_FOLDERS: [&str; 4] = [
    "etc/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

/// The symbolic links that `systemctl enable` creates.
const WANTED: [&str; 2] =
    ["multi-user.target.wants/umacvlan.service", "sockets.target.wants/umacvlan.socket"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::State;

    #[test]
    fn a_parent_has_its_backend_and_what_is_wrong_with_it() {
        let parent = |present, notice: &str, unproven| ParentView {
            name: "eth0".to_owned(),
            backend: "af-xdp".to_owned(),
            xdp: Some("native".to_owned()),
            links: 2,
            present,
            notice: Some(notice.to_owned()).filter(|notice| !notice.is_empty()),
            unproven,
            ..ParentView::default()
        };
        let check = |present, notice, unproven| {
            let check = parent_check(&parent(present, notice, unproven));
            (check.state, check.found)
        };
        let served = "eth0: 2 links by af-xdp (native)";
        assert_eq!(check(true, "", Some(false)), (State::Ok, served.to_owned()));
        let (state, found) = check(true, "", Some(true));
        assert_eq!(
            (state, found.starts_with(&format!("{served}, unproven: "))),
            (State::Info, true)
        );
        assert_eq!(check(true, "it is deaf", None), (State::Warn, "eth0: it is deaf".to_owned()));
        assert_eq!(check(false, "", None).0, State::Warn);
    }

    #[test]
    fn the_state_of_the_unit_is_read_from_files() {
        let root = std::env::temp_dir().join(format!("umv-unit-{}", std::process::id()));
        let make = |path: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        let seen = || unit(&root);
        assert!(seen().found.contains("not installed"));
        make("usr/lib/systemd/system/umacvlan.service");
        assert!(seen().found.contains("does not run here"));
        make("run/systemd/system/some");
        assert_eq!(seen().fix.unwrap(), "systemctl enable --now umacvlan");
        make("etc/systemd/system/multi-user.target.wants/umacvlan.service");
        assert_eq!(seen().state, State::Warn);
        make("run/systemd/units/invocation:umacvlan.service");
        assert_eq!(seen().state, State::Ok);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn no_daemon_is_information_and_a_denied_one_has_a_fix() {
        let path = Path::new("/s");
        let nobody = unreachable(&ConnectError::NotRunning { socket: path.into() }, path);
        assert_eq!(nobody.state, State::Info);
        let group = Some("net".to_owned());
        let denied =
            unreachable(&ConnectError::PermissionDenied { socket: path.into(), group }, path);
        assert!(denied.fix.unwrap().contains("usermod -aG net"));
    }
}
