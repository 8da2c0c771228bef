//! Judging the master by its silence. Pure: the caller brings the time.
//!
//! Silence is the weakest of the three signs of a master's death (the others are the parent-death signal
//! and end-of-file on the link) and the only one that can be wrong: a process that was itself stopped, or
//! a machine that slept, sees a silence that nobody made. So a judge that looks later than it meant to
//! starts over instead of judging.

use std::time::Duration;

/// How late a look may be, at the most, before the judge believes that it was itself suspended.
const SUSPICIOUS_GAP: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct MasterWatch {
    timeout: Duration,
    heard: Duration,
    looked: Duration,
}

impl MasterWatch {
    pub(super) const fn new(timeout: Duration, now: Duration) -> Self {
        Self {
            timeout,
            heard: now,
            looked: now,
        }
    }

    /// How long to wait until the next look, if nothing is heard before: often enough to be exact, and a
    /// little longer than the master's second, so that its beat is usually the only thing that wakes.
    pub(super) fn interval(&self) -> Duration {
        (self.timeout / 4).min(Duration::from_millis(1250))
    }

    /// The master said something.
    pub(super) const fn hear(&mut self, now: Duration) {
        self.heard = now;
    }

    /// Whether the master has been silent for too long. To be called every [`interval`](Self::interval).
    pub(super) fn is_lost(&mut self, now: Duration) -> bool {
        let gap = now.saturating_sub(self.looked);
        self.looked = now;
        if gap > self.interval() + SUSPICIOUS_GAP.min(self.timeout / 2) {
            self.heard = now;
        }
        now.saturating_sub(self.heard) >= self.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Looks every second from `from` to `to`; the first moment of loss.
    fn look(watch: &mut MasterWatch, from: u64, to: u64) -> Option<u64> {
        (from..=to).step_by(1000).find(|at| watch.is_lost(ms(*at)))
    }

    #[test]
    fn silence_for_the_timeout_is_loss() {
        let mut watch = MasterWatch::new(ms(15_000), ms(0));
        assert_eq!(look(&mut watch, 1000, 60_000), Some(15_000));
    }

    #[test]
    fn every_word_starts_the_silence_anew() {
        let mut watch = MasterWatch::new(ms(15_000), ms(0));
        assert_eq!(look(&mut watch, 1000, 10_000), None);
        watch.hear(ms(10_500));
        assert_eq!(look(&mut watch, 11_000, 60_000), Some(26_000));
    }

    #[test]
    fn a_judge_that_slept_starts_over() {
        let mut watch = MasterWatch::new(ms(15_000), ms(0));
        assert_eq!(look(&mut watch, 1000, 14_000), None);
        assert!(
            !watch.is_lost(ms(3_600_000)),
            "an hour in suspend is no silence"
        );
        assert_eq!(look(&mut watch, 3_601_000, 3_700_000), Some(3_615_000));
    }

    #[test]
    fn a_short_timeout_has_a_short_patience_with_itself() {
        let mut watch = MasterWatch::new(ms(2000), ms(0));
        assert!(!watch.is_lost(ms(500)));
        assert!(!watch.is_lost(ms(2800)), "2.3 s in suspend");
        let lost = (3300..10_000)
            .step_by(500)
            .find(|at| watch.is_lost(ms(*at)));
        assert_eq!(lost, Some(4800));
    }
}
