//! Tests which member reaches which: broadcast, ICMP echo and TCP between all members.
//!
//! One loop tests all cells at once. Only a timeout shows that a cell is not reached, so all cells
//! together cost one timeout. The sockets are opened inside the members' namespaces and used from
//! the calling thread, so the probes need no threads.

mod packet;
mod tcp;

use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use umacvlan_sys::poll::{self, Interest};
use umacvlan_sys::raw_socket;

use crate::error::{Context, Result};
use crate::reach::{Probe, Reach};
use crate::station::{Member, Station};
use packet::Tag;
use tcp::TcpProbes;

/// How long to wait for answers. A slow or busy machine gets more time than these, in proportion to
/// the time that it takes for the answers that do come.
#[derive(Clone, Copy, Debug)]
pub struct WaitLimits {
    /// The shortest wait: time for answers that should not come.
    pub min: Duration,
    /// The longest wait since the last new answer: time for answers that should come and do not.
    pub quiet: Duration,
}

impl Default for WaitLimits {
    fn default() -> Self {
        // TCP repeats a lost SYN after one second, and that after two more.
        Self { min: Duration::from_millis(100), quiet: Duration::from_millis(3500) }
    }
}

/// How much longer than the longest pause between two new answers to wait for one more.
const QUIET_FACTOR: u32 = 4;

/// The progress of a test, from which it follows how long to wait.
struct Pace {
    limits: WaitLimits,
    cells: usize,
    /// When the last new answer came.
    last: Duration,
    /// The longest time between two new answers.
    pause: Duration,
    /// When every wanted answer had come.
    covered: Option<Duration>,
}

impl Pace {
    const fn new(limits: WaitLimits) -> Self {
        Self { limits, cells: 0, last: Duration::ZERO, pause: Duration::ZERO, covered: None }
    }

    /// Notes how many cells are reached after `elapsed`, and whether those are all that are wanted.
    fn note(&mut self, elapsed: Duration, cells: usize, covered: bool) {
        if cells > self.cells {
            self.pause = self.pause.max(elapsed - self.last);
            (self.cells, self.last) = (cells, elapsed);
        }
        if covered {
            self.covered.get_or_insert(elapsed);
        }
    }

    /// When to stop waiting. An answer that should not come gets as long again as those that should
    /// have taken.
    fn end(&self) -> Duration {
        match self.covered {
            Some(at) => self.limits.min.max(at * 2),
            None => self.last + self.limits.quiet.max(self.pause * QUIET_FACTOR),
        }
    }
}

/// Probes every pair of `stations` and returns which reached which. Waits longer than is needed for
/// answers that should not come only for the cells that are reached in `wanted`.
///
/// # Errors
/// A socket cannot be opened or used: no privilege in a namespace, or an interface is missing or
/// down.
pub fn probe_all(stations: &[Station<'_>], wanted: &Reach, limits: WaitLimits) -> Result<Reach> {
    let mut prober = Prober::open(stations)?;
    let started = Instant::now();
    let mut next_send = Duration::ZERO;
    let mut pace = Pace::new(limits);
    loop {
        let reached = prober.reached();
        let enough = reached.covers(wanted);
        let elapsed = started.elapsed();
        pace.note(elapsed, reached.count(), enough);
        if elapsed >= pace.end() {
            return Ok(reached);
        }
        // A busy machine may lose a frame, so the probes are repeated. A frame that must not arrive
        // does not arrive on a repetition either.
        if next_send.is_zero() || (elapsed >= next_send && !enough) {
            prober.send()?;
            next_send = elapsed + RESEND_INTERVAL;
        }
        let until = if enough { pace.end() } else { next_send.min(pace.end()) };
        prober.receive(until.saturating_sub(elapsed))?;
    }
}

/// All sockets of one test.
struct Prober<'s, 'n> {
    sockets: Vec<ProbeSockets<'s, 'n>>,
    tcp: TcpProbes,
    /// Distinguishes these frames from those of an earlier test.
    nonce: u32,
    /// One for each round of sending. Duplicates are copies of one frame, so rounds are counted
    /// apart.
    rounds: Vec<Reach>,
}

/// The sockets of one member.
struct ProbeSockets<'s, 'n> {
    station: &'s Station<'n>,
    arp: OwnedFd,
    icmp: Socket,
}

impl<'s, 'n> Prober<'s, 'n> {
    fn open(stations: &'s [Station<'n>]) -> Result<Self> {
        Ok(Self {
            sockets: stations.iter().map(ProbeSockets::open).collect::<Result<_>>()?,
            tcp: TcpProbes::open(stations)?,
            nonce: nonce(),
            rounds: Vec::new(),
        })
    }

    /// Each member broadcasts an ARP request and sends an ICMP echo request to each other member.
    fn send(&mut self) -> Result<()> {
        // 256 rounds would take a minute. Rounds beyond that share the last number.
        let round = u8::try_from(self.rounds.len()).unwrap_or(u8::MAX);
        self.rounds.push(Reach::default());
        for socket in &self.sockets {
            let Station { member, mac, .. } = *socket.station;
            let tag = |member| Tag { nonce: self.nonce, round, member };
            raw_socket::send(socket.arp.as_fd(), &packet::arp_request(mac, tag(member)), 1)
                .context(|| format!("sending a broadcast from {member}"))?;
            for to in self.sockets.iter().map(|socket| socket.station.member) {
                if to == member {
                    continue;
                }
                let address = SocketAddr::from((to.ip(), 0)).into();
                socket
                    .icmp
                    .send_to(&packet::echo_request(tag(to)), &address)
                    .context(|| format!("sending an ICMP echo request from {member} to {to}"))?;
            }
        }
        Ok(())
    }

    /// Waits at most `time` for answers, and counts them.
    fn receive(&mut self, time: Duration) -> Result<()> {
        let mut interests = Vec::new();
        for socket in &self.sockets {
            interests.push(Interest::readable(socket.arp.as_fd()));
            interests.push(Interest::readable(socket.icmp.as_fd()));
        }
        self.tcp.interests(&mut interests);
        poll::wait(&mut interests, time).context(|| "waiting for answers")?;

        self.count_received()
    }

    fn count_received(&mut self) -> Result<()> {
        let mut buffer = [0; 2048];
        for socket in &self.sockets {
            let member = socket.station.member;
            while let Some(length) = raw_socket::receive(socket.arp.as_fd(), &mut buffer)
                .context(|| format!("receiving broadcasts at {member}"))?
            {
                let tag = packet::arp_tag(&buffer[..length]);
                if let Some((reach, from)) = find(&mut self.rounds, self.nonce, tag) {
                    reach.add(Probe::Broadcast, from, member);
                }
            }
            while let Ok(length) = (&socket.icmp).read(&mut buffer) {
                let tag = packet::echo_tag(&buffer[..length]);
                if let Some((reach, to)) = find(&mut self.rounds, self.nonce, tag) {
                    reach.add(Probe::Unicast, member, to);
                }
            }
        }
        // Connections are opened once: TCP itself retransmits.
        if let Some(first) = self.rounds.first_mut() {
            self.tcp.advance(|from, to| first.add(Probe::Tcp, from, to));
        }
        Ok(())
    }

    /// The largest count of each cell over all rounds.
    fn reached(&self) -> Reach {
        let mut reached = Reach::default();
        for round in &self.rounds {
            reached.merge(round);
        }
        reached
    }
}

