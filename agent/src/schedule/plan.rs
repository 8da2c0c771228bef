//! What an author said, checked: nothing in a plan can fail later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use croner::Cron;
use croner::errors::CronError;
use croner::parser::CronParser;
use hatchery_protocol::schedule::{MAX_SCHEDULES, Place};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use thiserror::Error;

use super::spec::{Missed, Overlap, Rhythm, Schedule, Scope, Site};
use super::tick::Pulse;

/// The longest name of a schedule or a job, in bytes.
pub const MAX_NAME: usize = 64;
/// The shortest interval: each run is a message to the master and back.
pub const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// The longest of all durations. Beyond it sums of times could overflow.
pub const MAX_DURATION: Duration = Duration::from_secs(10 * 366 * 86_400);

/// Why schedules make no sense. Each sentence says what to change.
#[derive(Debug, Error)]
pub enum ScheduleError {
    /// A name that would not survive a command line.
    #[error(
        "`{0}` is no name for a schedule or a job: use 1 to {MAX_NAME} letters, digits, `-`, `_` and `.`"
    )]
    Name(String),
    /// Two schedules of one name.
    #[error("two schedules have the name `{0}`: give each one its own")]
    Duplicate(String),
    /// Too many of them.
    #[error("{0} schedules are more than {MAX_SCHEDULES}")]
    TooMany(usize),
    /// No cron pattern.
    #[error("schedule `{name}`: `{pattern}` is no cron pattern: {reason}")]
    Cron {
        /// The schedule.
        name: String,
        /// What was given.
        pattern: String,
        /// What is wrong with it. Part of the sentence, and so no source of its own.
        reason: CronError,
    },
    /// A pattern like February 30th.
    #[error("schedule `{name}`: no time to come matches the cron pattern `{pattern}`")]
    Never {
        /// The schedule.
        name: String,
        /// What was given.
        pattern: String,
    },
    /// Nobody knows this time zone.
    #[error(
        "schedule `{name}`: there is no time zone `{zone}`: use a name as `Europe/Berlin` or `UTC`"
    )]
    Zone {
        /// The schedule.
        name: String,
        /// What was given.
        zone: String,
    },
    /// A time zone for what knows no days.
    #[error("schedule `{0}` has a time zone but no cron pattern that could use it")]
    ZoneWithoutCron(String),
    /// Zero, too short or too long.
    #[error("schedule `{name}`: the {what} {given:?} is not between {least:?} and {most:?}")]
    Duration {
        /// The schedule.
        name: String,
        /// Which of its durations.
        what: &'static str,
        /// What was given.
        given: Duration,
        /// The shortest possible.
        least: Duration,
        /// The longest possible.
        most: Duration,
    },
    /// A name for workers, of a job that no worker runs.
    #[error("schedule `{0}` runs in the agent, where its job needs no name")]
    JobInAgent(String),
    /// A run at the start of a fleet, which has none.
    #[error(
        "schedule `{0}` runs once per fleet, and a fleet has no start at which it could run: use a cron pattern or an \
         interval without `immediate`"
    )]
    StartOfFleet(String),
}

/// A schedule that can be run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(super) name: Arc<str>,
    pub(super) pulse: Pulse,
    pub(super) immediate: bool,
    pub(super) site: Site,
    pub(super) job: Arc<str>,
    pub(super) overlap: Overlap,
    pub(super) missed: Missed,
    pub(super) timeout: Duration,
    pub(super) jitter: Duration,
    pub(super) retry_lost: bool,
    pub(super) enabled: bool,
    pub(super) scope: Scope,
}

impl Plan {
    /// When it runs, for people. Another text is another rhythm.
    pub(super) fn when(&self) -> String {
        match (&self.pulse, self.immediate) {
            (Pulse::Once, _) => "at start".to_owned(),
            (pulse, true) => format!("at start, then {pulse}"),
            (pulse, false) => pulse.to_string(),
        }
    }

    pub(super) const fn place(&self) -> Place {
        match self.site {
            Site::OneWorker => Place::OneWorker,
            Site::AllWorkers => Place::AllWorkers,
            Site::Agent(_) => Place::Agent,
        }
    }
}

