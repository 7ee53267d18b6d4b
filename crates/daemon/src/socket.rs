//! The listening socket: systemd's (socket activation), or one that the daemon binds.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::stat::{Mode, umask};
use nix::unistd::Group;
use umacvlan_sys::holder::Attempt;
use umacvlan_sys::process::inherited_descriptor;

use super::record_store::{process_text, take_from_daemon};

/// A listening socket. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct Socket {
    /// The listener, non-blocking, for an event loop.
    ///
    /// # Errors A system call fails.
    listener: UnixListener,
    /// The path of the socket.
    path: PathBuf,
    /// True if this process has made the file.
    own: bool,
}

impl Socket {
    /// The socket that systemd hands over, or one at `path` for root and the members of `group`.
    ///
    /// # Errors The socket cannot be bound, another daemon listens on it, or systemd hands over
    /// several.
    pub fn open(path: &Path, group: Option<u32>) -> Result<Self> {
        if let Some(listener) = activated()? {
            let address = listener.local_addr().context("the socket from systemd")?;
            let path = address.as_pathname().unwrap_or(path).to_owned();
            return Ok(Self { listener, path, own: false });
        }
        Self::bind(path, group, "give this one --socket and --state of its own")
    }

    /// Binds a socket at `path` for root and the members of `group`. `instead` is the advice in the
    /// error if another daemon listens there.
    ///
    /// # Errors The socket cannot be bound, or another daemon listens on it.
    pub fn bind(path: &Path, group: Option<u32>, instead: &str) -> Result<Self> {
        let at = || format!("cannot listen on {}", path.display());
        create_parent_dirs(path).with_context(at)?;
        clear(path, instead)?;
        // With this umask nobody but root can connect before the mode is set.
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

    /// The path of the socket.
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
            // If this fails, the next daemon replaces the file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Creates missing parent directories of a file with mode 0755, whatever the umask. The file itself
/// decides who may use it.
pub(crate) fn create_parent_dirs(file: &Path) -> io::Result<()> {
    let missing = |dir: &&Path| !dir.as_os_str().is_empty() && !dir.exists();
    let Some(dir) = file.parent().filter(missing) else {
        return Ok(());
    };
    create_parent_dirs(dir)?;
    fs::create_dir(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(0o755))
}

/// The number of a group that was given by name or number.
///
/// # Errors There is no such group.
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

/// Removes the socket of a daemon that has ended.
fn clear(path: &Path, instead: &str) -> Result<()> {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Ok(file) if file.file_type().is_socket() => {}
        Ok(_) => bail!("{shown} is there and no socket: remove it, or choose another path"),
        Err(error) => return Err(error).with_context(|| format!("cannot look at {shown}")),
    }
    let taken = take_from_daemon("listens on the socket", || match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).with_context(|| format!("cannot replace {shown}"))?;
            Ok(Attempt::Taken(()))
        }
        // The daemon before has removed its file as it ended.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Attempt::Taken(())),
        Err(error) => Err(error).with_context(|| format!("cannot tell who listens on {shown}")),
        Ok(connection) => Ok(Attempt::Held(listener_process(&connection))),
    });
    match taken? {
        Attempt::Taken(()) => Ok(()),
        Attempt::Held(process) => bail!(
            "another daemon{} listens on {shown}: stop that one first, or {instead}",
            process_text(process),
        ),
    }
}

/// The process that listens at the other end, if it is visible from here.
fn listener_process(connection: &UnixStream) -> Option<u32> {
    let credentials = getsockopt(connection, PeerCredentials).ok()?;
    u32::try_from(credentials.pid()).ok().filter(|&process| process != 0)
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
    fn new_parent_directories_are_open_and_existing_ones_are_unchanged() {
        let dir = Scratch::new();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let before = mode(dir.path());
        create_parent_dirs(&dir.path().join("a/b/file")).unwrap();
        create_parent_dirs(&dir.path().join("a/b/other")).unwrap();
        create_parent_dirs(Path::new("file")).unwrap();
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
        let process = format!("another daemon (process {}) listens", std::process::id());
        assert!(refused.contains(&process), "{refused}");
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
