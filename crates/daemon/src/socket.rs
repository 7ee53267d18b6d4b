//! The socket that clients connect to: systemd's, or our own.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Group;
use umacvlan_sys::process::inherited_descriptor;

/// A socket that listens, and its file, which ends with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// True if the file is ours to remove.
    own: bool,
}

impl Socket {
    /// The socket that systemd hands over, or one at `path` for root and the members of `group`.
    pub fn open(path: &Path, group: Option<u32>) -> Result<Self> {
        if let Some(listener) = activated()? {
            let address = listener.local_addr().context("the socket from systemd")?;
            let path = address.as_pathname().unwrap_or(path).to_owned();
            return Ok(Self { listener, path, own: false });
        }
        Self::bind(path, group, "give this one --socket and --state of its own")
    }

    /// One at `path` for root and the members of `group`. `instead` is what to do if somebody
    /// listens there already, and it shall not be stopped.
    pub fn bind(path: &Path, group: Option<u32>, instead: &str) -> Result<Self> {
        let at = || format!("cannot listen on {}", path.display());
        make_way(path).with_context(at)?;
        clear(path, instead)?;
        // Nobody connects before it is settled who may.
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(path);
        umask(before);
        let socket = Self { listener: bound.with_context(at)?, path: path.to_owned(), own: true };
        if let Some(group) = group {
            let shared = chown(path, None, Some(group))
                .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o660)));
            shared.with_context(|| format!("cannot give {} to its group", path.display()))?;
        }
        Ok(socket)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The socket, for an event loop.
    pub fn listener(&self) -> Result<UnixListener> {
        let listener = self.listener.try_clone()?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.own {
            // A file that stays is replaced by the next daemon.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the directories that are missing on the way to a file. Everybody may pass them, whatever
/// the umask: who may do what is settled by the file at the end.
pub fn make_way(file: &Path) -> io::Result<()> {
    let missing = |dir: &&Path| !dir.as_os_str().is_empty() && !dir.exists();
    let Some(dir) = file.parent().filter(missing) else {
        return Ok(());
    };
    make_way(dir)?;
    fs::create_dir(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(0o755))
}

/// The number of a group that was given by name or number.
pub fn group(given: Option<&String>) -> Result<Option<u32>> {
    let Some(name) = given else {
        return Ok(None);
    };
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    let found = Group::from_name(name).with_context(|| format!("cannot look up group {name}"))?;
    let found = found.with_context(|| {
        format!("there is no group {name}: make it with `groupadd --system {name}`")
    })?;
    Ok(Some(found.gid.as_raw()))
}

fn activated() -> Result<Option<UnixListener>> {
    let mut given = sd_notify::listen_fds().context("sockets from systemd")?;
    let Some(first) = given.next() else {
        return Ok(None);
    };
    ensure!(given.len() == 0, "systemd hands over several sockets: the unit may have one");
    Ok(Some(inherited_descriptor(first).context("the socket from systemd")?.into()))
}

/// Removes the socket of a daemon that is gone.
fn clear(path: &Path, instead: &str) -> Result<()> {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Ok(file) if file.file_type().is_socket() => {}
        Ok(_) => bail!("{shown} is there and no socket: remove it, or choose another path"),
        Err(error) => return Err(error).with_context(|| format!("cannot look at {shown}")),
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).with_context(|| format!("cannot replace {shown}"))
        }
        Ok(_) => bail!("another daemon listens on {shown}: stop that one first, or {instead}"),
        Err(error) => Err(error).with_context(|| format!("cannot tell who listens on {shown}")),
    }
}

#[cfg(test)]
mod tests {
    use umacvlan_testkit::Scratch;

    use super::*;

    #[test]
    fn a_socket_is_for_its_owner_only_unless_a_group_is_named() {
        let dir = Scratch::new();
        let path = dir.path().join("new/umacvlan.sock");
        let socket = Socket::open(&path, None).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        drop(socket);
        assert!(!path.exists());
        let own = nix::unistd::getgid().as_raw();
        let _socket = Socket::open(&path, Some(own)).unwrap();
        assert_eq!(mode(&path), 0o660);
    }

    #[test]
    fn the_way_to_a_file_is_open_and_what_is_there_is_left_as_it_is() {
        let dir = Scratch::new();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let before = mode(dir.path());
        make_way(&dir.path().join("a/b/file")).unwrap();
        make_way(&dir.path().join("a/b/other")).unwrap();
        make_way(Path::new("file")).unwrap();
        assert_eq!((mode(&dir.path().join("a")), mode(&dir.path().join("a/b"))), (0o755, 0o755));
        assert_eq!(mode(dir.path()), before);
        assert!(!dir.path().join("a/b/file").exists());
    }

    #[test]
    fn a_socket_in_use_is_left_and_a_stale_one_is_replaced() {
        let dir = Scratch::new();
        let path = dir.path().join("s");
        let first = UnixListener::bind(&path).unwrap();
        let refused = Socket::open(&path, None).unwrap_err().to_string();
        assert!(refused.contains("another daemon listens"), "{refused}");
        drop(first);
        Socket::open(&path, None).unwrap();
        fs::write(&path, "mine").unwrap();
        let refused = Socket::open(&path, None).unwrap_err().to_string();
        assert!(refused.contains("no socket"), "{refused}");
    }

    #[test]
    fn a_group_is_a_name_or_a_number() {
        assert_eq!(group(None).unwrap(), None);
        assert_eq!(group(Some(&"0".to_owned())).unwrap(), Some(0));
        assert_eq!(group(Some(&"root".to_owned())).unwrap(), Some(0));
        let none = group(Some(&"umv-no-such".to_owned())).unwrap_err().to_string();
        assert!(none.contains("groupadd"), "{none}");
    }
}
