//! What the judge knows of orders: reloads, numbers of workers, a new master.

use std::collections::BTreeMap;

use hatchery_master::supervisor::{Order, Policy, Scale, SuccessorNews};
use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::Exit;
use hatchery_protocol::id::{ChildId, Generation, Seat};

use crate::judge::{Era, Judge};
use crate::known::Known;
use crate::verdict::{Verdict, ensure};

/// What was asked for and what came of it.
pub(crate) struct Rollout {
    /// Every order, and whether it was answered.
    pub(super) orders: BTreeMap<Order, bool>,
    pub(super) adopted: Generation,
    pub(super) newest: Generation,
    /// For whom the executable is being opened.
    pub(super) staging: Option<Order>,
    /// The generation that is tried, and whether it has failed.
    pub(super) tried: Option<(Generation, bool)>,
    /// Whether a worker of it was ready.
    pub(super) proven: bool,
    /// Whether a number of workers was ordered since it was begun.
    pub(super) outvoted: bool,
    /// What was read for it.
    pub(super) staged: Option<Policy>,
    /// How many workers are wanted, by the last who said so.
    pub(super) target: u32,
    /// How many slots the addresses were asked to be ready for.
    pub(super) asked: Option<u32>,
    pub(super) granted: u32,
    pub(super) successor: Successor,
}

/// The new master.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Successor {
    None,
    Launched,
    Ready,
    Committed,
    Ending { committed: bool },
    Serves,
}

impl Rollout {
    pub(crate) const fn new(workers: u32) -> Self {
        Self {
            orders: BTreeMap::new(),
            adopted: 1,
            newest: 1,
            staging: None,
            tried: None,
            proven: false,
            outvoted: false,
            staged: None,
            target: workers,
            asked: None,
            granted: workers,
            successor: Successor::None,
        }
    }

    pub(crate) fn hears_staged(&mut self, order: Order, policy: &Policy) {
        if self.staging == Some(order) {
            self.staging = None;
            self.newest += 1;
            self.tried = Some((self.newest, false));
            self.proven = false;
            self.staged = Some(policy.clone());
        }
    }

    pub(crate) fn hears_scale(&mut self, to: Scale) {
        let wanted = match to {
            Scale::To(workers) => workers,
            Scale::Up => self.target + 1,
            Scale::Down => self.target - 1,
        };
        if wanted > 0 {
            self.target = wanted;
            self.outvoted = true;
        }
    }

    pub(crate) fn hears_stage_failed(&mut self, order: Order) {
        if self.staging == Some(order) {
            self.staging = None;
        }
    }

    /// Whether processes of this generation may be created.
    pub(crate) fn is_current(&self, generation: Generation) -> bool {
        generation == self.adopted || self.tried == Some((generation, false))
    }

    /// There is a new master, or was one that is not gone yet.
    pub(crate) fn is_followed(&self) -> bool {
        self.successor != Successor::None
    }

    /// A new master may be doing what may be done only once.
    pub(crate) const fn successor_is_on_duty(&self) -> bool {
        matches!(
            self.successor,
            Successor::Committed | Successor::Ending { committed: true } | Successor::Serves
        )
    }
}

impl Judge {
    pub(super) fn hears_successor(&mut self, now: crate::judge::Now, news: &SuccessorNews) {
        let successor = &mut self.rollout.successor;
        match (news, *successor) {
            (SuccessorNews::Ready, Successor::Launched) => *successor = Successor::Ready,
            (SuccessorNews::Serving, Successor::Committed) => {
                *successor = Successor::Serves;
                if self.era == Era::Serving {
                    self.stops(now, Exit::Orderly, false);
                }
            }
            (SuccessorNews::Gone { .. }, gone) if gone != Successor::Serves => {
                *successor = Successor::None;
            }
            _ => {}
        }
    }

