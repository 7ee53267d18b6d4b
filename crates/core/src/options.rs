//! How a parent is to be served: plain values that the command line, the configuration and the engine
//! share. The switch does not use them.

use std::fmt;
use std::str::FromStr;

/// Workers that a parent may have: far fewer than the 256 queues that a TAP can
/// (`MAX_TAP_QUEUES` in `drivers/net/tun.c`), and more than any machine has cores to spare.
pub const WORKERS_MAX: u8 = 64;

/// Frames that wait in a TAP for the engine. The kernel's 1000 overflow within one TCP window.
pub const TAP_QUEUE_LEN: u32 = 4096;

/// The TX queue length that is shown of a link whose far end is a program: that of a macvtap.
pub const PROGRAM_QUEUE_LEN: u32 = 500;

/// By which kind of sockets the wire is to be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Backend {
    /// AF_XDP where it is known to be better and to be had, which is on a NIC whose driver says
    /// that it does without copies; else AF_PACKET.
    #[default]
    Auto,
    /// AF_PACKET.
    AfPacket,
    /// AF_XDP in the best mode there is, or not at all.
    AfXdp,
    /// AF_XDP in this mode, or not at all.
    AfXdpIn(XdpMode),
}

impl Backend {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Auto,
        Self::AfPacket,
        Self::AfXdp,
        Self::AfXdpIn(XdpMode::ZeroCopy),
        Self::AfXdpIn(XdpMode::Native),
        Self::AfXdpIn(XdpMode::Generic),
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::AfPacket => "af-packet",
            Self::AfXdp => "af-xdp",
            Self::AfXdpIn(XdpMode::ZeroCopy) => "af-xdp-zero-copy",
            Self::AfXdpIn(XdpMode::Native) => "af-xdp-native",
            Self::AfXdpIn(XdpMode::Generic) => "af-xdp-generic",
        }
    }

    /// That of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.name() == name)
    }

    /// True when nothing but AF_XDP will do.
    pub const fn demands_xdp(self) -> bool {
        matches!(self, Self::AfXdp | Self::AfXdpIn(_))
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How frames get from a driver to an AF_XDP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XdpMode {
    /// The driver writes them into memory of ours.
    ZeroCopy,
    /// The driver's XDP, and a copy.
    Native,
    /// The stack's XDP, for any driver, and a copy.
    Generic,
}

impl XdpMode {
    /// All of them, the best first.
    pub const ALL: [Self; 3] = [Self::ZeroCopy, Self::Native, Self::Generic];
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ZeroCopy => "zero-copy",
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// How a worker waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PollMode {
    /// Spins for a moment after the last frame, then sleeps until the next.
    #[default]
    Adaptive,
    /// Never sleeps: the least latency, and a whole core.
    Busy,
    /// Sleeps at once: the least work, and a wake-up for every burst.
    Interrupt,
}

impl PollMode {
    /// Every policy.
    pub const ALL: [Self; 3] = [Self::Adaptive, Self::Busy, Self::Interrupt];

    /// The word used on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::Busy => "busy",
            Self::Interrupt => "interrupt",
        }
    }
}

impl fmt::Display for PollMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Text that names no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a way to poll: one of adaptive, busy, interrupt")]
pub struct ParsePollError(String);

impl FromStr for PollMode {
    type Err = ParsePollError;

    /// Reads the word, exactly.
    ///
    /// # Errors
    /// Any other text.
    fn from_str(text: &str) -> Result<Self, ParsePollError> {
        Self::ALL
            .into_iter()
            .find(|poll| poll.name() == text)
            .ok_or_else(|| ParsePollError(text.to_owned()))
    }
}

/// How a program at the far end of a port is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProgramKind {
    /// By an interface that is there already, such as the TAP of a virtual machine.
    Dev,
    /// By a Unix datagram socket, with each frame a datagram.
    Dgram,
    /// By a Unix stream socket, with each frame behind its length.
    Stream,
    /// By a persistent TAP, which is made for it and which it opens by its name.
    Tap,
    /// By rings in its memory, which it shares over a Unix stream socket.
    VhostUser,
}

