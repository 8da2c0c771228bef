//! What the service manager is told, and when.

use hatchery_protocol::clock::monotonic;
use hatchery_protocol::control::ChildState;
use hatchery_protocol::event::EventName;
use hatchery_protocol::id::Role;

use super::Shell;
use crate::notify::status_line;

impl Shell {
    /// A step of the lifecycle that concerns whoever started this master.
    pub(super) fn tell_service(&mut self, event: EventName) {
        if !self.speaks_for_service() {
            return;
        }
        match event {
            EventName::EggReady => self.notifier.ready(self.status_line()),
            EventName::Stopping => self.notifier.stopping(self.status_line()),
            EventName::ReloadStarted => self.notifier.reloading(self.status_line()),
            // Whatever came of it: it serves.
            EventName::ReloadFinished | EventName::ReloadFailed => {
                self.notifier.ready(self.status_line());
            }
            EventName::MasterStarted
            | EventName::AgentSpawned
            | EventName::AgentReady
            | EventName::WorkerSpawned
            | EventName::WorkerReady
            | EventName::WorkerExited
            | EventName::AgentExited
            | EventName::WorkerReplaced
            | EventName::UpgradeStarted
            | EventName::UpgradeFinished
            | EventName::UpgradeFailed
            | EventName::Scaled
            | EventName::Recycling
            | EventName::Hung
            | EventName::StandingDown
            | EventName::Degraded
            | EventName::Recovered
            | EventName::Draining
            | EventName::Stopped => {}
        }
    }

    /// With each beat: how things are, if that has changed, and what is owed.
    pub(super) fn keep_service_informed(&mut self) {
        if !self.speaks_for_service() {
            return;
        }
        self.notifier.flush();
        self.notifier.status(self.status_line());
        self.feed_watchdog();
    }

    /// Whether anybody listens, and to this master. Of two, one speaks.
    fn speaks_for_service(&self) -> bool {
        self.notifier.is_on() && self.heir.is_none() && !self.handed_over
    }

    /// Proves that the service lives, if that is due and true.
    pub(super) fn feed_watchdog(&mut self) {
        if !self.speaks_for_service() {
            return;
        }
        let now = monotonic();
        if let Some(freshness) = self.notifier.watchdog_due(now) {
            let alive = self.is_alive(freshness);
            self.notifier.feed(now, alive);
        }
    }

    /// Whether a worker is ready whose runtime ran so short a while ago. A stop has a deadline of its own,
    /// and fewer workers with each moment.
    fn is_alive(&self, freshness: std::time::Duration) -> bool {
        let now = monotonic();
        let fresh = |seen: std::time::Duration| now.saturating_sub(seen) <= freshness;
        let report = self.supervisor.report();
        let mut ready = report
            .seats
            .iter()
            .filter(|seat| seat.seat.role() == Role::Worker && seat.state == ChildState::Ready)
            .filter_map(|seat| self.processes.get(&seat.child?));
        self.supervisor.is_stopping()
            || ready.any(|process| process.runtime_seen().is_some_and(fresh))
    }

    fn status_line(&self) -> String {
        status_line(&self.supervisor.report())
    }
}
