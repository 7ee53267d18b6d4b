//! The attachments of [`PortPrograms`] to interfaces, and what an earlier process has left of them.

use std::path::{Path, PathBuf};
use std::{fs, io};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};

use super::{Attached, END, PORTS_MAX, PortPrograms, TAP, WIRE, classifier, halves, to_io_error};
use crate::bpf::port_types::End;

/// The attachment of a program to an interface, which ends with the interface.
pub(super) enum TcxLink {
    /// It ends with the program.
    Held(SchedClassifierLinkId),
    /// It ends when this file is removed.
    Pinned(PathBuf),
}

impl PortPrograms {
    /// Reads what an earlier process has left, and has the parent's link run the program of this one.
    pub(super) fn take_over(&mut self) -> io::Result<()> {
        let Some(pins) = &self.pins else {
            return Ok(());
        };
        for entry in self.ends.iter() {
            let (host_end, entry) = entry.map_err(to_io_error)?;
            let ([slot, _], [tap, _]) = (halves(entry[0]), halves(entry[1]));
            let place = usize::try_from(slot).unwrap_or(usize::MAX);
            if place >= PORTS_MAX {
                continue;
            }
            if self.ports.len() <= place {
                self.ports.resize_with(place + 1, || None);
            }
            let links = [(END, host_end), (TAP, tap)];
            let links = links.map(|(name, index)| TcxLink::Pinned(pins.link(name, index)));
            self.ports[place] = Some(Attached { host_end, tap, links, entry, added: false });
        }
        let known: Result<_, _> = self.addresses.iter().collect();
        self.known = known.map_err(to_io_error)?;
        let ports = || self.ports.iter().flatten();
        for (program, kept) in [
            (END, ports().map(|it| it.host_end).collect()),
            (TAP, ports().map(|it| it.tap).collect()),
        ] {
            let kept: Vec<u32> = kept;
            // Of a port that was not complete when its process was killed.
            for index in pins.links(program).into_iter().filter(|it| !kept.contains(it)) {
                let _ = fs::remove_file(pins.link(program, index));
            }
        }
        let wires = pins.links(WIRE).into_iter().map(|index| (index, pins.link(WIRE, index)));
        for (index, path) in wires.collect::<Vec<_>>() {
            match self.attach_again(WIRE, &path) {
                Ok(()) => self.wire = Some((index, TcxLink::Pinned(path))),
                // The interface is gone.
                Err(_) => _ = fs::remove_file(path),
            }
        }
        Ok(())
    }

    /// Adds a sub-interface of an earlier process, with what it has counted, if its links are there.
    pub(super) fn add_again(&mut self, host_end: End<'_>, tap: End<'_>) -> Option<u32> {
        let is_its = |port: &Attached| port.host_end == host_end.index && port.tap == tap.index;
        let place = self.ports.iter().position(|port| port.as_ref().is_some_and(is_its))?;
        let slot = u32::try_from(place).ok()?;
        let pins = self.pins.as_ref()?;
        let links = [(END, host_end), (TAP, tap)];
        let links = links.map(|(program, end)| (program, end, pins.link(program, end.index)));
        let again = links.iter().all(|(program, end, path)| {
            self.attach_again(program, path).is_ok() && self.runs_at(program, end.name)
        });
        match self.ports[place].as_mut() {
            Some(port) if again => {
                port.added = true;
                Some(slot)
            }
            _ => {
                self.remove_port(slot);
                None
            }
        }
    }

    /// Has a pinned link run the program of this process. It fails if its interface is gone.
    fn attach_again(&mut self, program: &str, path: &Path) -> io::Result<()> {
        let link = FdLink::from(PinnedLink::from_pin(path).map_err(to_io_error)?);
        let link = SchedClassifierLink::try_from(link).map_err(to_io_error)?;
        let program = classifier(&mut self.programs, program)?;
        let id = program.attach_to_link(link).map_err(to_io_error)?;
        // The file holds it.
        program.take_link(id).map(drop).map_err(to_io_error)
    }

    /// True if a program of this process runs at the interface of that name.
    fn runs_at(&mut self, program: &str, name: &str) -> bool {
        let own = classifier(&mut self.programs, program).ok().and_then(|it| it.info().ok());
        let found = SchedClassifier::query_tcx(name, TcAttachType::Ingress);
        own.is_some_and(|own| {
            found.is_ok_and(|(_, found)| found.iter().any(|it| it.id() == own.id()))
        })
    }

    pub(super) fn attach(&mut self, name: &str, end: End<'_>) -> io::Result<TcxLink> {
        let options = TcAttachOptions::TcxOrder(LinkOrder::last());
        let program = classifier(&mut self.programs, name)?;
        let attached = program.attach_with_options(end.name, TcAttachType::Ingress, options);
        let id = attached.map_err(to_io_error).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => io::Error::new(
                io::ErrorKind::Unsupported,
                "it needs TCX, which came with Linux 6.6",
            ),
            _ => error,
        })?;
        let Some(pins) = &self.pins else {
            return Ok(TcxLink::Held(id));
        };
        let path = pins.link(name, end.index);
        let link = FdLink::try_from(program.take_link(id).map_err(to_io_error)?);
        // One of an interface that is gone.
        let _ = fs::remove_file(&path);
        link.map_err(to_io_error)?.pin(&path).map_err(to_io_error)?;
        Ok(TcxLink::Pinned(path))
    }

    pub(super) fn detach(&mut self, program: &str, link: TcxLink) {
        match link {
            // It has ended with its interface, or ends now.
            TcxLink::Held(link) => {
                let program = classifier(&mut self.programs, program);
                let _ = program.map(|program| program.detach(link));
            }
            // Only somebody else can have removed it.
            TcxLink::Pinned(path) => _ = fs::remove_file(path),
        }
    }
}
