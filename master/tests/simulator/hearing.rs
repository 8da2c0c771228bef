//! What each event means by the book. Most of what can be said means nothing most of the time.

use hatchery_master::supervisor::{Event, Policy};
use hatchery_protocol::event::EventName;
use hatchery_protocol::exit::Exit;
use hatchery_protocol::id::{ChildId, Seat};

use crate::judge::{Addresses, Era, Judge, Now, Stop, Vacancy};
use crate::known::State;

impl Judge {
    /// What the event means by the book. Most of what can be said means nothing most of the time.
    pub(crate) fn hears(&mut self, now: Now, event: &Event) {
        self.steps.clear();
        if self.serves() && self.announced.is_some_and(|until| until <= now) {
            self.closes(now, Exit::Orderly, false);
        }
        match event {
            Event::Started => {
                if self.era == Era::Idle {
                    self.era = Era::Starting;
                    self.steps.push((EventName::MasterStarted, None, None));
                }
            }
            Event::Spawned { child, pid } => self.hears_spawned(now, *child, *pid),
            Event::SpawnFailed { child, .. } => {
                if self.known(*child).is_some_and(|known| known.pid.is_none()) {
                    self.is_gone(now, *child);
                }
            }
            Event::Ready { child } => self.hears_ready(now, *child),
            Event::HookFailed { child, .. } => {
                let policy = self.policy.clone();
                self.is_disturbed(*child);
                if let Some(known) = self.known(*child) {
                    known.says_failed(now, &policy);
                }
            }
            Event::LinkBroken { child, .. } => {
                self.is_disturbed(*child);
                if let Some(known) = self.known(*child) {
                    known.breaks_link();
                }
            }
            Event::Exited { child, .. } => {
                if self.known(*child).is_some() {
                    self.is_gone(now, *child);
                }
            }
            Event::Listening => {
                if self.era == Era::Starting && self.asked_to_listen && self.all_ready() {
                    self.era = Era::Serving;
                    self.tally.served = 1;
                    self.steps.push((EventName::EggReady, None, None));
                }
            }
            Event::ListenFailed { .. } => {
                if self.era == Era::Starting {
                    self.stops(now, Exit::BindFailed, false);
                }
            }
            Event::ListenersClosed => {
                if let Era::Stopping(_) = self.era {
                    self.addresses = Addresses::Empty;
                }
            }
            Event::StopRequested { at_once, .. } => self.hears_stop(now, *at_once),
            Event::Beat {
                child,
                runtime_age,
                requests,
            } => {
                let policy = self.policy.clone();
                if let Some(known) = self.known(*child) {
                    known.beats(now, *runtime_age, &policy);
                    let quota = policy.recycle.max_requests;
                    let least = quota * u64::from(100 - policy.recycle.jitter_percent) / 100;
                    known.worn |= quota > 0 && *requests >= least;
                }
            }
            Event::Memory { child, bytes } => {
                let recycle = self.policy.recycle.clone();
                if let Some(known) = self.known(*child).filter(|known| known.is_worker()) {
                    known.worn |= recycle.max_memory > 0 && *bytes >= recycle.max_memory;
                    if recycle.kill_memory > 0 && *bytes >= recycle.kill_memory {
                        known.breaks_link();
                        self.excused.insert(child.seat);
                    }
                }
            }
            Event::ReloadRequested { .. }
            | Event::Staged { .. }
            | Event::StageFailed { .. }
            | Event::ScaleRequested { .. }
            | Event::SlotsReady { .. }
            | Event::SlotsFailed { .. }
            | Event::Diagnosed { .. }
            | Event::Traced { .. }
            | Event::Suspended
            | Event::StoodDown { .. }
            | Event::UpgradeRequested { .. }
            | Event::Successor(_)
            | Event::Hello { .. }
            | Event::Tick => self.hears_more(now, event),
        }
        self.find_truth();
    }

    /// The same for what the shell and operators say.
    fn hears_more(&mut self, now: Now, event: &Event) {
        match event {
            Event::Traced { child } => {
                let policy = self.policy.clone();
                if let Some(known) = self.known(*child) {
                    known.gets_time(now, &policy, false);
                }
            }
            Event::Suspended => {
                self.suspensions += 1;
                for known in self.children.values_mut() {
                    known.gets_time(now, &self.policy, true);
                }
            }
            Event::StoodDown { child } => {
                if let Some(known) = self.known(*child) {
                    known.stood_down |= known.stands_down.is_some();
                }
            }
            Event::ReloadRequested { order, .. } | Event::UpgradeRequested { order, .. } => {
                self.rollout.orders.insert(*order, false);
            }
            Event::ScaleRequested { order, to, .. } => {
                self.rollout.orders.insert(*order, false);
                if self.takes_orders() {
                    self.rollout.hears_scale(*to);
                }
            }
            Event::Staged { order, policy } => self.rollout.hears_staged(*order, policy),
            Event::StageFailed { order, .. } => self.rollout.hears_stage_failed(*order),
            Event::SlotsReady { slots } => {
                if self.rollout.asked == Some(*slots) {
                    self.rollout.asked = None;
                    self.rollout.granted = *slots;
                }
            }
            Event::SlotsFailed { slots, .. } => {
                if self.rollout.asked == Some(*slots) {
                    self.rollout.asked = None;
                    self.rollout.target = self.rollout.target.min(self.rollout.granted);
                }
            }
            Event::Successor(news) => self.hears_successor(now, news),
            Event::Started
            | Event::Spawned { .. }
            | Event::SpawnFailed { .. }
            | Event::Hello { .. }
            | Event::Ready { .. }
            | Event::HookFailed { .. }
            | Event::LinkBroken { .. }
            | Event::Exited { .. }
            | Event::Listening
            | Event::ListenFailed { .. }
            | Event::ListenersClosed
            | Event::StopRequested { .. }
            | Event::Beat { .. }
            | Event::Memory { .. }
            | Event::Diagnosed { .. }
            | Event::Tick => {}
        }
    }

