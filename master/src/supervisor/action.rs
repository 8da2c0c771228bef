//! What can be done.

use std::time::Duration;

use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::Exit;
use hatchery_protocol::id::{ChildId, Seat};
use hatchery_protocol::message::Member;

/// Something to do, now and in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Create a process. Answered by `Spawned` or `SpawnFailed`.
    Spawn {
        /// Whose.
        child: ChildId,
    },
    /// Make every address listen. Answered by `Listening` or `ListenFailed`.
    Listen,
    /// Tell a child that everybody is ready. Once in its life.
    EggReady {
        /// Whom.
        child: ChildId,
    },
    /// Tell children who else is ready.
    Tell {
        /// Whom.
        to: Vec<ChildId>,
        /// What.
        news: News,
    },
    /// Tell a child that a stop is to come. Once in its life at most.
    Announce {
        /// Whom.
        child: ChildId,
    },
    /// Ask a child to finish and leave.
    Drain {
        /// Whom.
        child: ChildId,
        /// How long it may take.
        budget: Duration,
    },
    /// Kill a child.
    Kill {
        /// Whom.
        child: ChildId,
    },
    /// Give up the master's copies of all listening sockets.
    CloseListeners,
    /// Make a step of the lifecycle known.
    Record(Note),
    /// Everything is gone: end the master.
    Exit {
        /// With this code.
        exit: Exit,
    },
}

/// A change in who is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The agent is ready, or there is none.
    Agent(Option<u32>),
    /// The ready workers, in order of slot.
    Workers(Vec<Member>),
}

/// A step of the lifecycle, before it has a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What happened.
    pub event: EventName,
    /// To which seat; `None` is the master.
    pub seat: Option<Seat>,
    /// The process, where there is one.
    pub pid: Option<u32>,
    /// Why, where there is a why.
    pub reason: Option<String>,
}
