//! Who may be created, and when: never two where one is enough, never sooner than the backoff allows.

use hatchery_master::supervisor::Now;
use hatchery_protocol::id::{ChildId, Generation, Seat};

use crate::judge::{Era, Judge};
use crate::known::Known;
use crate::verdict::{Verdict, ensure};

impl Judge {
    pub(super) fn may_spawn(
        &mut self,
        now: Now,
        child: ChildId,
        generation: Generation,
    ) -> Verdict {
        let seat = child.seat;
        let time = matches!(self.era, Era::Starting | Era::Serving);
        ensure(time, || format!("{child} is spawned at the wrong time"))?;
        ensure(self.seats().any(|s| s == seat), || {
            format!("there is no seat for {child}")
        })?;
        ensure(child.incarnation > self.newest, || {
            format!("{child} was there before")
        })?;
        ensure(seat == Seat::Agent || self.agent_was_ready, || {
            format!("{child} is spawned before an agent was ready")
        })?;
        ensure(self.rollout.is_current(generation), || {
            format!("{child} is of generation {generation}")
        })?;
        ensure(seat == Seat::Agent || self.may_boot(), || {
            format!("{child} boots with {} others", self.booting())
        })?;
        let first = seat != Seat::Agent && generation != self.rollout.adopted;
        let others = self.children.values().filter(|k| k.is_worker());
        let others = others.filter(|k| k.generation == generation);
        ensure(!first || self.rollout.proven || others.count() == 0, || {
            format!("{child} comes before the first of its generation is ready")
        })?;
        match self.holders(seat).count() {
            0 => {}
            1 => self.may_succeed(child, generation)?,
            _ => return Err(format!("{child} is one too many")),
        }
        let renews = self.rollout.tried.is_some_and(|(_, failed)| !failed);
        let row = self.vacant.get(&seat).filter(|row| row.waits() && !renews);
        if let Some(row) = row {
            let backoff = &self.policy.backoff;
            let wait = backoff.first.as_secs_f64() * 1.5f64.powi(row.deaths - 2);
            let wait = wait.min(backoff.cap.as_secs_f64()) * 0.9;
            let waited = now.saturating_sub(row.since).as_secs_f64();
            ensure(waited >= wait - 1e-6, || {
                format!("{child} came after {waited} s of {wait} s")
            })?;
        }
        self.newest = child.incarnation;
        self.tally.spawns += 1;
        // Its boot message says who is ready.
        self.find_truth();
        let known = Known::asked_for(child, generation, self.truth.clone());
        self.children.insert(child, known);
        Ok(())
    }

    /// A second process for a seat needs a reason.
    pub(super) fn may_succeed(&mut self, child: ChildId, generation: Generation) -> Verdict {
        let Some(holder) = self.holders(child.seat).next() else {
            return Ok(());
        };
        if child.seat == Seat::Agent {
            let for_nothing = holder.stands_down.is_some();
            return ensure(for_nothing || generation != holder.generation, || {
                format!("{child} is a second agent for nothing")
            });
        }
        let pairs = self
            .seats()
            .skip(1)
            .filter(|seat| self.holders(*seat).count() > 1);
        let pairs = pairs.count();
        if generation != holder.generation {
            let surge = usize::try_from(self.policy.surge.max(1)).unwrap_or(1);
            return ensure(pairs < surge, || format!("{child} is more than the surge"));
        }
        let lifetime = self.policy.recycle.max_lifetime;
        let worn = holder.worn || !lifetime.is_zero();
        ensure(worn && holder.is_ready(), || {
            format!("{child} succeeds one that is not worn")
        })?;
        let alone = self.rollout.tried.is_none() && !self.rollout.is_followed();
        ensure(alone, || {
            format!("{child} is recycled, and everybody is replaced anyway")
        })?;
        let leaving = self.children.values().any(|known| known.recycled);
        self.tally.recycled += 1;
        ensure(pairs == 0 && !leaving, || {
            format!("{child} is recycled together with another one")
        })
    }
}
