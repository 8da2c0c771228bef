//! Noticing that this master itself did not run. Pure: the caller brings the time.
//!
//! A master that was stopped by a signal, on a machine that slept or in a guest that was paused, sees a silence
//! that nobody made. Its loop turns at least once a second, so a turn that comes much later tells. The clock
//! has to be one that goes on in suspend, where `CLOCK_MONOTONIC` stands still.

use std::time::Duration;

/// How late a turn may be, at the most, before the master believes that it did not run.
const SUSPICIOUS: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Wakefulness {
    most: Duration,
    turned: Duration,
}

impl Wakefulness {
    /// For a loop that turns every `interval`, whose children may be silent for `patience`; zero is for ever.
    pub(super) fn new(interval: Duration, patience: Duration, now: Duration) -> Self {
        // With little patience a short absence is enough to do harm.
        let late = match patience / 4 {
            Duration::ZERO => SUSPICIOUS,
            part => part.min(SUSPICIOUS),
        };
        Self {
            most: interval + late,
            turned: now,
        }
    }

    /// The loop turns. For how long it did not run before, if it did not.
    pub(super) fn turn(&mut self, now: Duration) -> Option<Duration> {
        let gap = now.saturating_sub(self.turned);
        self.turned = now;
        (gap > self.most).then_some(gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_gap_that_nobody_planned_is_told_once() {
        let mut wakefulness = Wakefulness::new(ms(1000), ms(30_000), ms(0));
        for at in [900, 1900, 4900, 4901] {
            assert_eq!(wakefulness.turn(ms(at)), None, "at {at}");
        }
        assert_eq!(wakefulness.turn(ms(7902)), Some(ms(3001)));
        assert_eq!(wakefulness.turn(ms(7903)), None);
    }

    #[test]
    fn little_patience_makes_suspicious() {
        let mut wakefulness = Wakefulness::new(ms(1000), ms(4000), ms(0));
        assert_eq!(wakefulness.turn(ms(2000)), None);
        assert_eq!(wakefulness.turn(ms(4001)), Some(ms(2001)));
        let mut patient = Wakefulness::new(ms(1000), ms(0), ms(0));
        assert_eq!(patient.turn(ms(3000)), None);
    }
}
