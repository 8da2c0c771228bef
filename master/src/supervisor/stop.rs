//! The way out: addresses, workers in parallel, the agent, the master.
//!
//! Nobody is told to leave before the addresses are given up and whoever had connected is with a worker: one
//! that leaves takes no more clients. That has a time of its own, which counts as part of the stop's.

use std::time::Duration;

use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::Exit;
use hatchery_protocol::id::{ChildId, Seat};

use super::action::Action;
use super::cluster::{Course, Supervisor, note};
use super::event::Now;
use super::seat::Phase;

/// How long a stop waits for those who have connected to be passed on. It takes a moment, but on a busy
/// machine whoever does it may have to wait for its turn.
const LAST_CALL: Duration = Duration::from_secs(1);

/// What an order is answered with when the cluster leaves.
pub(super) const TOO_LATE: &str = "the application is stopping";

impl Supervisor {
    pub(super) fn on_stop(
        &mut self,
        now: Now,
        origin: String,
        at_once: bool,
        out: &mut Vec<Action>,
    ) {
        match &mut self.course {
            Course::Stopping {
                at_once: known,
                closing,
                ..
            } => {
                *known |= at_once;
                *closing = closing.filter(|_| !*known);
            }
            // Whoever asks again does not want to wait.
            Course::Announced { .. } => self.give_up_addresses(now, Exit::Orderly, at_once, out),
            Course::Serving if !at_once && !self.policy.pre_stop_delay.is_zero() => {
                let until = now + self.policy.pre_stop_delay;
                self.course = Course::Announced { until };
                self.record(out, EventName::Stopping, Some(origin));
                self.give_up_orders(now, false, out);
            }
            Course::Idle | Course::Starting { .. } | Course::Serving => {
                self.begin_stop(now, Exit::Orderly, origin, at_once, out);
            }
            Course::Finished => {}
        }
    }

    pub(super) fn begin_stop(
        &mut self,
        now: Now,
        exit: Exit,
        reason: String,
        at_once: bool,
        out: &mut Vec<Action>,
    ) {
        self.record(out, EventName::Stopping, Some(reason));
        self.give_up_addresses(now, exit, at_once, out);
    }

    /// From here on there is no way back to serving.
    pub(super) fn give_up_addresses(
        &mut self,
        now: Now,
        exit: Exit,
        at_once: bool,
        out: &mut Vec<Action>,
    ) {
        self.leave(now, exit, at_once);
        out.push(Action::CloseListeners);
        self.give_up_orders(now, at_once, out);
    }

    pub(super) fn leave(&mut self, now: Now, exit: Exit, at_once: bool) {
        self.course = Course::Stopping {
            exit,
            deadline: now + self.policy.drain_timeout,
            at_once,
            closing: (!at_once).then_some(now + LAST_CALL),
        };
    }

    /// Nobody is on the way to a worker any more.
    pub(super) const fn on_listeners_closed(&mut self) {
        if let Course::Stopping { closing, .. } = &mut self.course {
            *closing = None;
        }
    }

    /// A stop wins against everything that somebody else wanted.
    fn give_up_orders(&mut self, now: Now, at_once: bool, out: &mut Vec<Action>) {
        self.give_up_reload(out);
        self.scaling.give_up(TOO_LATE, out);
        self.give_up_upgrade(now, at_once, out);
    }

    pub(super) fn kill_everybody(&mut self, out: &mut Vec<Action>) {
        for seat in self.seats_to_stop() {
            let place = self.places.get(seat);
            let all: Vec<ChildId> = place
                .iter()
                .flat_map(|p| p.processes())
                .map(|p| p.id)
                .collect();
            for child in all {
                self.kill(child, None, "the stop was to be at once".to_owned(), out);
            }
        }
    }

    /// Workers in parallel, then the agent. The one deadline is for all of them; only the agent is promised a
    /// minimum, however long the workers took. `closing`: not yet, but who leaves already has no more time.
    pub(super) fn drain_all(
        &mut self,
        now: Now,
        deadline: Now,
        closing: bool,
        out: &mut Vec<Action>,
    ) {
        let workers_left = self.places.tally.workers > 0;
        let mut budget = deadline.saturating_sub(now);
        if !workers_left {
            budget = budget.max(self.policy.kill_after);
        }
        let kill_at = now + budget + self.policy.kill_after;
        for seat in self.seats_to_stop() {
            if workers_left && seat == Seat::Agent {
                continue;
            }
            let Some(place) = self.places.edit(seat) else {
                continue;
            };
            for process in place.processes_mut() {
                match &mut process.phase {
                    Phase::Booting { .. } | Phase::Ready { .. } if !closing => {
                        process.phase = Phase::Draining { deadline: kill_at };
                        out.push(note(process, EventName::Draining, None));
                        let child = process.id;
                        out.push(Action::Drain { child, budget });
                    }
                    // On its way already, for a reason of its own; the stop's deadline holds for it, too.
                    Phase::Draining { deadline } => *deadline = (*deadline).min(kill_at),
                    Phase::Booting { .. }
                    | Phase::Ready { .. }
                    | Phase::Spawning
                    | Phase::Killed => {}
                }
            }
        }
    }

    /// Those that something happened to, and the agent: it may be its turn, and nothing happened to it.
    fn seats_to_stop(&self) -> Vec<Seat> {
        let mut seats = self.places.fresh();
        if seats.first() != Some(&Seat::Agent) {
            seats.insert(0, Seat::Agent);
        }
        seats
    }

    /// Then the master itself.
    pub(super) fn leave_when_alone(&mut self, exit: Exit, out: &mut Vec<Action>) {
        self.settle();
        let agent_left = self.places.get(Seat::Agent).is_some_and(|p| !p.is_empty());
        if self.places.tally.workers == 0 && !agent_left && self.upgrade.is_none() {
            self.course = Course::Finished;
            self.record(out, EventName::Stopped, None);
            out.push(Action::Exit { exit });
        }
    }
}
