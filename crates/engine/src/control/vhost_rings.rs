//! The messages of vhost-user programs, and the rings that they set up for the worker.

use std::io;

use umacvlan_core::vhost_user::Request;

use super::Control;
use super::engine::SubId;
use super::program_end::Connected;
use super::sub::FarEnd;
use super::vhost_session::{Session, SessionError};

/// Messages of one program before the others get their turn.
const MESSAGES: usize = 64;

impl Control {
    /// Carries out the messages that wait at the connection of a sub-interface.
    pub(super) fn serve_session(&mut self, id: SubId) {
        let before = self.is_program_running(id);
        for _ in 0..MESSAGES {
            let Some(session) = self.session(id) else {
                return;
            };
            let obeyed = match session.receive() {
                Ok(None) => break,
                Ok(Some((request, acknowledge))) => self.obey(id, request, acknowledge),
                Err(error) => Err(error),
            };
            if let Err(why) = obeyed {
                self.stop_rings(id);
                return match why {
                    SessionError::ByProgram => self.end_connection(id, why.to_string()),
                    _ => self.disconnect(id, why.to_string()),
                };
            }
        }
        if self.is_program_running(id) != before {
            self.follow_connection(id);
        }
    }

    /// Carries out one message.
    fn obey(
        &mut self,
        id: SubId,
        request: Request,
        acknowledge: Option<u32>,
    ) -> Result<(), SessionError> {
        let changes = Session::changes_rings(&request);
        if changes {
            self.stop_rings(id);
        }
        let Some(session) = self.session(id) else {
            return Ok(());
        };
        session.apply(request)?;
        if changes {
            self.start_rings(id)?;
        }
        // Last: the program takes it that what it has asked for is done.
        match (acknowledge, self.session(id)) {
            (Some(request), Some(session)) => session.acknowledge(request),
            _ => Ok(()),
        }
    }

    /// Has the worker serve the rings of a program, if they are ready.
    fn start_rings(&mut self, id: SubId) -> Result<(), SessionError> {
        let Ok((sub, parent)) = self.inventory.sub_and_parent_mut(id) else {
            return Ok(());
        };
        let (FarEnd::Program(end), index) = (&mut sub.far, sub.index) else {
            return Ok(());
        };
        let number = end.connections;
        let Some(session) = end.connected.as_mut().and_then(Connected::session_mut) else {
            return Ok(());
        };
        let Some(queues) = session.queues(number)? else {
            return Ok(());
        };
        let started =
            parent.workers.give([queues], move |worker, queues| worker.start_rings(index, queues));
        started.map_err(io::Error::other)?.into_iter().collect::<io::Result<()>>()?;
        session.running = true;
        Ok(())
    }

    /// Has the worker serve the rings of a program no longer.
    fn stop_rings(&mut self, id: SubId) {
        let Ok((sub, parent)) = self.inventory.sub_and_parent_mut(id) else {
            return;
        };
        let (FarEnd::Program(end), index) = (&mut sub.far, sub.index) else {
            return;
        };
        if let Some(session) = end.connected.as_mut().and_then(Connected::session_mut)
            && session.running
        {
            let next = parent.workers.ask(move |worker| worker.stop_rings(index));
            // A worker that has failed serves nothing any more.
            session.stopped(next.ok().flatten());
        }
    }

    fn session(&mut self, id: SubId) -> Option<&mut Session> {
        match &mut self.inventory.sub_mut(id)?.far {
            FarEnd::Program(end) => end.connected.as_mut()?.session_mut(),
            FarEnd::Tap(..) => None,
        }
    }

    fn is_program_running(&self, id: SubId) -> bool {
        let sub = self.inventory.sub_and_parent(id);
        sub.is_ok_and(|(sub, _)| matches!(&sub.far, FarEnd::Program(end) if end.is_running()))
    }
}
