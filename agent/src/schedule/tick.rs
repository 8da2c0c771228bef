//! When a schedule is due, from the time alone.
//!
//! Two clocks: cron patterns speak of the wall clock, which people and servers set; intervals count on the time since
//! the machine booted, suspend included, which nobody sets.

use std::fmt;
use std::time::Duration;

use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// How many passed times are counted one by one. Of more nobody needs the number.
const COUNTED: u64 = 1000;

/// Now, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The wall clock.
    pub(crate) wall: Timestamp,
    /// Since the machine booted.
    pub(crate) boot: Duration,
}

/// The rhythm of a schedule.
#[derive(Debug, Clone)]
pub(super) enum Pulse {
    Cron { cron: Box<Cron>, zone: TimeZone },
    Every(Duration),
    Once,
}

/// A time to come, on the clock that counts for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Due {
    Wall(Timestamp),
    Boot(Duration),
}

/// Times that have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passed {
    /// The last one of them.
    pub(super) last: Due,
    /// How many there were before it.
    pub(super) before: u64,
}

impl Pulse {
    /// The first time after now.
    pub(super) fn first(&self, now: Moment) -> Option<Due> {
        match self {
            Self::Cron { .. } => self.after_wall(now.wall).map(Due::Wall),
            Self::Every(period) => Some(Due::Boot(now.boot + *period)),
            Self::Once => None,
        }
    }

    /// The time that follows another one.
    pub(super) fn after(&self, due: Due) -> Option<Due> {
        match (self, due) {
            (Self::Cron { .. }, Due::Wall(wall)) => self.after_wall(wall).map(Due::Wall),
            (Self::Every(period), Due::Boot(boot)) => Some(Due::Boot(boot + *period)),
            (Self::Cron { .. }, Due::Boot(_))
            | (Self::Every(_), Due::Wall(_))
            | (Self::Once, _) => None,
        }
    }

    /// The first time of a pattern after a moment; none for the other rhythms.
    pub(super) fn after_wall(&self, wall: Timestamp) -> Option<Timestamp> {
        let Self::Cron { cron, zone } = self else {
            return None;
        };
        let from = wall.to_zoned(zone.clone());
        let next = cron.find_next_occurrence(&from, false).ok()?.timestamp();
        // The search goes by whole seconds of the wall clock; a rhythm has to move on whatever it finds.
        (next > wall).then_some(next)
    }

    /// What has passed from `due` on, which has come.
    pub(super) fn passed(&self, due: Due, now: Moment) -> Passed {
        if let (Self::Every(period), Due::Boot(boot)) = (self, due) {
            let late = now.boot.saturating_sub(boot).as_millis();
            let before = late / period.as_millis().max(1);
            let before = u32::try_from(before).unwrap_or(u32::MAX);
            let last = Due::Boot(boot + *period * before);
            return Passed {
                last,
                before: before.into(),
            };
        }
        let mut passed = Passed {
            last: due,
            before: 0,
        };
        while passed.before < COUNTED
            && let Some(next) = self.after(passed.last)
            && next.left(now).is_zero()
        {
            passed.last = next;
            passed.before += 1;
        }
        passed
    }
}

impl Due {
    /// How long it is until then; zero: it has come.
    pub(super) fn left(self, now: Moment) -> Duration {
        match self {
            Self::Wall(wall) => unsigned(wall.duration_since(now.wall)),
            Self::Boot(boot) => boot.saturating_sub(now.boot),
        }
    }

    /// For how long it has been over; zero: it is to come.
    pub(super) fn late(self, now: Moment) -> Duration {
        match self {
            Self::Wall(wall) => unsigned(now.wall.duration_since(wall)),
            Self::Boot(boot) => now.boot.saturating_sub(boot),
        }
    }

