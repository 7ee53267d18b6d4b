//! [`Client`]: the state machine of figure 5 of RFC 2131.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::lease::{Lease, is_assignable};
use crate::message::{Answer, Kind, Query, Reply, decode, encode};

/// The time before a message is sent again for the first time; it doubles each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest time between two messages of the same kind (RFC 2131, section 4.1).
const LONGEST_WAIT: Duration = Duration::from_secs(64);

/// How often an address is requested, or one of earlier confirmed, before that is given up.
const REQUESTS: u32 = 4;

/// Who a client is, the same each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The MAC address of its interface.
    pub mac: [u8; 6],
    /// The client identifier: a type and its value (RFC 2132, section 9.14).
    pub client_id: Vec<u8>,
    /// Its name.
    pub hostname: Option<String>,
}

/// How a client begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// It has nothing.
    Fresh,
    /// It had a lease, and asks whether it may use it here.
    Confirm(Lease),
    /// It has a lease and uses it.
    Bound(Lease),
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It looks for a server.
    Selecting,
    /// It has requested an address that was offered.
    Requesting,
    /// It has asked whether its former address is right.
    Confirming,
    /// It has a lease.
    Bound,
    /// It has a lease and asks its server for more time.
    Renewing,
    /// It has a lease and asks any server for more time.
    Rebinding,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 6] = [
        Self::Selecting,
        Self::Requesting,
        Self::Confirming,
        Self::Bound,
        Self::Renewing,
        Self::Rebinding,
    ];

    /// The name of the phase.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Selecting => "selecting",
            Self::Requesting => "requesting",
            Self::Confirming => "confirming",
            Self::Bound => "bound",
            Self::Renewing => "renewing",
            Self::Rebinding => "rebinding",
        }
    }
}

/// Why an address must not be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// A server has refused it.
    Refused,
    /// Its time is over.
    Expired,
}

/// What has become of the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The client has this lease now: a first one, another one, or the same for longer.
    Has(Lease),
    /// The client has none any more.
    Lost(Lost),
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// A frame to be sent out of the interface.
    pub send: Option<Vec<u8>>,
    /// What has become of the lease.
    pub change: Option<Change>,
}

/// A DHCP client of one interface.
#[derive(Clone, Debug)]
pub struct Client {
    identity: Identity,
    phase: Phase,
    /// The lease that it uses.
    lease: Option<Lease>,
    /// The address that it asks for: of the offer, or of a former lease.
    wanted: Option<Wanted>,
    xid: u32,
    /// When it has begun to look, for the field `secs`.
    begun: Duration,
    /// Messages of this kind that were sent in a row.
    sent: u32,
    /// Refusals in a row.
    refusals: u32,
    deadline: Duration,
    random: u64,
}

/// An address that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    address: Ipv4Addr,
    /// The server of the offer.
    server: Option<Ipv4Addr>,
    /// The former lease, for as long as it has time left.
    former: Option<Lease>,
}

impl Client {
    /// A client that begins now. `seed` makes its numbers differ from those of others.
    pub fn new(identity: Identity, start: Start, seed: u64, now: Duration) -> Self {
        let (phase, lease, wanted) = match start {
            Start::Fresh => (Phase::Selecting, None, None),
            Start::Bound(lease) => (Phase::Bound, Some(lease), None),
            Start::Confirm(former) if former.is_over(now) => {
                (Phase::Selecting, None, Some(Wanted::address(former.address)))
            }
            Start::Confirm(former) => {
                let wanted =
                    Wanted { former: Some(former.clone()), ..Wanted::address(former.address) };
                (Phase::Confirming, None, Some(wanted))
            }
        };
        let deadline = lease.as_ref().map_or(now, |lease| lease.renew);
        let mut client = Self {
            identity,
            phase,
            lease,
            wanted,
            xid: 0,
            begun: now,
            sent: 0,
            refusals: 0,
            deadline,
            random: seed,
        };
        client.xid = client.next_xid();
        client
    }

    /// Where it is.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The lease that it uses.
    pub const fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// When [`Self::on_time`] is to be called next.
    pub const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// True while an answer may come.
    pub const fn expects_answer(&self) -> bool {
        !matches!(self.phase, Phase::Bound) && self.sent > 0
    }

