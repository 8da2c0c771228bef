//! The state of the whole cluster: events in.

use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::{Exit, ExitKind};
use hatchery_protocol::id::{ChildId, Generation, Seat};
use hatchery_protocol::message::Member;

use super::action::{Action, Note};
use super::event::{Event, Now};
use super::places::{Outlook, Places, Trend};
use super::policy::Policy;
use super::reload::Reload;
use super::scale::Scaling;
use super::seat::Occupant;
use super::upgrade::Upgrade;

/// The generation of a master's first processes.
const FIRST_GENERATION: Generation = 1;

/// Decides what has to happen next. See the [module](super).
#[derive(Debug, Clone)]
pub struct Supervisor {
    pub(super) policy: Policy,
    pub(super) course: Course,
    pub(super) places: Places,
    pub(super) incarnations: u64,
    /// The generation that replacements belong to.
    pub(super) adopted: Generation,
    /// The newest generation there ever was.
    pub(super) newest: Generation,
    pub(super) reload: Option<Reload>,
    pub(super) next_reload: Option<Reload>,
    pub(super) scaling: Scaling,
    pub(super) upgrade: Option<Upgrade>,
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
        /// Until when nobody is told to leave: whoever has connected is still being passed on.
        closing: Option<Now>,
    },
    /// The last action was given.
    Finished,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    pub(super) agent: Option<u32>,
    /// Whether the workers were told of each other; before egg-ready only the agent is.
    pub(super) everybody: bool,
}

impl Supervisor {
    /// A supervisor that has not begun.
    pub fn new(policy: Policy) -> Self {
        let mut places = Places::default();
        places.want(Seat::Agent);
        for slot in 0..policy.workers {
            places.want(Seat::Worker(slot));
        }
        let mut new = Self {
            scaling: Scaling::settled(policy.workers),
            places,
            policy,
            course: Course::Idle,
            incarnations: 0,
            adopted: FIRST_GENERATION,
            newest: FIRST_GENERATION,
            reload: None,
            next_reload: None,
            upgrade: None,
            told: Told::default(),
        };
        new.settle();
        new
    }

    /// Counts generations from this one on, as a master does that takes over from another.
    #[must_use]
    pub fn counting_from(mut self, generation: Generation) -> Self {
        (self.adopted, self.newest) = (generation, generation);
        self
    }

    /// Begins with so many workers, whatever the policy says, as a master does that takes over from one that was
    /// scaled. A policy with another number than the one before still changes it.
    #[must_use]
    pub fn beginning_with(mut self, workers: u32) -> Self {
        for slot in 0..workers.max(self.policy.workers) {
            let seat = Seat::Worker(slot);
            if slot < workers {
                self.places.want(seat);
            } else {
                self.places.remove(seat);
            }
        }
        self.scaling = Scaling::settled(workers);
        self.settle();
        self
    }

    /// How many workers there are to be.
    pub const fn wanted_workers(&self) -> u32 {
        self.scaling.target()
    }