/// Checks all schedules of an agent. `now` is for patterns that never come again.
pub(crate) fn check(schedules: Vec<Schedule>, now: Timestamp) -> Result<Vec<Plan>, ScheduleError> {
    if schedules.len() > MAX_SCHEDULES {
        return Err(ScheduleError::TooMany(schedules.len()));
    }
    let mut plans = BTreeMap::new();
    for schedule in schedules {
        let plan = plan(schedule, now)?;
        if let Some(twin) = plans.insert(Arc::clone(&plan.name), plan) {
            return Err(ScheduleError::Duplicate(twin.name.to_string()));
        }
    }
    Ok(plans.into_values().collect())
}

fn plan(schedule: Schedule, now: Timestamp) -> Result<Plan, ScheduleError> {
    let name = named(schedule.name)?;
    let within = |what, given, least, most| {
        if (least..=most).contains(&given) {
            return Ok(());
        }
        let name = name.to_string();
        Err(ScheduleError::Duration {
            name,
            what,
            given,
            least,
            most,
        })
    };
    within(
        "timeout",
        schedule.timeout,
        Duration::from_millis(1),
        MAX_DURATION,
    )?;
    within("jitter", schedule.jitter, Duration::ZERO, MAX_DURATION)?;
    if schedule.zone.is_some() && !matches!(schedule.rhythm, Rhythm::Cron(_)) {
        return Err(ScheduleError::ZoneWithoutCron(name.to_string()));
    }
    if schedule.scope == Scope::Fleet && schedule.immediate {
        return Err(ScheduleError::StartOfFleet(name.to_string()));
    }
    let pulse = match schedule.rhythm {
        Rhythm::AtStart => Pulse::Once,
        Rhythm::Every(period) => {
            within("interval", period, MIN_INTERVAL, MAX_DURATION)?;
            within("jitter", schedule.jitter, Duration::ZERO, period)?;
            Pulse::Every(period)
        }
        Rhythm::Cron(pattern) => cron(&name, pattern, schedule.zone, now)?,
    };
    let job = match (schedule.job, &schedule.site) {
        (Some(_), Site::Agent(_)) => return Err(ScheduleError::JobInAgent(name.to_string())),
        (Some(job), _) => named(job)?,
        (None, _) => Arc::clone(&name),
    };
    Ok(Plan {
        name,
        pulse,
        immediate: schedule.immediate,
        site: schedule.site,
        job,
        overlap: schedule.overlap,
        missed: schedule.missed,
        timeout: schedule.timeout,
        jitter: schedule.jitter,
        retry_lost: schedule.retry_lost,
        enabled: schedule.enabled,
        scope: schedule.scope,
    })
}

fn named(name: String) -> Result<Arc<str>, ScheduleError> {
    let fits = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    // A dash in front would be taken for an option.
    if (1..=MAX_NAME).contains(&name.len()) && !name.starts_with('-') && name.bytes().all(fits) {
        Ok(name.into())
    } else {
        Err(ScheduleError::Name(name))
    }
}