    /// Does what is due at this time.
    pub fn on_time(&mut self, now: Duration) -> Step {
        if now < self.deadline {
            return Step::default();
        }
        if self.lease.as_ref().is_some_and(|lease| lease.is_over(now)) {
            let change = self.lose(Lost::Expired, now);
            return Step { send: Some(self.ask(now)), change: Some(change) };
        }
        match self.phase {
            Phase::Requesting if self.sent >= REQUESTS => self.select(now),
            Phase::Confirming if self.sent >= REQUESTS => return self.keep_former(now),
            Phase::Bound => self.enter(Phase::Renewing, now),
            _ => {}
        }
        if self.phase == Phase::Renewing
            && self.lease.as_ref().is_some_and(|lease| lease.rebind <= now)
        {
            self.enter(Phase::Rebinding, now);
        }
        Step { send: Some(self.ask(now)), change: None }
    }

    /// Takes a frame that has arrived; `None` if it is not an answer to what this client has sent.
    pub fn on_frame(&mut self, now: Duration, frame: &[u8]) -> Option<Step> {
        let reply = decode(frame)?;
        if !self.expects_answer() || reply.xid != self.xid || reply.client != self.identity.mac {
            return None;
        }
        match (self.phase, reply.kind) {
            (Phase::Selecting, Answer::Offer) => self.take_offer(&reply, now),
            (Phase::Selecting | Phase::Bound, _) | (_, Answer::Offer) => None,
            (_, Answer::Ack) => self.take_ack(&reply, now),
            (_, Answer::Nak) => self.take_nak(&reply, now),
        }
    }

    /// The frame that gives the address back, and the end of the client's lease; `None` if it has none.
    pub fn release(&mut self, now: Duration) -> Option<Vec<u8>> {
        let lease = self.lease.take().filter(|lease| !lease.is_over(now))?;
        self.xid = self.next_xid();
        Some(encode(&Query {
            own: Some(lease.address),
            server: Some(lease.server),
            to: Some((lease.server, lease.server_mac)),
            hostname: None,
            ..self.query(Kind::Release, now)
        }))
    }

    /// The first offer that can be used is taken.
    fn take_offer(&mut self, offer: &Reply, now: Duration) -> Option<Step> {
        let lease = Lease::acknowledged(offer, now)?;
        let server = Some(lease.server);
        self.wanted = Some(Wanted { server, ..Wanted::address(lease.address) });
        self.phase = Phase::Requesting;
        self.sent = 0;
        Some(Step { send: Some(self.ask(now)), change: None })
    }

    fn take_ack(&mut self, ack: &Reply, now: Duration) -> Option<Step> {
        let lease = Lease::acknowledged(ack, now)?;
        let asked = match self.phase {
            Phase::Requesting => self.wanted.as_ref().and_then(|wanted| wanted.server),
            Phase::Renewing => self.lease.as_ref().map(|lease| lease.server),
            _ => None,
        };
        if asked.is_some_and(|server| server != lease.server) {
            return None;
        }
        // A server that gives an address and refuses it at once, again and again, is left alone for
        // longer each time: only a renewal makes up for refusals.
        if self.phase == Phase::Renewing {
            self.refusals = 0;
        }
        self.phase = Phase::Bound;
        self.deadline = lease.renew;
        self.wanted = None;
        self.lease = Some(lease.clone());
        Some(Step { send: None, change: Some(Change::Has(lease)) })
    }

    fn take_nak(&mut self, nak: &Reply, now: Duration) -> Option<Step> {
        let asked = match self.phase {
            Phase::Requesting => self.wanted.as_ref().and_then(|wanted| wanted.server),
            Phase::Renewing => self.lease.as_ref().map(|lease| lease.server),
            _ => None,
        };
        // A server that was not asked does not know. (RFC 2131, section 3.1: a NAK names its server.)
        if asked.is_some() && nak.server != asked {
            return None;
        }
        let change = self.lose(Lost::Refused, now);
        self.refusals += 1;
        // The first time at once; later on a server that refuses everything is left alone for longer.
        self.deadline =
            now + if self.refusals > 1 { self.wait(self.refusals - 2) } else { Duration::ZERO };
        Some(Step { send: None, change: Some(change) })
    }

