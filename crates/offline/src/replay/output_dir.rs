//! [`OutputDir`]: the pcapng files of a replay, one for each destination.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use umacvlan_core::SubIndex;

use super::capture::Record;
use super::replayer::Entry;
use crate::offline_switch::{Decision, OfflineSwitch, Outcome};
use crate::pcapng::{self, Packet};

/// One pcapng file for each sub-interface, the wire, the host, and dropped frames.
#[derive(Debug)]
pub(super) struct OutputDir {
    /// By [`SubIndex::index`].
    subs: Vec<PcapngFile>,
    wire: PcapngFile,
    host: PcapngFile,
    /// The interfaces in it are the parent, then the sub-interfaces.
    drops: PcapngFile,
}

impl OutputDir {
    /// Creates the directory and its files; existing files are replaced.
    ///
    /// # Errors
    /// The directory or a file cannot be created.
    pub(super) fn new(path: &Path, offline: &OfflineSwitch) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        let parent = offline.parent.as_str();
        let names = || offline.subs().map(|(_, name, _)| name);
        let subs = names().map(|name| {
            PcapngFile::new(path.join(format!("link-{}.pcapng", escaped(name))), &[name])
        });
        let everywhere: Vec<&str> = [parent].into_iter().chain(names()).collect();
        Ok(Self {
            subs: subs.collect::<Result<_>>()?,
            wire: PcapngFile::new(path.join("wire.pcapng"), &[parent])?,
            host: PcapngFile::new(path.join("host.pcapng"), &[parent])?,
            drops: PcapngFile::new(path.join("drops.pcapng"), &everywhere)?,
        })
    }

    /// Adds a frame to the file of every destination. `number` is its position in the capture,
    /// from 1.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn write(
        &mut self,
        offline: &OfflineSwitch,
        number: u64,
        record: &Record<'_>,
        entry: Entry,
        outcome: &Outcome,
    ) -> Result<()> {
        for &id in outcome.copies.iter().chain(&outcome.to) {
            self.subs[id.index()].add(record, 0, "")?;
        }
        if outcome.wire {
            self.wire.add(record, 0, "")?;
        }
        if outcome.host {
            self.host.add(record, 0, "")?;
        }
        let (from, place) = match entry {
            Entry::Host | Entry::Wire => (0, "the wire"),
            Entry::Sub(id) => (interface_index(id), offline.name(id)),
        };
        match outcome.decision {
            Decision::Drop(reason) => {
                let comment = format!("{reason}: frame {number}, from {place}");
                self.drops.add(record, from, &comment)?;
            }
            Decision::Unknown => {
                let comment = format!("unknown: frame {number} was cut before its addresses end");
                self.drops.add(record, from, &comment)?;
            }
            Decision::Deliver | Decision::Flood | Decision::Host | Decision::Wire => {}
        }
        for &id in &outcome.too_long {
            let comment = format!("too_long: frame {number}, from {place} to {}", offline.name(id));
            self.drops.add(record, from, &comment)?;
        }
        Ok(())
    }

    /// Writes the buffered frames.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn finish(mut self) -> Result<()> {
        let others = [&mut self.wire, &mut self.host, &mut self.drops];
        self.subs.iter_mut().chain(others).try_for_each(PcapngFile::flush)
    }
}

/// A file with a buffer, open only while it is written: there may be more files than descriptors.
#[derive(Debug)]
struct PcapngFile {
    path: PathBuf,
    buffer: Vec<u8>,
}

impl PcapngFile {
    fn new(path: PathBuf, interfaces: &[&str]) -> Result<Self> {
        File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let mut buffer = Vec::new();
        pcapng::section(&mut buffer);
        interfaces.iter().for_each(|name| pcapng::interface_block(&mut buffer, name));
        Ok(Self { path, buffer })
    }

    fn add(&mut self, record: &Record<'_>, interface: u32, comment: &str) -> Result<()> {
        let Record { time, length, bytes } = *record;
        pcapng::packet(
            &mut self.buffer,
            Packet { interface, time, length, bytes, direction: None, comment },
        );
        match self.buffer.len() {
            0..FLUSH_BYTES => Ok(()),
            _ => self.flush(),
        }
    }

    fn flush(&mut self) -> Result<()> {
        let file = OpenOptions::new().append(true).open(&self.path);
        let written = file.and_then(|mut file| file.write_all(&self.buffer));
        written.with_context(|| format!("cannot write {}", self.path.display()))?;
        self.buffer.clear();
        Ok(())
    }
}

/// The number of a sub-interface among the interfaces of `drops.pcapng`.
fn interface_index(id: SubIndex) -> u32 {
    // An index is below 65 536.
    u32::try_from(id.index() + 1).unwrap_or_default()
}

/// Escapes a name for a file name: in a configuration it may have any character.
fn escaped(name: &str) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');
    utf8_percent_encode(name, ESCAPED).to_string()
}

/// A file is written once its buffer has this many bytes.
const FLUSH_BYTES: usize = 64 << 10;
