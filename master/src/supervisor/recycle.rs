//! Workers that have served, lived or grown enough: replaced by fresh ones, one at a time.
//!
//! The fresh one is ready before the worn one is told to leave, and the next is not begun before the worn
//! one is gone: a cluster whose workers all leak together is renewed in turns.

use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::ExitKind;
use hatchery_protocol::id::ChildId;

use super::action::Action;
use super::cluster::{Supervisor, note};
use super::event::Now;
use super::seat::{Occupant, Phase, Place};

impl Supervisor {
    pub(super) fn count_requests(&mut self, child: ChildId, requests: u64) {
        let seed = self.policy.backoff.jitter_seed;
        let quota = self.policy.recycle.quota(child.incarnation, seed);
        if quota.is_some_and(|quota| requests >= quota) {
            self.wear_out(child, || format!("it has served {requests} requests"));
        }
    }

    pub(super) fn on_memory(&mut self, child: ChildId, bytes: u64, out: &mut Vec<Action>) {
        if child.seat.slot().is_none() {
            return;
        }
        let (soft, hard) = (
            self.policy.recycle.max_memory,
            self.policy.recycle.kill_memory,
        );
        if hard > 0 && bytes >= hard {
            let cause = format!("it had {bytes} bytes of memory, more than it may, and was killed");
            self.kill(child, Some(ExitKind::Recycled), cause, out);
        } else if soft > 0 && bytes >= soft {
            self.wear_out(child, || format!("it has {bytes} bytes of memory"));
        }
    }

    fn wear_out(&mut self, child: ChildId, why: impl FnOnce() -> String) {
        if child.seat.slot().is_none() {
            return;
        }
        let is_it = |o: &&mut Occupant| o.id == child && o.is_ready() && o.worn.is_none();
        let place = self.places.edit(child.seat);
        if let Some(worker) = place.and_then(|p| p.occupant.as_mut()).filter(is_it) {
            worker.worn = Some(why());
        }
    }

    /// Whether the worker here has been ready for long enough.
    pub(super) fn has_expired(&self, now: Now, place: &Place) -> bool {
        let Some(worker) = place.occupant.as_ref().filter(|o| o.worn.is_none()) else {
            return false;
        };
        let (Phase::Ready { since }, Some(_)) = (worker.phase, place.seat.slot()) else {
            return false;
        };
        let seed = self.policy.backoff.jitter_seed;
        let lifetime = self.policy.recycle.lifetime(worker.id.incarnation, seed);
        self.is_serving() && lifetime.is_some_and(|lifetime| since + lifetime <= now)
    }

    /// Replaces the next one, when it is somebody's turn.
    pub(super) fn recycle(&mut self, now: Now, out: &mut Vec<Action>) {
        if !self.may_recycle() {
            return;
        }
        let first = self.places.worn.first().filter(|(at, _)| *at <= now);
        let Some(&(_, seat)) = first else {
            return;
        };
        let place = self.places.get(seat);
        if let Some(worker) = place.and_then(|place| place.occupant.as_ref()) {
            out.push(note(worker, EventName::Recycling, worker.worn.clone()));
        }
        self.spawn(seat, self.adopted, out);
    }

    /// A reload or an upgrade replaces everybody anyway.
    pub(super) fn may_recycle(&self) -> bool {
        let alone = self.places.tally.successors == 0 && self.places.tally.recycled == 0;
        alone && self.reload.is_none() && self.upgrade.is_none() && self.may_boot()
    }
}
