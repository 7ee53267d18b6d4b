//! Loading BPF objects with aya.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};

use aya::maps::{Map, MapError};
use aya::{Ebpf, EbpfError, EbpfLoader, VerifierLogLevel};

/// One loader for the process: aya reads the kernel's BTF for each, which takes some milliseconds.
/// The programs do not use BTF, so it is dropped at once.
static LOADER: LazyLock<Mutex<EbpfLoader<'static>>> = LazyLock::new(|| {
    let mut loader = EbpfLoader::new();
    loader.btf(None).verifier_log_level(VerifierLogLevel::DISABLE);
    Mutex::new(loader)
});

/// Loads an object: creates its maps, those in `entries` with that size, and parses its programs. The
/// loader keeps the sizes, so a map in `entries` has a name that no other object's map has, or every
/// object gives its own size.
pub(super) fn load(object: &[u8], entries: &[(&'static str, u32)]) -> Result<Ebpf, EbpfError> {
    // A panic in aya leaves no half-done change in the loader.
    let mut loader = LOADER.lock().unwrap_or_else(PoisonError::into_inner);
    for &(map, entries) in entries {
        loader.map_max_entries(map, entries);
    }
    loader.load(object)
}

/// Loads an object as [`load`] does, with each of these maps pinned: one that is there is used.
pub(super) fn load_pinned(
    object: &[u8],
    maps: &[(&'static str, PathBuf)],
) -> Result<Ebpf, EbpfError> {
    let mut loader = EbpfLoader::new();
    loader.btf(None).verifier_log_level(VerifierLogLevel::DISABLE);
    for (map, path) in maps {
        loader.map_pin_path(map, path.as_path());
    }
    loader.load(object)
}

/// A map of an object.
pub(super) fn map<T>(programs: &mut Ebpf, name: &str) -> io::Result<T>
where
    T: TryFrom<Map, Error = MapError>,
{
    let missing = || io::Error::other(format!("the object has no map {name}"));
    programs.take_map(name).ok_or_else(missing)?.try_into().map_err(to_io_error)
}

/// The texts of an error and its sources in one line, with the kind of the system error among them.
pub(super) fn to_io_error(error: impl StdError + 'static) -> io::Error {
    let mut words = Vec::new();
    let mut kind = io::ErrorKind::Other;
    let mut next: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(error) = next {
        let line = error.to_string().lines().next().unwrap_or_default().to_owned();
        // Many errors of aya repeat the text of their source.
        if !words.last().is_some_and(|last: &String| last.contains(&line)) {
            words.push(line);
        }
        if let Some(system) = error.downcast_ref::<io::Error>() {
            kind = system.kind();
        }
        next = error.source();
    }
    io::Error::new(kind, words.join(": "))
}
