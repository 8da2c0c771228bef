//! More workers, or fewer.
//!
//! Slots are added and given up at the high end, so slot numbers stay as they are. Before a slot is added
//! every address is made ready for it; a slot that is given up keeps its part of the addresses until its
//! process is gone. An order for another number takes the place of the one before.

use std::collections::BTreeSet;

use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::ExitKind;
use hatchery_protocol::id::Seat;

use super::action::Action;
use super::cluster::Supervisor;
use super::event::{Order, Scale};

/// How many workers are wanted, and what is still to be done about it.
#[derive(Debug, Clone)]
pub(super) struct Scaling {
    /// How many there are to be.
    target: u32,
    /// How many slots the addresses are ready for.
    slots: u32,
    /// How many they were asked to be ready for.
    asked: Option<u32>,
    /// Who waits for the outcome.
    order: Option<Order>,
    origin: String,
    /// New slots whose first process is not ready yet.
    starting: BTreeSet<Seat>,
}

impl Scaling {
    pub(super) const fn settled(workers: u32) -> Self {
        Self {
            target: workers,
            slots: workers,
            asked: None,
            order: None,
            origin: String::new(),
            starting: BTreeSet::new(),
        }
    }

    pub(super) const fn target(&self) -> u32 {
        self.target
    }

    pub(super) const fn is_going_on(&self) -> bool {
        self.order.is_some()
    }

    pub(super) fn has_started(&mut self, seat: Seat) {
        self.starting.remove(&seat);
    }

    /// The slot is filled again as any other, but whoever asked for it should know.
    pub(super) fn has_failed(&mut self, seat: Seat, cause: &str, out: &mut Vec<Action>) {
        if self.starting.remove(&seat) {
            let why = format!("{seat} failed to start and is going to be tried again: {cause}");
            self.give_up(&why, out);
        }
    }

    pub(super) fn give_up(&mut self, why: &str, out: &mut Vec<Action>) {
        self.finish(Err(why.to_owned()), out);
    }

    fn finish(&mut self, outcome: Result<(), String>, out: &mut Vec<Action>) {
        if let Some(order) = self.order.take() {
            out.push(Action::Finished { order, outcome });
        }
    }
}

impl Supervisor {
    pub(super) fn on_scale(
        &mut self,
        order: Order,
        origin: String,
        to: Scale,
        out: &mut Vec<Action>,
    ) {
        let wanted = match to {
            Scale::To(workers) => workers,
            Scale::Up => self.scaling.target.saturating_add(1),
            Scale::Down => self.scaling.target.saturating_sub(1),
        };
        let refusal = match self.refusal() {
            None if wanted == 0 => Some("at least one worker has to stay"),
            refusal => refusal,
        };
        if let Some(refusal) = refusal {
            let outcome = Err(refusal.to_owned());
            return out.push(Action::Finished { order, outcome });
        }
        self.outvote_reload();
        self.want_workers(Some(order), origin, wanted, out);
    }

    pub(super) fn want_workers(
        &mut self,
        order: Option<Order>,
        origin: String,
        workers: u32,
        out: &mut Vec<Action>,
    ) {
        let newer = format!("a later order, to keep {workers}, took its place");
        self.scaling.give_up(&newer, out);
        self.scaling.order = order;
        if self.scaling.target != workers {
            self.scaling.target = workers;
            self.scaling.origin = origin;
            self.apply_scale(out);
        }
    }

    /// Asks for slots that are missing, or uses those that are there.
    fn apply_scale(&mut self, out: &mut Vec<Action>) {
        let Scaling { target, slots, .. } = self.scaling;
        if target > slots {
            if self.scaling.asked.is_none() {
                self.scaling.asked = Some(target);
                out.push(Action::Slots { slots: target });
            }
            return;
        }
        for seat in (0..target).map(Seat::Worker) {
            if self.places.get(seat).is_none_or(|place| place.retired) {
                self.places.want(seat);
                self.scaling.starting.insert(seat);
            }
        }
        let given_up = |seat: &Seat| seat.slot().is_some_and(|slot| slot >= target);
        let seats = self.places.iter().map(|place| place.seat);
        for seat in seats.filter(given_up).collect::<Vec<_>>() {
            self.retire(seat);
        }
        let origin = &self.scaling.origin;
        let reason = format!("{target} workers, as {origin} asked");
        self.record(out, EventName::Scaled, Some(reason));
    }

    fn retire(&mut self, seat: Seat) {
        self.scaling.starting.remove(&seat);
        if let Some(place) = self.places.edit(seat).filter(|place| !place.retired) {
            place.retired = true;
            let cause = || "its slot was given up".to_owned();
            place.dismiss_successor(ExitKind::Orderly, cause);
            place.dismiss_occupant(ExitKind::Orderly, cause);
        }
    }

    pub(super) fn on_slots_ready(&mut self, slots: u32, out: &mut Vec<Action>) {
        if self.scaling.asked == Some(slots) {
            self.scaling.asked = None;
            // A later order may have been content with what was there, and was fulfilled at once.
            let waited = self.scaling.target > self.scaling.slots;
            self.scaling.slots = slots;
            if waited && self.is_serving() {
                self.apply_scale(out);
            }
        }
    }

    pub(super) fn on_slots_failed(&mut self, slots: u32, error: &str, out: &mut Vec<Action>) {
        if self.scaling.asked == Some(slots) {
            self.scaling.asked = None;
            let why = format!("there cannot be {slots} workers: {error}");
            self.scaling.give_up(&why, out);
            // As many as there are.
            self.scaling.target = self.scaling.target.min(self.scaling.slots);
        }
    }

    /// Forgets slots that are given up and empty, and says so when all is done.
    pub(super) fn conclude_scaling(&mut self, out: &mut Vec<Action>) {
        let retired = self.places.retired.iter().copied();
        for seat in retired.collect::<Vec<_>>() {
            if self
                .places
                .get(seat)
                .is_some_and(super::seat::Place::is_empty)
            {
                self.places.remove(seat);
            }
        }
        self.settle();
        if !self.places.retired.is_empty() || self.scaling.asked.is_some() {
            return;
        }
        let Scaling { target, slots, .. } = self.scaling;
        if slots > target {
            self.scaling.slots = target;
            out.push(Action::Slots { slots: target });
        }
        if self.scaling.starting.is_empty() {
            self.scaling.finish(Ok(()), out);
        }
    }
}
