//! What can happen.

use std::fmt;
use std::time::Duration;

use hatchery_protocol::id::ChildId;

use super::policy::Policy;

/// A moment, as time since an arbitrary start. Only differences count.
pub type Now = Duration;

/// The number of an operator's order, given out by the shell. Each order gets exactly one
/// [`Action::Finished`](super::Action::Finished).
pub type Order = u64;

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
    /// A child knows what it is to be, and says so: what it does next is its `start`.
    Hello {
        /// Which.
        child: ChildId,
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
        /// Whether it took too long.
        timed_out: bool,
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
    /// The addresses are given up and whoever had connected is with a worker, as
    /// [`Action::CloseListeners`](super::Action::CloseListeners) or
    /// [`Action::HandOverListeners`](super::Action::HandOverListeners) asked.
    ListenersClosed,
    /// Somebody wants the cluster to end.
    StopRequested {
        /// Who, for the log.
        origin: String,
        /// Whether to cut everything off instead of draining.
        at_once: bool,
    },
    /// Time has passed; perhaps a deadline, too.
    Tick,
    /// Somebody wants newer processes in every slot.
    ReloadRequested {
        /// Whose outcome it is.
        order: Order,
        /// Who, for the log.
        origin: String,
        /// Whether the agent is to be replaced, too.
        agent: bool,
    },
    /// The executable of the next generation is open and its configuration read, as
    /// [`Action::Stage`](super::Action::Stage) asked.
    Staged {
        /// Whose.
        order: Order,
        /// What the next generation is decided by; holds for the whole cluster once it is adopted. Its number of
        /// workers is the configuration's: one that operators asked for holds until that changes.
        policy: Box<Policy>,
    },
    /// There is nothing to reload to.
    StageFailed {
        /// Whose.
        order: Order,
        /// What is wrong.
        error: String,
    },
    /// Somebody wants another number of workers.
    ScaleRequested {
        /// Whose outcome it is.
        order: Order,
        /// Who, for the log.
        origin: String,
        /// How many.
        to: Scale,
    },
    /// Every address is ready for so many slots, as [`Action::Slots`](super::Action::Slots) asked.
    SlotsReady {
        /// How many.
        slots: u32,
    },
    /// The addresses cannot be made ready for so many slots; they are as they were.
    SlotsFailed {
        /// How many were asked for.
        slots: u32,
        /// What the system said.
        error: String,
    },
    /// A child answered the master's beat: its process lives.
    Beat {
        /// Which.
        child: ChildId,
        /// How long ago its runtime last did something.
        runtime_age: Duration,
        /// Requests it has begun.
        requests: u64,
    },
    /// A child's memory was measured.
    Memory {
        /// Whose.
        child: ChildId,
        /// How much it has.
        bytes: u64,
    },
    /// It was found out what a child that hangs is doing, as [`Action::Diagnose`](super::Action::Diagnose)
    /// asked.
    Diagnosed {
        /// Which.
        child: ChildId,
        /// In a sentence.
        summary: String,
    },
    /// A debugger holds a child: that it is silent says nothing.
    Traced {
        /// Which.
        child: ChildId,
    },
    /// This master itself did not run for a while: that somebody was silent says nothing.
    Suspended,
    /// The agent has stopped what may run only once, as
    /// [`Action::StandDown`](super::Action::StandDown) asked.
    StoodDown {
        /// Which one.
        child: ChildId,
    },
    /// Somebody wants a new master in the place of this one.
    UpgradeRequested {
        /// Whose outcome it is.
        order: Order,
        /// Who, for the log.
        origin: String,
    },
    /// The new master said something, or is gone.
    Successor(SuccessorNews),
}

/// A wish for another number of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Exactly so many; 0 is refused.
    To(u32),
    /// One more.
    Up,
    /// One less, but never less than one.
    Down,
}

/// What becomes of the new master that [`Action::LaunchSuccessor`](super::Action::LaunchSuccessor) asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SuccessorNews {
    /// Its process exists.
    Launched {
        /// Its process id, for people only.
        pid: u32,
    },
    /// Its agent and all its workers are ready; it waits for [`Action::Commit`](super::Action::Commit).
    Ready,
    /// Its workers accept, its agent is at work: there is no way back.
    Serving,
    /// It could not be launched, or it is gone with all its processes.
    Gone {
        /// Why, in a sentence without the subject, with its last lines.
        reason: String,
    },
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// The exit code, or the signal.
    pub status: Status,
    /// Who may have sent the signal, as far as the system tells. Of no interest when it was the master.
    pub hint: Option<String>,
    /// The last lines it wrote before it was ready; empty for a process that was.
    pub last_words: Vec<String>,
}

impl Death {
    /// How, as far as it is known, for a death that the master did not bring about.
    pub fn told(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}; {hint}", self.status),
            None => self.status.to_string(),
        }
    }
}

/// What wait(2) tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It ended by itself, with this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// It is a thread that did not end when it was to, and ends with the process.
    LeftBehind,
    /// Nobody knows: somebody else waited for it.
    Unknown,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeftBehind => f.write_str("left behind, to end with the process"),
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
