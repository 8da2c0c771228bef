//! Who can be talked to, and how they are named.

use std::fmt;

use crate::id::{Seat, Slot};

/// A process that can be talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// Names this process and no other one, ever.
    pub incarnation: u64,
    /// The place it was started for. During a replacement two processes have the same one.
    pub seat: Seat,
    /// Its process id.
    pub pid: u32,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.seat, self.pid)
    }
}

/// Whom a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// Every worker and the agent, the sender included.
    All,
    /// The agent; from the agent, itself.
    Agent,
    /// Every worker; from a worker, itself included. During a replacement both processes of a slot.
    Workers,
    /// The worker in that slot; during a replacement, the newer one.
    Slot(Slot),
    /// One worker, each with the same probability. Those that are about to leave, or whose queue is full, are
    /// left out as long as there are others.
    RandomWorker,
    /// The sender's own side: the agent itself, or every worker.
    OwnSide,
    /// Just that process, as long as it lives. The number is [`Peer::incarnation`].
    Process(u64),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("anybody"),
            Self::Agent => f.write_str("the agent"),
            Self::Workers => f.write_str("a worker"),
            Self::Slot(slot) => write!(f, "worker {slot}"),
            Self::RandomWorker => f.write_str("any worker"),
            Self::OwnSide => f.write_str("on this side"),
            Self::Process(incarnation) => write!(f, "process #{incarnation}"),
        }
    }
}

impl From<Peer> for Target {
    fn from(peer: Peer) -> Self {
        Self::Process(peer.incarnation)
    }
}

/// What became of a message that was accepted. It is sent at most once: a receiver that dies, or whose
/// subscription does not exist, never sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    /// How many processes it is under way to.
    pub accepted: usize,
    /// How many it is not sent to, because their queues are full.
    pub full: usize,
    /// It waits for egg-ready. Whom it reaches is decided then.
    pub kept: bool,
}

/// A change of who can be talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerEvent {
    /// Somebody is there. This comes before any message of that process.
    Joined(Peer),
    /// Somebody was asked to leave. It still gets messages and answers requests while it drains.
    Leaving(Peer),
    /// Somebody is gone. This comes after its last message.
    Left(Peer),
}

impl PeerEvent {
    /// Whom it is about.
    pub(super) const fn peer(&self) -> Peer {
        match *self {
            Self::Joined(peer) | Self::Leaving(peer) | Self::Left(peer) => peer,
        }
    }
}