    fn hears_stop(&mut self, now: Now, at_once: bool) {
        match &mut self.era {
            Era::Stopping(stop) if at_once => {
                stop.at_once.get_or_insert(now);
            }
            Era::Stopping(_) | Era::Over => {}
            Era::Serving if self.announced.is_some() => {
                self.closes(now, Exit::Orderly, at_once);
            }
            Era::Serving if !at_once && !self.policy.pre_stop_delay.is_zero() => {
                self.announced = Some(now + self.policy.pre_stop_delay);
                self.steps.push((EventName::Stopping, None, None));
                self.tally.announced = 1;
                self.gives_up_rollouts();
            }
            Era::Idle | Era::Starting | Era::Serving => self.stops(now, Exit::Orderly, at_once),
        }
    }

    /// Whether an operator can ask for a change.
    fn takes_orders(&self) -> bool {
        self.serves() && self.announced.is_none() && !self.rollout.is_followed()
    }

    /// What a process is judged by until its generation is decided on.
    fn policy_of(&self, child: ChildId) -> Policy {
        let generation = self.children.get(&child).map(|known| known.generation);
        let staged = self.rollout.staged.as_ref();
        let staged = staged.filter(|_| self.rollout.tried == generation.map(|g| (g, false)));
        staged.unwrap_or(&self.policy).clone()
    }

    fn hears_spawned(&mut self, now: Now, child: ChildId, pid: u32) {
        let policy = self.policy_of(child);
        let news = self
            .known(child)
            .is_some_and(|k| k.is_spawned(now, pid, &policy));
        if news {
            let event = match child.seat {
                Seat::Agent => EventName::AgentSpawned,
                Seat::Worker(_) => EventName::WorkerSpawned,
            };
            self.steps.push((event, Some(child.seat), Some(pid)));
            self.condemn_failed();
        }
    }

    fn hears_ready(&mut self, now: Now, child: ChildId) {
        if self.known(child).is_some_and(|known| known.is_ready()) {
            self.is_disturbed(child);
        }
        let Some(known) = self.known(child) else {
            return;
        };
        if !known.says_ready(now) {
            return;
        }
        let (seat, pid, generation) = (Some(child.seat), known.pid, known.generation);
        let dismissed = known.dismissed;
        if child.seat == Seat::Agent {
            self.agent_was_ready = true;
            self.steps.push((EventName::AgentReady, seat, pid));
            return;
        }
        self.steps.push((EventName::WorkerReady, seat, pid));
        self.rollout.proven |= self.rollout.tried == Some((generation, false));
        if self.serves() && !dismissed {
            // Its elders have nothing to do here any more.
            let elders = self.children.values_mut();
            for elder in elders.filter(|k| k.id.seat == child.seat && k.id < child) {
                let stable = self.policy.backoff.stable;
                let was_stable = !elder.dismissed
                    && elder.ready_since.is_some_and(|since| now >= since + stable);
                if let Some(row) = self.vacant.get_mut(&child.seat).filter(|_| was_stable) {
                    row.deaths = 0;
                }
                let leaves = !elder.dismissed && elder.state != State::Killed;
                elder.recycled |= leaves && elder.generation == generation;
                elder.dismissed = true;
            }
        }
    }

    fn is_gone(&mut self, now: Now, child: ChildId) {
        self.is_disturbed(child);
        let Some(gone) = self.children.remove(&child) else {
            return;
        };
        let event = match child.seat {
            Seat::Agent => EventName::AgentExited,
            Seat::Worker(_) => EventName::WorkerExited,
        };
        self.steps.push((event, Some(child.seat), gone.pid));
        if self.era == Era::Starting {
            return self.stops(now, Exit::StartFailed, false);
        }
        if gone.dismissed {
            return;
        }
        let row = self.vacant.entry(child.seat).or_insert(Vacancy {
            since: now,
            deaths: 0,
            forgiven: false,
            looping: false,
        });
        row.since = now;
        row.forgiven = gone.in_the_way || gone.generation != self.rollout.adopted;
        let mut gives_up = false;
        if !row.forgiven {
            let stable = self.policy.backoff.stable;
            let was_stable = gone.ready_since.is_some_and(|since| now >= since + stable);
            row.deaths = if was_stable { 1 } else { row.deaths + 1 };
            let crash_loop = i32::try_from(self.policy.backoff.crash_loop);
            let loops = crash_loop.is_ok_and(|many| row.deaths >= many);
            gives_up = loops && !row.looping && self.policy.exit_on_crash_loop;
            row.looping |= loops;
        }
        if gives_up && self.serves() {
            self.tally.gave_up = 1;
            self.stops(now, Exit::StartFailed, false);
        }
        self.turn_back(gone.generation);
    }

    /// Something happened to a worker that the supervisor did not do.
    fn is_disturbed(&mut self, child: ChildId) {
        let concerns = self
            .known(child)
            .is_some_and(|k| k.is_worker() && !k.dismissed);
        if concerns {
            self.excused.insert(child.seat);
        }
    }

    pub(super) fn stops(&mut self, now: Now, exit: Exit, at_once: bool) {
        self.closes(now, exit, at_once);
        self.steps.push((EventName::Stopping, None, None));
    }

    fn closes(&mut self, now: Now, exit: Exit, at_once: bool) {
        self.gives_up_rollouts();
        self.era = Era::Stopping(Stop {
            since: now,
            exit,
            at_once: at_once.then_some(now),
        });
    }
}
