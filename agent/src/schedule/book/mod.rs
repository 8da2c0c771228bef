//! The state of every schedule: what is due, what runs, what was.
//!
//! Driven by events and times, without a clock, I/O or randomness of its own. Whoever drives it performs the actions in
//! their order: a change is made known before the run that it is about begins, so that no run is ever begun that
//! the next agent would not know of.
//!
//! What holds:
//!
//! - a time of a schedule begins one run at most, also over a change of agent and a small step of the clock;
//! - a run on workers goes on whoever the agent is: the next one awaits its end before it begins another, unless
//!   the author allows that;
//! - nothing passes silently: a time that begins no run is counted as missed or skipped;
//! - a book that is closed begins nothing;
//! - a time of a schedule that a fleet shares begins a run only if this host has claimed it.

#[cfg(test)]
mod agents;
#[cfg(test)]
mod desk;
mod entry;
#[cfg(test)]
mod lives;
#[cfg(test)]
mod rules;

use std::sync::Arc;
use std::time::Duration;

use hatchery_protocol::schedule::{Cause, Command, Outcome, ScheduleStatus};
use jiff::SignedDuration;

use super::plan::Plan;
use super::tick::Moment;
use entry::Entry;

/// A step of the wall clock beyond this is a correction: the time before it meant nothing, and neither do the times of
/// schedules in between. As in the cron of Vixie.
const CORRECTION: SignedDuration = SignedDuration::from_hours(3);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Time passed, or the clock was set.
    Time,
    /// A run is over that this agent has begun.
    Ended {
        schedule: usize,
        number: u64,
        outcome: Outcome,
    },
    /// A run is over that an agent before has begun.
    Followed {
        name: String,
        number: u64,
        outcome: Outcome,
    },
    /// An operator's command.
    Asked {
        name: String,
        command: Command,
        order: u64,
    },
    /// For a schedule of a whole fleet: the turn has come to this host, or it is over.
    Turn { schedule: usize, held: Option<Held> },
    /// The fleet's word on [`Action::Claim`].
    Claimed { schedule: usize, claimed: Claimed },
    /// Another agent is about to take over, or this is a stop.
    Close,
}

/// A turn of this host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) token: u64,
    /// The last time that any host has claimed, if that is known.
    pub(crate) last: Option<LastTime>,
}

/// A time that a host has claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastTime {
    /// Which, where times have names.
    pub(crate) due_ms: Option<u64>,
    /// How long it has been over.
    pub(crate) ago: Duration,
}

/// Whose a time is.
#[cfg_attr(
    not(any(feature = "fleet", test)),
    expect(dead_code, reason = "there is no other host")
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// This host's, and nobody else's ever.
    Ours,
    /// Certainly not this host's.
    Others,
    /// The turn was over before the fleet had answered.
    Unknown,
}

/// Whether this host should have the turn of a schedule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// It should try to have it.
    pub(crate) contend: bool,
    /// It has begun something that is not over, and should keep it.
    pub(crate) busy: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make known what [`Book::status`] says of this schedule now.
    Changed(usize),
    /// Begin a run. [`Event::Ended`] has to follow.
    Begin(Begin),
    /// Ask the fleet whether this time is this host's. [`Event::Claimed`] has to follow.
    Claim(Claim),
    /// Ask workers for the end of a run that an agent before has begun. [`Event::Followed`] has to follow.
    Follow { schedule: usize, number: u64 },
    /// Tell the operator how it went.
    Answer {
        order: u64,
        result: Result<(), String>,
    },
}

/// A run to be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Begin {
    pub(crate) schedule: usize,
    pub(crate) number: u64,
    /// 2 if the worker died that was the first to try.
    pub(crate) attempt: u32,
    pub(crate) cause: Cause,
    pub(crate) due_ms: u64,
    /// The fencing token, if it runs for a whole fleet.
    pub(crate) token: Option<u64>,
}

/// A time that has come, to be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) schedule: usize,
    pub(crate) token: u64,
    /// Which, where times have names.
    pub(crate) due_ms: Option<u64>,
    /// How long ago it came.
    pub(crate) late: Duration,
}

/// All schedules of an agent.
#[derive(Debug)]
pub(crate) struct Book {
    entries: Vec<Entry>,
    /// When it last looked.
    seen: Moment,
    closed: bool,
}

