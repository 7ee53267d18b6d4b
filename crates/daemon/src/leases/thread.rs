//! [`Thread`]: the thread that keeps the leases of all links.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::broadcast;
use umacvlan_api::{EventKind, EventView};
use umacvlan_dhcp::{Change, Lease, Lost, Step};
use umacvlan_engine::Engine;
use umacvlan_sys::eventfd::EventFd;
use umacvlan_sys::poll::{self, Interest};

use super::link::Link;
use super::{Board, Followed, LeaseFiles, LeaseRecord, Request, interface, lock, now, view};
use crate::record_store::Durability;
use crate::sandbox;

/// The longest time between two looks at the clock, which goes on while the machine is suspended.
const LOOK: Duration = Duration::from_secs(60);

/// The beginning of the name of a lease's file.
const FILE: &str = "lease-";

/// The state of the thread.
#[derive(Debug)]
pub(super) struct Thread {
    engine: Weak<Engine>,
    files: LeaseFiles,
    inbox: Receiver<Request>,
    bell: Arc<EventFd>,
    board: Board,
    events: broadcast::Sender<EventView>,
    links: BTreeMap<u64, Link>,
}

impl Thread {
    pub(super) fn new(
        engine: Weak<Engine>,
        files: LeaseFiles,
        (inbox, bell): (Receiver<Request>, Arc<EventFd>),
        board: Board,
        events: broadcast::Sender<EventView>,
    ) -> Self {
        Self { engine, files, inbox, bell, board, events, links: BTreeMap::new() }
    }

