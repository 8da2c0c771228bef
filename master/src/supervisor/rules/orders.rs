//! What operators and the shell say in a story about changes of the cluster.

use std::time::Duration;

use super::bench::{Bench, Done};
use crate::supervisor::{Event, Order, Policy, Scale, SuccessorNews};

impl Bench {
    pub(super) fn reload(&mut self, order: Order) -> Done {
        self.reload_requested(order, false)
    }

    pub(super) fn reload_with_agent(&mut self, order: Order) -> Done {
        self.reload_requested(order, true)
    }

    fn reload_requested(&mut self, order: Order, agent: bool) -> Done {
        let origin = "SIGHUP".to_owned();
        self.feed(Event::ReloadRequested {
            order,
            origin,
            agent,
        })
    }

    /// Staged with the policy of all stories, for so many workers.
    pub(super) fn staged(&mut self, order: Order, workers: u32) -> Done {
        self.staged_with(order, Self::policy(workers))
    }

    pub(super) fn staged_with(&mut self, order: Order, policy: Policy) -> Done {
        let policy = Box::new(policy);
        self.feed(Event::Staged { order, policy })
    }

    pub(super) fn stage_fails(&mut self, order: Order) -> Done {
        let error = "no such file".to_owned();
        self.feed(Event::StageFailed { order, error })
    }

    pub(super) fn scale(&mut self, order: Order, to: Scale) -> Done {
        let origin = "SIGTTIN".to_owned();
        self.feed(Event::ScaleRequested { order, origin, to })
    }

    pub(super) fn slots_ready(&mut self, slots: u32) -> Done {
        self.feed(Event::SlotsReady { slots })
    }

    pub(super) fn slots_fail(&mut self, slots: u32) -> Done {
        let error = "too many open files".to_owned();
        self.feed(Event::SlotsFailed { slots, error })
    }

    pub(super) fn beats(&mut self, name: &str, runtime_age: Duration, requests: u64) -> Done {
        let child = self.id(name);
        self.feed(Event::Beat {
            child,
            runtime_age,
            requests,
        })
    }

    pub(super) fn has_memory(&mut self, name: &str, bytes: u64) -> Done {
        let child = self.id(name);
        self.feed(Event::Memory { child, bytes })
    }

    pub(super) fn is_traced(&mut self, name: &str) -> Done {
        let child = self.id(name);
        self.feed(Event::Traced { child })
    }

    pub(super) fn was_suspended(&mut self) -> Done {
        self.feed(Event::Suspended)
    }

    pub(super) fn is_diagnosed(&mut self, name: &str, summary: &str) -> Done {
        let child = self.id(name);
        let summary = summary.to_owned();
        self.feed(Event::Diagnosed { child, summary })
    }

    pub(super) fn stood_down(&mut self, name: &str) -> Done {
        let child = self.id(name);
        self.feed(Event::StoodDown { child })
    }

    pub(super) fn upgrade(&mut self, order: Order) -> Done {
        let origin = "SIGUSR2".to_owned();
        self.feed(Event::UpgradeRequested { order, origin })
    }

    pub(super) fn successor_is_ready(&mut self) -> Done {
        self.feed(Event::Successor(SuccessorNews::Ready))
    }

    pub(super) fn successor_serves(&mut self) -> Done {
        self.feed(Event::Successor(SuccessorNews::Serving))
    }

    pub(super) fn successor_is_gone(&mut self) -> Done {
        let reason = "exited with code 3".to_owned();
        self.feed(Event::Successor(SuccessorNews::Gone { reason }))
    }
}
