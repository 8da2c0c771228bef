//! Was anything forgotten? What has to be so after every step, whatever the step was.

use hatchery_master::supervisor::{Now, Supervisor};
use hatchery_protocol::id::Seat;

use crate::judge::{Addresses, Era, Judge, Stop};
use crate::known::{Known, State};
use crate::verdict::{Verdict, ensure};

impl Judge {
    /// What the supervisor should have done by now, whatever the event was.
    pub(super) fn nothing_is_missing(&mut self, now: Now) -> Verdict {
        self.find_truth();
        self.forget_old_deaths(now);
        self.hold_to_deadline(now);
        let late = self.pace.timer;
        for known in self.children.values() {
            let id = known.id;
            ensure(!known.condemned || known.state == State::Killed, || {
                format!("{id} should be killed")
            })?;
            let overdue = known.patience().is_some_and(|p| p.latest + late < now);
            ensure(!overdue, || format!("{id} is overdue and lives"))?;
            let before = now.saturating_sub(late + Now::from_millis(1));
            let hung = known.is_hung(before, &self.policy) && !known.dismissed;
            ensure(!hung, || format!("{id} hangs and lives"))?;
            let lingers = self.serves() && known.lingers(before, &self.policy);
            ensure(!lingers, || format!("{id} did not stand down and lives"))?;
        }
        self.has_one_on_duty_at_the_most()?;
        match self.era {
            Era::Idle | Era::Over => Ok(()),
            Era::Starting => self.starts_properly(),
            Era::Serving => self.serves_properly(now),
            Era::Stopping(stop) => self.stops_properly(now, stop),
        }
    }

    /// Also in a stop, and beside a new master.
    fn has_one_on_duty_at_the_most(&self) -> Verdict {
        let here = self.children.values().filter(|known| known.is_on_duty());
        let here = here.count();
        let elsewhere = usize::from(self.rollout.successor_is_on_duty());
        ensure(here + elsewhere <= 1, || {
            format!("{} on duty at once", here + elsewhere)
        })
    }

    /// A seat that was well for long enough begins a new row.
    fn forget_old_deaths(&mut self, now: Now) {
        let stable = self.policy.backoff.stable;
        let children = &self.children;
        let loops = self.vacant.iter_mut().filter(|(_, row)| row.looping);
        for (seat, row) in loops {
            let held = children
                .values()
                .filter(|k| k.id.seat == *seat && k.is_member() && k.hatched);
            let well = |k: &Known| k.ready_since.is_some_and(|since| since + stable <= now);
            if held.into_iter().any(well) {
                row.deaths = 0;
                row.looping = false;
            }
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
            let no_agent = self.truth.agent.is_none();
            let may_wait = seat != Seat::Agent && (no_agent || !self.may_boot());
            let filled = self.holders(seat).next().is_some();
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

    fn serves_properly(&mut self, now: Now) -> Verdict {
        for known in self.children.values() {
            let waits = known.is_member() && !known.hatched;
            ensure(!waits || self.may_stay_unhatched(known), || {
                format!("{} was not told egg-ready", known.id)
            })?;
            let unaware = self.announced.is_some() && known.stays() && !known.dismissed;
            ensure(!unaware || known.forewarned, || {
                format!("{} does not know of the stop", known.id)
            })?;
            ensure(!known.listens() || self.is_informed(known), || {
                self.misinformed(known)
            })?;
            let sent_away = known.dismissed && known.stays();
            ensure(!sent_away, || format!("{} should be drained", known.id))?;
        }
        for seat in self.seats() {
            if self.holders(seat).next().is_some() {
                continue;
            }
            let withheld = seat == Seat::Agent && self.withholds_agent();
            let full = seat != Seat::Agent && !self.may_boot();
            let wait = self.policy.backoff.cap + self.pace.timer;
            let row = self.vacant.get(&seat);
            let waits = row.is_some_and(|row| row.waits() && now <= row.since + wait);
            ensure(withheld || full || waits, || {
                format!("{seat} should be filled again")
            })?;
        }
        self.keeps_its_strength()
    }

    /// Whatever is replaced, reloaded, recycled or scaled, whatever happens in other slots: in a slot where
    /// nothing happened there is somebody at work, at every moment.
    fn keeps_its_strength(&mut self) -> Verdict {
        for seat in self.seats().skip(1) {
            if self.at_work(seat).is_some() {
                self.excused.remove(&seat);
            } else {
                ensure(self.excused.contains(&seat), || {
                    format!("nobody is at work in {seat}, and nothing happened there")
                })?;
            }
        }
        Ok(())
    }

    /// An agent that is ready may have to wait for another one to leave.
    fn may_stay_unhatched(&self, known: &Known) -> bool {
        let others = self.children.values().any(Known::is_on_duty);
        let undecided = known.generation != self.rollout.adopted;
        !known.is_worker() && (others || undecided || self.withholds_agent())
    }

    pub(super) const fn withholds_agent(&self) -> bool {
        use crate::rollout::Successor;
        self.rollout.successor_is_on_duty() || matches!(self.rollout.successor, Successor::Ready)
    }

    fn stops_properly(&self, now: Now, stop: Stop) -> Verdict {
        ensure(self.addresses != Addresses::Held, || {
            "the addresses should be closed".to_owned()
        })?;
        let alone = self.children.is_empty() && !self.awaits_successor();
        ensure(!alone, || "the master should exit".to_owned())?;
        let longest = crate::known::longest_stop(&self.policy, &self.pace)
            + self.policy.kill_after * self.suspensions;
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
            let passed_on = self.are_passed_on(now, stop);
            let may_stay = passed_on || worker_left && id.seat == Seat::Agent;
            ensure(may_stay || !known.stays(), || {
                format!("{id} should be drained")
            })?;
        }
        Ok(())
    }

    const fn awaits_successor(&self) -> bool {
        use crate::rollout::Successor;
        !matches!(self.rollout.successor, Successor::None | Successor::Serves)
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
        if stopping {
            return Ok(());
        }
        let account = heart.ready_workers();
        ensure(account == self.truth.workers, || {
            format!("{account:?}, but it is {:?}", self.truth)
        })?;
        let mut agents = self.holders(Seat::Agent).filter(|known| known.is_member());
        let named = |known: &Known| known.pid == self.truth.agent;
        let right = match self.truth.agent {
            Some(_) => agents.any(named),
            // At the most one that is not to be at work yet.
            None => agents.all(|known| !known.hatched),
        };
        ensure(right, || format!("{:?} is not an agent", self.truth.agent))
    }

    /// Every seat is taken by somebody who is ready, hatched and knows everybody.
    pub(crate) fn is_whole(&mut self, now: Now) -> Verdict {
        ensure(self.serves() && self.all_ready(), || {
            format!("not healed at {now:?}")
        })?;
        self.serves_properly(now)
    }
}