    /// Somebody of the generation that is tried has failed: the rest of it, as far as it is not at work, is
    /// not wanted any more.
    pub(super) fn turn_back(&mut self, failed: Generation) {
        if self.rollout.tried == Some((failed, false)) && self.era == Era::Serving {
            self.rollout.tried = Some((failed, true));
            self.tally.turned_back += 1;
        }
        self.condemn_failed();
    }

    /// Whoever of a failed generation exists and is not ready is to be killed.
    pub(super) fn condemn_failed(&mut self) {
        let Some((failed, true)) = self.rollout.tried else {
            return;
        };
        if self.era == Era::Serving {
            for known in self.children.values_mut() {
                let boots = matches!(known.state, crate::known::State::Booting(_));
                known.condemned |= boots && known.generation == failed;
            }
        }
    }

    pub(super) fn may_stage(&mut self, order: Order) -> Verdict {
        let idle = self.rollout.staging.is_none() && self.rollout.tried.is_none();
        ensure(idle && self.serves(), || {
            format!("{order} is staged out of turn")
        })?;
        self.rollout.staging = Some(order);
        self.rollout.outvoted = false;
        Ok(())
    }

    pub(super) fn may_adopt(&mut self) -> Verdict {
        let Some((generation, false)) = self.rollout.tried.take() else {
            return Err("there is nothing to adopt".to_owned());
        };
        for seat in self.seats().skip(1) {
            let held = self
                .at_work(seat)
                .is_some_and(|k| k.generation == generation);
            ensure(held, || {
                format!("adopted, but {seat} is of another generation")
            })?;
        }
        self.rollout.adopted = generation;
        self.tally.reloaded += 1;
        let Some(staged) = self.rollout.staged.take() else {
            return Err("adopted, but nothing was staged".to_owned());
        };
        // What operators asked for holds until the configuration says something new.
        if staged.workers != self.policy.workers && !self.rollout.outvoted {
            self.rollout.target = staged.workers;
        }
        self.tally.other_policies += u64::from(staged != self.policy);
        for known in self.children.values_mut() {
            known.worn |= known.is_ready() && !self.policy.recycle.max_lifetime.is_zero();
        }
        self.policy = staged;
        Ok(())
    }

    pub(super) fn may_unstage(&mut self) -> Verdict {
        let Some((generation, true)) = self.rollout.tried.take() else {
            return Err("there is nothing to forget".to_owned());
        };
        let left = self.children.values().find(|k| k.generation == generation);
        ensure(left.is_none(), || "forgotten, but in use".to_owned())
    }

    pub(super) fn may_ask_for_slots(&mut self, slots: u32) -> Verdict {
        ensure(self.serves() && self.rollout.asked.is_none(), || {
            format!("{slots} slots out of turn")
        })?;
        if slots > self.rollout.granted {
            self.rollout.asked = Some(slots);
            return Ok(());
        }
        let used = self.children.keys().filter_map(|c| c.seat.slot()).max();
        ensure(used.is_none_or(|highest| highest < slots), || {
            format!("{slots} slots, but {used:?} is in use")
        })?;
        self.rollout.granted = slots;
        Ok(())
    }

    /// The number of workers to keep, as it was made known.
    pub(super) fn is_scaled(&mut self, reason: Option<&str>) -> Verdict {
        let said = reason.and_then(|reason| reason.split(' ').next());
        let workers = said.and_then(|number| number.parse().ok()).unwrap_or(0);
        ensure(workers > 0 && workers <= self.rollout.granted, || {
            format!("{workers} workers with {} slots", self.rollout.granted)
        })?;
        let wanted = self.rollout.target;
        ensure(workers == wanted, || {
            format!("{workers} workers, but {wanted} are wanted")
        })?;
        let new = (self.workers..workers).map(Seat::Worker);
        self.excused.extend(new);
        self.workers = workers;
        self.tally.scaled += 1;
        for known in self.children.values_mut() {
            known.dismissed |= known.id.seat.slot().is_some_and(|slot| slot >= workers);
        }
        self.vacant
            .retain(|seat, _| seat.slot().is_none_or(|slot| slot < workers));
        Ok(())
    }

