//! Knows the rules, not the code: a second, slower opinion on what is going on.
//!
//! The judge hears each event before the supervisor does and works out what it means by the book
//! (here); then it looks at what the supervisor did about it (`verdict`).

use std::collections::BTreeMap;

use hatchery_master::supervisor::{Event, Policy};
use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::Exit;
use hatchery_protocol::id::{ChildId, Generation, Seat};

use crate::known::{self, Known, Membership, State};
use crate::rollout::Rollout;
use crate::scenario::{Pace, Scenario};
use crate::tally::Tally;

pub(crate) use hatchery_master::supervisor::Now;

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own that the judge remembers"
)]
pub(crate) struct Judge {
    pub(super) policy: Policy,
    pub(super) pace: Pace,
    pub(super) era: Era,
    pub(super) children: BTreeMap<ChildId, Known>,
    pub(super) vacant: BTreeMap<Seat, Vacancy>,
    /// How many workers there are to be.
    pub(super) workers: u32,
    pub(super) rollout: Rollout,
    /// Generations that were tried and left undecided by a stop.
    pub(super) abandoned: Vec<Generation>,
    /// Everybody was ready, and since then nothing happened to a worker but what the supervisor did.
    pub(super) undisturbed: bool,
    /// Who is ready, as of the last event.
    pub(super) truth: Membership,
    /// The steps of the lifecycle that the last event has to be made known as.
    pub(super) steps: Vec<Step>,
    pub(super) newest: u64,
    pub(super) agent_was_ready: bool,
    pub(super) asked_to_listen: bool,
    pub(super) closed: bool,
    /// How often everybody was given time anew.
    pub(super) suspensions: u32,
    /// Until when everything goes on although a stop was announced.
    pub(super) announced: Option<Now>,
    pub(super) tally: Tally,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    Idle,
    Starting,
    Serving,
    Stopping(Stop),
    Over,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(super) since: Now,
    pub(super) exit: Exit,
    pub(super) at_once: Option<Now>,
}

pub(crate) type Step = (EventName, Option<Seat>, Option<u32>);

/// A seat in which somebody died.
pub(crate) struct Vacancy {
    pub(super) since: Now,
    /// Deaths in a row, including the last one.
    pub(super) deaths: i32,
    /// The last one meant nothing.
    pub(super) forgiven: bool,
    /// There were so many that the seat has to be well for a while before they are forgotten.
    pub(super) looping: bool,
}

impl Vacancy {
    /// Whether the next process has to wait for a while.
    pub(super) const fn waits(&self) -> bool {
        self.deaths > 1 && !self.forgiven
    }
}

