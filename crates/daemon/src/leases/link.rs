//! [`Link`]: what is done for one link.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use umacvlan_dhcp::{Client, Identity, Lease, Start, Step};
use umacvlan_engine::Engine;
use umacvlan_sys::netns::Netns;
use umacvlan_sys::raw_socket;

use super::{Followed, LeaseRecord, Place, Shown, interface, now};

/// How long a socket is open after a message, for its answer. A namespace that everybody else has left
/// ends when it is closed.
const LISTEN: Duration = Duration::from_secs(4);

/// How many frames are read of a socket in a row.
const FRAMES: usize = 16;

/// How many frames that are no answer are read before a socket is closed until the next message.
const IGNORED_MAX: u32 = 256;

/// The time until what could not be assigned is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// The longest frame that is read.
const FRAME_MAX: usize = 2048;

/// A link, and what is done for it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) followed: Followed,
    /// `None` while the link is down, and after its end.
    pub(super) client: Option<Client>,
    /// The lease that it had last, and may ask for again.
    pub(super) lease: Option<Lease>,
    /// A former daemon has assigned that lease, and it is in use.
    pub(super) inherited: bool,
    /// What is assigned to its interface, and where.
    pub(super) assigned: Option<(Place, Lease)>,
    /// When to try again what could not be assigned.
    pub(super) again: Option<Duration>,
    pub(super) listening: Option<Listening>,
    /// Its address was given back for good.
    pub(super) released: bool,
    pub(super) trouble: Option<String>,
}

/// A socket that waits for an answer.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) socket: OwnedFd,
    pub(super) until: Duration,
    /// Frames that were no answer.
    pub(super) ignored: u32,
}

impl Link {
    /// A link that is followed from now on, with what a former daemon has written down of it.
    pub(super) fn new(followed: Followed, saved: Option<LeaseRecord>) -> Self {
        let assigned = saved.as_ref().and_then(|it| it.place.map(|at| (at, it.lease.clone())));
        Self {
            followed,
            client: None,
            inherited: saved.is_some(),
            lease: saved.map(|record| record.lease),
            assigned,
            again: None,
            listening: None,
            released: false,
            trouble: None,
        }
    }

    /// Closes its socket when its time is over, or too much has come that is no answer.
    pub(super) fn stop_listening(&mut self, time: Duration) {
        if self.listening.as_ref().is_some_and(|it| it.until <= time || it.ignored > IGNORED_MAX) {
            self.listening = None;
        }
    }

    /// When there is something to do for it without an answer.
    pub(super) fn due(&self) -> Option<Duration> {
        let client = self.client.as_ref().map(Client::deadline);
        let socket = self.listening.as_ref().map(|it| it.until);
        [client, socket, self.again].into_iter().flatten().min()
    }

    /// Who it is to servers: what it was given, or its MAC address (RFC 2132, section 9.14).
    fn identity(&self) -> Identity {
        let mac = self.followed.mac.octets();
        let client_id = match &self.followed.wish.client_id {
            Some(text) => [&[0], text.as_bytes()].concat(),
            None => [&[1][..], &mac].concat(),
        };
        Identity { mac, client_id, hostname: self.followed.wish.hostname.clone() }
    }

    /// Begins where it is now; ends while it is down.
    pub(super) fn begin(&mut self) {
        self.listening = None;
        self.client = None;
        let Some(place) = self.followed.place else { return };
        let there = self.assigned.as_ref().is_some_and(|(at, _)| *at == place);
        let goes_on = std::mem::take(&mut self.inherited) && there;
        let start = match self.lease.clone() {
            Some(lease) if goes_on => Start::Bound(lease),
            Some(lease) => Start::Confirm(lease),
            None => Start::Fresh,
        };
        // What of the lease was taken off meanwhile is assigned again.
        self.again = goes_on.then(now);
        self.client = Some(Client::new(self.identity(), start, fastrand::u64(..), now()));
    }

    /// Takes the frames that have arrived.
    pub(super) fn receive(&mut self, time: Duration) -> Vec<Step> {
        let (Some(client), Some(listening)) = (&mut self.client, &mut self.listening) else {
            return Vec::new();
        };
        let mut steps = Vec::new();
        let mut buffer = [0; FRAME_MAX];
        for _ in 0..FRAMES {
            // An interface that goes down has an event of its own.
            let Ok(Some(len)) = raw_socket::receive(listening.socket.as_fd(), &mut buffer) else {
                break;
            };
            match client.on_frame(time, &buffer[..len.min(FRAME_MAX)]) {
                Some(step) => steps.push(step),
                None => listening.ignored += 1,
            }
        }
        steps
    }

    pub(super) fn send(&mut self, engine: &Engine, id: u64, frame: &[u8]) -> std::io::Result<()> {
        let Some(place) = self.followed.place else { return Ok(()) };
        let until = now() + LISTEN;
        let listening = match self.listening.take() {
            Some(listening) => Listening { until, ..listening },
            None => {
                let netns: Netns = interface::netns(engine, id, place)?;
                Listening { socket: interface::socket(&netns, place.index)?, until, ignored: 0 }
            }
        };
        let listening = self.listening.insert(listening);
        raw_socket::send(listening.socket.as_fd(), frame, 1).map(drop)
    }

    /// Notes whether something could be assigned, or taken off.
    pub(super) fn complain(&mut self, id: u64, done: Result<(), String>) {
        self.again = done.is_err().then(|| now() + AGAIN);
        let former = std::mem::replace(&mut self.trouble, done.err());
        if let Some(why) = self.trouble.as_ref().filter(|why| former.as_ref() != Some(*why)) {
            tracing::error!(
                "link {}, number {id}, has not all that its lease gives: {why}",
                self.followed.ifname
            );
        }
    }

    pub(super) fn shown(&self) -> Shown {
        let client = self.client.as_ref();
        let state = match client {
            Some(client) => client.phase().name(),
            None if self.released => "released",
            None => "down",
        };
        let lease = client.and_then(Client::lease).cloned();
        Shown { state, lease, trouble: self.trouble.clone() }
    }
}
