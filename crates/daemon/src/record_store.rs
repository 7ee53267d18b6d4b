//! [`RecordStore`]: a directory of records, one small JSON file each.
//!
//! A file is written under another name and renamed, so that a reader sees the old content or the
//! new one. Each file has the version of its format; a file that cannot be read is renamed to
//! `.damaged` and logged, and does not affect the others.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg};
use nix::libc::{ENOENT, O_NONBLOCK};
use nix::sys::stat::{major, minor};
use nix::unistd::{AccessFlags, faccessat};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use umacvlan_sys::holder::{self, Attempt};

use super::socket::create_parent_dirs;

/// The version of the files' format. Files of another version count as damaged.
const VERSION: u32 = 1;

/// How long a daemon that lives is waited for: it may have got SIGTERM, which nobody else sees.
const GRACE: Duration = Duration::from_secs(5);

const LOCK: &str = "lock";
const DAMAGED: &str = "damaged";
/// The end of a file's name until its record is complete.
const RESERVED: &str = ".new";

/// A record with the version of its format.
#[derive(Deserialize, Serialize)]
struct Versioned<T> {
    version: u32,
    record: T,
}

/// How durable a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Synced to the disk: it survives a crash of the machine.
    Synced,
    /// Not synced: the next process finds it. Enough for state that ends with the machine anyway.
    UntilBoot,
}

/// The directory, which one daemon uses at a time.
#[derive(Debug)]
pub struct RecordStore {
    dir: PathBuf,
    /// The consequence of a damaged file, as a sentence.
    lost: &'static str,
    /// Held until this is dropped.
    _lock: Flock<File>,
}

impl RecordStore {
    /// Locks the directory, and makes it if it does not exist. `lost` is the consequence of a
    /// damaged file, as a sentence for the log.
    ///
    /// It waits for a daemon that ends.
    ///
    /// # Errors The directory cannot be made, or another daemon uses it.
    pub fn open(dir: &Path, lost: &'static str) -> Result<Self> {
        let at = || format!("state directory {}", dir.display());
        // Only this directory is closed to others: a socket may be beside it.
        create_parent_dirs(dir).with_context(at)?;
        DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(at)?;
        let store = Self { dir: dir.to_owned(), lost, _lock: lock(dir)? };
        store.remove_reservations();
        Ok(store)
    }

    /// Removes what a daemon that was killed had reserved and not yet written.
    fn remove_reservations(&self) {
        // A directory that cannot be read has its error when the records are.
        let names = self.names().unwrap_or_default();
        for name in names.iter().filter(|name| name.ends_with(RESERVED)) {
            // What cannot be removed is in nobody's way, or has its error when it is.
            let _ = fs::remove_file(self.dir.join(name));
        }
    }

    /// The names of all files, sorted.
    ///
    /// # Errors The directory cannot be read.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    /// Reads a record. `None` if the file is damaged; it is renamed then.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let path = self.dir.join(name);
        let why = match read_file(&path) {
            Ok(bytes) => match decode(&bytes) {
                Ok(record) => return Some(record),
                Err(why) => why,
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
        // If the rename fails, the next daemon tries again.
        let _ = fs::rename(&path, &aside);
        None
    }

    /// Writes a record, atomically. One that is there already needs no room.
    ///
    /// # Errors The record cannot be written; the old file is unchanged.
    pub fn write<T: Serialize>(
        &self,
        name: &str,
        record: &T,
        durability: Durability,
    ) -> io::Result<()> {
        let text = encode(record)?;
        if read_file(&self.dir.join(name)).is_ok_and(|there| there == text) {
            return Ok(());
        }
        self.reserve(name, text.len(), durability)?.fill(&text)
    }

    /// Takes the room for a record, so that it can be written after a change that it is about. It
    /// may have `bytes` bytes.
    ///
    /// # Errors There is no room, or the directory cannot be written.
    pub fn reserve(
        &self,
        name: &str,
        bytes: usize,
        durability: Durability,
    ) -> io::Result<Reservation> {
        let temporary = self.dir.join(format!("{name}{RESERVED}"));
        let (file, dir) = (create_file(&temporary), self.dir.clone());
        if let Err(error) = &file
            && error.raw_os_error() != Some(ENOENT)
        {
            // What is in the way is removed, so that the next attempt succeeds.
            let _ = fs::remove_file(&temporary);
        }
        let mut reservation =
            Reservation { file: file?, temporary, path: dir.join(name), dir, durability };
        reservation.file.write_all(&vec![0; bytes])?;
        Ok(reservation)
    }

    /// Checks that files can be removed. A full disk is no obstacle.
    ///
    /// # Errors The directory is gone, or on a file system that is read-only.
    pub fn check_removable(&self) -> io::Result<()> {
        Ok(faccessat(AT_FDCWD, &self.dir, AccessFlags::W_OK, AtFlags::AT_EACCESS)?)
    }

    /// Removes a file, if it exists.
    pub fn remove(&self, name: &str) {
        let path = self.dir.join(name);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!("cannot remove {}: {error}", path.display());
        }
    }
}

