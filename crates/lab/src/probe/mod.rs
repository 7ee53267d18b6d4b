//! Who reaches whom, found out by trying: broadcast, ICMP echo and TCP between all members.
//!
//! Everything is tried at once in one loop, because what is not reached can only be told by
//! waiting: all cells together cost one deadline, not one each. The sockets are made inside the
//! members' namespaces and then used from here, so the probes need no thread of their own.

mod packet;
mod tcp;

use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use umacvlan_sys::blast;
use umacvlan_sys::poll::{self, Interest};

use crate::error::{Doing, Result};
use crate::oracle::Probe;
use crate::station::{MEMBERS, Member, Station};
use packet::Tag;
use tcp::Calls;

/// How many times each member was reached by each, by every [`Probe`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach([[[u8; MEMBERS]; MEMBERS]; Probe::ALL.len()]);

impl Reach {
    /// How many copies of one frame of `from` reached `to`: 0 for none, and more than 1 is a
    /// duplicate. A TCP connection counts once.
    pub const fn copies(&self, probe: Probe, from: Member, to: Member) -> u8 {
        self.0[probe as usize][from.index()][to.index()]
    }

    /// Counts one more copy from one to the other.
    pub const fn add(&mut self, probe: Probe, from: Member, to: Member) {
        let cell = &mut self.0[probe as usize][from.index()][to.index()];
        *cell = cell.saturating_add(1);
    }

    /// True if everyone who is reached in `wanted` is reached here as well.
    pub fn covers(&self, wanted: &Self) -> bool {
        let cells = |reach: &Self| reach.0.into_iter().flatten().flatten();
        cells(self).zip(cells(wanted)).all(|(has, wants)| has > 0 || wants == 0)
    }

    /// Cell by cell the greater count of the two.
    fn merge(&mut self, other: &Self) {
        let cells = self.0.iter_mut().flatten().flatten();
        for (cell, other) in cells.zip(other.0.iter().flatten().flatten()) {
            *cell = (*cell).max(*other);
        }
    }
}

/// How long to wait for what may still come.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// At least so long, for what should not come.
    pub least: Duration,
    /// At most so long, for what should come and does not.
    pub most: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { least: Duration::from_millis(100), most: Duration::from_secs(2) }
    }
}