    /// Forgets the lease and the address, and begins to look again.
    fn lose(&mut self, why: Lost, now: Duration) -> Change {
        self.lease = None;
        self.wanted = None;
        self.select(now);
        Change::Lost(why)
    }

    fn select(&mut self, now: Duration) {
        self.wanted = None;
        self.enter(Phase::Selecting, now);
    }

    /// Begins an exchange.
    fn enter(&mut self, phase: Phase, now: Duration) {
        self.phase = phase;
        self.sent = 0;
        self.begun = now;
        self.deadline = now;
        self.xid = self.next_xid();
    }

    /// Nobody has confirmed the former lease, and it has time left: it is used for that time (RFC 2131,
    /// section 3.2).
    fn keep_former(&mut self, now: Duration) -> Step {
        let former = self.wanted.take().and_then(|wanted| wanted.former);
        match former.filter(|former| !former.is_over(now)) {
            Some(former) => {
                self.phase = Phase::Bound;
                self.deadline = former.renew;
                self.lease = Some(former.clone());
                Step { send: None, change: Some(Change::Has(former)) }
            }
            None => {
                self.select(now);
                Step { send: Some(self.ask(now)), change: None }
            }
        }
    }

    /// The message of this phase, and when it is sent again.
    fn ask(&mut self, now: Duration) -> Vec<u8> {
        self.deadline = match (&self.lease, self.phase) {
            (Some(lease), Phase::Renewing) => {
                between(now, lease.rebind, lease.rebind - lease.renew)
            }
            (Some(lease), _) => {
                let end = lease.expires.unwrap_or(Duration::MAX);
                between(now, end, end.saturating_sub(lease.rebind))
            }
            (None, _) => now + self.wait(self.sent),
        };
        self.sent = self.sent.saturating_add(1);
        let wanted = self.wanted.as_ref().map(|wanted| wanted.address);
        let query = match (self.phase, &self.lease) {
            (Phase::Selecting, _) => Query { wanted, ..self.query(Kind::Discover, now) },
            (Phase::Requesting, _) => {
                let server = self.wanted.as_ref().and_then(|wanted| wanted.server);
                Query { wanted, server, ..self.query(Kind::Request, now) }
            }
            (Phase::Renewing, Some(lease)) => Query {
                own: Some(lease.address),
                to: Some((lease.server, lease.server_mac)),
                ..self.query(Kind::Request, now)
            },
            (_, Some(lease)) => {
                Query { own: Some(lease.address), ..self.query(Kind::Request, now) }
            }
            (_, None) => Query { wanted, ..self.query(Kind::Request, now) },
        };
        encode(&query)
    }

    fn query(&self, kind: Kind, now: Duration) -> Query<'_> {
        let seconds = now.saturating_sub(self.begun).as_secs();
        Query {
            kind,
            xid: self.xid,
            seconds: u16::try_from(seconds).unwrap_or(u16::MAX),
            mac: self.identity.mac,
            client_id: &self.identity.client_id,
            hostname: self.identity.hostname.as_deref(),
            own: None,
            wanted: None,
            server: None,
            to: None,
        }
    }

    /// The time until a message that was sent so many times before is sent again: it doubles, and varies
    /// by an eighth, so that many clients do not send together.
    fn wait(&mut self, before: u32) -> Duration {
        let wait = FIRST_WAIT.saturating_mul(1 << before.min(6)).min(LONGEST_WAIT);
        let eighth = u32::try_from(self.next_random() % 1024).unwrap_or_default();
        wait * 7 / 8 + wait / 4 * eighth / 1024
    }

    fn next_xid(&mut self) -> u32 {
        u32::try_from(self.next_random() >> 32).unwrap_or_default()
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014).
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Wanted {
    fn address(address: Ipv4Addr) -> Self {
        debug_assert!(is_assignable(address));
        Self { address, server: None, former: None }
    }
}

/// When to ask again for more time: after half of what is left until `end`, and not more often than a
/// minute, or an eighth of the time there is for it (RFC 2131, section 4.4.5, for leases of hours).
fn between(now: Duration, end: Duration, whole: Duration) -> Duration {
    let least = (whole / 8).clamp(Duration::from_millis(500), Duration::from_secs(60));
    let left = end.saturating_sub(now);
    (now + (left / 2).max(least)).min(end.max(now))
}
