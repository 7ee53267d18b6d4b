//! [`BpfFs`]: a BPF file system for one test, since not every machine has one at `/sys/fs/bpf`.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::Scratch;

/// A BPF file system of its own. What is pinned in it ends when it is dropped.
#[derive(Debug)]
pub struct BpfFs(Scratch);

impl BpfFs {
    /// Mounts one.
    ///
    /// # Panics
    /// If it cannot be mounted.
    #[expect(clippy::new_without_default, reason = "a default that mounts surprises")]
    pub fn new() -> Self {
        let scratch = Scratch::new();
        let none: Option<&str> = None;
        mount(Some("bpf"), scratch.path(), Some("bpf"), MsFlags::empty(), none).unwrap();
        Self(scratch)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Everything that is pinned there.
    pub fn pins(&self) -> Vec<PathBuf> {
        let (mut left, mut found) = (vec![self.path().to_owned()], Vec::new());
        while let Some(path) = left.pop() {
            match std::fs::read_dir(&path) {
                // One that is removed meanwhile has nothing.
                Ok(entries) => left.extend(entries.flatten().map(|entry| entry.path())),
                // The kernel's own have a dot in their names.
                Err(_) if path.extension().is_some() => {}
                Err(_) => found.push(path),
            }
        }
        found
    }
}

impl Drop for BpfFs {
    fn drop(&mut self) {
        // A daemon may still be there, which keeps it alive until it ends.
        let _ = umount2(self.path(), MntFlags::MNT_DETACH);
    }
}
