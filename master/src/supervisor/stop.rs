//! The way out: addresses, workers in parallel, the agent, the master.

use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::Exit;
use hatchery_protocol::id::{ChildId, Seat};

use super::action::Action;
use super::cluster::{Course, Supervisor, note};
use super::event::Now;
use super::seat::Phase;

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
            Course::Stopping { at_once: known, .. } => *known |= at_once,
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
        };
    }

    /// A stop wins against everything that somebody else wanted.
    fn give_up_orders(&mut self, now: Now, at_once: bool, out: &mut Vec<Action>) {
        self.give_up_reload(out);
        self.scaling.give_up(TOO_LATE, out);
        self.give_up_upgrade(now, at_once, out);
    }

    /// Workers in parallel, then the agent, then the master itself. The one deadline is for all of them;
    /// only the agent is promised a minimum, however long the workers took.
    pub(super) fn stop(
        &mut self,
        now: Now,
        exit: Exit,
        deadline: Now,
        at_once: bool,
        out: &mut Vec<Action>,
    ) {
        let mut seats = self.places.fresh();
        if seats.first() != Some(&Seat::Agent) {
            // It may be its turn, and nothing happened to it.
            seats.insert(0, Seat::Agent);
        }
        if at_once {
            for seat in seats {
                self.kill_all(seat, out);
            }
        } else {
            self.drain_all(now, deadline, &seats, out);
        }
        self.settle();
        let agent_left = self.places.get(Seat::Agent).is_some_and(|p| !p.is_empty());
        if self.places.tally.workers == 0 && !agent_left && self.upgrade.is_none() {
            self.course = Course::Finished;
            self.record(out, EventName::Stopped, None);
            out.push(Action::Exit { exit });
        }
    }

    fn kill_all(&mut self, seat: Seat, out: &mut Vec<Action>) {
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

    fn drain_all(&mut self, now: Now, deadline: Now, seats: &[Seat], out: &mut Vec<Action>) {
        let workers_left = self.places.tally.workers > 0;
        let mut budget = deadline.saturating_sub(now);
        if !workers_left {
            budget = budget.max(self.policy.kill_after);
        }
        let kill_at = now + budget + self.policy.kill_after;
        for &seat in seats {
            if workers_left && seat == Seat::Agent {
                continue;
            }
            let Some(place) = self.places.edit(seat) else {
                continue;
            };
            for process in place.processes_mut() {
                match &mut process.phase {
                    Phase::Booting { .. } | Phase::Ready { .. } => {
                        process.phase = Phase::Draining { deadline: kill_at };
                        out.push(note(process, EventName::Draining, None));
                        let child = process.id;
                        out.push(Action::Drain { child, budget });
                    }
                    // On its way already, for a reason of its own; the stop's deadline holds for it, too.
                    Phase::Draining { deadline } => *deadline = (*deadline).min(kill_at),
                    Phase::Spawning | Phase::Killed => {}
                }
            }
        }
    }
}
