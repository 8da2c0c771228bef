//! A reload: every slot gets a process of a new generation, or none does.
//!
//! One new worker comes first, and only when it is ready do others follow, `surge` at a time; each old
//! worker is told to leave when its successor is ready. The first new process that fails turns everything
//! back: what is not ready is killed, and slots that were replaced already get the old generation again,
//! ready first, too. A new agent, where one is asked for, is ready before the first worker and waits
//! until the whole is decided; then it takes over what may run only once.

use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::ExitKind;
use hatchery_protocol::id::{ChildId, Generation, Seat};

use super::action::{Action, Note};
use super::cluster::{Course, Supervisor};
use super::event::{Now, Order};
use super::places::Trend;
use super::policy::Policy;
use super::seat::Occupant;
use super::stop::TOO_LATE;

/// A reload that goes on, or waits for its turn.
#[derive(Debug, Clone)]
pub(super) struct Reload {
    /// Who waits for its outcome.
    orders: Vec<Order>,
    origin: String,
    /// Whether the agent is replaced, too.
    agent: bool,
    /// Whether a number of workers was ordered since it began: the later word counts.
    outvoted: bool,
    step: Step,
}

#[derive(Debug, Clone)]
enum Step {
    /// The executable is opened and the configuration read, for the first of the orders.
    Staging,
    /// Slot by slot.
    Rolling {
        generation: Generation,
        policy: Box<Policy>,
        /// Whether one of the new generation was ready.
        proven: bool,
    },
    /// Back to the adopted generation.
    TurningBack {
        generation: Generation,
        reason: String,
    },
    /// Adopted; the older ones finish.
    Settling,
}

impl Reload {
    pub(super) const fn trend(&self) -> Trend {
        match self.step {
            Step::Staging => Trend::Still,
            Step::Rolling {
                generation, proven, ..
            } => Trend::To { generation, proven },
            Step::TurningBack { generation, .. } => Trend::Back { generation },
            Step::Settling => Trend::Arrived { agent: self.agent },
        }
    }

    /// The generation that is tried.
    const fn tried(&self) -> Option<Generation> {
        match self.step {
            Step::Rolling { generation, .. } => Some(generation),
            Step::Staging | Step::TurningBack { .. } | Step::Settling => None,
        }
    }

    fn finish(&self, outcome: &Result<(), String>, out: &mut Vec<Action>) {
        for &order in &self.orders {
            let outcome = outcome.clone();
            out.push(Action::Finished { order, outcome });
        }
    }
}

impl Supervisor {
    pub(super) fn on_reload(
        &mut self,
        order: Order,
        origin: String,
        agent: bool,
        out: &mut Vec<Action>,
    ) {
        if let Some(refusal) = self.refusal() {
            let outcome = Err(refusal.to_owned());
            return out.push(Action::Finished { order, outcome });
        }
        let wish = Reload {
            orders: vec![order],
            origin,
            agent,
            outvoted: false,
            step: Step::Staging,
        };
        if self.reload.is_none() {
            self.begin_reload(wish, out);
        } else if let Some(next) = &mut self.next_reload {
            // However many ask meanwhile, one more run gives all of them what they want.
            next.orders.push(order);
            next.agent |= agent;
        } else {
            self.next_reload = Some(wish);
        }
    }