    /// Later by a delay.
    pub(super) fn delayed(self, delay: Duration) -> Self {
        match self {
            Self::Wall(wall) => Self::Wall(
                wall.saturating_add(SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX))
                    .unwrap_or(Timestamp::MAX),
            ),
            Self::Boot(boot) => Self::Boot(boot.saturating_add(delay)),
        }
    }

    /// The wall clock's time then, in milliseconds since 1970, if nobody sets it meanwhile.
    pub(super) fn wall_ms(self, now: Moment) -> u64 {
        match self {
            Self::Wall(wall) => wall_ms(wall),
            Self::Boot(boot) => {
                let left = i128::try_from(boot.as_millis()).unwrap_or(i128::MAX)
                    - i128::try_from(now.boot.as_millis()).unwrap_or(i128::MAX);
                u64::try_from(i128::from(now.wall.as_millisecond()) + left).unwrap_or(0)
            }
        }
    }
}

/// Milliseconds since 1970.
pub(super) fn wall_ms(wall: Timestamp) -> u64 {
    u64::try_from(wall.as_millisecond()).unwrap_or(0)
}

fn unsigned(duration: SignedDuration) -> Duration {
    Duration::try_from(duration).unwrap_or(Duration::ZERO)
}

impl fmt::Display for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron { cron, zone } => {
                let zone = zone.iana_name().unwrap_or("UTC");
                write!(f, "{} {zone}", cron.as_str())
            }
            Self::Every(period) => write!(f, "every {period:?}"),
            Self::Once => f.write_str("at start"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use croner::parser::CronParser;

    fn at(wall: &str) -> Timestamp {
        wall.parse().unwrap()
    }

    fn cron(pattern: &str, zone: &str) -> Pulse {
        Pulse::Cron {
            cron: Box::new(CronParser::new().parse(pattern).unwrap()),
            zone: TimeZone::get(zone).unwrap(),
        }
    }

    fn times(pulse: &Pulse, from: &str, count: usize) -> Vec<String> {
        let first = pulse.after_wall(at(from));
        std::iter::successors(first, |wall| pulse.after_wall(*wall))
            .take(count)
            .map(|wall| wall.to_string())
            .collect()
    }

    #[test]
    fn patterns_name_times() {
        let cases: [(&str, &str, &str, &[&str]); 9] = [
            // pattern, zone, after, the times that follow
            (
                "* * * * *",
                "UTC",
                "2026-01-01T00:00:30Z",
                &["2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"],
            ),
            (
                "*/20 * * * * *",
                "UTC",
                "2026-01-01T00:00:00Z",
                &["2026-01-01T00:00:20Z", "2026-01-01T00:00:40Z"],
            ),
            // A fraction of a second counts as that second.
            (
                "* * * * * *",
                "UTC",
                "2026-01-01T00:00:00.9Z",
                &["2026-01-01T00:00:01Z"],
            ),
            (
                "0 12 * * *",
                "Asia/Tokyo",
                "2026-01-01T00:00:00Z",
                &["2026-01-01T03:00:00Z", "2026-01-02T03:00:00Z"],
            ),
            (
                "@daily",
                "Asia/Kathmandu",
                "2026-01-01T00:00:00Z",
                &["2026-01-01T18:15:00Z"],
            ),
            (
                "0 0 L * *",
                "UTC",
                "2028-02-01T00:00:00Z",
                &["2028-02-29T00:00:00Z", "2028-03-31T00:00:00Z"],
            ),
            (
                "0 9 * * MON-FRI",
                "UTC",
                "2026-11-20T10:00:00Z",
                &["2026-11-23T09:00:00Z"],
            ),
            (
                "0 0 29 2 *",
                "UTC",
                "2026-01-01T00:00:00Z",
                &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"],
            ),
            // A year in the seventh field: no more after it.
            (
                "0 0 0 1 1 * 2027",
                "UTC",
                "2026-06-01T00:00:00Z",
                &["2027-01-01T00:00:00Z"],
            ),
        ];
        for (pattern, zone, from, expected) in cases {
            let count = expected.len() + usize::from(pattern.ends_with("2027"));
            assert_eq!(
                times(&cron(pattern, zone), from, count),
                expected,
                "{pattern} {zone}"
            );
        }
    }

    /// 2026-03-29 in Berlin: 01:59:59 is followed by 03:00:00 (01:00 UTC).
    #[test]
    fn a_clock_put_forward_loses_no_fixed_time_and_repeats_none() {
        let fixed = times(
            &cron("30 2 * * *", "Europe/Berlin"),
            "2026-03-28T00:00:00Z",
            3,
        );
        assert_eq!(
            fixed,
            [
                "2026-03-28T01:30:00Z",
                "2026-03-29T01:00:00Z",
                "2026-03-30T00:30:00Z"
            ]
        );
        let hourly = times(
            &cron("30 * * * *", "Europe/Berlin"),
            "2026-03-28T23:40:00Z",
            3,
        );
        assert_eq!(
            hourly,
            [
                "2026-03-29T00:30:00Z",
                "2026-03-29T01:30:00Z",
                "2026-03-29T02:30:00Z"
            ]
        );
        // Half an hour, in Lord Howe Island: 01:59 is followed by 02:30.
        let fixed = times(
            &cron("10 2 * * *", "Australia/Lord_Howe"),
            "2026-10-03T12:00:00Z",
            2,
        );
        assert_eq!(fixed, ["2026-10-03T15:30:00Z", "2026-10-04T15:10:00Z"]);
    }

    /// 2026-10-25 in Berlin: 02:59:59 is followed by 02:00:00 (01:00 UTC).
    #[test]
    fn a_clock_put_back_repeats_no_fixed_time_and_stops_no_rhythm() {
        let fixed = times(
            &cron("30 2 * * *", "Europe/Berlin"),
            "2026-10-24T12:00:00Z",
            2,
        );
        assert_eq!(fixed, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        let hourly = times(
            &cron("30 * * * *", "Europe/Berlin"),
            "2026-10-24T23:40:00Z",
            4,
        );
        assert_eq!(
            hourly,
            [
                "2026-10-25T00:30:00Z",
                "2026-10-25T01:30:00Z",
                "2026-10-25T02:30:00Z",
                "2026-10-25T03:30:00Z"
            ]
        );
    }

    /// A whole year of every minute: as many as the year has, whatever clocks do.
    #[test]
    fn a_year_has_all_its_minutes() {
        let pulse = cron("* * * * *", "Europe/Berlin");
        let mut wall = at("2026-01-01T00:00:00Z");
        let end = at("2027-01-01T00:00:00Z");
        let mut count = 0;
        while let Some(next) = pulse.after_wall(wall)
            && next <= end
        {
            assert_eq!(next.duration_since(wall), SignedDuration::from_mins(1));
            wall = next;
            count += 1;
        }
        assert_eq!(count, 365 * 24 * 60);
    }

    #[test]
    fn what_has_passed_is_counted() {
        let s = Duration::from_secs;
        let now = Moment {
            wall: at("2026-01-01T00:10:30Z"),
            boot: s(100),
        };
        let every = Pulse::Every(s(10));
        for (due, last, before) in [(100, 100, 0), (91, 91, 0), (90, 100, 1), (5, 95, 9)] {
            let last = Due::Boot(s(last));
            assert_eq!(
                every.passed(Due::Boot(s(due)), now),
                Passed { last, before }
            );
        }
        let minutely = cron("* * * * *", "UTC");
        let due = Due::Wall(at("2026-01-01T00:08:00Z"));
        let last = Due::Wall(at("2026-01-01T00:10:00Z"));
        assert_eq!(minutely.passed(due, now), Passed { last, before: 2 });
        let secondly = cron("* * * * * *", "UTC");
        let due = Due::Wall(at("2025-01-01T00:00:00Z"));
        assert_eq!(secondly.passed(due, now).before, COUNTED);
    }

    #[test]
    fn the_two_clocks_can_be_compared() {
        let now = Moment {
            wall: at("2026-01-01T00:00:00Z"),
            boot: Duration::from_secs(100),
        };
        let soon = Due::Boot(Duration::from_secs(101));
        assert_eq!(soon.wall_ms(now), wall_ms(now.wall) + 1000);
        let over = Due::Boot(Duration::from_secs(98));
        assert_eq!(over.wall_ms(now), wall_ms(now.wall) - 2000);
        assert_eq!(over.late(now), Duration::from_secs(2));
        assert_eq!(over.left(now), Duration::ZERO);
        let far = Due::Wall(Timestamp::MAX).delayed(Duration::MAX);
        assert_eq!(far, Due::Wall(Timestamp::MAX));
    }
}
