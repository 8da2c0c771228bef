//! Knows the rules, not the code: a second, slower opinion on what is going on.
//!
//! The judge hears each event before the supervisor does and works out what it means by the book
//! (`hearing`); then it looks at what the supervisor did about it (`verdict`).

use std::collections::{BTreeMap, BTreeSet};

use hatchery_master::supervisor::Policy;
use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::Exit;
use hatchery_protocol::id::{ChildId, Generation, Seat};

use crate::known::{self, Known, Membership};
use crate::rollout::Rollout;
use crate::scenario::{Pace, Scenario};
use crate::tally::Tally;

pub(crate) use hatchery_master::supervisor::Now;

pub(crate) struct Judge {
    pub(super) policy: Policy,
    /// What a reload may bring.
    pub(super) other: Policy,
    pub(super) pace: Pace,
    pub(super) era: Era,
    pub(super) children: BTreeMap<ChildId, Known>,
    pub(super) vacant: BTreeMap<Seat, Vacancy>,
    /// How many workers there are to be.
    pub(super) workers: u32,
    pub(super) rollout: Rollout,
    /// Generations that were tried and left undecided by a stop.
    pub(super) abandoned: Vec<Generation>,
    /// Slots of which nobody can expect that somebody is at work: they are new, or something happened there
    /// that the supervisor did not do, and since then nobody was at work.
    pub(super) excused: BTreeSet<Seat>,
    /// Who is ready, as of the last event.
    pub(super) truth: Membership,
    /// The steps of the lifecycle that the last event has to be made known as.
    pub(super) steps: Vec<Step>,
    pub(super) newest: u64,
    pub(super) agent_was_ready: bool,
    pub(super) asked_to_listen: bool,
    pub(super) addresses: Addresses,
    /// How often everybody was given time anew.
    pub(super) suspensions: u32,
    /// Until when everything goes on although a stop was announced.
    pub(super) announced: Option<Now>,
    pub(super) tally: Tally,
}

/// Whether clients can come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Addresses {
    Held,
    GivenUp,
    /// Who had connected by then is with a worker.
    Empty,
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
            other: scenario.other.clone(),
            pace: scenario.pace,
            era: Era::Idle,
            children: BTreeMap::new(),
            vacant: BTreeMap::new(),
            workers: scenario.policy.workers,
            rollout: Rollout::new(scenario.policy.workers),
            abandoned: Vec::new(),
            excused: (0..scenario.policy.workers).map(Seat::Worker).collect(),
            truth: Membership::default(),
            steps: Vec::new(),
            newest: 0,
            agent_was_ready: false,
            asked_to_listen: false,
            addresses: Addresses::Held,
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

    pub(crate) const fn stops_for_a_crash_loop(&self) -> bool {
        self.tally.gave_up > 0
    }

    pub(crate) fn longest_recovery(&self) -> Now {
        let slots = self.workers.max(self.rollout.granted);
        // Whatever is tried may be adopted meanwhile.
        let slots = slots.max(self.other.workers);
        let [now, then] = [&self.policy, &self.other]
            .map(|policy| known::longest_recovery(policy, &self.pace, slots));
        now.max(then)
    }

    pub(crate) fn sum_up(self, tally: &mut Tally) {
        *tally += self.tally;
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

    /// Whether those who had connected when a stop began may still be on their way to workers.
    pub(super) fn are_passed_on(&self, now: Now, stop: Stop) -> bool {
        self.addresses != Addresses::Empty && now < stop.since + known::LAST_CALL
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
