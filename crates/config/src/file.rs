//! Reading a file within a size limit, and replacing it atomically.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes: enough for a hundred thousand links.
const LARGEST: u64 = 16 << 20;

/// Reads all of `source`.
///
/// # Errors Reading fails, or there are more than 16 MiB.
pub fn read(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("it has more than {LARGEST} bytes")));
    }
    Ok(bytes)
}

/// Replaces the file at `path` by `text`, atomically: a reader, or a crash, finds the old text or
/// the new one. The file keeps its mode. If the path is a symbolic link, its target is replaced. Another
/// text that was there stays beside it, in a file with `~` behind its name.
///
/// # Errors The new text or the copy of the old one cannot be written; the old file is unchanged.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = match fs::canonicalize(path) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    if fs::read(&path).is_ok_and(|old| old != text.as_bytes()) {
        fs::copy(&path, named(&path, "~"))?;
    }
    let temporary = named(&path, &format!(".{}.new", std::process::id()));
    let written = write(&temporary, text, fs::metadata(&path).ok().map(|old| old.permissions()))
        .and_then(|()| fs::rename(&temporary, &path));
    if written.is_err() {
        // The error that matters is the first one.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    // The rename is durable once the directory is synced, which some file systems do not support.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let _ = File::open(directory.unwrap_or_else(|| Path::new("."))).and_then(|dir| dir.sync_all());
    Ok(())
}

/// The file in the same directory with `end` behind its name.
fn named(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(end);
    path.with_file_name(name)
}

fn write(path: &Path, text: &str, mode: Option<Permissions>) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(path)?;
    if let Some(mode) = mode {
        file.set_permissions(Permissions::from_mode(mode.mode()))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A temporary directory, removed when dropped.
    struct Place(PathBuf);

    impl Place {
        fn new(test: &str) -> Self {
            let name = format!("umacvlan-{test}-{}", std::process::id());
            let place = std::env::temp_dir().join(name);
            fs::create_dir(&place).unwrap();
            Self(place)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
            let mut names: Vec<_> =
                entries.map(|entry| name(entry).into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            // Best effort.
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_is_replaced_behind_its_link_and_keeps_its_mode() {
        let place = Place::new("replace");
        let (file, link) = (place.0.join("file"), place.0.join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        replace(&link, "new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(place.names(), ["file", "file~", "link"]);
        assert_eq!(fs::read_to_string(place.0.join("file~")).unwrap(), "old");
        replace(&link, "new").unwrap();
        assert_eq!(fs::read_to_string(place.0.join("file~")).unwrap(), "old", "nothing is lost");
    }

    #[test]
    fn a_file_that_was_not_there_is_made() {
        let place = Place::new("make");
        replace(&place.0.join("file"), "new").unwrap();
        assert_eq!(fs::read_to_string(place.0.join("file")).unwrap(), "new");
        assert_eq!(place.names(), ["file"]);
    }

    #[test]
    fn a_replacement_that_fails_leaves_no_temporary_file() {
        let place = Place::new("refuse");
        fs::create_dir_all(place.0.join("file/full")).unwrap();
        replace(&place.0.join("file"), "new").unwrap_err();
        replace(&place.0.join("nowhere/file"), "new").unwrap_err();
        assert_eq!(place.names(), ["file"]);
    }

    #[test]
    fn reading_stops_at_the_size_limit() {
        assert!(read(io::repeat(b'#')).is_err());
        assert_eq!(read(&b"# x"[..]).unwrap(), b"# x");
    }
}