    /// Takes in what happened at `now` and appends to `out` what is to be done about it, in order.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Action>) {
        if self.course == Course::Finished {
            return;
        }
        match self.course {
            Course::Announced { until } if until <= now => {
                self.give_up_addresses(now, Exit::Orderly, false, out);
            }
            // Whoever passes them on cannot keep up, and must not hold up the stop.
            Course::Stopping {
                closing: Some(until),
                ..
            } if until <= now => self.on_listeners_closed(),
            Course::Idle
            | Course::Starting { .. }
            | Course::Serving
            | Course::Announced { .. }
            | Course::Stopping { .. }
            | Course::Finished => {}
        }
        match event {
            Event::Started => self.on_started(out),
            Event::Spawned { child, pid } => self.on_spawned(now, child, pid, out),
            Event::SpawnFailed { child, error } => self.on_spawn_failed(now, child, &error, out),
            Event::Hello { child } => self.on_hello(child),
            Event::Ready { child } => self.on_ready(now, child, out),
            Event::HookFailed {
                child,
                message,
                timed_out,
            } => self.on_hook_failed(now, child, message, timed_out),
            Event::LinkBroken { child, reason } => {
                self.kill(child, Some(ExitKind::LostLink), reason, out);
            }
            Event::Exited { child, death } => self.on_exited(now, child, &death, out),
            Event::Listening => self.on_listening(out),
            Event::ListenFailed { error } => self.on_listen_failed(now, error, out),
            Event::ListenersClosed => self.on_listeners_closed(),
            Event::StopRequested { origin, at_once } => self.on_stop(now, origin, at_once, out),
            Event::Tick => {}
            Event::ReloadRequested {
                order,
                origin,
                agent,
            } => self.on_reload(order, origin, agent, out),
            Event::Staged { order, policy } => self.on_staged(order, policy),
            Event::StageFailed { order, error } => self.on_stage_failed(order, error, out),
            Event::ScaleRequested { order, origin, to } => {
                self.on_scale(order, origin, to, out);
            }
            Event::SlotsReady { slots } => self.on_slots_ready(slots, out),
            Event::SlotsFailed { slots, error } => self.on_slots_failed(slots, &error, out),
            Event::Beat {
                child,
                runtime_age,
                requests,
            } => self.on_beat(now, child, runtime_age, requests),
            Event::Memory { child, bytes } => self.on_memory(child, bytes, out),
            Event::Diagnosed { child, summary } => self.on_diagnosed(child, summary),
            Event::Traced { child } => self.give_time(now, child),
            Event::Suspended => self.give_everybody_time(now),
            Event::StoodDown { child } => self.on_stood_down(child),
            Event::UpgradeRequested { order, origin } => {
                self.on_upgrade(now, order, origin, out);
            }
            Event::Successor(news) => self.on_successor(now, news, out),
        }
        self.reconcile(now, out);
    }

    /// When [`Event::Tick`] is due if nothing happens before.
    pub fn deadline(&self) -> Option<Now> {
        let course = match self.course {
            Course::Announced { until } => Some(until),
            Course::Stopping { closing, .. } => closing,
            Course::Idle | Course::Starting { .. } | Course::Serving | Course::Finished => None,
        };
        let due = self.places.next_due();
        let spawn = self.next_spawn();
        let upgrade = self.upgrade_deadline();
        [due, course, spawn, upgrade].into_iter().flatten().min()
    }

    /// Whether the cluster is on its way out. A stop that is only announced has not begun.
    pub const fn is_stopping(&self) -> bool {
        matches!(self.course, Course::Stopping { .. } | Course::Finished)
    }

    /// Whether egg-ready was declared and no stop has begun: a child that is started now replaces another.
    pub const fn is_serving(&self) -> bool {
        matches!(self.course, Course::Serving | Course::Announced { .. })
    }

    /// The agent's process, once it is ready.
    pub fn ready_agent(&self) -> Option<u32> {
        let agent = self.places.get(Seat::Agent)?.occupant.as_ref()?;
        agent.pid.filter(|_| agent.is_ready())
    }

    /// The ready workers, in order of slot.
    pub fn ready_workers(&self) -> Vec<Member> {
        let members = self.places.members.iter();
        members.map(|(&slot, &pid)| Member { slot, pid }).collect()
    }

    fn on_started(&mut self, out: &mut Vec<Action>) {
        if self.course == Course::Idle {
            self.course = Course::Starting { listening: false };
            self.record(out, EventName::MasterStarted, None);
        }
    }

    fn on_listening(&mut self, out: &mut Vec<Action>) {
        // Somebody who failed meanwhile and is not gone yet failed before egg-ready: its exit ends the start.
        let all_well = self.everybody_is_ready();
        if self.course == (Course::Starting { listening: true }) && all_well {
            self.course = Course::Serving;
            self.record(out, EventName::EggReady, None);
        }
    }

    fn on_listen_failed(&mut self, now: Now, error: String, out: &mut Vec<Action>) {
        if let Course::Starting { .. } = self.course {
            self.begin_stop(now, Exit::BindFailed, error, false, out);
        }
    }

    pub(super) fn everybody_is_ready(&self) -> bool {
        self.ready_agent().is_some() && self.places.workers_are_ready()
    }

    /// Files what changed, so that the lists tell the truth.
    pub(super) fn settle(&mut self) {
        let trend = self.reload.as_ref().map_or(Trend::Still, Reload::trend);
        let outlook = Outlook {
            serving: self.is_serving(),
            announced: matches!(self.course, Course::Announced { .. }),
            stopping: match self.course {
                Course::Stopping {
                    at_once, closing, ..
                } => Some((at_once, closing.is_some())),
                Course::Idle
                | Course::Starting { .. }
                | Course::Serving
                | Course::Announced { .. }
                | Course::Finished => None,
            },
            adopted: self.adopted,
            trend,
            worker_timeout: self.policy.worker_timeout,
            stable: self.policy.backoff.stable,
        };
        self.places.settle(outlook, &self.policy);
    }

    /// The process with exactly this identity; `None` for one that is gone.
    pub(super) fn process(&mut self, child: ChildId) -> Option<&mut Occupant> {
        let known = self.places.get(child.seat)?;
        // Strangers do not make anybody look again.
        known.processes().find(|process| process.id == child)?;
        let place = self.places.edit(child.seat)?;
        place.processes_mut().find(|process| process.id == child)
    }

    /// Makes a step known that concerns the whole.
    pub(super) fn record(&self, out: &mut Vec<Action>, event: EventName, reason: Option<String>) {
        out.push(Action::Record(Note {
            event,
            seat: None,
            pid: None,
            generation: self.adopted,
            reason,
            exit: None,
        }));
    }
}

/// Makes a step known that concerns one process.
pub(super) fn note(process: &Occupant, event: EventName, reason: Option<String>) -> Action {
    Action::Record(Note {
        event,
        seat: Some(process.id.seat),
        pid: process.pid,
        generation: process.generation,
        reason,
        exit: None,
    })
}
