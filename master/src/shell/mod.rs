//! The imperative shell around the pure supervisor.
//!
//! Everything that can happen meets here as one stream of [`Input`]s: messages of children, deaths,
//! signals, operators, time. Each becomes an event; each action that the supervisor answers with is
//! performed; a failure to perform is an event again. The shell decides nothing.
//!
//! | file | idea |
//! |---|---|
//! | `run` | from a configuration to a running master, and the end of it |
//! | `started_by`, `ground` | who started this master, and what it begins with |
//! | `turn` | the loop: inputs to events |
//! | `perform` | actions to deeds |
//! | `rollout` | the next generation, and the number of slots |
//! | `orders` | who waits for the outcome of what |
//! | `reopen` | log files that were moved away |
//! | `service` | what the service manager is told |
//! | `schedules` | what agents say about schedules, and what operators want of them |
//! | `status` | the answers to `status` and `metrics` |
//! | `measure` | the memory of workers, once a second |
//! | `suspension` | noticing that the master itself did not run |
//! | `control` | when the control socket lets clients in |
//! | `successor` | being followed by a new master |
//! | `heir` | following an old one |

mod control;
mod ground;
mod heir;
mod measure;
mod orders;
mod perform;
mod reap;
mod reopen;
mod rollout;
mod run;
mod schedules;
mod service;
mod started_by;
mod status;
mod successor;
mod suspension;
mod turn;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hatchery_protocol::control::LaunchReport;
use hatchery_protocol::exit::Exit;
use hatchery_protocol::id::{ChildId, Generation};
use hatchery_protocol::schedule::{Command, RunEnd};
use hatchery_protocol::secret::Secret;
use tokio::sync::{mpsc, oneshot};

pub(crate) use orders::{Outcome, Placed, Wish};
pub use run::run;
pub use started_by::StartedBy;

use orders::Orders;
use rollout::Build;

use crate::attributes::Resolved;
use crate::cgroup::OomCounter;
use crate::control::{EventsTo, MetricsTo, StatusTo};
use crate::executable::Program;
use crate::front::Front;
use crate::handoff::Handoff;
use crate::journal::Journal;
use crate::launch::Launcher;
use crate::ledger::{Answer, Ledger};
use crate::listener::{Listener, Served};
use crate::metrics::Counters;
use crate::notify::Notifier;
use crate::output::Output;
use crate::pid_file::PidFile;
use crate::post::Post;
use crate::process::Process;
use crate::reserve::Reserve;
use crate::roll::Roll;
use crate::runtime_dir::RuntimeDir;
use crate::signals::Signal;
use crate::spawn::Spawner;
use crate::succession::{Decision, Legacy, Successor};
use crate::supervisor::{Event, Supervisor};

/// Inputs that may wait. A child that floods its link waits here with its next message, alone.
const INPUTS: usize = 1024;

/// Something that reached the master.
#[derive(Debug)]
pub(crate) enum Input {
    /// Something that the supervisor has to know.
    Happened(Event),
    /// A signal.
    Signalled(Signal),
    /// An operator asks how things are.
    Status(StatusTo),
    /// A machine asks the same, in numbers.
    Metrics(MetricsTo),
    /// An operator wants to see what happens.
    Follow {
        /// Where the stream of events goes.
        to: EventsTo,
        /// Whether to stop, too.
        stop: bool,
    },
    /// An operator wants something that takes a while.
    Order {
        /// What.
        wish: Wish,
        /// Where the news about it go.
        to: oneshot::Sender<Placed>,
    },
    /// An operator wants something of a schedule.
    Schedule {
        /// Its name.
        name: String,
        /// What.
        command: Command,
        /// Where the outcome goes.
        to: oneshot::Sender<Answer>,
    },
    /// A worker here has ended a run that is the new master's now.
    RunEnded(Box<RunEnd>),
    /// The old master tells of schedules.
    Inherited(Legacy),
    /// Whoever waits for a daemon's readiness went away.
    LauncherGone,
    /// The old master, whose place this one is to take, has decided.
    Decided(Decision),
}

/// A running master.
struct Shell {
    /// Held to the end: it is the lock.
    runtime_dir: RuntimeDir,
    /// Its processes, for a master after it.
    roll: Roll,
    control: control::Control,
    pid_file: Option<PidFile>,
    supervisor: Supervisor,
    spawner: Spawner,
    /// What each child is told to be.
    attributes: Resolved,
    /// Where that program is on disk.
    program: Program,
    /// The program around this master.
    front: Box<dyn Front>,
    /// What processes run, and know, that do not belong to the next generation.
    adopted: Build,
    /// The next generation, while it is tried out.
    staged: Option<Build>,
    /// The number of the youngest generation that was ever tried.
    newest: Generation,
    /// How many slots there are.
    slots: u32,
    orders: Orders,
    /// Makes the waits of this master its own.
    jitter_seed: u64,
    /// Whether this master was started in the background.
    background: bool,
    /// Empty once the master gave them up.
    listeners: Vec<Listener>,
    /// The thread that accepts, if there is a listener for it.
    handoff: Option<Handoff>,
    /// The thread that carries messages.
    post: Post,
    /// One for the life of the master, so that a replacement's TLS sessions go on where others began.
    ticket_secret: Secret,
    /// Names this cluster in its fleet.
    host: u64,
    /// What the listeners are called; it outlives them.
    served: Vec<Served>,
    processes: BTreeMap<ChildId, Process>,
    /// What agents said about schedules.
    ledger: Arc<Mutex<Ledger>>,
    /// What a new process takes of the master, for when there is nothing left.
    reserve: Reserve,
    /// How many were killed for want of memory.
    oom: Arc<Mutex<OomCounter>>,
    journal: Journal,
    /// The way to the service manager.
    notifier: Notifier,
    /// Where children write until they are ready.
    output: Output,
    inputs: mpsc::Sender<Input>,
    /// When the master started, on the monotonic clock.
    began: Duration,
    /// What is counted over the lives of all processes.
    counters: Counters,
    /// Who measures memory at the moment.
    measuring: Option<JoinHandle<()>>,
    /// Who waits for the dead at the moment.
    reaping: Option<JoinHandle<()>>,
    launcher: Option<Launcher>,
    /// Until everything is this master's own: the one that it is to follow.
    heir: Option<heir::Heir>,
    /// The one that is to follow this one.
    successor: Option<Successor>,
    /// Whether another master has everything.
    handed_over: bool,
    /// Why the stop that is going on began.
    stop_reason: String,
    /// Set by the last action.
    exit: Option<Exit>,
}

impl Shell {
    /// The addresses as a client would write them.
    fn addresses(&self) -> Vec<String> {
        self.served.iter().map(|s| s.address.clone()).collect()
    }

    /// Answers whoever started this master in the background, once.
    fn report(&mut self, report: &LaunchReport) {
        if let Some(launcher) = self.launcher.take() {
            launcher.report(report);
        }
    }
}
