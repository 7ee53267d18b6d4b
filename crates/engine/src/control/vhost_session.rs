//! [`Session`]: the connection of a vhost-user program, as its messages have left it.
//!
//! The protocol is spoken by the control thread, with a parser of our own
//! ([`vhost_user`](umacvlan_core::vhost_user)): the `vhost` crate waits for the rest of a message,
//! and this thread may wait for nobody. A message that is not allowed ends the connection.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use umacvlan_core::offload::Offloads;
use umacvlan_core::vhost_user::{
    HEADER_LEN, Header, MessageError, PAYLOAD_MAX, PROTOCOL_FEATURES, REGIONS_MAX, REPLY_ACK,
    REPLY_LEN, RINGS, Request, RingAddresses, reply, reply_base,
};
use umacvlan_datapath::port::VhostQueues;
use umacvlan_sys::message_socket::MessageSocket;
use umacvlan_sys::port_listener::PortConnection;
use umacvlan_sys::vhost::{CallEvent, GuestMemory, KickEvent, Ring, RingConfig, check_eventfd};

use super::engine::VhostStatus;

/// The features that are offered, with the names that virtio has for them (virtio 1.3, sections 5.1.3
/// and 6).
const FEATURES: [(u32, &str); 16] = [
    (0, "CSUM"),
    (1, "GUEST_CSUM"),
    (7, "GUEST_TSO4"),
    (8, "GUEST_TSO6"),
    (9, "GUEST_ECN"),
    (11, "HOST_TSO4"),
    (12, "HOST_TSO6"),
    (13, "HOST_ECN"),
    (15, "MRG_RXBUF"),
    (27, "ANY_LAYOUT"),
    (28, "INDIRECT_DESC"),
    (29, "EVENT_IDX"),
    (32, "VERSION_1"),
    (54, "GUEST_USO4"),
    (55, "GUEST_USO6"),
    (56, "HOST_USO"),
];

/// Messages that one program may send in a second: to start takes some thirty, and each takes time of
/// the thread that all links share.
const MESSAGES_MAX: u32 = 1000;