impl Judge {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            policy: scenario.policy.clone(),
            pace: scenario.pace,
            era: Era::Idle,
            children: BTreeMap::new(),
            vacant: BTreeMap::new(),
            workers: scenario.policy.workers,
            rollout: Rollout::new(scenario.policy.workers),
            abandoned: Vec::new(),
            undisturbed: false,
            truth: Membership::default(),
            steps: Vec::new(),
            newest: 0,
            agent_was_ready: false,
            asked_to_listen: false,
            closed: false,
            suspensions: 0,
            announced: None,
            tally: Tally {
                schedules: 1,
                ..Tally::default()
            },
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.era == Era::Over
    }

    pub(crate) fn serves(&self) -> bool {
        self.era == Era::Serving
    }

    pub(crate) fn is_starting(&self) -> bool {
        self.era == Era::Starting
    }

    /// Whether the processes here are another master's business by now.
    pub(crate) const fn handed_over(&self) -> bool {
        matches!(self.rollout.successor, crate::rollout::Successor::Serves)
    }

    pub(crate) fn longest_recovery(&self) -> Now {
        let slots = self.workers.max(self.rollout.granted);
        known::longest_recovery(&self.policy, &self.pace, slots)
    }

    pub(crate) fn sum_up(self, tally: &mut Tally) {
        *tally += self.tally;
    }

    /// What the event means by the book. Most of what can be said means nothing most of the time.
    pub(crate) fn hears(&mut self, now: Now, event: &Event) {
        self.steps.clear();
        if self.serves() && self.announced.is_some_and(|until| until <= now) {
            self.closes(now, Exit::Orderly, false);
        }
        match event {
            Event::Started => {
                if self.era == Era::Idle {
                    self.era = Era::Starting;
                    self.steps.push((EventName::MasterStarted, None, None));
                }
            }
            Event::Spawned { child, pid } => self.hears_spawned(now, *child, *pid),
            Event::SpawnFailed { child, .. } => {
                if self.known(*child).is_some_and(|known| known.pid.is_none()) {
                    self.is_gone(now, *child);
                }
            }
            Event::Ready { child } => self.hears_ready(now, *child),
            Event::HookFailed { child, .. } => {
                let policy = self.policy.clone();
                self.is_disturbed(*child);
                if let Some(known) = self.known(*child) {
                    known.says_failed(now, &policy);
                }
            }
            Event::LinkBroken { child, .. } => {
                self.is_disturbed(*child);
                if let Some(known) = self.known(*child) {
                    known.breaks_link();
                }
            }
            Event::Exited { child, .. } => {
                if self.known(*child).is_some() {
                    self.is_gone(now, *child);
                }
            }
            Event::Listening => {
                if self.era == Era::Starting && self.asked_to_listen && self.all_ready() {
                    self.era = Era::Serving;
                    self.tally.served = 1;
                    self.steps.push((EventName::EggReady, None, None));
                }
            }
            Event::ListenFailed { .. } => {
                if self.era == Era::Starting {
                    self.stops(now, Exit::BindFailed, false);
                }
            }
            Event::StopRequested { at_once, .. } => self.hears_stop(now, *at_once),
            Event::Beat {
                child,
                runtime_age,
                requests,
            } => {
                let policy = self.policy.clone();
                if let Some(known) = self.known(*child) {
                    known.beats(now, *runtime_age, &policy);
                    let quota = policy.recycle.max_requests;
                    let least = quota * u64::from(100 - policy.recycle.jitter_percent) / 100;
                    known.worn |= quota > 0 && *requests >= least;
                }
            }
            Event::Memory { child, bytes } => {
                let recycle = self.policy.recycle.clone();
                if let Some(known) = self.known(*child).filter(|known| known.is_worker()) {
                    known.worn |= recycle.max_memory > 0 && *bytes >= recycle.max_memory;
                    if recycle.kill_memory > 0 && *bytes >= recycle.kill_memory {
                        known.breaks_link();
                        self.undisturbed = false;
                    }
                }
            }
            Event::ReloadRequested { .. }
            | Event::Staged { .. }
            | Event::StageFailed { .. }
            | Event::ScaleRequested { .. }
            | Event::SlotsReady { .. }
            | Event::SlotsFailed { .. }
            | Event::Diagnosed { .. }
            | Event::Traced { .. }
            | Event::Suspended
            | Event::StoodDown { .. }
            | Event::UpgradeRequested { .. }
            | Event::Successor(_)
            | Event::Tick => self.hears_more(now, event),
        }
        self.find_truth();
    }

    /// The same for what the shell and operators say.
    fn hears_more(&mut self, now: Now, event: &Event) {
        match event {
            Event::Traced { child } => {
                let policy = self.policy.clone();
                if let Some(known) = self.known(*child) {
                    known.gets_time(now, &policy, false);
                }
            }
            Event::Suspended => {
                self.suspensions += 1;
                for known in self.children.values_mut() {
                    known.gets_time(now, &self.policy, true);
                }
            }
            Event::StoodDown { child } => {
                if let Some(known) = self.known(*child) {
                    known.stood_down |= known.stands_down.is_some();
                }
            }
            Event::ReloadRequested { order, .. }
            | Event::ScaleRequested { order, .. }
            | Event::UpgradeRequested { order, .. } => {
                self.rollout.orders.insert(*order, false);
            }
            Event::Staged { order, .. } => self.rollout.hears_staged(*order),
            Event::StageFailed { order, .. } => self.rollout.hears_stage_failed(*order),
            Event::SlotsReady { slots } => {
                if self.rollout.asked == Some(*slots) {
                    self.rollout.asked = None;
                    self.rollout.granted = *slots;
                }
            }
            Event::SlotsFailed { slots, .. } => {
                self.rollout.asked = self.rollout.asked.filter(|asked| asked != slots);
            }
            Event::Successor(news) => self.hears_successor(now, news),
            Event::Started
            | Event::Spawned { .. }
            | Event::SpawnFailed { .. }
            | Event::Ready { .. }
            | Event::HookFailed { .. }
            | Event::LinkBroken { .. }
            | Event::Exited { .. }
            | Event::Listening
            | Event::ListenFailed { .. }
            | Event::StopRequested { .. }
            | Event::Beat { .. }
            | Event::Memory { .. }
            | Event::Diagnosed { .. }
            | Event::Tick => {}
        }
    }

    fn hears_stop(&mut self, now: Now, at_once: bool) {
        match &mut self.era {
            Era::Stopping(stop) if at_once => {
                stop.at_once.get_or_insert(now);
            }
            Era::Stopping(_) | Era::Over => {}
            Era::Serving if self.announced.is_some() => {
                self.closes(now, Exit::Orderly, at_once);
            }
            Era::Serving if !at_once && !self.policy.pre_stop_delay.is_zero() => {
                self.announced = Some(now + self.policy.pre_stop_delay);
                self.steps.push((EventName::Stopping, None, None));
                self.tally.announced = 1;
                self.gives_up_rollouts();
            }
            Era::Idle | Era::Starting | Era::Serving => self.stops(now, Exit::Orderly, at_once),
        }
    }

    fn hears_spawned(&mut self, now: Now, child: ChildId, pid: u32) {
        let policy = self.policy.clone();
        let news = self
            .known(child)
            .is_some_and(|k| k.is_spawned(now, pid, &policy));
        if news {
            let event = match child.seat {
                Seat::Agent => EventName::AgentSpawned,
                Seat::Worker(_) => EventName::WorkerSpawned,
            };
            self.steps.push((event, Some(child.seat), Some(pid)));
            self.condemn_failed();
        }
    }

    fn hears_ready(&mut self, now: Now, child: ChildId) {
        if self.known(child).is_some_and(|known| known.is_ready()) {
            self.is_disturbed(child);
        }
        let Some(known) = self.known(child) else {
            return;
        };
        if !known.says_ready(now) {
            return;
        }
        let (seat, pid, generation) = (Some(child.seat), known.pid, known.generation);
        let dismissed = known.dismissed;
        if child.seat == Seat::Agent {
            self.agent_was_ready = true;
            self.steps.push((EventName::AgentReady, seat, pid));
            return;
        }
        self.steps.push((EventName::WorkerReady, seat, pid));
        if self.serves() && !dismissed {
            // Its elders have nothing to do here any more.
            let elders = self.children.values_mut();
            for elder in elders.filter(|k| k.id.seat == child.seat && k.id < child) {
                let stable = self.policy.backoff.stable;
                let was_stable = !elder.dismissed
                    && elder.ready_since.is_some_and(|since| now >= since + stable);
                if let Some(row) = self.vacant.get_mut(&child.seat).filter(|_| was_stable) {
                    row.deaths = 0;
                }
                let leaves = !elder.dismissed && elder.state != State::Killed;
                elder.recycled |= leaves && elder.generation == generation;
                elder.dismissed = true;
            }
        }
    }

    fn is_gone(&mut self, now: Now, child: ChildId) {
        self.is_disturbed(child);
        let Some(gone) = self.children.remove(&child) else {
            return;
        };
        let event = match child.seat {
            Seat::Agent => EventName::AgentExited,
            Seat::Worker(_) => EventName::WorkerExited,
        };
        self.steps.push((event, Some(child.seat), gone.pid));
        if self.era == Era::Starting {
            return self.stops(now, Exit::StartFailed, false);
        }
        if gone.dismissed {
            return;
        }
        let row = self.vacant.entry(child.seat).or_insert(Vacancy {
            since: now,
            deaths: 0,
            forgiven: false,
            looping: false,
        });
        row.since = now;
        row.forgiven = gone.in_the_way || gone.generation != self.rollout.adopted;
        if !row.forgiven {
            let stable = self.policy.backoff.stable;
            let was_stable = gone.ready_since.is_some_and(|since| now >= since + stable);
            row.deaths = if was_stable { 1 } else { row.deaths + 1 };
            let crash_loop = i32::try_from(self.policy.backoff.crash_loop);
            row.looping |= crash_loop.is_ok_and(|many| row.deaths >= many);
        }
        self.turn_back(gone.generation);
    }

    /// Something happened to a worker that the supervisor did not do.
    fn is_disturbed(&mut self, child: ChildId) {
        let concerns = self
            .known(child)
            .is_some_and(|k| k.is_worker() && !k.dismissed);
        self.undisturbed &= !concerns;
    }

    pub(super) fn stops(&mut self, now: Now, exit: Exit, at_once: bool) {
        self.closes(now, exit, at_once);
        self.steps.push((EventName::Stopping, None, None));
    }

    fn closes(&mut self, now: Now, exit: Exit, at_once: bool) {
        self.gives_up_rollouts();
        self.era = Era::Stopping(Stop {
            since: now,
            exit,
            at_once: at_once.then_some(now),
        });
    }

    pub(super) fn find_truth(&mut self) {
        let members = self.children.values().filter(|known| known.is_member());
        let workers = members.filter_map(|known| {
            Some(hatchery_protocol::message::Member {
                slot: known.id.seat.slot()?,
                pid: known.pid?,
            })
        });
        self.truth.workers.clear();
        self.truth.workers.extend(workers);
    }

    pub(super) fn seats(&self) -> impl Iterator<Item = Seat> + use<> {
        std::iter::once(Seat::Agent).chain((0..self.workers).map(Seat::Worker))
    }

    /// Those of a seat who were not sent away.
    pub(super) fn holders(&self, seat: Seat) -> impl Iterator<Item = &Known> {
        let all = self.children.values().filter(move |k| k.id.seat == seat);
        all.filter(|known| !known.dismissed)
    }

    /// Who is at work in a seat.
    pub(super) fn at_work(&self, seat: Seat) -> Option<&Known> {
        self.holders(seat).find(|known| known.is_member())
    }

    pub(super) fn all_ready(&self) -> bool {
        self.seats()
            .all(|seat| self.holders(seat).any(Known::is_ready))
    }

    /// Workers on their way to being ready.
    pub(super) fn booting(&self) -> usize {
        let workers = self.children.values().filter(|known| known.is_worker());
        workers.filter(|known| known.is_booting()).count()
    }

    /// The limit is there for clients that are served meanwhile.
    pub(super) fn may_boot(&self) -> bool {
        matches!(self.era, Era::Starting)
            || self.booting() < usize::try_from(self.policy.booting.max(1)).unwrap_or(usize::MAX)
    }

    pub(super) fn known(&mut self, child: ChildId) -> Option<&mut Known> {
        self.children.get_mut(&child)
    }
}