fn cron(
    name: &str,
    pattern: String,
    zone: Option<String>,
    now: Timestamp,
) -> Result<Pulse, ScheduleError> {
    let parsed: Result<Cron, CronError> = CronParser::new().parse(&pattern);
    let cron = match parsed {
        Ok(cron) => Box::new(cron),
        Err(reason) => {
            let name = name.to_owned();
            return Err(ScheduleError::Cron {
                name,
                pattern,
                reason,
            });
        }
    };
    let zone = zone.unwrap_or_else(|| "UTC".to_owned());
    let Ok(time_zone) = TimeZone::get(&zone) else {
        let name = name.to_owned();
        return Err(ScheduleError::Zone { name, zone });
    };
    let pulse = Pulse::Cron {
        cron,
        zone: time_zone,
    };
    if pulse.after_wall(now).is_none() {
        let name = name.to_owned();
        return Err(ScheduleError::Never { name, pattern });
    }
    Ok(pulse)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn now() -> Timestamp {
        "2026-11-21T00:00:00Z".parse().unwrap()
    }

    fn refusal(schedules: Vec<Schedule>) -> String {
        check(schedules, now()).map_or_else(|e| e.to_string(), |_| "accepted".to_owned())
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_one_sentence() {
        let cases: [(Vec<Schedule>, &str); 18] = [
            (
                vec![Schedule::every("", S)],
                "`` is no name for a schedule or a job: use 1 to 64 letters, digits, `-`, `_` and `.`",
            ),
            (vec![Schedule::every("a b", S)], "`a b` is no name"),
            (vec![Schedule::every("--json", S)], "`--json` is no name"),
            (vec![Schedule::every("a".repeat(65), S)], "is no name"),
            (
                vec![Schedule::every("a", S).job("täglich")],
                "`täglich` is no name",
            ),
            (
                vec![Schedule::every("a", S), Schedule::at_start("a")],
                "two schedules have the name `a`: give each one its own",
            ),
            (
                vec![Schedule::every("a", Duration::ZERO)],
                "schedule `a`: the interval 0ns is not between 10ms and ",
            ),
            (
                vec![Schedule::every("a", Duration::MAX)],
                "schedule `a`: the interval ",
            ),
            (
                vec![Schedule::every("a", S).timeout(Duration::ZERO)],
                "schedule `a`: the timeout 0ns is not between 1ms and ",
            ),
            (
                vec![Schedule::every("a", S).jitter(2 * S)],
                "schedule `a`: the jitter 2s is not between 0ns and 1s",
            ),
            (
                vec![Schedule::cron("a", "@daily").jitter(Duration::MAX)],
                "schedule `a`: the jitter ",
            ),
            (
                vec![Schedule::cron("a", "nonsense")],
                "schedule `a`: `nonsense` is no cron pattern: ",
            ),
            (
                vec![Schedule::cron("a", "")],
                "schedule `a`: `` is no cron pattern: ",
            ),
            (
                vec![Schedule::cron("a", "61 * * * *")],
                "schedule `a`: `61 * * * *` is no cron pattern: ",
            ),
            (
                vec![Schedule::cron("a", "0 0 30 2 *")],
                "schedule `a`: no time to come matches the cron pattern `0 0 30 2 *`",
            ),
            (
                vec![Schedule::cron("a", "0 0 0 1 1 * 2020")],
                "schedule `a`: no time to come matches",
            ),
            (
                vec![Schedule::cron("a", "@daily").zone("Mars/Olympus")],
                "schedule `a`: there is no time zone `Mars/Olympus`: use a name as `Europe/Berlin` or `UTC`",
            ),
            (
                vec![Schedule::every("a", S).zone("UTC")],
                "schedule `a` has a time zone but no cron pattern that could use it",
            ),
        ];
        for (schedules, sentence) in cases {
            let refusal = refusal(schedules.clone());
            assert!(refusal.contains(sentence), "{schedules:?}: {refusal}");
            assert!(!refusal.contains('\n'), "{refusal}");
        }
        let named = Schedule::every("a", S)
            .job("b")
            .in_agent(|_| async { Ok(()) });
        assert_eq!(
            refusal(vec![named]),
            "schedule `a` runs in the agent, where its job needs no name"
        );
        let many = (0..=MAX_SCHEDULES).map(|n| Schedule::every(n.to_string(), S));
        assert_eq!(refusal(many.collect()), "101 schedules are more than 100");
    }

    #[test]
    fn what_makes_sense_is_said_again() {
        let cases = [
            (Schedule::every("a", MIN_INTERVAL), "every 10ms"),
            (
                Schedule::every("a", 90 * S).immediate(),
                "at start, then every 90s",
            ),
            (Schedule::at_start("a"), "at start"),
            (
                Schedule::cron("a", "0 3 * * *").zone("Europe/Berlin"),
                "0 3 * * * Europe/Berlin",
            ),
            (Schedule::cron("a", "@daily"), "0 0 * * * UTC"),
        ];
        for (schedule, when) in cases {
            let plans = check(vec![schedule], now()).unwrap();
            assert_eq!(plans.first().unwrap().when(), when);
        }
    }

    /// Arbitrary bytes from an author's database are an error at worst.
    #[test]
    fn garbage_is_answered() {
        let pieces = [
            "*",
            "/",
            "-",
            ",",
            "#",
            "L",
            "W",
            "?",
            "0",
            "59",
            "99999999999999999999",
            "@",
            "MON",
            " ",
            "é",
        ];
        let mut seed = 1_u64;
        for _ in 0..20_000 {
            let mut pattern = String::new();
            for _ in 0..12 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = usize::try_from(seed >> 33).unwrap() % pieces.len();
                pattern.push_str(pieces.get(at).unwrap());
            }
            // Not the search for its next time, which is long for what never comes.
            let _ = CronParser::new().parse(&pattern);
        }
    }
}
