//! The page of one schedule.

mod run;
mod turn;

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use hatchery_protocol::clock::millis;
use hatchery_protocol::schedule::{Cause, Command, HISTORY, Outcome, Place, Run, ScheduleStatus};
use jiff::Timestamp;

use super::Action;
use crate::schedule::plan::Plan;
use crate::schedule::spec::{Missed, Overlap, Scope};
use crate::schedule::tick::{Due, Moment, Pulse};
use run::{Active, Wish};
use turn::Side;

/// What is late by no more than this is on time: runtimes and hosts stutter.
const ON_TIME: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Entry {
    index: usize,
    plan: Arc<Plan>,
    seed: u64,
    enabled: bool,
    switched: bool,
    /// The next time. While disabled it is the one that was next then: no time before it comes again, whatever
    /// becomes of the clock.
    next: Option<Due>,
    running: Vec<Active>,
    queued: Option<Wish>,
    /// The number of the last run that has begun.
    runs: u64,
    missed: u64,
    skipped: u64,
    history: VecDeque<Run>,
    /// For a schedule of a whole fleet.
    side: Option<Side>,
}

impl Entry {
    pub(super) fn new(index: usize, plan: Plan, seed: u64) -> Self {
        Self {
            index,
            enabled: plan.enabled,
            side: (plan.scope == Scope::Fleet).then(Side::default),
            plan: Arc::new(plan),
            seed,
            switched: false,
            next: None,
            running: Vec::new(),
            queued: None,
            runs: 0,
            missed: 0,
            skipped: 0,
            history: VecDeque::new(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.plan.name
    }

    pub(super) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan)
    }

    /// The first time in the life of the cluster.
    pub(super) fn open(&mut self, now: Moment, out: &mut Vec<Action>) {
        self.start_afresh(now);
        if self.enabled && self.plan.immediate {
            self.wish(now, Wish::new(Cause::Start, now), out);
        }
    }

    /// Goes on where another agent ended.
    pub(super) fn take_over(&mut self, now: Moment, known: &ScheduleStatus, out: &mut Vec<Action>) {
        if known.switched {
            self.enabled = known.enabled;
            self.switched = true;
        }
        self.runs = known.runs;
        self.missed = known.missed;
        self.skipped = known.skipped;
        self.history = known.history.iter().take(HISTORY).cloned().collect();
        for running in &known.running {
            let run = Active::taken_over(now, running);
            if known.place == Place::Agent {
                // That agent is out of office, and nothing of the kind runs there any more.
                self.remember(run.over(now, Outcome::Unobserved));
                continue;
            }
            self.running.push(run);
            if !running.elsewhere {
                out.push(Action::Follow {
                    schedule: self.index,
                    number: running.number,
                });
            }
        }
        self.start_afresh(now);
        if self.side.is_some() {
            self.take_over_claimed(now, known.queued);
            return;
        }
        if known.when == self.plan.when()
            && let Some(ms) = known.next_ms
        {
            self.next = self.recall(now, ms);
        }
        if known.queued && self.enabled {
            self.wish(now, Wish::new(Cause::Missed, now), out);
        }
    }

