//! What operators ask for, and what the shell makes of it: builds, slots, a new master.

use hatchery_master::supervisor::{Event, Now, Order, SuccessorNews};

use crate::scenario::Wish;
use crate::world::{Happening, World};

/// Somebody wants something.
pub(crate) fn wish(order: Order, wish: Wish) -> Event {
    let origin = "somebody".to_owned();
    match wish {
        Wish::Reload { agent } => Event::ReloadRequested {
            order,
            origin,
            agent,
        },
        Wish::Scale(to) => Event::ScaleRequested { order, origin, to },
        Wish::Upgrade => Event::UpgradeRequested { order, origin },
    }
}

impl World<'_> {
    pub(super) fn stage(&mut self, order: Order) {
        let at = self.soon();
        if self.mishap() {
            let error = "no such file".to_owned();
            return self.deliver(at, Event::StageFailed { order, error });
        }
        self.builds += 1;
        if self.mishap() {
            self.bad_builds.push(self.builds);
        }
        let read = if order.is_multiple_of(2) {
            &self.scenario.policy
        } else {
            &self.scenario.other
        };
        let policy = Box::new(read.clone());
        self.deliver(at, Event::Staged { order, policy });
    }

    pub(super) fn make_slots(&mut self, slots: u32) {
        let at = self.soon();
        let answer = if self.mishap() {
            let error = "too many open files".to_owned();
            Event::SlotsFailed { slots, error }
        } else {
            Event::SlotsReady { slots }
        };
        self.deliver(at, answer);
    }

    pub(super) fn launch_successor(&mut self) {
        self.masters += 1;
        let at = self.soon();
        let pid = 1_000_000;
        self.hear_of_successor(at, SuccessorNews::Launched { pid });
        let ready = at + self.rng.up_to(self.scenario.pace.boot * 2);
        if !self.mishap() {
            self.hear_of_successor(ready, SuccessorNews::Ready);
        }
        if self.mishap() {
            self.successor_dies(at, ready);
        } else if self.scenario.policy.upgrade_timeout.is_zero() {
            // Nobody would end one that waits for ever.
            let long = ready + Now::from_secs(60);
            self.schedule(long, Happening::SuccessorStuck(self.masters));
        }
    }

    pub(super) fn commit_successor(&mut self) {
        self.committed = self.masters;
        let at = self.soon();
        if !self.mishap() {
            self.hear_of_successor(at, SuccessorNews::Serving);
        }
        if self.mishap() {
            self.successor_dies(self.now, at);
        }
    }

    pub(super) fn end_successor(&mut self, at_once: bool) {
        let stubborn = !at_once && self.mishap();
        let longest = if at_once {
            self.scenario.pace.kill
        } else {
            self.scenario.policy.drain_timeout
        };
        if !stubborn {
            let at = self.now + self.rng.up_to(longest);
            self.successor_dies(at, at);
        }
    }

    fn successor_dies(&mut self, from: Now, to: Now) {
        let at = from + self.rng.up_to(to.saturating_sub(from));
        self.schedule(at, Happening::SuccessorGone(self.masters));
    }

    /// What is said of a new master that is gone already is not said.
    fn hear_of_successor(&mut self, at: Now, news: SuccessorNews) {
        self.schedule(at, Happening::OfSuccessor(self.masters, news));
    }

    pub(super) fn successor_says(&mut self, which: u64, news: SuccessorNews) -> Option<Event> {
        (which == self.masters && which > self.masters_gone).then_some(Event::Successor(news))
    }

    pub(super) fn successor_goes(&mut self, which: u64) -> Option<Event> {
        if which <= self.masters_gone {
            return None;
        }
        self.masters_gone = which;
        let reason = "exited with code 3".to_owned();
        Some(Event::Successor(SuccessorNews::Gone { reason }))
    }

    fn soon(&mut self) -> Now {
        self.now + self.rng.up_to(self.scenario.pace.delivery)
    }

    fn mishap(&mut self) -> bool {
        self.rng.chance(self.scenario.mishaps) && !self.calm
    }
}
