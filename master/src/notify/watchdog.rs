//! When a sign of life is due (`WatchdogSec=` in systemd.service(5)).
//!
//! It is given for the service, not for the master alone: while the master turns its loop *and* the runtime
//! of at least one worker ran a short while ago. A service whose workers all hang is not alive, however well
//! its master is.

use std::time::Duration;

/// Beats come each second, and a runtime proves itself once a second: what is younger proves nothing.
const YOUNGEST: Duration = Duration::from_secs(3);

/// A clock that somebody else watches.
#[derive(Debug)]
pub(super) struct Watchdog {
    period: Duration,
    last: Option<Duration>,
}

impl Watchdog {
    pub(super) const fn new(period: Duration) -> Self {
        Self { period, last: None }
    }

    /// Half of the time that is allowed, as sd_watchdog_enabled(3) recommends.
    pub(super) fn interval(&self) -> Duration {
        (self.period / 2).max(Duration::from_millis(1))
    }

    /// Whether one is due. Before readiness none is: the time of a start has limits of its own.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        /// A timer may be early by its own grain.
        const GRAIN: Duration = Duration::from_millis(2);
        self.last
            .is_some_and(|last| now.saturating_sub(last) + GRAIN >= self.interval())
    }

    pub(super) const fn fed(&mut self, now: Duration) {
        self.last = Some(now);
    }

    /// How long ago a worker's runtime may have run. As long as the service manager waits: so the master's
    /// own remedy against workers that hang comes first, as long as `worker_timeout` is no longer.
    pub(super) fn freshness(&self) -> Duration {
        self.period.max(YOUNGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_is_due_every_half_of_the_time() {
        let ms = Duration::from_millis;
        let mut watchdog = Watchdog::new(ms(4000));
        assert!(!watchdog.is_due(ms(100_000)), "not before readiness");
        watchdog.fed(ms(1000));
        for (now, due) in [(1000, false), (2990, false), (2999, true), (9000, true)] {
            assert_eq!(watchdog.is_due(ms(now)), due, "{now}");
        }
        assert_eq!(watchdog.freshness(), ms(4000));
        assert_eq!(Watchdog::new(ms(500)).freshness(), YOUNGEST);
    }
}
