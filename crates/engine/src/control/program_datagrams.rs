//! Programs on a Unix datagram socket: who sends first is the program, as long as its socket is there.
//!
//! The socket of the port is connected to that of the first sender, by the address from which the
//! datagram came, on a thread of its own: to look up a path that a program has chosen may take any time.
//! Then the worker gets it, and the kernel refuses what others send. A connection ends when the worker
//! finds that the other socket is closed, which it does when it sends, or when the process has ended that
//! sent first. The next one gets a new socket with the same path, in which nothing of the former program
//! waits.

use std::io;
use std::sync::Arc;

use umacvlan_datapath::port::{PortClosed, ProgramSocket};
use umacvlan_sys::call_aside::CallAside;
use umacvlan_sys::port_datagrams::{DatagramListener, Sender};
use umacvlan_sys::process;

use super::Control;
use super::program::{LISTENERS, give_socket};
use super::program_end::{Connected, Listener, ProgramEnd, ProgramLink, Search, why_unconnected};
use super::sub::FarEnd;
use crate::control::engine::SubId;

impl Control {
    /// Does what is next at a port for datagrams: its program has ended, its socket is connected or cannot
    /// be, or the first datagram has come.
    pub(super) fn follow_datagrams(&mut self, id: SubId) {
        let Some(end) = self.datagram_end(id) else {
            return;
        };
        if end.connected.is_some() {
            self.lose_process(id);
        } else if end.search.is_some() {
            self.take_datagrams(id);
        } else {
            self.meet_sender(id);
        }
    }

    fn datagram_end(&mut self, id: SubId) -> Option<&mut ProgramEnd> {
        match &mut self.inventory.sub_mut(id)?.far {
            FarEnd::Program(end) if matches!(end.listener, Some(Listener::Datagrams(_))) => {
                Some(end)
            }
            _ => None,
        }
    }

    /// Begins to connect the socket of a port to that of the first sender.
    fn meet_sender(&mut self, id: SubId) {
        let Some(FarEnd::Program(end)) = self.inventory.sub_mut(id).map(|sub| &mut sub.far) else {
            return;
        };
        let Some(Listener::Datagrams(listener)) = &end.listener else {
            return;
        };
        let Some(sender) = listener.sender().transpose() else {
            return;
        };
        // Whoever sends meanwhile waits in the queue.
        self.epoll.remove(listener);
        end.listening = false;
        let begun = sender.map_err(|error| error.to_string()).and_then(|sender| {
            let search = search(listener, sender)?;
            let watched = self.epoll.add(&search.call, LISTENERS + id.0);
            watched.map(|()| search).map_err(|error| error.to_string())
        });
        match begun {
            Ok(search) => end.search = Some(search),
            Err(why) => self.refuse_sender(id, why),
        }
    }

    /// Gives the worker the socket that is connected.
    fn take_datagrams(&mut self, id: SubId) {
        let Ok((sub, parent)) = self.inventory.sub_and_parent_mut(id) else {
            return;
        };
        let FarEnd::Program(end) = &mut sub.far else {
            return;
        };
        let Some(returned) = end.search.as_ref().and_then(|search| search.call.take()) else {
            return;
        };
        let (Some(search), Some(Listener::Datagrams(listener))) =
            (end.search.take(), &end.listener)
        else {
            return;
        };
        self.epoll.remove(&search.call);
        let Search { program, address, .. } = search;
        let socket = ProgramSocket::Datagrams(Arc::clone(listener.socket()));
        let given = returned.map_err(|error| why_unconnected(&address, &error)).and_then(|()| {
            let given = give_socket(&parent.workers, sub.index, end.connections + 1, socket);
            given.map_err(|error| error.to_string())
        });
        if let Err(why) = given {
            return self.refuse_sender(id, why);
        }
        // Without it the end of the process is found by the next frame for it.
        let watched = process::end_of_process(program.pid).ok();
        let watched = watched.filter(|fd| self.epoll.add(fd, LISTENERS + id.0).is_ok());
        let link = ProgramLink::Datagrams { address, _end: watched, proven: false };
        self.begin_connection(id, program, link);
    }

    /// Notes that a program gets frames: the next datagram has come from the socket that it was connected
    /// to.
    pub(super) fn note_proven(&mut self, id: SubId, number: u64) {
        let Some(end) = self.datagram_end(id) else {
            return;
        };
        // Not a late notice, about an earlier connection.
        if end.connections == number
            && let Some(Connected { link: ProgramLink::Datagrams { proven, .. }, .. }) =
                &mut end.connected
        {
            *proven = true;
            self.follow_connection(id);
        }
    }

    /// Ends the connection of a program whose process has ended.
    fn lose_process(&mut self, id: SubId) {
        let Ok((sub, parent)) = self.inventory.sub_and_parent(id) else {
            return;
        };
        let index = sub.index;
        // A worker that has stopped has it no longer.
        let _ = parent.workers.each(move |worker| worker.disconnect(index));
        self.end_connection(id, PortClosed::ByProgram.to_string());
    }

    /// Discards what waits at the socket of a port, because nothing can be sent to whoever was first. The
    /// next sender is looked at when the sweep comes, and the same reason is reported once.
    fn refuse_sender(&mut self, id: SubId, why: String) {
        let Some(sub) = self.inventory.sub_mut(id) else {
            return;
        };
        let FarEnd::Program(end) = &mut sub.far else {
            return;
        };
        end.listener = None;
        if let Err(error) = end.bind() {
            self.events.trouble_of(id, format!("{} has no socket: {error}", sub.name));
        }
        if end.ended.as_ref() != Some(&why) {
            self.events.trouble_of(id, format!("{} has refused a program: {why}", sub.name));
            end.ended = Some(why);
        }
    }
}

/// Begins to connect the socket of a port to that of a sender.
///
/// # Errors
/// Why nothing can be sent there, with the number of its process.
fn search(listener: &DatagramListener, sender: Sender) -> Result<Search, String> {
    let program = sender.program;
    let of_process = |why: &dyn std::fmt::Display| format!("process {}: {why}", program.pid);
    let address = sender.address().map_err(|error| of_process(&error))?;
    let socket = Arc::clone(listener.socket());
    let call = CallAside::start(move || socket.connect(&sender));
    let call = call.map_err(|error: io::Error| of_process(&error))?;
    Ok(Search { program, address, call })
}
