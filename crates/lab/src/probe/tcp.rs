//! TCP between everyone and everyone else, all connections at once and without blocking.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use umacvlan_sys::poll::Interest;

use crate::error::{Doing, Result};
use crate::station::{Member, Station};

/// Who listens, who calls whom, and who has taken up.
pub(super) struct Calls {
    listeners: Vec<Socket>,
    dials: Vec<Dial>,
    accepted: Vec<Socket>,
}

/// One connection, seen from the member that opens it.
struct Dial {
    from: Member,
    to: Member,
    socket: Socket,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Asked,
    Answered,
    Failed,
}

impl Calls {
    /// Opens a listening socket for each station, and a connection from each to every other.
    pub(super) fn open(stations: &[Station<'_>]) -> Result<Self> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for Station { member, netns, .. } in stations {
            let doing = || format!("listening on TCP at {member}");
            let (listener, address) = netns.run(|| listen(*member)).doing(doing)?.doing(doing)?;
            listeners.push(listener);
            addresses.push((*member, address));
        }
        let mut dials = Vec::new();
        for Station { member, netns, .. } in stations {
            let others = addresses.iter().filter(|(to, _)| to != member);
            let doing = || format!("opening TCP connections from {member}");
            let opened = netns.run(|| {
                others
                    .map(|(to, address)| Dial::open(*member, *to, *address))
                    .collect::<io::Result<Vec<_>>>()
            });
            dials.extend(opened.doing(doing)?.doing(doing)?);
        }
        Ok(Self { listeners, dials, accepted: Vec::new() })
    }

    /// Adds what these connections wait for.
    pub(super) fn interests<'s>(&'s self, interests: &mut Vec<Interest<'s>>) {
        let listeners = self.listeners.iter().chain(&self.accepted);
        interests.extend(listeners.map(|socket| Interest::readable(socket.as_fd())));
        interests.extend(self.dials.iter().filter_map(Dial::interest));
    }

    /// Takes every connection as far as it goes now; `reached` is told of each that has had its
    /// answer.
    pub(super) fn advance(&mut self, mut reached: impl FnMut(Member, Member)) {
        for dial in &mut self.dials {
            dial.advance(&mut reached);
        }
        for listener in &self.listeners {
            while let Ok((socket, _)) = listener.accept() {
                // One that cannot be made non-blocking would stop the loop: let it go.
                if socket.set_nonblocking(true).is_ok() {
                    self.accepted.push(socket);
                }
            }
        }
        self.accepted.retain(echo);
    }
}

impl Dial {
    fn open(from: Member, to: Member, address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        // Closing is a reset: no connection stays behind in a state of waiting.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.bind(&SocketAddr::from((from.ip(), 0)).into())?;
        let state = match socket.connect(&address.into()) {
            Ok(()) => State::Connecting,
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => State::Connecting,
            Err(_) => State::Failed,
        };
        Ok(Self { from, to, socket, state })
    }

    fn interest(&self) -> Option<Interest<'_>> {
        match self.state {
            State::Connecting => Some(Interest::writable(self.socket.as_fd())),
            State::Asked => Some(Interest::readable(self.socket.as_fd())),
            State::Answered | State::Failed => None,
        }
    }

    fn advance(&mut self, reached: &mut impl FnMut(Member, Member)) {
        if self.state == State::Connecting {
            self.state = match (&self.socket).write(&self.question()) {
                Ok(_) => State::Asked,
                // EAGAIN: the connection is still in the making (tcp(7)).
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => State::Connecting,
                Err(_) => State::Failed,
            };
        }
        if self.state == State::Asked {
            let mut answer = [0; QUESTION_LEN];
            self.state = match (&self.socket).read(&mut answer) {
                Ok(QUESTION_LEN) if answer == self.question() => State::Answered,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => State::Asked,
                _ => State::Failed,
            };
            if self.state == State::Answered {
                reached(self.from, self.to);
            }
        }
    }

    /// Bytes that no other connection sends: an answer with the wrong ones came from elsewhere.
    fn question(&self) -> [u8; QUESTION_LEN] {
        let [.., from] = self.from.ip().octets();
        let [.., to] = self.to.ip().octets();
        [b'u', b'm', from, to]
    }
}

const QUESTION_LEN: usize = 4;

fn listen(member: Member) -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((member.ip(), 0)).into())?;
    socket.listen(16)?;
    let address = socket.local_addr()?.as_socket();
    Ok((socket, address.ok_or(io::ErrorKind::AddrNotAvailable)?))
}

/// Sends back what came; false when the connection is over.
fn echo(mut socket: &Socket) -> bool {
    let mut bytes = [0; 64];
    match socket.read(&mut bytes) {
        Ok(0) => false,
        Ok(length) => socket.write_all(&bytes[..length]).is_ok(),
        Err(e) => e.kind() == io::ErrorKind::WouldBlock,
    }
}
