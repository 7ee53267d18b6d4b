//! [`Folder`]: the files that a replay writes, one for each place where a frame may end.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use umacvlan_core::SubIndex;

use super::capture::Record;
use super::pcapng::{self, Packet};
use super::replayer::Entry;
use crate::offline_switch::{Fate, Paper, Said};

/// One pcapng file for each sub-interface, the wire, the host, and what was dropped.
#[derive(Debug)]
pub(super) struct Folder {
    /// By [`SubIndex::index`].
    subs: Vec<Capture>,
    wire: Capture,
    host: Capture,
    /// Its interfaces: the parent, then the sub-interfaces.
    drops: Capture,
}

impl Folder {
    /// Makes the folder and its files; those that are there are replaced.
    ///
    /// # Errors
    /// One cannot be made.
    pub(super) fn new(path: &Path, paper: &Paper) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        let parent = paper.parent.as_str();
        let names = || paper.subs().map(|(_, name, _)| name);
        let subs = names()
            .map(|name| Capture::new(path.join(format!("link-{}.pcapng", plain(name))), &[name]));
        let everywhere: Vec<&str> = [parent].into_iter().chain(names()).collect();
        Ok(Self {
            subs: subs.collect::<Result<_>>()?,
            wire: Capture::new(path.join("wire.pcapng"), &[parent])?,
            host: Capture::new(path.join("host.pcapng"), &[parent])?,
            drops: Capture::new(path.join("drops.pcapng"), &everywhere)?,
        })
    }

    /// Puts a frame wherever it ends. `number` is its place in the capture, from 1.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn write(
        &mut self,
        paper: &Paper,
        number: u64,
        record: &Record<'_>,
        entry: Entry,
        fate: &Fate,
    ) -> Result<()> {
        for &id in fate.copies.iter().chain(&fate.to) {
            self.subs[id.index()].add(record, 0, "")?;
        }
        if fate.wire {
            self.wire.add(record, 0, "")?;
        }
        if fate.host {
            self.host.add(record, 0, "")?;
        }
        let (from, place) = match entry {
            Entry::Host | Entry::Wire => (0, "the wire"),
            Entry::Sub(id) => (interface(id), paper.name(id)),
        };
        match fate.said {
            Said::Drop(reason) => {
                let comment = format!("{reason}: frame {number}, from {place}");
                self.drops.add(record, from, &comment)?;
            }
            Said::Nothing => {
                let comment = format!("unknown: frame {number} was cut before its addresses end");
                self.drops.add(record, from, &comment)?;
            }
            Said::Deliver | Said::Flood | Said::Host | Said::Wire => {}
        }
        for &id in &fate.too_long {
            let comment = format!("too_long: frame {number}, from {place} to {}", paper.name(id));
            self.drops.add(record, from, &comment)?;
        }
        Ok(())
    }

    /// Writes what is still kept back.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn finish(mut self) -> Result<()> {
        let others = [&mut self.wire, &mut self.host, &mut self.drops];
        self.subs.iter_mut().chain(others).try_for_each(Capture::flush)
    }
}

/// A file that is open only while it is written: there may be more of them than descriptors.
#[derive(Debug)]
struct Capture {
    path: PathBuf,
    kept: Vec<u8>,
}

impl Capture {
    fn new(path: PathBuf, interfaces: &[&str]) -> Result<Self> {
        File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let mut kept = Vec::new();
        pcapng::section(&mut kept);
        interfaces.iter().for_each(|name| pcapng::interface(&mut kept, name));
        Ok(Self { path, kept })
    }

    fn add(&mut self, record: &Record<'_>, interface: u32, comment: &str) -> Result<()> {
        let Record { time, length, bytes } = *record;
        pcapng::packet(&mut self.kept, Packet { interface, time, length, bytes, comment });
        match self.kept.len() {
            0..KEPT => Ok(()),
            _ => self.flush(),
        }
    }

    fn flush(&mut self) -> Result<()> {
        let file = OpenOptions::new().append(true).open(&self.path);
        let written = file.and_then(|mut file| file.write_all(&self.kept));
        written.with_context(|| format!("cannot write {}", self.path.display()))?;
        self.kept.clear();
        Ok(())
    }
}

/// The interface of a sub-interface among those of the dropped frames.
fn interface(id: SubIndex) -> u32 {
    // An index is below 65 536.
    u32::try_from(id.index() + 1).unwrap_or_default()
}

/// A name as a part of a file's name: it may have any sign in the configuration.
fn plain(name: &str) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');
    utf8_percent_encode(name, ESCAPED).to_string()
}

/// Bytes that are kept back before a file is written.
const KEPT: usize = 64 << 10;