/// Tries everything between all `stations`; `wanted` says for which cells it is worth waiting
/// longer than the least patience.
///
/// # Errors
/// A socket that cannot be made or used: no privilege in a namespace, an interface that is away
/// or down.
pub fn reach(stations: &[Station<'_>], wanted: &Reach, patience: Patience) -> Result<Reach> {
    let mut prober = Prober::open(stations)?;
    let begun = Instant::now();
    let mut again = Duration::ZERO;
    loop {
        let reached = prober.reached();
        let enough = reached.covers(wanted);
        let elapsed = begun.elapsed();
        if elapsed >= patience.most || (enough && elapsed >= patience.least) {
            return Ok(reached);
        }
        // A frame lost by a busy machine deserves another; what must not come will not.
        if again.is_zero() || (elapsed >= again && !enough) {
            prober.send()?;
            again = elapsed + AGAIN;
        }
        let until = if enough { patience.least } else { again };
        prober.listen(until.saturating_sub(elapsed))?;
    }
}

/// All sockets of one try.
struct Prober<'s, 'n> {
    posts: Vec<Post<'s, 'n>>,
    calls: Calls,
    /// Tells our frames from those of an earlier try.
    nonce: u32,
    /// What came of each sending: duplicates are copies of one frame, not of two.
    rounds: Vec<Reach>,
}

/// The sockets of one member.
struct Post<'s, 'n> {
    station: &'s Station<'n>,
    arp: OwnedFd,
    icmp: Socket,
}

impl<'s, 'n> Prober<'s, 'n> {
    fn open(stations: &'s [Station<'n>]) -> Result<Self> {
        Ok(Self {
            posts: stations.iter().map(Post::open).collect::<Result<_>>()?,
            calls: Calls::open(stations)?,
            nonce: nonce(),
            rounds: Vec::new(),
        })
    }

    /// Sends an ARP request of everyone to everybody, an ICMP echo request of everyone to
    /// everyone else.
    fn send(&mut self) -> Result<()> {
        // 256 rounds would take a minute; the last number may then count what came before.
        let round = u8::try_from(self.rounds.len()).unwrap_or(u8::MAX);
        self.rounds.push(Reach::default());
        for post in &self.posts {
            let Station { member, mac, .. } = *post.station;
            let tag = |member| Tag { nonce: self.nonce, round, member };
            blast::send(post.arp.as_fd(), &packet::arp_request(mac, tag(member)), 1)
                .doing(|| format!("sending a broadcast from {member}"))?;
            for to in self.posts.iter().map(|post| post.station.member) {
                if to == member {
                    continue;
                }
                let address = SocketAddr::from((to.ip(), 0)).into();
                post.icmp
                    .send_to(&packet::echo_request(tag(to)), &address)
                    .doing(|| format!("sending an ICMP echo request from {member} to {to}"))?;
            }
        }
        Ok(())
    }

    /// Waits until something comes, at most for `time`, and counts it.
    fn listen(&mut self, time: Duration) -> Result<()> {
        let mut interests = Vec::new();
        for post in &self.posts {
            interests.push(Interest::readable(post.arp.as_fd()));
            interests.push(Interest::readable(post.icmp.as_fd()));
        }
        self.calls.interests(&mut interests);
        poll::wait(&mut interests, time).doing(|| "waiting for answers")?;

        self.hear()
    }

    fn hear(&mut self) -> Result<()> {
        let mut buffer = [0; 2048];
        for post in &self.posts {
            let member = post.station.member;
            while let Some(length) = blast::receive(post.arp.as_fd(), &mut buffer)
                .doing(|| format!("receiving broadcasts at {member}"))?
            {
                let tag = packet::arp_tag(&buffer[..length]);
                if let Some((reach, from)) = find(&mut self.rounds, self.nonce, tag) {
                    reach.add(Probe::Broadcast, from, member);
                }
            }
            while let Ok(length) = (&post.icmp).read(&mut buffer) {
                let tag = packet::echo_tag(&buffer[..length]);
                if let Some((reach, to)) = find(&mut self.rounds, self.nonce, tag) {
                    reach.add(Probe::Unicast, member, to);
                }
            }
        }
        // Connections are made once: TCP itself tries again.
        if let Some(first) = self.rounds.first_mut() {
            self.calls.advance(|from, to| first.add(Probe::Tcp, from, to));
        }
        Ok(())
    }

    /// What came of all rounds together: of each cell the greatest count.
    fn reached(&self) -> Reach {
        let mut reached = Reach::default();
        for round in &self.rounds {
            reached.merge(round);
        }
        reached
    }
}

impl<'s, 'n> Post<'s, 'n> {
    fn open(station: &'s Station<'n>) -> Result<Self> {
        let member = station.member;
        let doing = || format!("opening the probe's sockets at {member}");
        let (arp, icmp) = station.netns.run(|| sockets(member)).doing(doing)?.doing(doing)?;
        Ok(Self { station, arp, icmp })
    }
}

/// How long to wait before a probe is sent again.
const AGAIN: Duration = Duration::from_millis(250);

/// The sockets of this member, made in the calling thread's namespace.
fn sockets(member: Member) -> io::Result<(OwnedFd, Socket)> {
    let index = blast::index_of(member.interface())?;
    let arp = blast::open(index, packet::ETHERTYPE_ARP)?;
    let icmp = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    icmp.set_nonblocking(true)?;
    icmp.bind(&SocketAddr::from((member.ip(), 0)).into())?;
    Ok((arp, icmp))
}

/// The round that a probe belongs to and the member it names, if it is one of this try.
fn find(rounds: &mut [Reach], nonce: u32, tag: Option<Tag>) -> Option<(&mut Reach, Member)> {
    let tag = tag.filter(|tag| tag.nonce == nonce)?;
    Some((rounds.get_mut(usize::from(tag.round))?, tag.member))
}

/// A number that an earlier try is not likely to have had.
fn nonce() -> u32 {
    let hasher = std::hash::RandomState::new().build_hasher();
    let [a, b, c, d, ..] = hasher.finish().to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}
