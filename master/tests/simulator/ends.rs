//! Who may be sent away, asked to stand down or killed, and for what.

use hatchery_master::supervisor::Now;
use hatchery_protocol::id::{ChildId, Seat};

use crate::judge::{Addresses, Era, Judge};
use crate::known::{Known, Patience, State};
use crate::rollout::Successor;
use crate::verdict::{Verdict, ensure};

impl Judge {
    pub(super) fn may_drain(&mut self, now: Now, child: ChildId, budget: Now) -> Verdict {
        let expected = match self.era {
            Era::Stopping(stop) => {
                ensure(self.addresses != Addresses::Held, || {
                    format!("{child} is drained before the addresses are closed")
                })?;
                ensure(!self.are_passed_on(now, stop), || {
                    format!("{child} is drained while clients are on their way to it")
                })?;
                ensure(stop.at_once.is_none(), || {
                    format!("{child} is drained instead of killed")
                })?;
                let worker_left = self.children.values().any(Known::is_worker);
                let rest = (stop.since + self.policy.drain_timeout).saturating_sub(now);
                if child.seat == Seat::Agent {
                    ensure(!worker_left, || {
                        format!("{child} is drained before the workers are gone")
                    })?;
                    rest.max(self.policy.kill_after)
                } else {
                    rest
                }
            }
            Era::Serving => {
                self.may_dismiss(child)?;
                self.policy.drain_timeout
            }
            Era::Idle | Era::Starting | Era::Over => {
                return Err(format!("{child} is drained, but nobody wants to stop"));
            }
        };
        ensure(budget == expected, || {
            format!("{child} gets {budget:?} of {expected:?}")
        })?;
        let end = now + budget + self.policy.kill_after;
        let Some(known) = self.known(child).filter(|known| known.stays()) else {
            return Err(format!(
                "{child} is drained, but is not there or leaves already"
            ));
        };
        known.state = State::Leaving(Patience::until(end));
        self.tally.drains += 1;
        Ok(())
    }

    /// Somebody is sent away while the cluster serves: there is somebody else, or no seat any more.
    pub(super) fn may_dismiss(&mut self, child: ChildId) -> Verdict {
        let Some(known) = self.children.get(&child) else {
            return Err(format!("{child} is drained, but is not there"));
        };
        if child.seat == Seat::Agent {
            ensure(!known.is_on_duty(), || {
                format!("{child} is drained on duty")
            })?;
            if let Some(known) = self.known(child) {
                known.dismissed = true;
            }
            return Ok(());
        }
        ensure(known.dismissed, || {
            format!("{child} is drained for nothing")
        })?;
        let retired = child.seat.slot().is_none_or(|slot| slot >= self.workers);
        let work = self.at_work(child.seat).is_some_and(|other| other.hatched);
        let refilled = self.tally.scaled > 0;
        ensure(!known.is_ready() || retired || work || refilled, || {
            format!("{child} is drained, but nobody else is at work")
        })
    }

    pub(super) fn may_diagnose(&mut self, now: Now, child: ChildId) -> Verdict {
        let timeout = self.policy.worker_timeout;
        let Some(known) = self.known(child).filter(|known| known.is_member()) else {
            return Err(format!("{child} is diagnosed, but not at work"));
        };
        let silent = !timeout.is_zero() && known.alive + timeout <= now;
        ensure(silent && known.diagnosed.is_none(), || {
            format!("{child} is diagnosed for nothing")
        })?;
        known.diagnosed = Some(now);
        Ok(())
    }

    pub(super) fn may_ask_to_stand_down(&mut self, now: Now, child: ChildId) -> Verdict {
        let heir = |k: &Known| k.is_member() && !k.hatched && k.generation == self.rollout.adopted;
        let wanted =
            self.rollout.successor == Successor::Ready || self.holders(Seat::Agent).any(heir);
        ensure(wanted, || format!("{child} stands down for nobody"))?;
        let Some(known) = self.known(child).filter(|known| known.is_on_duty()) else {
            return Err(format!("{child} stands down, but is not on duty"));
        };
        ensure(known.is_ready() && known.stands_down.is_none(), || {
            format!("{child} cannot stand down")
        })?;
        known.stands_down = Some(now);
        self.tally.stood_down += 1;
        Ok(())
    }

    pub(super) fn may_kill(&mut self, now: Now, child: ChildId) -> Verdict {
        let given_up = self.addresses != Addresses::Held;
        let at_once = matches!(self.era, Era::Stopping(stop) if stop.at_once.is_some() && given_up);
        let policy = self.policy.clone();
        let Some(known) = self.known(child).filter(|known| known.pid.is_some()) else {
            return Err(format!("{child} is killed, but there is no such process"));
        };
        ensure(known.state != State::Killed, || {
            format!("{child} is killed twice")
        })?;
        let overdue = known
            .patience()
            .is_some_and(|patience| now >= patience.earliest);
        let hung = known.is_hung(now, &policy);
        let lingers = known.lingers(now, &policy);
        ensure(
            known.condemned || overdue || at_once || hung || lingers,
            || format!("{child} is killed for nothing"),
        )?;
        known.state = State::Killed;
        known.in_the_way = lingers && !hung && !known.condemned;
        if known.is_worker() && !known.dismissed {
            self.excused.insert(child.seat);
        }
        self.tally.kills += 1;
        self.tally.hung += u64::from(hung);
        Ok(())
    }
}
