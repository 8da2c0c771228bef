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

/// How many changes of a zone's clocks are looked through for one: those of ten years, in most zones.
const LOOKED_THROUGH: usize = 20;

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
        let next = cron.find_next_occurrence(&from, false).or_else(|error| {
            let behind = behind_a_long_gap(zone, wall).ok_or(error)?;
            cron.find_next_occurrence(&behind.to_zoned(zone.clone()), true)
        });
        let next = next.ok()?.timestamp();
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

/// The search gives up in a gap of more than two hours. There are some: an island that changes the side of the date line
/// leaves a whole day out, and that day has no runs.
fn behind_a_long_gap(zone: &TimeZone, wall: Timestamp) -> Option<Timestamp> {
    let changes = zone.following(wall).map(|change| change.timestamp());
    let offset = |at: Timestamp| zone.to_offset(at).seconds();
    let is_long = |at: &Timestamp| {
        let before = *at - SignedDuration::from_secs(1);
        offset(*at) - offset(before) > 2 * 3600
    };
    changes.take(LOOKED_THROUGH).find(is_long)
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
mod tests;
