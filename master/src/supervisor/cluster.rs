//! The state of the whole cluster: events in.

use std::collections::BTreeMap;

use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::Exit;
use hatchery_protocol::id::{ChildId, Role, Seat};
use hatchery_protocol::message::Member;

use super::action::{Action, Note};
use super::event::{Death, Event, Now};
use super::policy::Policy;
use super::seat::{Occupant, Phase, Place};

/// How much longer than its start timeout a child may boot before the master kills it. A child watches
/// its own hook and knows its name; the master is there for the child that cannot.
const BOOT_MARGIN: Now = Now::from_millis(500);

/// Decides what has to happen next. See the [module](super).
#[derive(Debug, Clone)]
pub struct Supervisor {
    pub(super) policy: Policy,
    pub(super) course: Course,
    pub(super) places: BTreeMap<Seat, Place>,
    pub(super) incarnations: u64,
    /// What the children were last told about each other.
    pub(super) told: Told,
}

/// What the cluster as a whole is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Course {
    /// Nothing was begun.
    Idle,
    /// Before egg-ready: the first failure ends everything.
    Starting {
        /// Whether the addresses were asked to listen.
        listening: bool,
    },
    /// After egg-ready: failures are healed.
    Serving,
    /// It is known that a stop is to come, and all goes on as before: whoever sends clients here gets time
    /// to send them elsewhere.
    Announced {
        /// When the stop begins.
        until: Now,
    },
    /// On the way out, in order.
    Stopping {
        /// The code to end with.
        exit: Exit,
        /// Until when everything should be gone.
        deadline: Now,
        /// Whether to cut everything off.
        at_once: bool,
    },
    /// The last action was given.
    Finished,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    pub(super) agent: Option<u32>,
    pub(super) workers: Vec<Member>,
    /// Whether the workers were told anything yet; before egg-ready only the agent is.
    pub(super) everybody: bool,
}

impl Supervisor {
    /// A supervisor that has not begun.
    pub fn new(policy: Policy) -> Self {
        let seats = std::iter::once(Seat::Agent).chain((0..policy.workers).map(Seat::Worker));
        Self {
            places: seats.map(|seat| (seat, Place::new(seat))).collect(),
            policy,
            course: Course::Idle,
            incarnations: 0,
            told: Told::default(),
        }
    }