impl Book {
    /// Opens the book at egg-ready. `previous` is what the agent before left, if there was one; `seed` decides about
    /// jitter.
    pub(crate) fn open(
        now: Moment,
        plans: Vec<Plan>,
        previous: &[ScheduleStatus],
        seed: u64,
        out: &mut Vec<Action>,
    ) -> Self {
        let mut book = Self {
            entries: Vec::with_capacity(plans.len()),
            seen: now,
            closed: false,
        };
        for (index, plan) in plans.into_iter().enumerate() {
            let known = previous.iter().find(|known| *known.name == *plan.name);
            let mut entry = Entry::new(index, plan, seed);
            match known {
                Some(known) => entry.take_over(now, known, out),
                None => entry.open(now, out),
            }
            out.push(Action::Changed(index));
            book.entries.push(entry);
        }
        book.handle(now, Event::Time, out);
        book
    }

    /// Something happened.
    pub(crate) fn handle(&mut self, now: Moment, event: Event, out: &mut Vec<Action>) {
        self.mind_the_clock(now);
        match event {
            Event::Time => {}
            Event::Ended {
                schedule,
                number,
                outcome,
            } => {
                let closed = self.closed;
                if let Some(entry) = self.entries.get_mut(schedule) {
                    entry.ended(now, number, outcome, closed, out);
                }
            }
            Event::Followed {
                name,
                number,
                outcome,
            } => {
                let closed = self.closed;
                if let Some(entry) = self.entries.iter_mut().find(|e| e.name() == name) {
                    entry.ended(now, number, outcome, closed, out);
                }
            }
            Event::Asked {
                name,
                command,
                order,
            } => self.asked(now, &name, command, order, out),
            Event::Turn { schedule, held } => {
                // Who is about to leave takes nothing up any more.
                let held = held.filter(|_| !self.closed);
                if let Some(entry) = self.entries.get_mut(schedule) {
                    entry.take_turn(now, held, out);
                }
            }
            Event::Claimed { schedule, claimed } => {
                let closed = self.closed;
                if let Some(entry) = self.entries.get_mut(schedule) {
                    entry.claimed(now, claimed, closed, out);
                }
            }
            Event::Close => {
                self.closed = true;
                for entry in &mut self.entries {
                    entry.close(out);
                }
            }
        }
        if !self.closed {
            for entry in &mut self.entries {
                entry.look(now, out);
            }
        }
    }

    /// How long nothing will happen by itself, if the clock is not set.
    pub(crate) fn rest(&self, now: Moment) -> Option<Duration> {
        if self.closed {
            return None;
        }
        self.entries.iter().filter_map(|e| e.rest(now)).min()
    }

    /// What is known of one schedule.
    pub(crate) fn status(&self, schedule: usize) -> Option<ScheduleStatus> {
        Some(self.entries.get(schedule)?.status(self.seen))
    }

    /// What the author said about one schedule.
    pub(crate) fn plan(&self, schedule: usize) -> Option<Arc<Plan>> {
        self.entries.get(schedule).map(Entry::plan)
    }

    /// Whether this host should have the turn of a schedule. `None`: it is no matter of the fleet's.
    pub(crate) fn wanted(&self, schedule: usize) -> Option<Wanted> {
        let wanted = self.entries.get(schedule)?.wanted()?;
        let contend = wanted.contend && !self.closed;
        Some(Wanted { contend, ..wanted })
    }

    fn asked(
        &mut self,
        now: Moment,
        name: &str,
        command: Command,
        order: u64,
        out: &mut Vec<Action>,
    ) {
        let refused = |why: String| Action::Answer {
            order,
            result: Err(why),
        };
        if self.closed {
            out.push(refused(
                "the agent is about to be replaced: try again".to_owned(),
            ));
            return;
        }
        match self.entries.iter_mut().find(|e| e.name() == name) {
            Some(entry) => entry.asked(now, command, order, out),
            None => out.push(refused(format!(
                "there is no schedule `{name}`: see `schedule list`"
            ))),
        }
    }

    /// Notices that the wall clock was set, by comparing it to the other one.
    fn mind_the_clock(&mut self, now: Moment) {
        let passed = now.boot.saturating_sub(self.seen.boot);
        let expected = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        let step = now.wall.duration_since(self.seen.wall) - expected;
        if step.abs() > CORRECTION {
            for entry in &mut self.entries {
                entry.start_afresh(now);
            }
        }
        self.seen = now;
    }
}
