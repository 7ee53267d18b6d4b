//! [`holders`]: who keeps network namespaces alive, beside this process.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::reachable::{inode, is_process};
use super::{NAMED_NAMESPACES, NetnsId};

/// The inode of the first process namespace (`PROC_PID_INIT_INO` in `linux/proc_ns.h`). A process in it
/// sees all others.
const FIRST_PID_NAMESPACE: &[u8] = b"pid:[4026531836]";

/// The result of [`holders`].
#[derive(Debug, Default)]
pub struct Holders {
    /// Those with a name in `/run/netns`, or a mount in a mount namespace of any process.
    pub mounted: BTreeSet<NetnsId>,
    /// Those with another process in them, or one that has a descriptor of them.
    pub used: BTreeSet<NetnsId>,
    /// True if this process is in the machine's first process namespace, where it sees all processes.
    pub sees_all: bool,
    /// Why a process could not be looked at.
    pub failed: Option<io::Error>,
}

/// Which of these namespaces have a name, a mount, a thread of another process in them, or a descriptor
/// in another process. It looks no further once each has one. Sockets do not count.
pub fn holders(wanted: &BTreeSet<NetnsId>) -> Holders {
    let own_pid_namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let sees_all = own_pid_namespace.as_os_str().as_bytes() == FIRST_PID_NAMESPACE;
    let mut look = Look { wanted, found: Holders { sees_all, ..Holders::default() } };
    for file in look.entries(Path::new(NAMED_NAMESPACES)) {
        if let Ok(file) = fs::metadata(file) {
            look.mounted(NetnsId { dev: file.dev(), ino: file.ino() });
        }
    }
    let own = std::process::id().to_string();
    let mut processes = look.entries(Path::new("/proc"));
    processes.retain(|path| is_process(path));
    let mut mounts = BTreeSet::new();
    for process in &processes {
        if look.is_done() {
            return look.found;
        }
        // One mount namespace has many processes.
        if let Some(namespace) = look.link(&process.join("ns/mnt"))
            && mounts.insert(namespace)
        {
            look.mounts_of(process);
        }
        if !process.ends_with(&own) {
            for task in look.entries(&process.join("task")) {
                look.used(&task.join("ns/net"));
            }
        }
    }
    for process in processes.iter().filter(|process| !process.ends_with(&own)) {
        if look.is_done() {
            break;
        }
        for descriptor in look.entries(&process.join("fd")) {
            look.used(&descriptor);
        }
    }
    look.found
}

struct Look<'w> {
    wanted: &'w BTreeSet<NetnsId>,
    found: Holders,
}

impl Look<'_> {
    fn is_done(&self) -> bool {
        let Holders { mounted, used, .. } = &self.found;
        self.wanted.iter().all(|netns| mounted.contains(netns) || used.contains(netns))
    }

    fn mounted(&mut self, netns: NetnsId) {
        if self.wanted.contains(&netns) {
            self.found.mounted.insert(netns);
        }
    }

    /// Notes the mounts of namespaces in `mountinfo` (`proc_pid_mountinfo(5)`); its field 4 is the root.
    fn mounts_of(&mut self, process: &Path) {
        let text = match fs::read(process.join("mountinfo")) {
            Ok(text) => text,
            Err(error) => return self.miss(error),
        };
        let roots = text.split(|&byte| byte == b'\n');
        for root in roots.filter_map(|line| line.split(|&byte| byte == b' ').nth(3)) {
            if let Some(netns) = self.wanted_at(root) {
                self.found.mounted.insert(netns);
            }
        }
    }

    /// Notes the namespace of a link in `/proc`.
    fn used(&mut self, path: &Path) {
        if let Some(netns) = self.link(path).and_then(|to| self.wanted_at(&to)) {
            self.found.used.insert(netns);
        }
    }

    /// The wanted namespace of a link or a root. All are on one file system, so the inode is enough.
    fn wanted_at(&self, link: &[u8]) -> Option<NetnsId> {
        let ino = inode(link)?;
        self.wanted.iter().find(|netns| netns.ino == ino).copied()
    }

    /// The target of a link.
    fn link(&mut self, path: &Path) -> Option<Vec<u8>> {
        match fs::read_link(path) {
            Ok(to) => Some(to.into_os_string().as_bytes().to_vec()),
            Err(error) => {
                self.miss(error);
                None
            }
        }
    }

    /// The paths in a directory; none if there is no such directory.
    fn entries(&mut self, directory: &Path) -> Vec<PathBuf> {
        let listed = fs::read_dir(directory).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()
        });
        listed.unwrap_or_else(|error| {
            self.miss(error);
            Vec::new()
        })
    }

    /// Notes an error, unless the process has ended meanwhile.
    fn miss(&mut self, error: io::Error) {
        // EINVAL: the mounts of a process that is ending.
        let ended = error.kind() == io::ErrorKind::NotFound
            || matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL));
        if !ended {
            self.found.failed.get_or_insert(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Netns;
    use super::*;

    #[test]
    fn the_namespace_of_other_processes_is_used_and_one_that_is_gone_is_not() {
        let own = Netns::current().unwrap().id();
        let gone = NetnsId { dev: own.dev, ino: 1 };
        // A thread of a child is in it.
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let found = holders(&[own, gone].into());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.used.contains(&own), "{found:?}");
        assert!(!found.used.contains(&gone) && !found.mounted.contains(&gone), "{found:?}");
    }
}