    /// The time that the agent before had in mind.
    fn recall(&self, now: Moment, ms: u64) -> Option<Due> {
        let then = i64::try_from(ms)
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())?;
        match self.plan.pulse {
            Pulse::Cron { .. } => Some(Due::Wall(then)),
            Pulse::Every(period) => {
                let left = Due::Wall(then).left(now);
                let late = Due::Wall(then).late(now);
                // Were the clock set in between, the time could be in any distance.
                Some(Due::Boot(
                    (now.boot + left.min(period)).saturating_sub(late),
                ))
            }
            Pulse::Once => None,
        }
    }

    /// Forgets what was to come.
    pub(super) fn start_afresh(&mut self, now: Moment) {
        self.next = match self.plan.pulse {
            _ if self.is_elsewhere() => None,
            // Counts on a clock that nobody sets.
            Pulse::Every(_) if self.next.is_some() => self.next,
            Pulse::Every(_) | Pulse::Cron { .. } | Pulse::Once => self.plan.pulse.first(now),
        };
    }

    /// Begins what is due.
    pub(super) fn look(&mut self, now: Moment, out: &mut Vec<Action>) {
        let Some(due) = self.next.filter(|_| self.enabled && self.is_free()) else {
            return;
        };
        if !self.begins(due).left(now).is_zero() {
            return;
        }
        let passed = self.plan.pulse.passed(due, now);
        self.next = self.plan.pulse.after(passed.last);
        if self.next.is_some_and(|next| next.left(now).is_zero()) {
            // More has passed than is counted.
            self.next = self.plan.pulse.first(now);
        }
        self.missed += passed.before;
        let late = passed.last.late(now).saturating_sub(self.plan.jitter);
        let cause = if late <= ON_TIME {
            Cause::Due
        } else {
            Cause::Missed
        };
        if cause == Cause::Missed && self.plan.missed == Missed::Skip {
            self.missed += 1;
            out.push(Action::Changed(self.index));
        } else {
            let due_ms = passed.last.wall_ms(now);
            let wish = Wish {
                cause,
                due_ms,
                order: None,
                token: None,
            };
            self.come(now, passed.last, wish, out);
        }
    }

    pub(super) fn rest(&self, now: Moment) -> Option<Duration> {
        let next = self.next.filter(|_| self.enabled && self.is_free())?;
        Some(self.begins(next).left(now))
    }

    pub(super) fn asked(
        &mut self,
        now: Moment,
        command: Command,
        order: u64,
        out: &mut Vec<Action>,
    ) {
        match command {
            Command::Run if self.is_elsewhere() => out.push(Action::Answer {
                order,
                result: Err(format!(
                    "`{}` is run by another host of the fleet at the moment, or by none: ask there",
                    self.name()
                )),
            }),
            Command::Run => {
                let wish = Wish {
                    order: Some(order),
                    token: self.token(),
                    ..Wish::new(Cause::Asked, now)
                };
                self.wish(now, wish, out);
            }
            Command::Enable | Command::Disable => {
                let enabled = command == Command::Enable;
                self.switched = true;
                if enabled && !self.enabled && self.next.is_some_and(|n| n.left(now).is_zero()) {
                    self.next = self.plan.pulse.first(now);
                }
                self.enabled = enabled;
                out.push(Action::Changed(self.index));
                out.push(Action::Answer {
                    order,
                    result: Ok(()),
                });
            }
        }
    }

    pub(super) fn ended(
        &mut self,
        now: Moment,
        number: u64,
        outcome: Outcome,
        closed: bool,
        out: &mut Vec<Action>,
    ) {
        // Each ends once; whatever else is told finds nothing.
        let Some(at) = self.running.iter().position(|run| run.number == number) else {
            return;
        };
        // For a fleet nothing begins without its token.
        let (shared, held) = (self.side.is_some(), self.token());
        let lost = matches!(outcome, Outcome::Lost { .. });
        let again = self.plan.retry_lost && !closed && lost;
        if let Some(run) = self
            .running
            .get_mut(at)
            .filter(|run| again && run.attempt == 1 && (!shared || run.token.or(held).is_some()))
        {
            run.attempt += 1;
            run.token = run.token.or(held);
            let begin = run.begin(self.index);
            out.push(Action::Changed(self.index));
            out.push(Action::Begin(begin));
            return;
        }
        let run = self.running.swap_remove(at);
        if let Some(order) = run.order {
            let word = outcome.as_str();
            let result = match (&outcome, outcome.reason()) {
                (Outcome::Succeeded, _) => Ok(()),
                (_, Some(reason)) => Err(format!(
                    "run {number} of `{}` {word}: {reason}",
                    self.name()
                )),
                (_, None) => Err(format!("run {number} of `{}` {word}", self.name())),
            };
            out.push(Action::Answer { order, result });
        }
        self.remember(run.over(now, outcome));
        let next = self.queued.take_if(|wish| {
            wish.token = wish.token.or(held);
            !closed && (!shared || wish.token.is_some())
        });
        match next {
            Some(wish) => self.begin(now, wish, out),
            None => out.push(Action::Changed(self.index)),
        }
    }

    /// What still runs goes on. What waits is left to the next agent.
    pub(super) fn close(&mut self, out: &mut Vec<Action>) {
        let queued = self.queued.as_mut().and_then(|wish| wish.order.take());
        let running = self.running.iter_mut().filter_map(|run| run.order.take());
        for order in running {
            out.push(Action::Answer {
                order,
                result: Err("the agent is about to be replaced; the run goes on".to_owned()),
            });
        }
        if let Some(order) = queued {
            self.queued = None;
            out.push(Action::Answer {
                order,
                result: Err("the agent is about to be replaced: try again".to_owned()),
            });
        }
        out.push(Action::Changed(self.index));
    }

    pub(super) fn status(&self, now: Moment) -> ScheduleStatus {
        ScheduleStatus {
            name: self.plan.name.to_string(),
            when: self.plan.when(),
            place: self.plan.place(),
            enabled: self.enabled,
            switched: self.switched,
            next_ms: self.next.map(|due| due.wall_ms(now)),
            queued: self.queued.is_some(),
            runs: self.runs,
            missed: self.missed,
            skipped: self.skipped,
            running: self.running.iter().map(Active::status).collect(),
            history: self.history.iter().cloned().collect(),
            turn: self.turn(),
        }
    }

    /// Begins a run, or does with it what the author wants when another one goes on.
    fn wish(&mut self, now: Moment, wish: Wish, out: &mut Vec<Action>) {
        if self.running.is_empty() || self.plan.overlap == Overlap::Allow {
            self.begin(now, wish, out);
            return;
        }
        if self.plan.overlap == Overlap::Queue && self.queued.is_none() {
            self.queued = Some(wish);
        } else if let Some(order) = wish.order {
            out.push(Action::Answer {
                order,
                result: Err(format!("a run of `{}` goes on already", self.name())),
            });
        } else {
            self.skipped += 1;
        }
        out.push(Action::Changed(self.index));
    }

    fn begin(&mut self, now: Moment, wish: Wish, out: &mut Vec<Action>) {
        self.runs += 1;
        let run = Active {
            number: self.runs,
            attempt: 1,
            cause: wish.cause,
            due_ms: wish.due_ms,
            token: wish.token,
            since: now,
            order: wish.order,
            elsewhere: false,
        };
        self.running.push(run);
        out.push(Action::Changed(self.index));
        out.push(Action::Begin(run.begin(self.index)));
    }

    fn remember(&mut self, run: Run) {
        self.history.push_front(run);
        self.history.truncate(HISTORY);
    }

    /// When the run of a time begins.
    fn begins(&self, due: Due) -> Due {
        let jitter = millis(self.plan.jitter);
        if jitter == 0 {
            return due;
        }
        let mut hasher = DefaultHasher::new();
        (self.seed, &self.plan.name, due).hash(&mut hasher);
        due.delayed(Duration::from_millis(hasher.finish() % (jitter + 1)))
    }
}