impl<'s, 'n> ProbeSockets<'s, 'n> {
    fn open(station: &'s Station<'n>) -> Result<Self> {
        let member = station.member;
        let context = || format!("opening the probe's sockets at {member}");
        let (arp, icmp) =
            station.netns.run(|| open_sockets(member)).context(context)?.context(context)?;
        Ok(Self { station, arp, icmp })
    }
}

/// The time between two rounds of sending.
const RESEND_INTERVAL: Duration = Duration::from_millis(250);

/// The sockets of this member, opened in the calling thread's namespace.
fn open_sockets(member: Member) -> io::Result<(OwnedFd, Socket)> {
    let index = raw_socket::index_of(member.interface_name())?;
    let arp = raw_socket::open(index, packet::ETHERTYPE_ARP)?;
    let icmp = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    icmp.set_nonblocking(true)?;
    icmp.bind(&SocketAddr::from((member.ip(), 0)).into())?;
    Ok((arp, icmp))
}

/// The round that a probe belongs to and the member it names, if it is part of this test.
fn find(rounds: &mut [Reach], nonce: u32, tag: Option<Tag>) -> Option<(&mut Reach, Member)> {
    let tag = tag.filter(|tag| tag.nonce == nonce)?;
    Some((rounds.get_mut(usize::from(tag.round))?, tag.member))
}

/// A random number, to tell this test from an earlier one.
fn nonce() -> u32 {
    let hasher = std::hash::RandomState::new().build_hasher();
    let [a, b, c, d, ..] = hasher.finish().to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_fast_machine_waits_for_the_shortest_time_only() {
        let mut pace = Pace::new(WaitLimits::default());
        pace.note(ms(2), 30, false);
        pace.note(ms(5), 60, true);
        assert_eq!(pace.end(), WaitLimits::default().min);
    }

    #[test]
    fn a_slow_machine_gets_time_in_proportion() {
        let mut pace = Pace::new(WaitLimits { min: ms(100), quiet: ms(2000) });
        assert_eq!(pace.end(), ms(2000));
        pace.note(ms(1500), 1, false);
        assert_eq!(pace.end(), ms(1500 + 4 * 1500));
        pace.note(ms(1600), 2, false);
        assert_eq!(pace.end(), ms(1600 + 4 * 1500));
        // What must not come gets as long again.
        pace.note(ms(3000), 3, true);
        assert_eq!(pace.end(), ms(6000));
        pace.note(ms(4000), 3, true);
        assert_eq!(pace.end(), ms(6000));
    }
}