    /// Serves until the service has ended.
    pub(super) fn run(mut self) {
        sandbox::confine_dhcp();
        self.remove_old_files();
        loop {
            self.wait();
            self.bell.clear();
            loop {
                match self.inbox.try_recv() {
                    Ok(request) => self.handle(request),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            for id in self.links.keys().copied().collect::<Vec<_>>() {
                self.serve(id);
            }
        }
    }

    /// Waits until there is something to do.
    fn wait(&self) {
        let due = self.links.values().filter_map(Link::due).min();
        let time = due.map(|due| due.saturating_sub(now()).min(LOOK));
        let sockets = self.links.values().filter_map(|link| link.listening.as_ref());
        let bell = Interest::readable(self.bell.as_fd());
        let sockets = sockets.map(|it| Interest::readable(it.socket.as_fd()));
        let mut all: Vec<_> = std::iter::once(bell).chain(sockets).collect();
        let forever = Duration::from_millis(i32::MAX.unsigned_abs().into());
        if let Err(error) = poll::wait(&mut all, time.unwrap_or(forever)) {
            tracing::error!("DHCP cannot wait for answers: {error}");
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    /// Removes the files of earlier boots.
    fn remove_old_files(&self) {
        let names = self.files.files.names().unwrap_or_default();
        for name in names.iter().filter(|name| name.starts_with(FILE) && name.ends_with(".json")) {
            let record = self.files.files.read::<LeaseRecord>(name);
            if record.is_some_and(|record| record.boot != self.files.boot) {
                self.files.files.remove(name);
            }
        }
    }

    fn handle(&mut self, request: Request) {
        match request {
            Request::Follow(id, followed) => self.follow(id, followed),
            Request::Release(id, done) => {
                self.release(id);
                // Whoever asked may not wait any more.
                let _ = done.send(());
            }
            Request::Forget(id) => {
                self.links.remove(&id);
                lock(&self.board).remove(&id);
                self.files.files.remove(&file(id));
            }
        }
    }

    fn follow(&mut self, id: u64, followed: Followed) {
        let place = followed.place;
        let mut link = match self.links.remove(&id) {
            Some(link) => link,
            None => Link::new(followed.clone(), self.saved(id)),
        };
        let same = link.followed.place == place
            && link.followed.mac == followed.mac
            && link.followed.wish == followed.wish;
        let over = link.lease.as_ref().is_some_and(|lease| lease.is_over(now()));
        link.followed = followed;
        let begins = !link.released && (!same || link.client.is_none());
        self.links.insert(id, link);
        if begins && place.is_some() && over {
            self.lost(id, Lost::Expired);
        }
        if begins && let Some(link) = self.links.get_mut(&id) {
            link.begin();
        }
        self.show(id);
    }

    /// What a former daemon has written down of a link.
    fn saved(&self, id: u64) -> Option<LeaseRecord> {
        let name = file(id);
        let there = self.files.files.names().is_ok_and(|names| names.contains(&name));
        let record = if there { self.files.files.read::<LeaseRecord>(&name) } else { None };
        record.filter(|record| record.boot == self.files.boot)
    }

    /// Does what is due for a link.
    fn serve(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let time = now();
        let mut steps = link.receive(time);
        if let Some(client) = link.client.as_mut().filter(|client| client.deadline() <= time) {
            steps.push(client.on_time(time));
        }
        link.stop_listening(time);
        let again = link.again.take_if(|again| *again <= time).is_some();
        if steps.is_empty() && !again {
            return;
        }
        if again {
            self.assign(id);
        }
        for step in steps {
            self.take(id, step);
        }
        self.show(id);
    }

    /// Does what a client says.
    fn take(&mut self, id: u64, Step { send, change }: Step) {
        match change {
            Some(Change::Has(lease)) => self.has(id, lease),
            Some(Change::Lost(why)) => self.lost(id, why),
            None => {}
        }
        if let Some(frame) = send {
            self.send(id, &frame);
        }
    }

    fn send(&mut self, id: u64, frame: &[u8]) {
        let engine = self.engine.upgrade();
        let Some((link, engine)) = self.links.get_mut(&id).zip(engine) else { return };
        // What cannot be sent is sent again, as what is lost.
        if let Err(error) = link.send(&engine, id, frame) {
            tracing::debug!("link {} sends no DHCP message: {error}", link.followed.ifname);
            link.listening = None;
        }
    }

    /// A link has a lease: a first one, another, or more time.
    fn has(&mut self, id: u64, lease: Lease) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let assigned = link.assigned.as_ref().filter(|(at, _)| Some(*at) == link.followed.place);
        let is_new = assigned.is_none_or(|(_, former)| !former.gives_the_same(&lease));
        link.listening = None;
        link.lease = Some(lease.clone());
        self.assign(id);
        if is_new {
            let name = self.links.get(&id).map(|link| link.followed.ifname.as_str());
            tracing::info!(
                "link {}, number {id}, has {}/{} by DHCP from {}",
                name.unwrap_or_default(),
                lease.address,
                lease.prefix_len,
                lease.server
            );
            self.publish(id);
        }
    }

    /// A link must not use its address any more.
    fn lost(&mut self, id: u64, why: Lost) {
        let why = match why {
            Lost::Refused => "a server has refused it",
            Lost::Expired => "its lease has ended and no server has answered",
        };
        let Some(link) = self.links.get_mut(&id) else { return };
        let former = link.lease.take();
        if let Some(former) = &former {
            tracing::warn!(
                "link {}, number {id}, has lost {} of DHCP: {why}",
                link.followed.ifname,
                former.address
            );
        }
        self.withdraw(id);
        self.files.files.remove(&file(id));
        if former.is_some() {
            self.publish(id);
        }
    }

    /// Assigns the lease of a link to its interface, and writes it down.
    fn assign(&mut self, id: u64) {
        let engine = self.engine.upgrade();
        let Some((link, engine)) = self.links.get_mut(&id).zip(engine) else { return };
        let (Some(place), Some(lease)) = (link.followed.place, link.lease.clone()) else { return };
        let former = link.assigned.as_ref().filter(|(at, _)| *at == place).map(|(_, lease)| lease);
        let done = interface::netns(&engine, id, place)
            .map_err(|error| error.to_string())
            .and_then(|netns| {
                let done = interface::assign(&netns, place.index, former, &lease);
                done.map_err(|error| error.to_string())
            });
        link.assigned = Some((place, lease.clone()));
        link.complain(id, done);
        let record = LeaseRecord { boot: self.files.boot.clone(), place: Some(place), lease };
        if let Err(error) = self.files.files.write(&file(id), &record, Durability::UntilBoot) {
            tracing::error!(
                "the lease of link number {id} cannot be written: {error}; the next daemon asks for \
                 another one"
            );
        }
    }

    /// Takes off what a link has of DHCP.
    fn withdraw(&mut self, id: u64) {
        let engine = self.engine.upgrade();
        let Some((link, engine)) = self.links.get_mut(&id).zip(engine) else { return };
        let Some((place, lease)) = link.assigned.take() else { return };
        link.again = None;
        // In another namespace than before it has lost its addresses by that.
        if let Ok(netns) = interface::netns(&engine, id, place) {
            let done = interface::withdraw(&netns, place.index, &lease);
            link.complain(id, done.map_err(|error| error.to_string()));
            link.again = None;
        }
    }

    /// Gives the address of a link back, for good.
    fn release(&mut self, id: u64) {
        let engine = self.engine.upgrade();
        let Some((link, engine)) = self.links.get_mut(&id).zip(engine) else { return };
        let frame = link.client.take().and_then(|mut client| client.release(now()));
        if let (Some(frame), Some(place)) = (frame, link.followed.place) {
            let sent = interface::netns(&engine, id, place)
                .and_then(|netns| interface::send_last(&netns, place.index, &frame));
            if let Err(error) = sent {
                tracing::debug!("link number {id} does not give its address back: {error}");
            }
        }
        link.listening = None;
        link.lease = None;
        link.released = true;
        self.withdraw(id);
        self.files.files.remove(&file(id));
        self.show(id);
    }

    /// Shows what a link has now.
    fn show(&self, id: u64) {
        let Some(link) = self.links.get(&id) else { return };
        let shown = link.shown();
        lock(&self.board).insert(id, shown);
    }

    fn publish(&self, id: u64) {
        let Some(link) = self.links.get(&id) else { return };
        let dhcp = Box::new(view(&link.shown(), &link.followed.wish, now()));
        let kind = EventKind::Lease { id, ifname: link.followed.ifname.clone(), dhcp };
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let time = since.map_or(0.0, |since| since.as_secs_f64());
        // An error means that there is no subscriber.
        let _ = self.events.send(EventView { time, kind });
    }
}

/// The name of the file of a link's lease.
fn file(id: u64) -> String {
    format!("{FILE}{id}.json")
}
