//! [`reachable`], [`search`]: every network namespace that this process can find.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{NAMED_NAMESPACES, Netns};

/// The start of a link to a network namespace; the inode number and a bracket follow.
const LINK: &[u8] = b"net:[";

/// Descriptors that must be left for the use of the namespaces, if not all could be opened: more than
/// an engine with one parent needs.
const SPARE: usize = 32;

/// The result of [`search`].
#[derive(Debug, Default)]
pub struct Search {
    /// Each namespace that was found once, that of the calling thread first.
    pub namespaces: Vec<Netns>,
    /// True if this process has no permission to see the namespaces of another process.
    pub hidden: bool,
    /// The first error of another kind, as for want of descriptors or memory: any namespace may be
    /// missing.
    pub failed: Option<io::Error>,
}

/// The namespaces of [`search`].
pub fn reachable() -> Vec<Netns> {
    search().namespaces
}

/// The first namespace of [`search`] that is such a one, with a path to open it again, as long as
/// what it was found by exists.
pub fn find(is_it: impl FnMut(&Netns) -> bool) -> Option<(PathBuf, Netns)> {
    let Found { search, mut paths, .. } = found();
    let mut namespaces = search.namespaces;
    let place = namespaces.iter().position(is_it)?;
    Some((paths.swap_remove(place), namespaces.swap_remove(place)))
}

/// Every network namespace that has a name in `/run/netns`, a mount, a process in it, or a process
/// that holds a descriptor of it; each once, that of the calling thread first. Namespaces without read
/// permission and those that end meanwhile are left out. Without a descriptor to spare for the use of
/// the namespaces, there are none in the result.
pub fn search() -> Search {
    let mut search = found().search;
    if search.failed.is_some() && !can_spare(&search.namespaces) {
        search.namespaces.clear();
    }
    search
}

fn found() -> Found {
    let mut found = Found::default();
    match Netns::current() {
        Ok(netns) => {
            found.device = Some(netns.id().dev);
            found.seen.insert(netns.id().ino);
            found.search.namespaces.push(netns);
            found.paths.push(PathBuf::from(super::OWN_NAMESPACE));
        }
        Err(error) => found.search.failed = Some(error),
    }
    found.entries(Path::new(NAMED_NAMESPACES)).iter().for_each(|path| found.see_file(path));
    let mountinfo = Path::new("/proc/thread-self/mountinfo");
    let mounts = fs::read(mountinfo).unwrap_or_else(|error| {
        found.miss(mountinfo, error);
        Vec::new()
    });
    mounts.split(|&byte| byte == b'\n').for_each(|line| found.see_mount(line));
    // Processes before descriptors: they are far fewer, and lead to most namespaces.
    let mut processes = found.entries(Path::new("/proc"));
    processes.retain(|path| is_process(path));
    processes.iter().for_each(|process| found.see_link(&process.join("ns/net")));
    for process in &processes {
        found.entries(&process.join("fd")).iter().for_each(|path| found.see_link(path));
    }
    found
}

/// True if [`SPARE`] more descriptors can be opened.
fn can_spare(namespaces: &[Netns]) -> bool {
    let spare: io::Result<Vec<_>> =
        namespaces.iter().cycle().take(SPARE).map(Netns::try_clone).collect();
    spare.is_ok()
}

/// The namespaces found so far.
#[derive(Default)]
struct Found {
    search: Search,
    /// The path of each of its namespaces.
    paths: Vec<PathBuf>,
    /// The inode of each; all are on one file system, nsfs.
    seen: HashSet<u64>,
    /// The device of that file system.
    device: Option<u64>,
}

impl Found {
    /// Adds the namespace of a file, if it is one. Other files are not opened: a pipe would wait for its
    /// other end.
    fn see_file(&mut self, path: &Path) {
        match fs::metadata(path) {
            Ok(file) if Some(file.dev()) != self.device || self.seen.contains(&file.ino()) => {}
            Ok(_) => self.open(path),
            Err(error) => self.miss(path, error),
        }
    }

    /// Adds the namespace of a line of `mountinfo` (`proc_pid_mountinfo(5)`); root and mount point are
    /// its fields 4 and 5.
    fn see_mount(&mut self, line: &[u8]) {
        let mut fields = line.split(|&byte| byte == b' ').skip(3);
        if let (Some(root), Some(at)) = (fields.next(), fields.next())
            && self.is_unseen(root)
        {
            self.see_file(Path::new(std::ffi::OsStr::from_bytes(&unescaped(at))));
        }
    }

    /// Adds the namespace of a link in `/proc`. Reading a link is quicker than opening it, and most lead
    /// to known namespaces or other files.
    fn see_link(&mut self, path: &Path) {
        match fs::read_link(path) {
            Ok(to) if self.is_unseen(to.as_os_str().as_bytes()) => self.open(path),
            Ok(_) => {}
            Err(error) => self.miss(path, error),
        }
    }

    fn is_unseen(&self, link: &[u8]) -> bool {
        inode(link).is_some_and(|inode| !self.seen.contains(&inode))
    }

    fn open(&mut self, path: &Path) {
        match Netns::open_file(path) {
            Ok(netns) if self.seen.insert(netns.id().ino) => {
                self.search.namespaces.push(netns);
                self.paths.push(path.to_owned());
            }
            Ok(_) => {}
            Err(error) => self.miss(path, error),
        }
    }

    /// The paths in a directory; none if it cannot be read.
    fn entries(&mut self, directory: &Path) -> Vec<PathBuf> {
        let listed = fs::read_dir(directory).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()
        });
        listed.unwrap_or_else(|error| {
            self.miss(directory, error);
            Vec::new()
        })
    }

    /// Notes that a path could not be looked at, unless it or its process has ended meanwhile.
    fn miss(&mut self, path: &Path, error: io::Error) {
        let ended = |error: &io::Error| {
            error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
        };
        if ended(&error) || fs::symlink_metadata(path).is_err_and(|error| ended(&error)) {
            return;
        }
        match error.kind() {
            // A namespace of another kind.
            io::ErrorKind::InvalidInput => {}
            io::ErrorKind::PermissionDenied => self.search.hidden = true,
            _ => {
                let told = io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                self.search.failed.get_or_insert(told);
            }
        }
    }
}

pub(super) fn is_process(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_bytes().iter().all(u8::is_ascii_digit))
}

/// The inode number in `net:[4026531840]`.
pub(super) fn inode(link: &[u8]) -> Option<u64> {
    let digits = link.strip_prefix(LINK)?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Decodes a path of `mountinfo`, where a space or similar is a backslash and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| first == b'\\');
        let octal = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) => {
                path.push(byte);
                rest = &after[3..];
            }
            None => {
                path.push(first);
                rest = after;
            }
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_link_to_a_network_namespace_has_an_inode() {
        assert_eq!(inode(b"net:[4026531840]"), Some(4_026_531_840));
        for other in [&b"mnt:[4026531840]"[..], b"net:[", b"net:[]", b"net:[x]", b"/net:[1]", b""] {
            assert_eq!(inode(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_path_of_a_mount_is_read_as_the_kernel_writes_it() {
        assert_eq!(unescaped(br"/run/netns/a\040b\134c"), br"/run/netns/a b\c");
        assert_eq!(unescaped(br"/a\9\04"), br"/a\9\04");
    }

    #[test]
    fn the_own_namespace_is_found_first_and_each_once() {
        let found = reachable();
        assert_eq!(found[0].id(), Netns::current().unwrap().id());
        let mut ids: Vec<_> = found.iter().map(Netns::id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), found.len());
    }
}
