//! Was anything forgotten? What has to be so after every step, whatever the step was.

use hatchery_master::supervisor::{Now, Supervisor};
use hatchery_protocol::id::Seat;

use crate::judge::{Era, Judge, Stop};
use crate::known::{Known, Membership, State};
use crate::verdict::{Verdict, ensure};

impl Judge {
    /// What the supervisor should have done by now, whatever the event was.
    pub(super) fn nothing_is_missing(&mut self, now: Now) -> Verdict {
        self.find_truth();
        self.hold_to_deadline(now);
        let late = self.pace.timer;
        for known in self.children.values() {
            let id = known.id;
            ensure(!known.condemned || known.state == State::Killed, || {
                format!("{id} should be killed")
            })?;
            let overdue = known.patience().is_some_and(|p| p.latest + late < now);
            ensure(!overdue, || format!("{id} is overdue and lives"))?;
        }
        match self.era {
            Era::Idle | Era::Over => Ok(()),
            Era::Starting => self.starts_properly(),
            Era::Serving => self.serves_properly(now),
            Era::Stopping(stop) => self.stops_properly(now, stop),
        }
    }

    /// Who was leaving before the stop is not asked again, but has no more time than those who are.
    fn hold_to_deadline(&mut self, now: Now) {
        let Era::Stopping(stop) = self.era else {
            return;
        };
        let worker_left = self.children.values().any(Known::is_worker);
        let end = stop.since + self.policy.drain_timeout;
        for known in self.children.values_mut() {
            let end = match known.id.seat {
                Seat::Agent if worker_left => continue,
                Seat::Agent => end.max(now + self.policy.kill_after),
                Seat::Worker(_) => end.max(now),
            };
            if let State::Leaving(patience) = &mut known.state {
                *patience = patience.at_most(end + self.policy.kill_after);
            }
        }
    }

    fn starts_properly(&self) -> Verdict {
        for seat in self.seats() {
            let may_wait = seat != Seat::Agent && self.truth.agent.is_none();
            let filled = self.children.contains_key(&seat);
            ensure(filled || may_wait, || format!("{seat} should be spawned"))?;
        }
        ensure(self.asked_to_listen || !self.all_ready(), || {
            "it should listen".to_owned()
        })?;
        for known in self.children.values().filter(|known| known.listens()) {
            let believed = &known.belief;
            let right = if known.is_worker() {
                believed.agent == self.truth.agent
            } else {
                believed.workers == self.truth.workers
            };
            ensure(right, || self.misinformed(known))?;
        }
        Ok(())
    }

    fn serves_properly(&self, now: Now) -> Verdict {
        for seat in self.seats() {
            if let Some(known) = self.children.get(&seat) {
                let hatched = known.hatched || !known.is_ready();
                ensure(hatched, || format!("{} was not told egg-ready", known.id))?;
                let forewarned = self.announced.is_none() || known.forewarned || !known.stays();
                ensure(forewarned, || {
                    format!("{} does not know of the stop", known.id)
                })?;
                let right = !known.listens() || self.is_informed(known);
                ensure(right, || self.misinformed(known))?;
            } else if let Some(vacancy) = self.vacant.get(&seat) {
                let wait = self.policy.backoff.cap + self.pace.timer;
                let refilled = vacancy.deaths > 1 && now <= vacancy.since + wait;
                ensure(refilled, || format!("{seat} should be filled again"))?;
            }
        }
        Ok(())
    }

    fn stops_properly(&self, now: Now, stop: Stop) -> Verdict {
        ensure(self.closed, || "the addresses should be closed".to_owned())?;
        ensure(!self.children.is_empty(), || {
            "the master should exit".to_owned()
        })?;
        let longest = crate::known::longest_stop(&self.policy, &self.pace);
        ensure(now <= stop.since + longest, || {
            format!("it takes more than {longest:?} to stop")
        })?;
        if let Some(since) = stop.at_once {
            let longest = self.pace.spawn + self.pace.kill + self.pace.delivery;
            ensure(now <= since + longest, || {
                format!("it takes more than {longest:?} at once")
            })?;
        }
        let worker_left = self.children.values().any(Known::is_worker);
        for known in self.children.values() {
            let id = known.id;
            let doomed = known.state == State::Killed || known.pid.is_none();
            ensure(stop.at_once.is_none() || doomed, || {
                format!("{id} should be killed at once")
            })?;
            let may_stay = worker_left && id.seat == Seat::Agent;
            ensure(may_stay || !known.stays(), || {
                format!("{id} should be drained")
            })?;
        }
        Ok(())
    }

    /// The supervisor's own account has to match, and its clock has to go forward.
    pub(super) fn agrees_with(&self, now: Now, heart: &Supervisor) -> Verdict {
        let deadline = heart.deadline();
        ensure(deadline.is_none_or(|deadline| deadline > now), || {
            format!("the deadline {deadline:?} has passed, a timer would spin")
        })?;
        let announced = self.announced.filter(|_| self.serves());
        let due = heart
            .deadline()
            .is_some_and(|deadline| Some(deadline) <= announced);
        ensure(announced.is_none() || due, || {
            "the announced stop would not begin".to_owned()
        })?;
        let stopping = matches!(self.era, Era::Stopping(_) | Era::Over);
        ensure(heart.is_stopping() == stopping, || {
            "is it stopping or not?".to_owned()
        })?;
        ensure(heart.is_serving() == self.serves(), || {
            "is it serving or not?".to_owned()
        })?;
        let account = Membership {
            agent: heart.ready_agent(),
            workers: heart.ready_workers(),
        };
        ensure(account == self.truth, || {
            format!("{account:?}, but it is {:?}", self.truth)
        })
    }

    /// Every seat is taken by somebody who is ready, hatched and knows everybody.
    pub(crate) fn is_whole(&self, now: Now) -> Verdict {
        ensure(self.serves() && self.all_ready(), || {
            format!("not healed at {now:?}")
        })?;
        self.serves_properly(now)
    }

    pub(super) fn is_informed(&self, known: &Known) -> bool {
        // The agent is not told about itself.
        let agent = !known.is_worker() || known.belief.agent == self.truth.agent;
        agent && known.belief.workers == self.truth.workers
    }

    pub(super) fn misinformed(&self, known: &Known) -> String {
        format!(
            "{} believes {:?}, but it is {:?}",
            known.id, known.belief, self.truth
        )
    }
}
