//! A book, what happens to it, and what it does: for tests.

use std::time::Duration;

use hatchery_protocol::schedule::{Cause, Command, Outcome, ScheduleStatus};
use jiff::{SignedDuration, Timestamp};

use super::{Action, Book, Event};
use crate::schedule::Schedule;
use crate::schedule::plan::check;
use crate::schedule::tick::Moment;

pub(super) const S: Duration = Duration::from_secs(1);

/// A book with clocks that the test moves.
pub(super) struct Desk {
    pub(super) book: Book,
    pub(super) now: Moment,
    pub(super) done: Vec<Action>,
}

pub(super) fn noon() -> Moment {
    Moment {
        wall: "2026-11-21T12:00:00Z".parse().unwrap(),
        boot: 1000 * S,
    }
}

impl Desk {
    pub(super) fn open(schedules: Vec<Schedule>) -> Self {
        Self::open_at(noon(), schedules, &[])
    }

    pub(super) fn open_at(now: Moment, schedules: Vec<Schedule>, known: &[ScheduleStatus]) -> Self {
        let plans = check(schedules, now.wall).unwrap();
        let mut done = Vec::new();
        let book = Book::open(now, plans, known, 7, &mut done);
        Self { book, now, done }
    }

    /// Time passes, and every moment at which something is due is looked at.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.boot + time;
        while let Some(rest) = self.book.rest(self.now)
            && self.now.boot + rest <= end
        {
            self.sleep(rest);
        }
        self.sleep(end.saturating_sub(self.now.boot));
    }

    /// Time passes, and nobody looks before its end.
    pub(super) fn sleep(&mut self, time: Duration) {
        self.now.boot += time;
        self.step(i64::try_from(time.as_millis()).unwrap());
    }

    /// The wall clock is set.
    pub(super) fn step(&mut self, ms: i64) {
        self.now.wall += SignedDuration::from_millis(ms);
        self.book.handle(self.now, Event::Time, &mut self.done);
    }

    pub(super) fn end(&mut self, number: u64, outcome: Outcome) {
        let ended = Event::Ended {
            schedule: 0,
            number,
            outcome,
        };
        self.book.handle(self.now, ended, &mut self.done);
    }

    /// Somebody tells of a run that an agent before has begun.
    pub(super) fn told(&mut self, number: u64, outcome: Outcome) {
        let name = "a".to_owned();
        let followed = Event::Followed {
            name,
            number,
            outcome,
        };
        self.book.handle(self.now, followed, &mut self.done);
    }

    pub(super) fn ask(&mut self, command: Command, order: u64) {
        let name = "a".to_owned();
        let asked = Event::Asked {
            name,
            command,
            order,
        };
        self.book.handle(self.now, asked, &mut self.done);
    }

    pub(super) fn close(&mut self) {
        self.book.handle(self.now, Event::Close, &mut self.done);
    }

    /// The runs begun since the last call.
    pub(super) fn begun(&mut self) -> Vec<(u64, Cause)> {
        let done = std::mem::take(&mut self.done);
        let begun = done.iter().enumerate().filter_map(|(at, action)| {
            let Action::Begin(begin) = action else {
                return None;
            };
            let told = at.checked_sub(1).and_then(|at| done.get(at));
            assert_eq!(told, Some(&Action::Changed(begin.schedule)), "told first");
            Some((begin.number, begin.cause))
        });
        begun.collect()
    }

    /// The runs that workers are asked for.
    pub(super) fn followed(&self) -> Vec<u64> {
        let followed = self.done.iter().filter_map(|action| match action {
            Action::Follow { number, .. } => Some(*number),
            Action::Changed(_) | Action::Begin(_) | Action::Claim(_) | Action::Answer { .. } => {
                None
            }
        });
        followed.collect()
    }

    pub(super) fn answers(&mut self) -> Vec<(u64, Result<(), String>)> {
        let answers = self.done.iter().filter_map(|action| match action {
            Action::Answer { order, result } => Some((*order, result.clone())),
            Action::Changed(_) | Action::Begin(_) | Action::Claim(_) | Action::Follow { .. } => {
                None
            }
        });
        answers.collect()
    }

    pub(super) fn status(&self) -> ScheduleStatus {
        self.book.status(0).unwrap()
    }

    /// The book of the next agent, after some time.
    pub(super) fn next_agent(&self, after: Duration, schedule: Schedule) -> Self {
        let now = Moment {
            wall: self.now.wall + after,
            boot: self.now.boot + after,
        };
        Self::open_at(now, vec![schedule], &[self.status()])
    }
}

pub(super) fn wall(time: &str) -> Moment {
    let wall: Timestamp = time.parse().unwrap();
    Moment { wall, ..noon() }
}
