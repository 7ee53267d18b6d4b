//! Objects of programs, read by aya.

use std::error::Error as StdError;
use std::io;
use std::sync::{LazyLock, Mutex, PoisonError};

use aya::{Ebpf, EbpfError, EbpfLoader, VerifierLogLevel};

/// One for the process: the library reads the kernel's own types when it makes one, which takes
/// some milliseconds. Our programs ask nothing of those, so they are forgotten at once.
static LOADER: LazyLock<Mutex<EbpfLoader<'static>>> = LazyLock::new(|| {
    let mut loader = EbpfLoader::new();
    loader.btf(None).verifier_log_level(VerifierLogLevel::DISABLE);
    Mutex::new(loader)
});

/// Makes the maps of an object, some of them with as many entries as to_io_error, and reads its programs.
pub(super) fn load(object: &[u8], entries: &[(&'static str, u32)]) -> Result<Ebpf, EbpfError> {
    // A panic within the library leaves nothing half done there.
    let mut loader = LOADER.lock().unwrap_or_else(PoisonError::into_inner);
    for &(map, entries) in entries {
        loader.map_max_entries(map, entries);
    }
    loader.load(object)
}

/// The library's error in one line, of the kind of the system's error at its root.
pub(super) fn to_io_error(error: impl StdError + 'static) -> io::Error {
    let mut words = Vec::new();
    let mut kind = io::ErrorKind::Other;
    let mut next: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(error) = next {
        let line = error.to_string().lines().next().unwrap_or_default().to_owned();
        // Many repeat what their source says.
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
