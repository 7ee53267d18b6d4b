//! [`Pins`]: the directory of a BPF file system in which the programs of one parent, their links and
//! their maps outlive this process.

use std::ffi::CString;
use std::fs::{self, DirBuilder};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The layout of the maps in `bpf/port.c`. It changes with them, so that no map of another layout is
/// taken over.
const LAYOUT: &str = "1";

/// How many directories at the end of a path belong to us.
const OWN_DIRS: usize = 3;

/// `BPF_FS_MAGIC` in linux/magic.h.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// The directory. A name in it must not have a dot.
#[derive(Debug)]
pub(super) struct Pins(PathBuf);

impl Pins {
    /// Makes the directory if it is missing. The last three directories of the path are made and have to
    /// belong to the user of this process alone.
    ///
    /// # Errors
    /// It is not on a BPF file system, cannot be written, or another user can write to it.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let own: Vec<&Path> = dir.ancestors().take(OWN_DIRS).collect();
        let above = dir.ancestors().nth(OWN_DIRS).unwrap_or_else(|| Path::new("/"));
        if !is_bpffs(above) {
            let (top, above) = (own.last().unwrap_or(&dir).display(), above.display());
            let why = format!(
                "its programs are kept in {top}, and {above} is no BPF file system (mount -t bpf bpf {above})"
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        for dir in own.into_iter().rev() {
            make_own(dir)?;
        }
        Ok(Self(dir.to_owned()))
    }

    /// The path of a map of the present layout.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}-{LAYOUT}"))
    }

    /// The path of the link of a program at the interface of that index.
    pub(super) fn link(&self, program: &str, index: u32) -> PathBuf {
        self.0.join(format!("{program}-{index}"))
    }

    /// The interfaces that have a link of this program.
    pub(super) fn links(&self, program: &str) -> Vec<u32> {
        let index = |name: &str| name.strip_prefix(program)?.strip_prefix('-')?.parse().ok();
        self.files().iter().filter_map(|path| index(path.file_name()?.to_str()?)).collect()
    }

    /// Removes everything in the directory: links without another descriptor are detached.
    pub(super) fn clear(&self) {
        for file in self.files() {
            // One that stays is tried again by the next process.
            let _ = fs::remove_file(file);
        }
    }

    /// Removes the directory with everything in it, and the one above if that is empty then.
    pub(super) fn remove(&self) {
        self.clear();
        for dir in self.0.ancestors().take(OWN_DIRS - 1) {
            // It is not empty if other parents have links.
            let _ = fs::remove_dir(dir);
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        // A directory that cannot be read has nothing for us.
        let entries = fs::read_dir(&self.0).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
    }
}

/// Removes the directories in `dir` that are none of `used`, each with the links in it.
pub fn remove_unused_pins(dir: &Path, used: &[PathBuf]) {
    // It is absent where nothing was pinned.
    let entries = fs::read_dir(dir).into_iter().flatten();
    let found = entries.filter_map(|entry| Some(entry.ok()?.path()));
    found.filter(|path| !used.contains(path)).for_each(|path| Pins(path).remove());
}

/// Checks that something could be pinned in directories of `dir`, which is made for that if it is missing.
///
/// # Errors
/// It is not on a BPF file system, cannot be written, or others can write there.
pub fn probe_pins(dir: &Path) -> io::Result<()> {
    Pins::open(&dir.join("doctor/lo"))?.remove();
    // It is not empty if a daemon uses it.
    let _ = fs::remove_dir(dir);
    Ok(())
}

/// Makes a directory, or checks that nobody else can write to the one that is there.
fn make_own(dir: &Path) -> io::Result<()> {
    let failed = |why: String| {
        io::Error::other(format!("its programs are kept in {}: {why}", dir.display()))
    };
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed(error.to_string()));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(dir).map_err(|error| failed(error.to_string()))?;
    // SAFETY: geteuid(2) has no precondition.
    let user = unsafe { libc::geteuid() };
    match found.is_dir() && found.uid() == user && found.mode() & 0o022 == 0 {
        true => Ok(()),
        false => Err(failed("others can write there; remove it".to_owned())),
    }
}

fn is_bpffs(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    let mut found = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: `path` ends with a zero byte, and statfs(2) writes one `statfs` to `found`.
    let done = unsafe { libc::statfs(path.as_ptr(), found.as_mut_ptr()) };
    // SAFETY: all zero bytes are a `statfs`, and the kernel has written no other.
    let found = unsafe { found.assume_init() };
    // The type of the field depends on the architecture; the magic number has 32 bits.
    done == 0 && u32::try_from(found.f_type).is_ok_and(|kind| u64::from(kind) == BPF_FS_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_pinned_outside_a_bpf_file_system() {
        let dir = std::env::temp_dir().join("umacvlan/1-2/p0");
        let error = Pins::open(&dir).unwrap_err().to_string();
        assert!(error.contains("is no BPF file system (mount -t bpf bpf "), "{error}");
        assert!(!dir.exists());
    }
}
