//! Knows the rules, not the code: a second, slower opinion on what is going on.
//!
//! The judge hears each event before the supervisor does and works out what it means by the book
//! (here); then it looks at what the supervisor did about it (`verdict`).

use std::collections::BTreeMap;

use hatchery_master::supervisor::{Event, Now, Policy};
use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::Exit;
use hatchery_protocol::id::{ChildId, Seat};

use crate::known::{self, Known, Membership};
use crate::scenario::{Pace, Scenario};
use crate::tally::Tally;

pub(crate) struct Judge {
    pub(super) policy: Policy,
    pub(super) pace: Pace,
    pub(super) era: Era,
    pub(super) children: BTreeMap<Seat, Known>,
    pub(super) vacant: BTreeMap<Seat, Vacancy>,
    /// Who is ready, as of the last event.
    pub(super) truth: Membership,
    /// The steps of the lifecycle that the last event has to be made known as.
    pub(super) steps: Vec<Step>,
    pub(super) newest: u64,
    pub(super) agent_was_ready: bool,
    pub(super) asked_to_listen: bool,
    pub(super) closed: bool,
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

/// An empty seat.
pub(crate) struct Vacancy {
    pub(super) since: Now,
    /// Deaths in a row, including the one that emptied it.
    pub(super) deaths: i32,
}

impl Judge {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            policy: scenario.policy.clone(),
            pace: scenario.pace,
            era: Era::Idle,
            children: BTreeMap::new(),
            vacant: BTreeMap::new(),
            truth: Membership::default(),
            steps: Vec::new(),
            newest: 0,
            agent_was_ready: false,
            asked_to_listen: false,
            closed: false,
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

    pub(crate) fn longest_recovery(&self) -> Now {
        known::longest_recovery(&self.policy, &self.pace)
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
                if let Some(known) = self.known(*child) {
                    known.says_failed(now, &policy);
                }
            }
            Event::LinkBroken { child, .. } => {
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
            Event::StopRequested { at_once, .. } => match &mut self.era {
                Era::Stopping(stop) if *at_once => {
                    stop.at_once.get_or_insert(now);
                }
                Era::Stopping(_) | Era::Over => {}
                Era::Serving if self.announced.is_some() => {
                    self.closes(now, Exit::Orderly, *at_once);
                }
                Era::Serving if !at_once && !self.policy.pre_stop_delay.is_zero() => {
                    self.announced = Some(now + self.policy.pre_stop_delay);
                    self.steps.push((EventName::Stopping, None, None));
                    self.tally.announced = 1;
                }
                Era::Idle | Era::Starting | Era::Serving => {
                    self.stops(now, Exit::Orderly, *at_once);
                }
            },
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
        self.find_truth();
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
        }
    }

    fn hears_ready(&mut self, now: Now, child: ChildId) {
        let Some(known) = self.known(child) else {
            return;
        };
        if !known.says_ready(now) {
            return;
        }
        let (seat, pid) = (Some(child.seat), known.pid);
        if child.seat == Seat::Agent {
            self.agent_was_ready = true;
            self.steps.push((EventName::AgentReady, seat, pid));
        } else {
            self.steps.push((EventName::WorkerReady, seat, pid));
            if self.serves() {
                self.steps.push((EventName::WorkerReplaced, seat, pid));
            }
        }
    }

    fn is_gone(&mut self, now: Now, child: ChildId) {
        let Some(gone) = self.children.remove(&child.seat) else {
            return;
        };
        let row = self.vacant.entry(child.seat).or_insert(Vacancy {
            since: now,
            deaths: 0,
        });
        let stable = self.policy.backoff.stable;
        let was_stable = gone.ready_since.is_some_and(|since| now >= since + stable);
        row.deaths = if was_stable { 1 } else { row.deaths + 1 };
        row.since = now;
        let event = match child.seat {
            Seat::Agent => EventName::AgentExited,
            Seat::Worker(_) => EventName::WorkerExited,
        };
        self.steps.push((event, Some(child.seat), gone.pid));
        if self.era == Era::Starting {
            self.stops(now, Exit::StartFailed, false);
        }
    }

    fn stops(&mut self, now: Now, exit: Exit, at_once: bool) {
        self.closes(now, exit, at_once);
        self.steps.push((EventName::Stopping, None, None));
    }

    fn closes(&mut self, now: Now, exit: Exit, at_once: bool) {
        self.era = Era::Stopping(Stop {
            since: now,
            exit,
            at_once: at_once.then_some(now),
        });
    }

    pub(super) fn find_truth(&mut self) {
        let ready = |known: &&Known| known.is_ready() && !known.condemned;
        let agent = self.children.get(&Seat::Agent).filter(ready);
        self.truth.agent = agent.and_then(|known| known.pid);
        let workers = self.children.values().filter(ready).filter_map(|known| {
            Some(hatchery_protocol::message::Member {
                slot: known.id.seat.slot()?,
                pid: known.pid?,
            })
        });
        self.truth.workers.clear();
        self.truth.workers.extend(workers);
    }

    pub(super) fn seats(&self) -> impl Iterator<Item = Seat> + use<> {
        std::iter::once(Seat::Agent).chain((0..self.policy.workers).map(Seat::Worker))
    }

    pub(super) fn all_ready(&self) -> bool {
        self.seats()
            .all(|seat| self.children.get(&seat).is_some_and(Known::is_ready))
    }

    pub(super) fn known(&mut self, child: ChildId) -> Option<&mut Known> {
        self.children
            .get_mut(&child.seat)
            .filter(|known| known.id == child)
    }
}