    /// Takes in what happened at `now` and appends to `out` what is to be done about it, in order.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Action>) {
        if self.course == Course::Finished {
            return;
        }
        if let Course::Announced { until } = self.course
            && until <= now
        {
            self.give_up_addresses(now, Exit::Orderly, false, out);
        }
        match event {
            Event::Started => self.on_started(out),
            Event::Spawned { child, pid } => self.on_spawned(now, child, pid, out),
            Event::SpawnFailed { child, error } => self.on_spawn_failed(now, child, &error, out),
            Event::Ready { child } => self.on_ready(now, child, out),
            Event::HookFailed { child, message } => self.on_hook_failed(now, child, message),
            Event::LinkBroken { child, reason } => self.kill(child, reason, out),
            Event::Exited { child, death } => self.on_exited(now, child, &death, out),
            Event::Listening => self.on_listening(out),
            Event::ListenFailed { error } => self.on_listen_failed(now, error, out),
            Event::StopRequested { origin, at_once } => self.on_stop(now, origin, at_once, out),
            Event::Tick
            | Event::ReloadRequested { .. }
            | Event::Staged { .. }
            | Event::StageFailed { .. }
            | Event::ScaleRequested { .. }
            | Event::SlotsReady { .. }
            | Event::SlotsFailed { .. }
            | Event::Beat { .. }
            | Event::Memory { .. }
            | Event::Diagnosed { .. }
            | Event::Traced { .. }
            | Event::Suspended
            | Event::StoodDown { .. }
            | Event::UpgradeRequested { .. }
            | Event::Successor(_) => {}
        }
        self.reconcile(now, out);
    }

    /// When [`Event::Tick`] is due if nothing happens before.
    pub fn deadline(&self) -> Option<Now> {
        let serving = self.is_serving();
        let announced = match self.course {
            Course::Announced { until } => Some(until),
            Course::Idle
            | Course::Starting { .. }
            | Course::Serving
            | Course::Stopping { .. }
            | Course::Finished => None,
        };
        self.places
            .values()
            .filter_map(|place| match &place.occupant {
                Some(occupant) => occupant.deadline(),
                None => serving.then_some(place.vacant_until),
            })
            .chain(announced)
            .min()
    }

    /// Whether the cluster is on its way out. A stop that is only announced has not begun.
    pub const fn is_stopping(&self) -> bool {
        matches!(self.course, Course::Stopping { .. } | Course::Finished)
    }

    /// Whether egg-ready was declared and no stop has begun: a child that is started now replaces another.
    pub const fn is_serving(&self) -> bool {
        matches!(self.course, Course::Serving | Course::Announced { .. })
    }

    fn on_started(&mut self, out: &mut Vec<Action>) {
        if self.course == Course::Idle {
            self.course = Course::Starting { listening: false };
            record(out, EventName::MasterStarted, None, None, None);
        }
    }

    fn on_spawned(&mut self, now: Now, child: ChildId, pid: u32, out: &mut Vec<Action>) {
        let limit = match child.seat.role() {
            Role::Agent => self.policy.agent_start_timeout,
            Role::Worker | Role::Master => self.policy.worker_start_timeout,
        };
        let Some(occupant) = self.occupant(child) else {
            return;
        };
        if occupant.phase != Phase::Spawning {
            return;
        }
        occupant.pid = Some(pid);
        occupant.phase = Phase::Booting {
            deadline: now + limit + BOOT_MARGIN,
        };
        let event = match child.seat {
            Seat::Agent => EventName::AgentSpawned,
            Seat::Worker(_) => EventName::WorkerSpawned,
        };
        record(out, event, Some(child.seat), Some(pid), None);
    }

    fn on_spawn_failed(&mut self, now: Now, child: ChildId, error: &str, out: &mut Vec<Action>) {
        // A process that exists is gone when it exits, and not before.
        if self
            .occupant(child)
            .is_some_and(|o| o.phase == Phase::Spawning)
        {
            let cause = format!("its process could not be created: {error}");
            self.depart(now, child, &cause, &[], out);
        }
    }

    fn on_ready(&mut self, now: Now, child: ChildId, out: &mut Vec<Action>) {
        let healing = self.is_serving();
        let Some(occupant) = self.occupant(child) else {
            return;
        };
        match occupant.phase {
            Phase::Booting { .. } => {}
            Phase::Ready { .. } => {
                return self.kill(child, "it said `ready` twice".to_owned(), out);
            }
            // It was asked to leave while it was still on its way to being ready.
            Phase::Spawning | Phase::Draining { .. } | Phase::Killed => return,
        }
        occupant.phase = Phase::Ready { since: now };
        occupant.ready_since = Some(now);
        let pid = occupant.pid;
        let (ready, seat) = match child.seat {
            Seat::Agent => (EventName::AgentReady, Seat::Agent),
            Seat::Worker(slot) => (EventName::WorkerReady, Seat::Worker(slot)),
        };
        record(out, ready, Some(seat), pid, None);
        if healing && child.seat != Seat::Agent {
            record(out, EventName::WorkerReplaced, Some(seat), pid, None);
        }
    }

    fn on_hook_failed(&mut self, now: Now, child: ChildId, message: String) {
        let patience = self.policy.kill_after;
        let drain = self.policy.drain_timeout;
        let Some(occupant) = self.occupant(child) else {
            return;
        };
        // It leaves by itself, and never becomes ready; the deadline is for the one that does not leave.
        let deadline = match occupant.phase {
            Phase::Booting { deadline } => deadline.min(now + patience),
            // Clients may be connected to it.
            Phase::Ready { .. } => now + drain + patience,
            Phase::Draining { deadline } => deadline,
            Phase::Spawning | Phase::Killed => return,
        };
        occupant.phase = Phase::Draining { deadline };
        occupant.cause.get_or_insert(message);
    }

    fn on_exited(&mut self, now: Now, child: ChildId, death: &Death, out: &mut Vec<Action>) {
        let cause = match self.occupant(child).and_then(|o| o.cause.take()) {
            Some(cause) => format!("{cause}; {}", death.status),
            None => death.told(),
        };
        self.depart(now, child, &cause, &death.last_words, out);
    }

    /// A child is gone, or never came to be.
    fn depart(
        &mut self,
        now: Now,
        child: ChildId,
        cause: &str,
        last_words: &[String],
        out: &mut Vec<Action>,
    ) {
        if self.occupant(child).is_none() {
            return;
        }
        let Some(place) = self.places.get_mut(&child.seat) else {
            return;
        };
        place.last_exit = Some(cause.to_owned());
        let gone = place.vacate(now, &self.policy.backoff);
        let event = match child.seat {
            Seat::Agent => EventName::AgentExited,
            Seat::Worker(_) => EventName::WorkerExited,
        };
        let pid = gone.and_then(|occupant| occupant.pid);
        // Quoted once: with the death that ends the start in the reason for the stop, else right here.
        let quoted = quote(cause, last_words);
        if let Course::Starting { .. } = self.course {
            record(out, event, Some(child.seat), pid, Some(cause.to_owned()));
            let reason = format!("{} failed to start: {quoted}", child.seat);
            self.begin_stop(now, Exit::StartFailed, reason, false, out);
        } else {
            record(out, event, Some(child.seat), pid, Some(quoted));
        }
    }

    fn on_listening(&mut self, out: &mut Vec<Action>) {
        // Somebody who failed meanwhile and is not gone yet failed before egg-ready: its exit ends the start.
        let all_well = self.everybody_is_ready();
        if self.course == (Course::Starting { listening: true }) && all_well {
            self.course = Course::Serving;
            record(out, EventName::EggReady, None, None, None);
        }
    }

    fn on_listen_failed(&mut self, now: Now, error: String, out: &mut Vec<Action>) {
        if let Course::Starting { .. } = self.course {
            self.begin_stop(now, Exit::BindFailed, error, false, out);
        }
    }

    fn on_stop(&mut self, now: Now, origin: String, at_once: bool, out: &mut Vec<Action>) {
        match &mut self.course {
            Course::Stopping { at_once: known, .. } => *known |= at_once,
            // Whoever asks again does not want to wait.
            Course::Announced { .. } => self.give_up_addresses(now, Exit::Orderly, at_once, out),
            Course::Serving if !at_once && !self.policy.pre_stop_delay.is_zero() => {
                let until = now + self.policy.pre_stop_delay;
                self.course = Course::Announced { until };
                record(out, EventName::Stopping, None, None, Some(origin));
            }
            Course::Idle | Course::Starting { .. } | Course::Serving => {
                self.begin_stop(now, Exit::Orderly, origin, at_once, out);
            }
            Course::Finished => {}
        }
    }

    fn begin_stop(
        &mut self,
        now: Now,
        exit: Exit,
        reason: String,
        at_once: bool,
        out: &mut Vec<Action>,
    ) {
        record(out, EventName::Stopping, None, None, Some(reason));
        self.give_up_addresses(now, exit, at_once, out);
    }

    /// From here on there is no way back to serving.
    fn give_up_addresses(&mut self, now: Now, exit: Exit, at_once: bool, out: &mut Vec<Action>) {
        self.course = Course::Stopping {
            exit,
            deadline: now + self.policy.drain_timeout,
            at_once,
        };
        out.push(Action::CloseListeners);
    }

    pub(super) fn kill(&mut self, child: ChildId, cause: String, out: &mut Vec<Action>) {
        let Some(occupant) = self.occupant(child) else {
            return;
        };
        // A process that is still being created is killed when it exists: reconcile sees to it.
        if occupant.phase != Phase::Killed && occupant.phase != Phase::Spawning {
            occupant.phase = Phase::Killed;
            occupant.cause.get_or_insert(cause);
            out.push(Action::Kill { child });
        }
    }

    /// The process with exactly this identity; `None` for one that is gone.
    pub(super) fn occupant(&mut self, child: ChildId) -> Option<&mut Occupant> {
        let occupant = self.places.get_mut(&child.seat)?.occupant.as_mut()?;
        (occupant.id == child).then_some(occupant)
    }
}

/// A cause, and the last lines of a process that died on its way to being ready.
fn quote(cause: &str, last_words: &[String]) -> String {
    if last_words.is_empty() {
        return cause.to_owned();
    }
    format!(
        "{cause}; the last it wrote:\n    {}",
        last_words.join("\n    ")
    )
}

pub(super) fn record(
    out: &mut Vec<Action>,
    event: EventName,
    seat: Option<Seat>,
    pid: Option<u32>,
    reason: Option<String>,
) {
    out.push(Action::Record(Note {
        event,
        seat,
        pid,
        generation: 1,
        reason,
        exit: None,
    }));
}
