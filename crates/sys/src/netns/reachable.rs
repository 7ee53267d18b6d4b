//! [`reachable`]: every network namespace that can be found from here.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{NAMED_NAMESPACES, Netns};

/// What a link to a network namespace begins with; its inode number and a bracket follow.
const LINK: &[u8] = b"net:[";

/// Every network namespace that has a name in `/run/netns`, a mount, a process in it, or a process
/// that holds a descriptor of it; each once, and that of the calling thread first. What may not be
/// looked at is left out, and so is what ends meanwhile.
pub fn reachable() -> Vec<Netns> {
    let mut found = Found::default();
    if let Ok(netns) = Netns::current() {
        found.device = Some(netns.id().dev);
        found.seen.insert(netns.id().ino);
        found.all.push(netns);
    }
    entries(NAMED_NAMESPACES).for_each(|path| found.see_file(&path));
    let mounts = fs::read("/proc/thread-self/mountinfo").unwrap_or_default();
    mounts.split(|&byte| byte == b'\n').for_each(|line| found.see_mount(line));
    // Processes before descriptors: there are far fewer, and they show most.
    let processes: Vec<PathBuf> = entries("/proc").filter(|path| is_process(path)).collect();
    processes.iter().for_each(|process| found.see_link(&process.join("ns/net")));
    for process in &processes {
        entries(process.join("fd")).for_each(|path| found.see_link(&path));
    }
    found.all
}

/// What has been found so far.
#[derive(Default)]
struct Found {
    all: Vec<Netns>,
    /// The inode of each; all are on the one file system of namespaces.
    seen: HashSet<u64>,
    /// The device of that file system.
    device: Option<u64>,
}

impl Found {
    /// Looks at a file that may be a namespace. Anything else is not opened, as a pipe would wait
    /// for its other end.
    fn see_file(&mut self, path: &Path) {
        if let Ok(file) = fs::metadata(path)
            && Some(file.dev()) == self.device
            && !self.seen.contains(&file.ino())
        {
            self.open(path);
        }
    }

    /// Looks at a line of `mountinfo` (`proc_pid_mountinfo(5)`): what is mounted and where are its
    /// fields 4 and 5.
    fn see_mount(&mut self, line: &[u8]) {
        let mut fields = line.split(|&byte| byte == b' ').skip(3);
        if let (Some(root), Some(at)) = (fields.next(), fields.next())
            && self.is_news(root)
        {
            self.see_file(Path::new(std::ffi::OsStr::from_bytes(&unescaped(at))));
        }
    }

    /// Looks at a link in `/proc` that may lead to a namespace. Reading it is quicker than opening
    /// it, and most lead to one that is known or to something else.
    fn see_link(&mut self, path: &Path) {
        if fs::read_link(path).is_ok_and(|to| self.is_news(to.as_os_str().as_bytes())) {
            self.open(path);
        }
    }

    fn is_news(&self, link: &[u8]) -> bool {
        inode(link).is_some_and(|inode| !self.seen.contains(&inode))
    }

    fn open(&mut self, path: &Path) {
        // One that has ended meanwhile is not there to be found.
        let opened =
            path.to_str().map_or_else(|| Err(io::ErrorKind::InvalidInput.into()), Netns::open);
        if let Ok(netns) = opened
            && self.seen.insert(netns.id().ino)
        {
            self.all.push(netns);
        }
    }
}

/// The paths in a directory; none if it may not be read.
fn entries(directory: impl AsRef<Path>) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(Result::ok).map(|entry| entry.path())
}

fn is_process(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_bytes().iter().all(u8::is_ascii_digit))
}

/// The inode number in `net:[4026531840]`.
fn inode(link: &[u8]) -> Option<u64> {
    let digits = link.strip_prefix(LINK)?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A path of `mountinfo`, in which spaces and the like are three octal digits after a backslash.
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
