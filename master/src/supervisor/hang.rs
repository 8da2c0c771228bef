//! Processes that do not answer: diagnosed, killed, replaced.
//!
//! Each answer to the master's beat proves that the process lives, and says when its runtime last did
//! something. Silence of either for longer than the timeout is a hang; a request that takes long is not.
//! Nobody is judged by a silence that has another reason: a debugger, or a master that slept itself.

use std::time::Duration;

use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::ExitKind;
use hatchery_protocol::id::{ChildId, Seat};

use super::action::Action;
use super::cluster::{Supervisor, note};
use super::event::Now;
use super::seat::{Occupant, Phase};

/// How long a hung process has to tell what it is doing before it is killed.
const DIAGNOSIS: Duration = Duration::from_secs(2);

impl Supervisor {
    pub(super) fn on_beat(
        &mut self,
        now: Now,
        child: ChildId,
        runtime_age: Duration,
        requests: u64,
    ) {
        let timeout = self.policy.worker_timeout;
        let Some(process) = self.process(child).filter(|process| process.is_ready()) else {
            return;
        };
        process.heard = now;
        process.alive = process.alive.max(now.saturating_sub(runtime_age));
        if process.alive + timeout > now {
            process.acquit();
        }
        self.count_requests(child, requests);
    }

    /// What it is doing is told with its end.
    pub(super) fn on_diagnosed(&mut self, child: ChildId, summary: String) {
        if let Some(process) = self.process(child).filter(|p| p.doomed.is_some()) {
            process.diagnosis = Some(summary);
        }
    }

    /// Whatever a process was silent for, it was not its own fault.
    pub(super) fn give_time(&mut self, now: Now, child: ChildId) {
        let patience = self.policy.kill_after;
        if let Some(process) = self.process(child) {
            forgive(process, now);
            if let Phase::Booting { deadline } = &mut process.phase {
                *deadline = (*deadline).max(now + patience);
            }
        }
    }

    /// Answers may wait for this master while it did not run; there is time to read them.
    pub(super) fn give_everybody_time(&mut self, now: Now) {
        let patience = self.policy.kill_after;
        let seats: Vec<Seat> = self.places.iter().map(|place| place.seat).collect();
        for seat in seats {
            let Some(place) = self.places.edit(seat) else {
                continue;
            };
            for process in place.processes_mut() {
                forgive(process, now);
                if let Phase::Booting { deadline } | Phase::Draining { deadline } =
                    &mut process.phase
                {
                    *deadline = (*deadline).max(now + patience);
                }
            }
        }
    }

    /// Looks for hung processes in one seat. Who is told to leave is judged by the time it has for that.
    pub(super) fn watch(&mut self, now: Now, seat: Seat, out: &mut Vec<Action>) {
        let timeout = self.policy.worker_timeout;
        let Some(place) = self.places.get(seat) else {
            return;
        };
        let current = place.occupant.iter().chain(&place.successor);
        let silent: Vec<ChildId> = current
            .filter(|process| process.hangs_at(timeout).is_some_and(|at| at <= now))
            .map(|process| process.id)
            .collect();
        for child in silent {
            let Some(process) = self.process(child) else {
                continue;
            };
            let who = if process.heard + timeout <= now {
                "it did not answer"
            } else {
                "its runtime did nothing"
            };
            let reason = format!("{who} for {timeout:?}");
            if process.doomed.is_some() {
                let found = process.diagnosis.take();
                let found = found.map(|found| format!("; {found}")).unwrap_or_default();
                let cause = format!("{reason} and was killed{found}");
                self.kill(child, Some(ExitKind::Hung), cause, out);
            } else {
                process.doomed = Some(now + DIAGNOSIS);
                out.push(note(process, EventName::Hung, Some(reason)));
                out.push(Action::Diagnose { child });
            }
        }
    }
}

fn forgive(process: &mut Occupant, now: Now) {
    (process.heard, process.alive) = (now, now);
    process.acquit();
}