/// Room for a record. It is given back when this is dropped.
#[derive(Debug)]
pub struct Reservation {
    file: File,
    /// The path of the file until the record is complete.
    temporary: PathBuf,
    path: PathBuf,
    dir: PathBuf,
    durability: Durability,
}

impl Reservation {
    /// Writes the record, atomically.
    ///
    /// # Errors The record cannot be written; the old file is unchanged.
    pub fn write<T: Serialize>(self, record: &T) -> io::Result<()> {
        let text = encode(record)?;
        self.fill(&text)
    }

    fn fill(mut self, text: &[u8]) -> io::Result<()> {
        self.file.rewind()?;
        self.file.write_all(text)?;
        let len = u64::try_from(text.len()).map_err(io::Error::other)?;
        self.file.set_len(len)?;
        if self.durability == Durability::Synced {
            self.file.sync_all()?;
        }
        fs::rename(&self.temporary, &self.path)?;
        match self.durability {
            // The rename is durable once the directory is synced.
            Durability::Synced => File::open(&self.dir)?.sync_all(),
            Durability::UntilBoot => Ok(()),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // After a write there is nothing left to remove.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Reads the text of a record.
///
/// # Errors
/// The reason, as a sentence without its end.
pub(crate) fn decode<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    match serde_json::from_slice::<Versioned<T>>(text) {
        Ok(read) if read.version == VERSION => Ok(read.record),
        Ok(read) => Err(format!("it has version {}, and this is {VERSION}", read.version)),
        Err(error) => Err(error.to_string()),
    }
}

/// The text of a record.
pub(crate) fn encode<T: Serialize>(record: &T) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(&Versioned { version: VERSION, record })?)
}

/// Reads a regular file; another kind is an error, because opening a pipe would wait for its other end.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"));
    }
    fs::read(path)
}

fn create_file(path: &Path) -> io::Result<File> {
    // Without O_NONBLOCK, opening a pipe that is in the way would wait for its other end.
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(O_NONBLOCK)
        .open(path)
}

/// Locks the directory against other daemons.
fn lock(dir: &Path) -> Result<Flock<File>> {
    let path = dir.join(LOCK);
    if fs::symlink_metadata(&path).is_ok_and(|there| !there.is_file()) {
        let aside = path.with_extension(DAMAGED);
        tracing::error!(
            "{} is not a regular file; set aside as {}",
            path.display(),
            aside.display()
        );
        fs::rename(&path, &aside).with_context(|| format!("cannot rename {}", path.display()))?;
    }
    let taken = take_from_daemon("works with the state", || {
        // One that exists serves, also on a file system that is read-only by now.
        let file = File::open(&path)
            .or_else(|_| File::create(&path))
            .with_context(|| format!("cannot make {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Attempt::Taken(lock)),
            Err((file, Errno::EWOULDBLOCK)) => Ok(Attempt::Held(lock_holder(&file))),
            Err((_, error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    });
    match taken? {
        Attempt::Taken(lock) => Ok(lock),
        Attempt::Held(process) => bail!(
            "another daemon{} works with the state in {}: stop that one first, or give this one \
             --state and --socket of its own",
            process_text(process),
            dir.display()
        ),
    }
}

/// Takes what one daemon has at a time, and waits for one that ends. `does` is what that daemon does,
/// for the log.
///
/// # Errors The error of an attempt.
pub(crate) fn take_from_daemon<T>(
    does: &str,
    mut attempt: impl FnMut() -> Result<Attempt<T>>,
) -> Result<Attempt<T>> {
    let mut told = false;
    holder::take(GRACE, || {
        let tried = attempt()?;
        if let (Attempt::Held(process), false) = (&tried, told) {
            told = true;
            tracing::info!("another daemon{} {does}: it may be ending", process_text(*process));
        }
        Ok(tried)
    })
}

/// The process of a daemon in parentheses, or nothing if it is not known.
pub(crate) fn process_text(process: Option<u32>) -> String {
    process.map(|process| format!(" (process {process})")).unwrap_or_default()
}

/// The process that has a file locked, if that is visible from here.
fn lock_holder(file: &File) -> Option<u32> {
    let file = file.metadata().ok()?;
    let (major, minor) = (major(file.dev()), minor(file.dev()));
    let place = format!("{major:02x}:{minor:02x}:{}", file.ino());
    // Number, kind, mode, access, process, file, start and end. A lock that is waited for has more
    // lines, with an arrow after the number.
    fs::read_to_string("/proc/locks").ok()?.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [_, "FLOCK", _, _, process, at, ..] if at == place => process.parse().ok(),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use umacvlan_testkit::Scratch;

    use super::*;

    #[test]
    fn what_a_killed_daemon_has_reserved_is_removed_by_the_next() {
        let scratch = Scratch::new();
        let store = RecordStore::open(scratch.path(), "").unwrap();
        store.write("kept.json", &1, Durability::UntilBoot).unwrap();
        let reserved = store.reserve("lost.json", 100, Durability::UntilBoot).unwrap();
        // As if the process had ended.
        std::mem::forget(reserved);
        drop(store);
        let store = RecordStore::open(scratch.path(), "").unwrap();
        assert_eq!(store.names().unwrap(), ["kept.json", LOCK]);
    }
}