    pub(super) fn may_launch(&mut self) -> Verdict {
        let free = self.rollout.successor == Successor::None && self.rollout.tried.is_none();
        ensure(free && self.serves(), || "a second new master".to_owned())?;
        self.rollout.successor = Successor::Launched;
        Ok(())
    }

    pub(super) fn may_commit(&mut self) -> Verdict {
        ensure(self.rollout.successor == Successor::Ready, || {
            "the new master may commit, but it is not ready".to_owned()
        })?;
        let on_duty = self.children.values().find(|known| known.is_on_duty());
        ensure(on_duty.is_none(), || {
            "the new master may commit, but the agent is on duty".to_owned()
        })?;
        self.rollout.successor = Successor::Committed;
        self.tally.committed += 1;
        Ok(())
    }

    pub(super) fn may_end_successor(&mut self, at_once: bool) -> Verdict {
        self.rollout.successor = match self.rollout.successor {
            Successor::Launched | Successor::Ready => Successor::Ending { committed: false },
            Successor::Committed => Successor::Ending { committed: true },
            ending @ Successor::Ending { .. } if at_once => ending,
            Successor::None | Successor::Ending { .. } | Successor::Serves => {
                return Err("a new master is ended that is not there".to_owned());
            }
        };
        Ok(())
    }

    pub(super) fn may_finish(&mut self, order: Order, well: bool) -> Verdict {
        let answered = self.rollout.orders.get_mut(&order);
        ensure(answered.as_deref() == Some(&false), || {
            format!("order {order} is answered, but not open")
        })?;
        self.rollout.orders.insert(order, true);
        self.tally.orders_done += u64::from(well);
        self.tally.orders_refused += u64::from(!well);
        Ok(())
    }

    /// A reload is made known as done: whoever is left is of its generation.
    pub(super) fn is_reloaded(&self) -> Verdict {
        let older = |k: &&Known| k.is_worker() && k.generation != self.rollout.adopted;
        let left = self.children.values().find(older);
        ensure(left.is_none(), || {
            "reloaded, but an older worker lives".to_owned()
        })
    }

    pub(super) fn all_answered(&self) -> Verdict {
        let open = self.rollout.orders.iter().find(|(_, answered)| !**answered);
        ensure(open.is_none(), || format!("nobody answered {open:?}"))
    }

    /// A stop ends what was begun.
    pub(super) fn gives_up_rollouts(&mut self) {
        self.rollout.staging = None;
        if let Some((tried, _)) = self.rollout.tried.take() {
            self.abandoned.push(tried);
        }
        // Who holds a seat alone stays: there is nobody to go back to.
        let alone = |child: &ChildId| self.holders(child.seat).count() == 1;
        let waits = |k: &Known| !k.dismissed && !k.hatched && (!k.is_ready() || !k.is_worker());
        let novices = self.children.values().filter(|k| waits(k));
        let novices = novices
            .filter(|k| self.abandoned.contains(&k.generation))
            .map(|k| k.id);
        let leave = novices.filter(|id| id.seat == Seat::Agent || !alone(id));
        for child in leave.collect::<Vec<_>>() {
            if let Some(known) = self.known(child) {
                known.dismissed = true;
            }
        }
    }
}

/// Steps of the lifecycle that are made known exactly when the judge expects them; the others are
/// looked at where they mean something.
pub(crate) const fn is_expected(event: EventName) -> bool {
    matches!(
        event,
        EventName::MasterStarted
            | EventName::AgentSpawned
            | EventName::AgentReady
            | EventName::WorkerSpawned
            | EventName::WorkerReady
            | EventName::EggReady
            | EventName::WorkerExited
            | EventName::AgentExited
            | EventName::Stopping
    )
}
