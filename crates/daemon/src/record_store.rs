//! [`RecordStore`]: a directory of records, each a small file of its own.
//!
//! A file is written under another name and renamed, so a reader sees the old or the new, never a
//! half. Each carries the version of its format; one that cannot be understood is set aside, said
//! so, and costs what it was about and nothing else.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::socket::make_way;

/// The version of every file's format; files of another one are set aside.
const VERSION: u32 = 1;

const LOCK: &str = "lock";
const DAMAGED: &str = "damaged";

/// A record with the version of its format.
#[derive(Deserialize, Serialize)]
struct Versioned<T> {
    version: u32,
    record: T,
}

/// Where a file is once it has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On the disk, whatever becomes of the machine.
    Synced,
    /// Where the next process finds it: enough for what ends with the machine's power itself.
    UntilBoot,
}

/// The directory, which one daemon has to itself.
#[derive(Debug)]
pub struct RecordStore {
    dir: PathBuf,
    /// What it means that a file could not be understood, as a sentence.
    lost: &'static str,
    /// Held for as long as the daemon lives.
    _lock: Flock<File>,
}

impl RecordStore {
    /// Takes the directory, which is made if it is not there. `lost` says, as a sentence, what it
    /// means that a file cannot be understood.
    ///
    /// # Errors
    /// It cannot be made, or another daemon has it.
    pub fn open(dir: &Path, lost: &'static str) -> Result<Self> {
        let at = || format!("state directory {}", dir.display());
        // Only the directory itself is closed: a socket may be beside it.
        make_way(dir).with_context(at)?;
        DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(at)?;
        Ok(Self { dir: dir.to_owned(), lost, _lock: lock(dir)? })
    }

    /// The names of all files in it, in order.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    /// Reads one file; one that cannot be understood is set aside.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let path = self.dir.join(name);
        let why = match fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice::<Versioned<T>>(&bytes) {
                Ok(read) if read.version == VERSION => return Some(read.record),
                Ok(read) => format!("it has version {}, and this is {VERSION}", read.version),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        let aside = path.with_extension(DAMAGED);
        tracing::error!(
            "{}: {why}; set aside as {}. {}",
            path.display(),
            aside.display(),
            self.lost
        );
        // What cannot be renamed is read again by the next daemon, and set aside then.
        let _ = fs::rename(&path, &aside);
        None
    }

    /// Writes one file, whole or not at all.
    ///
    /// # Errors
    /// It cannot be written; then it is as it was.
    pub fn write<T: Serialize>(&self, name: &str, record: &T, kept: Durability) -> io::Result<()> {
        let temporary = self.dir.join(format!("{name}.new"));
        let text = serde_json::to_vec(&Versioned { version: VERSION, record })?;
        let written = write_file(&temporary, &text, kept)
            .and_then(|()| fs::rename(&temporary, self.dir.join(name)));
        if written.is_err() {
            // The error that matters is the first one.
            let _ = fs::remove_file(&temporary);
        }
        written?;
        match kept {
            // The new name is on the disk when the directory is.
            Durability::Synced => File::open(&self.dir)?.sync_all(),
            Durability::UntilBoot => Ok(()),
        }
    }

    /// Removes a file, if it is there.
    pub fn remove(&self, name: &str) {
        let path = self.dir.join(name);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!("cannot remove {}: {error}", path.display());
        }
    }
}

fn write_file(path: &Path, text: &[u8], kept: Durability) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    match kept {
        Durability::Synced => file.sync_all(),
        Durability::UntilBoot => Ok(()),
    }
}

/// Makes sure that no other daemon works with the same state.
fn lock(dir: &Path) -> Result<Flock<File>> {
    let path = dir.join(LOCK);
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, Errno::EWOULDBLOCK)) => bail!(
            "another daemon works with the state in {}: stop that one first, or give this one \
             --state and --socket of its own",
            dir.display()
        ),
        Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}
