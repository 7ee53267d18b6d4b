//! TCP connections between all pairs of members, all at once and without blocking.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use umacvlan_sys::poll::Interest;

use crate::error::{Context, Result};
use crate::station::{Member, Station};

/// The listening, connecting and accepted sockets of all members.
pub(super) struct TcpProbes {
    listeners: Vec<Socket>,
    connections: Vec<Connection>,
    accepted: Vec<Socket>,
}

/// One connection, seen from the member that opens it.
struct Connection {
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

impl TcpProbes {
    /// Opens a listening socket for each station, and a connection from each to every other.
    pub(super) fn open(stations: &[Station<'_>]) -> Result<Self> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for Station { member, netns, .. } in stations {
            let context = || format!("listening on TCP at {member}");
            let (listener, address) =
                netns.run(|| listen(*member)).context(context)?.context(context)?;
            listeners.push(listener);
            addresses.push((*member, address));
        }
        let mut connections = Vec::new();
        for Station { member, netns, .. } in stations {
            let others = addresses.iter().filter(|(to, _)| to != member);
            let context = || format!("opening TCP connections from {member}");
            let opened = netns.run(|| {
                others
                    .map(|(to, address)| Connection::open(*member, *to, *address))
                    .collect::<io::Result<Vec<_>>>()
            });
            connections.extend(opened.context(context)?.context(context)?);
        }
        Ok(Self { listeners, connections, accepted: Vec::new() })
    }

    /// Appends the events that these sockets wait for.
    pub(super) fn interests<'s>(&'s self, interests: &mut Vec<Interest<'s>>) {
        let listeners = self.listeners.iter().chain(&self.accepted);
        interests.extend(listeners.map(|socket| Interest::readable(socket.as_fd())));
        interests.extend(self.connections.iter().filter_map(Connection::interest));
    }

    /// Advances every connection as far as possible. Calls `reached` for each that receives its
    /// answer.
    pub(super) fn advance(&mut self, mut reached: impl FnMut(Member, Member)) {
        for connection in &mut self.connections {
            connection.advance(&mut reached);
        }
        for listener in &self.listeners {
            while let Ok((socket, _)) = listener.accept() {
                // A blocking socket would stop the loop, so it is closed instead.
                if socket.set_nonblocking(true).is_ok() {
                    self.accepted.push(socket);
                }
            }
        }
        self.accepted.retain(echo);
    }
}

impl Connection {
    fn open(from: Member, to: Member, address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        // Closing resets the connection, so that none stays in TIME_WAIT.
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
            self.state = match (&self.socket).write(&self.request()) {
                Ok(_) => State::Asked,
                // EAGAIN: the connection is not yet established (tcp(7)).
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => State::Connecting,
                Err(_) => State::Failed,
            };
        }
        if self.state == State::Asked {
            let mut answer = [0; REQUEST_LEN];
            self.state = match (&self.socket).read(&mut answer) {
                Ok(REQUEST_LEN) if answer == self.request() => State::Answered,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => State::Asked,
                _ => State::Failed,
            };
            if self.state == State::Answered {
                reached(self.from, self.to);
            }
        }
    }

    /// The request of this connection. No other has the same, so a misdirected answer is noticed.
    fn request(&self) -> [u8; REQUEST_LEN] {
        let [.., from] = self.from.ip().octets();
        let [.., to] = self.to.ip().octets();
        [b'u', b'm', from, to]
    }
}

const REQUEST_LEN: usize = 4;

fn listen(member: Member) -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((member.ip(), 0)).into())?;
    socket.listen(16)?;
    let address = socket.local_addr()?.as_socket();
    Ok((socket, address.ok_or(io::ErrorKind::AddrNotAvailable)?))
}

/// Echoes received bytes. False when the connection has ended.
fn echo(mut socket: &Socket) -> bool {
    let mut bytes = [0; 64];
    match socket.read(&mut bytes) {
        Ok(0) => false,
        Ok(length) => socket.write_all(&bytes[..length]).is_ok(),
        Err(e) => e.kind() == io::ErrorKind::WouldBlock,
    }
}
