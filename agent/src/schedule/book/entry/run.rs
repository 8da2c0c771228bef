//! A run of a schedule, before it begins and while it goes on.

use hatchery_protocol::clock::millis;
use hatchery_protocol::schedule::{Cause, Outcome, Run, Running};
use jiff::Timestamp;

use crate::schedule::book::Begin;
use crate::schedule::tick::{Due, Moment, wall_ms};

/// A run that goes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Active {
    pub(super) number: u64,
    pub(super) attempt: u32,
    pub(super) cause: Cause,
    pub(super) due_ms: u64,
    /// What this host has it from, if it runs it for a fleet.
    pub(super) token: Option<u64>,
    pub(super) since: Moment,
    /// The operator who waits for it.
    pub(super) order: Option<u64>,
    /// Whether it goes on in a worker of the master before.
    pub(super) elsewhere: bool,
}

/// A run that should begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) cause: Cause,
    pub(super) due_ms: u64,
    pub(super) order: Option<u64>,
    /// What this host has it from, if it runs it for a fleet.
    pub(super) token: Option<u64>,
}

impl Active {
    /// One that an agent before has begun.
    pub(super) fn taken_over(now: Moment, running: &Running) -> Self {
        let began = i64::try_from(running.started_ms)
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .unwrap_or(now.wall);
        Self {
            number: running.number,
            attempt: running.attempt,
            cause: running.cause,
            due_ms: running.started_ms,
            token: None,
            since: Moment {
                wall: began,
                boot: now.boot.saturating_sub(Due::Wall(began).late(now)),
            },
            order: None,
            elsewhere: running.elsewhere,
        }
    }

    pub(super) const fn begin(&self, schedule: usize) -> Begin {
        Begin {
            schedule,
            number: self.number,
            attempt: self.attempt,
            cause: self.cause,
            due_ms: self.due_ms,
            token: self.token,
        }
    }

    pub(super) fn over(&self, now: Moment, outcome: Outcome) -> Run {
        Run {
            number: self.number,
            cause: self.cause,
            started_ms: wall_ms(self.since.wall),
            duration_ms: millis(now.boot.saturating_sub(self.since.boot)),
            outcome,
        }
    }

    pub(super) fn status(&self) -> Running {
        Running {
            number: self.number,
            cause: self.cause,
            started_ms: wall_ms(self.since.wall),
            attempt: self.attempt,
            elsewhere: self.elsewhere,
        }
    }
}

impl Wish {
    pub(super) fn new(cause: Cause, now: Moment) -> Self {
        Self {
            cause,
            due_ms: wall_ms(now.wall),
            order: None,
            token: None,
        }
    }
}