    /// Why nobody can ask for a change now, if so.
    pub(super) const fn refusal(&self) -> Option<&'static str> {
        match self.course {
            Course::Serving if self.upgrade.is_some() => Some("an upgrade is going on"),
            Course::Serving => None,
            Course::Idle | Course::Starting { .. } => Some("the application is not ready yet"),
            Course::Announced { .. } | Course::Stopping { .. } | Course::Finished => Some(TOO_LATE),
        }
    }

    fn begin_reload(&mut self, reload: Reload, out: &mut Vec<Action>) {
        let generation = self.newest + 1;
        let reason = Some(reload.origin.clone());
        note_reload(out, EventName::ReloadStarted, generation, reason);
        out.extend(reload.orders.first().map(|&order| Action::Stage { order }));
        self.reload = Some(reload);
    }

    pub(super) fn on_staged(&mut self, order: Order, policy: Box<Policy>) {
        let generation = self.newest + 1;
        if let Some(reload) = self.staging(order) {
            reload.step = Step::Rolling {
                generation,
                policy,
                proven: false,
            };
            self.newest = generation;
        }
    }

    pub(super) fn on_stage_failed(&mut self, order: Order, error: String, out: &mut Vec<Action>) {
        if self.staging(order).is_some() {
            let generation = self.newest + 1;
            self.end_reload(EventName::ReloadFailed, generation, &Err(error), out);
        }
    }

    /// Somebody orders a number of workers: what the reload has read about it is older.
    pub(super) fn outvote_reload(&mut self) {
        if let Some(reload) = &mut self.reload {
            reload.outvoted = true;
        }
    }

    /// The reload that waits for the answer about this order.
    fn staging(&mut self, order: Order) -> Option<&mut Reload> {
        let reload = self.reload.as_mut()?;
        let waits = matches!(reload.step, Step::Staging) && reload.orders.first() == Some(&order);
        waits.then_some(reload)
    }

    /// A worker of this generation is ready.
    pub(super) fn prove(&mut self, ready: Generation) {
        if let Some(Reload {
            step: Step::Rolling {
                generation, proven, ..
            },
            ..
        }) = &mut self.reload
        {
            *proven |= *generation == ready;
        }
    }

    /// A process of this generation has failed.
    pub(super) fn fail_reload(&mut self, failed: Generation, why: impl FnOnce() -> String) {
        if let Some(reload) = self.reload.as_mut().filter(|r| r.tried() == Some(failed)) {
            reload.step = Step::TurningBack {
                generation: failed,
                reason: why(),
            };
        }
    }

    /// What processes of a generation are to be judged by.
    pub(super) fn policy_of(&self, wanted: Generation) -> &Policy {
        match self.reload.as_ref().map(|reload| &reload.step) {
            Some(Step::Rolling {
                generation, policy, ..
            }) if *generation == wanted => policy,
            _ => &self.policy,
        }
    }

    /// What a seat is filled with that nobody holds: the new generation, once that has proven itself.
    pub(super) fn fill_generation(&self) -> Generation {
        match self.reload.as_ref().map(Reload::trend) {
            Some(Trend::To {
                generation,
                proven: true,
            }) => generation,
            _ => self.adopted,
        }
    }

    /// Processes of a generation that failed and were never ready.
    pub(super) fn kill_failed_generation(&mut self, seat: Seat, out: &mut Vec<Action>) {
        let Some(Trend::Back { generation }) = self.reload.as_ref().map(Reload::trend) else {
            return;
        };
        let Some(place) = self.places.get(seat) else {
            return;
        };
        let failed = |process: &&Occupant| process.generation == generation;
        let idle = place
            .successor
            .as_ref()
            .filter(failed)
            .is_some_and(Occupant::is_ready);
        let booting: Vec<ChildId> = place
            .processes()
            .filter(|process| failed(process) && process.is_booting())
            .map(|process| process.id)
            .collect();
        for child in booting {
            let cause = "the reload was given up".to_owned();
            self.kill(child, Some(ExitKind::Replaced), cause, out);
        }
        // An agent that waited for the end of the reload.
        if idle && let Some(place) = self.places.edit(seat) {
            place.dismiss_successor(ExitKind::Replaced, || "the reload was given up".to_owned());
        }
    }

    /// Starts the new agent first, and decides for the new generation when everybody of it is ready.
    pub(super) fn advance_reload(&mut self, out: &mut Vec<Action>) {
        let Some(reload) = &self.reload else {
            return;
        };
        let (Some(generation), wants_agent) = (reload.tried(), reload.agent) else {
            return;
        };
        let heir = self
            .places
            .get(Seat::Agent)
            .and_then(|p| p.successor.as_ref());
        if wants_agent && heir.is_none() {
            return self.spawn_heir(generation, out);
        }
        let tally = self.places.tally;
        let everybody = self.places.outdated.is_empty()
            && self.places.workers_are_ready()
            && tally.successors == 0
            && tally.novices == 0;
        if everybody && self.heir_is_ready() {
            self.adopt(out);
        }
    }

    /// Whether the new agent is ready, where there is to be one.
    fn heir_is_ready(&self) -> bool {
        let wanted = self.reload.as_ref().is_some_and(|reload| reload.agent);
        let tried = self.reload.as_ref().and_then(Reload::tried);
        let heir = self
            .places
            .get(Seat::Agent)
            .and_then(|p| p.successor.as_ref());
        !wanted || heir.is_some_and(|o| o.is_ready() && Some(o.generation) == tried)
    }

    fn adopt(&mut self, out: &mut Vec<Action>) {
        let Some(reload) = &mut self.reload else {
            return;
        };
        let step = std::mem::replace(&mut reload.step, Step::Settling);
        let Step::Rolling {
            generation, policy, ..
        } = step
        else {
            return;
        };
        let (origin, outvoted) = (reload.origin.clone(), reload.outvoted);
        self.adopted = generation;
        let configured = self.policy.workers;
        self.policy = *policy;
        out.push(Action::Adopt);
        // What an operator has scaled stays, unless the configuration says something new.
        if self.policy.workers != configured && !outvoted {
            self.want_workers(None, origin, self.policy.workers, out);
        }
    }

    /// Starts the next successors, as many as there may be at once.
    pub(super) fn replace_outdated(&mut self, now: Now, out: &mut Vec<Action>) {
        let generation = match self.reload.as_ref().map(Reload::trend) {
            Some(Trend::To { generation, .. }) => generation,
            _ => self.adopted,
        };
        while self.may_replace()
            && let Some(&(at, seat)) = self.places.outdated.first()
            && at <= now
        {
            self.spawn(seat, generation, out);
            self.settle();
        }
    }

    pub(super) fn may_replace(&self) -> bool {
        let tally = self.places.tally;
        let surge = usize::try_from(self.policy.surge.max(1)).unwrap_or(usize::MAX);
        let room = tally.successors < surge && self.may_boot();
        match self.reload.as_ref().map(Reload::trend) {
            Some(Trend::To { proven: true, .. } | Trend::Back { .. }) => room,
            // The first one is alone.
            Some(Trend::To { proven: false, .. }) => {
                room && tally.novices == 0 && self.heir_is_ready()
            }
            Some(Trend::Still | Trend::Arrived { .. }) | None => false,
        }
    }

    /// Ends the reload when nobody is left of the generation that is to disappear. True if it did: what had
    /// to wait for that can begin.
    pub(super) fn conclude_reload(&mut self, out: &mut Vec<Action>) -> bool {
        if self.places.tally.stale > 0 {
            return false;
        }
        match self.reload.as_ref().map(|reload| &reload.step) {
            Some(Step::Settling) => {
                self.end_reload(EventName::ReloadFinished, self.adopted, &Ok(()), out);
            }
            Some(Step::TurningBack { generation, reason }) => {
                let (generation, reason) = (*generation, reason.clone());
                out.push(Action::Unstage);
                self.end_reload(EventName::ReloadFailed, generation, &Err(reason), out);
            }
            Some(Step::Staging | Step::Rolling { .. }) | None => return false,
        }
        true
    }

    fn end_reload(
        &mut self,
        event: EventName,
        generation: Generation,
        outcome: &Result<(), String>,
        out: &mut Vec<Action>,
    ) {
        note_reload(out, event, generation, outcome.clone().err());
        if let Some(reload) = self.reload.take() {
            reload.finish(outcome, out);
        }
        if let Some(next) = self.next_reload.take() {
            self.begin_reload(next, out);
        }
    }

    /// A stop wins.
    pub(super) fn give_up_reload(&mut self, out: &mut Vec<Action>) {
        let outcome = Err(TOO_LATE.to_owned());
        if let Some(reload) = self.reload.take() {
            let generation = reload.tried().unwrap_or(self.newest);
            let reason = Some(TOO_LATE.to_owned());
            note_reload(out, EventName::ReloadFailed, generation, reason);
            reload.finish(&outcome, out);
        }
        if let Some(next) = self.next_reload.take() {
            next.finish(&outcome, out);
        }
        let adopted = self.adopted;
        let seats: Vec<Seat> = self.places.iter().map(|place| place.seat).collect();
        for seat in seats {
            let place = self.places.get(seat);
            let successor = place.and_then(|place| place.successor.as_ref());
            if successor.is_some_and(|successor| successor.generation != adopted)
                && let Some(place) = self.places.edit(seat)
            {
                place.dismiss_successor(ExitKind::Replaced, || TOO_LATE.to_owned());
            }
        }
    }
}

fn note_reload(
    out: &mut Vec<Action>,
    event: EventName,
    generation: Generation,
    reason: Option<String>,
) {
    out.push(Action::Record(Note {
        event,
        seat: None,
        pid: None,
        generation,
        reason,
        exit: None,
    }));
}
