//! What can be done.

use std::time::Duration;

use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::{Exit, ExitKind};
use hatchery_protocol::id::{ChildId, Generation, Seat, Slot};
use hatchery_protocol::message::Member;

use super::event::Order;

/// Something to do, now and in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Create a process. Answered by `Spawned` or `SpawnFailed`.
    Spawn {
        /// Whose.
        child: ChildId,
        /// Of which build and configuration: the one that is adopted, or the one that is staged.
        generation: Generation,
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
        /// Whom; see [`Supervisor::audience`](super::Supervisor::audience).
        to: Audience,
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
    /// Give up the master's copies of all listening sockets, and pass on whoever has connected. Answered by
    /// `ListenersClosed`.
    CloseListeners,
    /// The same, but the addresses are the new master's from here on: nothing of them may be removed or
    /// shut down, and what waits in their queues is its business.
    HandOverListeners,
    /// Open the executable on disk and read the configuration again, for a reload. Answered by `Staged` or
    /// `StageFailed`.
    Stage {
        /// For which order.
        order: Order,
    },
    /// What was staged has proven itself: it is what is adopted now, and the one before can be forgotten.
    Adopt,
    /// What was staged has failed, and no process of it is left: forget it.
    Unstage,
    /// Make every address ready for exactly so many slots. Answered by `SlotsReady` or `SlotsFailed`. The
    /// slots given up have no process any more.
    Slots {
        /// How many.
        slots: u32,
    },
    /// Have a child that hangs tell what it is doing; it is killed soon after.
    Diagnose {
        /// Whom.
        child: ChildId,
    },
    /// Have the agent stop what may run only once. Answered by `StoodDown`.
    StandDown {
        /// Which one.
        child: ChildId,
    },
    /// Start a new master on the same addresses. Answered by `Successor`, several times.
    LaunchSuccessor {
        /// For which order.
        order: Order,
    },
    /// Tell the new master that everything is its own now: it may say egg-ready to its processes.
    Commit,
    /// The new master is not wanted any more. Answered by `Successor(Gone)`.
    EndSuccessor {
        /// Whether to kill it instead of asking it.
        at_once: bool,
    },
    /// Tell whoever gave an order what became of it.
    Finished {
        /// Which.
        order: Order,
        /// Done, or a sentence that says why not.
        outcome: Result<(), String>,
    },
    /// Make a step of the lifecycle known.
    Record(Note),
    /// Everything is gone: end the master.
    Exit {
        /// With this code.
        exit: Exit,
    },
}

/// Whom news are for: children that stay, on their way to being ready or at work. Named by what they are, so
/// that news of one process cost the same however many hear them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// The agent, and the one that is to follow it.
    Agent,
    /// Every worker.
    Workers,
    /// Both.
    Everybody,
}

/// A change in who is ready. To hear of it twice is to hear of it once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The agent is ready, or there is none.
    Agent(Option<u32>),
    /// Workers have come or gone.
    Workers {
        /// Who is ready now, perhaps in the place of another process of its slot; in order of slot.
        up: Vec<Member>,
        /// Slots in which nobody is ready any more.
        down: Vec<Slot>,
    },
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
    /// Of which generation: the process's, else the one that the step is about.
    pub generation: Generation,
    /// Why, where there is a why.
    pub reason: Option<String>,
    /// How a process ended.
    pub exit: Option<ExitKind>,
}