/// Why a connection has to end.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// The program has closed it.
    #[error("closed by the program")]
    ByProgram,
    #[error(transparent)]
    Message(#[from] MessageError),
    /// Memory, ring or descriptor do not do.
    #[error("{0}")]
    Refused(#[from] io::Error),
    #[error("it sends more than {MESSAGES_MAX} messages in a second, or too many descriptors")]
    TooMany,
    /// A feature that was not offered.
    #[error("it uses features that are not offered: {0:#x}")]
    Features(u64),
}

/// The connection of one program. To drop it closes what the program has sent, which may take any time.
pub(super) struct Session {
    socket: MessageSocket,
    /// What was received of the next message, with its descriptors.
    incoming: Vec<u8>,
    files: Vec<OwnedFd>,
    /// Messages since this second began.
    messages: u32,
    second: Instant,
    features: u64,
    protocol: u64,
    memory: Option<GuestMemory>,
    rings: [RingState; RINGS],
    /// The worker serves the rings.
    pub(super) running: bool,
}

/// A ring as the messages have left it.
#[derive(Default)]
struct RingState {
    size: u16,
    addresses: Option<RingAddresses>,
    next: u16,
    /// Set by the message that starts the ring; without an eventfd in it, the ring is not kicked.
    kick: Option<Option<Arc<KickEvent>>>,
    call: Option<Arc<CallEvent>>,
    enabled: bool,
}

impl Session {
    pub(super) fn new(connection: PortConnection) -> Self {
        Self {
            socket: MessageSocket::from(OwnedFd::from(connection)),
            incoming: Vec::with_capacity(HEADER_LEN + PAYLOAD_MAX),
            files: Vec::new(),
            messages: 0,
            second: Instant::now(),
            features: 0,
            protocol: 0,
            memory: None,
            rings: Default::default(),
            running: false,
        }
    }

    pub(super) fn status(&self) -> VhostStatus {
        let has = |&&(bit, _): &&(u32, &str)| self.features >> bit & 1 != 0;
        let regions = || self.memory.iter().flat_map(GuestMemory::regions);
        VhostStatus {
            features: FEATURES.iter().filter(has).map(|&(_, name)| name).collect(),
            memory: regions().map(|region| region.size).sum(),
            regions: regions().count(),
            running: self.running,
        }
    }

    /// The next message that is there as a whole, with its number if it is to be acknowledged. Never
    /// waits.
    ///
    /// # Errors
    /// The connection has ended, or has to.
    pub(super) fn receive(&mut self) -> Result<Option<(Request, Option<u32>)>, SessionError> {
        loop {
            let header = match self.incoming.first_chunk() {
                Some(header) => Some(Header::parse(header)?),
                None => None,
            };
            let whole = HEADER_LEN + header.map_or(0, |header| header.size);
            if let Some(header) = header
                && self.incoming.len() == whole
            {
                return self.take(header).map(Some);
            }
            // Not more: what follows may have descriptors of its own.
            let had = self.incoming.len();
            self.incoming.resize(whole, 0);
            let received = self.socket.receive_with(&mut self.incoming[had..], &mut self.files);
            self.incoming.truncate(had + received.as_ref().map_or(0, |&len| len));
            match received {
                Ok(0) => return Err(SessionError::ByProgram),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(SessionError::ByProgram);
                }
                Err(error) => return Err(error.into()),
            }
            if self.files.len() > REGIONS_MAX {
                return Err(SessionError::TooMany);
            }
        }
    }

    /// Takes the message that was received.
    fn take(&mut self, header: Header) -> Result<(Request, Option<u32>), SessionError> {
        if self.second.elapsed() >= Duration::from_secs(1) {
            (self.second, self.messages) = (Instant::now(), 0);
        }
        self.messages += 1;
        if self.messages > MESSAGES_MAX {
            return Err(SessionError::TooMany);
        }
        let request = Request::parse(header, &self.incoming[HEADER_LEN..], self.files.len())?;
        self.incoming.clear();
        let wanted = header.need_reply && self.protocol & REPLY_ACK != 0;
        let number = (wanted && !request.has_reply()).then_some(header.request);
        Ok((request, number))
    }

    /// True if the rings are to be stopped before the message is carried out, and started afterwards.
    pub(super) const fn changes_rings(request: &Request) -> bool {
        !matches!(
            request,
            Request::GetFeatures
                | Request::GetProtocolFeatures
                | Request::GetQueueNum
                | Request::SetOwner
                | Request::SetProtocolFeatures(_)
                | Request::SetVringErr(..)
        )
    }

    /// Notes where rings that were served have stopped.
    pub(super) fn stopped(&mut self, next: Option<[u16; RINGS]>) {
        self.running = false;
        for (ring, next) in self.rings.iter_mut().zip(next.into_iter().flatten()) {
            ring.next = next;
        }
    }

    /// Carries out a message with the descriptors that came with it, and answers it. The rings are not
    /// being served.
    ///
    /// # Errors
    /// The connection has to end.
    pub(super) fn apply(&mut self, request: Request) -> Result<(), SessionError> {
        let offered = FEATURES.iter().fold(PROTOCOL_FEATURES, |bits, &(bit, _)| bits | 1 << bit);
        match request {
            Request::GetFeatures => return self.answer(reply(1, offered)),
            Request::GetProtocolFeatures => return self.answer(reply(15, REPLY_ACK)),
            Request::GetQueueNum => return self.answer(reply(17, 1)),
            Request::GetVringBase(ring) => {
                let next = self.rings[ring].next;
                self.rings[ring].kick = None;
                return self.answer(reply_base(ring, next));
            }
            Request::SetOwner => {}
            Request::SetVringErr(..) => self.files.iter().try_for_each(check_eventfd)?,
            Request::ResetOwner => {
                (self.features, self.memory, self.rings) = (0, None, Default::default());
            }
            Request::SetFeatures(features) => {
                if features & !offered != 0 {
                    return Err(SessionError::Features(features & !offered));
                }
                self.features = features;
                // Without that feature a ring is enabled as soon as it is started.
                let enabled = features & PROTOCOL_FEATURES == 0;
                self.rings.iter_mut().for_each(|ring| ring.enabled |= enabled);
            }
            Request::SetProtocolFeatures(features) => self.protocol = features,
            Request::SetMemTable(regions) => {
                self.memory = Some(GuestMemory::map(&regions, &self.files)?);
            }
            Request::SetVringNum(ring, size) => self.rings[ring].size = size,
            Request::SetVringAddr(ring, addresses) => self.rings[ring].addresses = Some(addresses),
            Request::SetVringBase(ring, next) => self.rings[ring].next = next,
            Request::SetVringEnable(ring, enabled) => self.rings[ring].enabled = enabled,
            Request::SetVringKick(ring, _) => {
                self.files.iter().try_for_each(check_eventfd)?;
                let kick = self.files.pop().map(KickEvent::new).transpose()?;
                self.rings[ring].kick = Some(kick.map(Arc::new));
            }
            Request::SetVringCall(ring, _) => {
                self.files.iter().try_for_each(check_eventfd)?;
                let call = self.files.pop().map(CallEvent::new).transpose()?;
                self.rings[ring].call = call.map(Arc::new);
            }
        }
        // They are files in memory and eventfds, which are closed at once. Any other ends the connection,
        // and is closed with it.
        self.files.clear();
        Ok(())
    }

    /// Acknowledges the message of that number, which asks for it and has no other answer.
    ///
    /// # Errors
    /// As [`Session::apply`].
    pub(super) fn acknowledge(&self, request: u32) -> Result<(), SessionError> {
        self.answer(reply(request, 0))
    }

    /// The rings to be served, with the number of the connection; `None` while one of them is not
    /// ready.
    ///
    /// # Errors
    /// A ring is not in the memory.
    pub(super) fn queues(&self, number: u64) -> Result<Option<VhostQueues>, SessionError> {
        let [Some(to_program), Some(from_program)] =
            [self.ring(&self.rings[0])?, self.ring(&self.rings[1])?]
        else {
            return Ok(None);
        };
        let kick = self.rings[1].kick.clone().flatten();
        let offloads = self.offloads();
        Ok(Some(VhostQueues { number, to_program, from_program, kick, offloads }))
    }

    fn ring(&self, state: &RingState) -> Result<Option<Ring>, SessionError> {
        let (Some(memory), Some(addresses), Some(_), true) =
            (&self.memory, state.addresses, &state.kick, state.enabled)
        else {
            return Ok(None);
        };
        let [mergeable, indirect, event_idx, version_1] = self.has([15, 28, 29, 32]);
        let config = RingConfig {
            size: state.size,
            addresses,
            next: state.next,
            call: state.call.clone(),
            header_len: if mergeable || version_1 { 12 } else { 10 },
            mergeable,
            event_idx,
            indirect,
        };
        Ok(Some(Ring::new(memory, config)?))
    }

    /// The offloads that the program takes.
    fn offloads(&self) -> Offloads {
        let [csum, tso4, tso6, tso_ecn, uso4, uso6] = self.has([1, 7, 8, 9, 54, 55]);
        Offloads { csum, tso4, tso6, tso_ecn, uso4, uso6 }
    }

    fn has<const COUNT: usize>(&self, bits: [u32; COUNT]) -> [bool; COUNT] {
        bits.map(|bit| self.features >> bit & 1 != 0)
    }

    /// Sends an answer. A program that leaves so many of them unread has to go.
    fn answer(&self, bytes: [u8; REPLY_LEN]) -> Result<(), SessionError> {
        Ok(self.socket.send(&bytes, &[])?)
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