impl ProgramKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Dev, Self::Dgram, Self::Stream, Self::Tap, Self::VhostUser];

    /// The word used in the configuration and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Dgram => "dgram",
            Self::Stream => "stream",
            // Not the word for an interface that is a TAP.
            Self::Tap => "program-tap",
            Self::VhostUser => "vhost-user",
        }
    }

    /// True if the program can have the socket at which the engine connects.
    pub const fn can_listen(self) -> bool {
        matches!(self, Self::Stream | Self::VhostUser)
    }

    /// True if the program is reached by an interface, and not by a socket.
    pub const fn has_interface(self) -> bool {
        matches!(self, Self::Dev | Self::Tap)
    }
}

impl fmt::Display for ProgramKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Text that names no way to connect a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a way to connect a program: expected dev, dgram, program-tap, stream or vhost-user"
)]
pub struct ParseProgramError(String);

impl FromStr for ProgramKind {
    type Err = ParseProgramError;

    /// Reads the word, exactly.
    ///
    /// # Errors
    /// Any other text.
    fn from_str(text: &str) -> Result<Self, ParseProgramError> {
        let named = Self::ALL.into_iter().find(|kind| kind.name() == text);
        named.ok_or_else(|| ParseProgramError(text.to_owned()))
    }
}

/// Text that names no kind of interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no kind of port: expected tap, veth or auto")]
pub struct ParsePortKindError(String);

impl FromStr for PortKind {
    type Err = ParsePortKindError;

    /// Reads the word, exactly.
    ///
    /// # Errors
    /// Any other text.
    fn from_str(text: &str) -> Result<Self, ParsePortKindError> {
        let named = Self::ALL.into_iter().find(|kind| kind.name() == text);
        named.ok_or_else(|| ParsePortKindError(text.to_owned()))
    }
}

/// The port of a link: what its interface is, or how the program connects that is at its far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkPort {
    /// Its far end is an interface of this kind.
    Interface(PortKind),
    /// Its far end is a program.
    Program(ProgramKind),
}

impl LinkPort {
    /// Every kind, those of interfaces first.
    pub const ALL: [Self; 8] = [
        Self::Interface(PortKind::Tap),
        Self::Interface(PortKind::Veth),
        Self::Interface(PortKind::Auto),
        Self::Program(ProgramKind::Dev),
        Self::Program(ProgramKind::Tap),
        Self::Program(ProgramKind::Dgram),
        Self::Program(ProgramKind::Stream),
        Self::Program(ProgramKind::VhostUser),
    ];

    /// The word used in requests and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interface(kind) => kind.name(),
            Self::Program(kind) => kind.name(),
        }
    }
}

impl fmt::Display for LinkPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Text that names no kind of port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no kind of port: expected tap, veth, auto, dev, program-tap, stream or vhost-user"
)]
pub struct ParsePortError(String);

impl FromStr for LinkPort {
    type Err = ParsePortError;

    /// Reads the word, exactly.
    ///
    /// # Errors
    /// Any other text.
    fn from_str(text: &str) -> Result<Self, ParsePortError> {
        let named = Self::ALL.into_iter().find(|kind| kind.name() == text);
        named.ok_or_else(|| ParsePortError(text.to_owned()))
    }
}

/// How the TAPs of a worker are read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortIo {
    /// By io_uring where it works, else plainly.
    #[default]
    Auto,
    /// One system call a frame, and epoll to wait.
    Plain,
    /// By io_uring or not at all.
    Uring,
}

impl PortIo {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Plain, Self::Uring];

    /// The word used in the configuration and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Plain => "plain",
            Self::Uring => "uring",
        }
    }
}

/// What the interface of a sub-interface is, and how its frames get to the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PortKind {
    /// A TAP: the engine forwards every frame.
    #[default]
    Tap,
    /// One end of a veth pair: programs in the kernel forward plain unicast, and the engine the
    /// rest.
    Veth,
    /// A veth pair where the kernel can do that, else a TAP.
    Auto,
}

impl PortKind {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Tap, Self::Veth, Self::Auto];

    /// The word used on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tap => "tap",
            Self::Veth => "veth",
            Self::Auto => "auto",
        }
    }
}

impl fmt::Display for PortKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
