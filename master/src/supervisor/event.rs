//! What can happen.

use std::fmt;
use std::time::Duration;

use hatchery_protocol::id::ChildId;

/// A moment, as time since an arbitrary start. Only differences count.
pub type Now = Duration;

/// Something that happened. Events about a child that is gone are stale and change nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Every address is bound: begin.
    Started,
    /// A process was created, as [`Action::Spawn`](super::Action::Spawn) asked.
    Spawned {
        /// Which.
        child: ChildId,
        /// Its process id, for people and peers only.
        pid: u32,
    },
    /// No process could be created.
    SpawnFailed {
        /// Which.
        child: ChildId,
        /// What the system said.
        error: String,
    },
    /// A child's `start` returned.
    Ready {
        /// Which.
        child: ChildId,
    },
    /// A hook of a child's failed; it is about to leave.
    HookFailed {
        /// Which.
        child: ChildId,
        /// A sentence with the hook's name.
        message: String,
    },
    /// A child's link is no longer of use: it closed it, wrote nonsense, or does not read.
    LinkBroken {
        /// Which.
        child: ChildId,
        /// What was wrong.
        reason: String,
    },
    /// A child's process is gone, and its last message was read.
    Exited {
        /// Which.
        child: ChildId,
        /// How.
        death: Death,
    },
    /// Every address listens, as [`Action::Listen`](super::Action::Listen) asked.
    Listening,
    /// An address cannot listen.
    ListenFailed {
        /// Which, and what the system said.
        error: String,
    },
    /// Somebody wants the cluster to end.
    StopRequested {
        /// Who, for the log.
        origin: String,
        /// Whether to cut everything off instead of draining.
        at_once: bool,
    },
    /// Time has passed; perhaps a deadline, too.
    Tick,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// The exit code, or the signal.
    pub status: Status,
    /// The last lines it wrote before it was ready; empty for a process that was.
    pub last_words: Vec<String>,
}

/// What wait(2) tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It ended by itself, with this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// Nobody knows: somebody else waited for it.
    Unknown,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("gone for an unknown reason"),
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => match name(*signal) {
                Some(name) => write!(f, "killed by signal {signal} ({name})"),
                None => write!(f, "killed by signal {signal}"),
            },
        }
    }
}

/// Signals that end processes often enough to be known by name.
fn name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        31 => "SIGSYS",
        _ => return None,
    })
}
