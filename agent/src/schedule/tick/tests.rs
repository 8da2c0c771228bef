//! Times of patterns and intervals, and what clocks do to them.

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

/// A whole year of every tenth minute: as many as the year has, whatever clocks do.
#[test]
fn a_year_has_all_its_minutes() {
    let pulse = cron("*/10 * * * *", "Europe/Berlin");
    let mut wall = at("2026-01-01T00:00:00Z");
    let end = at("2027-01-01T00:00:00Z");
    let mut count = 0;
    while let Some(next) = pulse.after_wall(wall)
        && next <= end
    {
        assert_eq!(next.duration_since(wall), SignedDuration::from_mins(10));
        wall = next;
        count += 1;
    }
    assert_eq!(count, 365 * 24 * 6);
}

/// Samoa had no 30th of December 2011: the 29th ended at 10:00 UTC, when the 31st began.
#[test]
fn a_day_that_is_left_out_has_no_runs_and_stops_nothing() {
    let cases = [
        (
            "0 0 * * *",
            [
                "2011-12-29T10:00:00Z",
                "2011-12-30T10:00:00Z",
                "2011-12-31T10:00:00Z",
            ],
        ),
        (
            "30 12 * * *",
            [
                "2011-12-29T22:30:00Z",
                "2011-12-30T22:30:00Z",
                "2011-12-31T22:30:00Z",
            ],
        ),
        (
            "0 */12 * * *",
            [
                "2011-12-29T10:00:00Z",
                "2011-12-29T22:00:00Z",
                "2011-12-30T10:00:00Z",
            ],
        ),
    ];
    for (pattern, expected) in cases {
        let pulse = cron(pattern, "Pacific/Apia");
        let found = times(&pulse, "2011-12-29T00:00:00Z", 3);
        assert_eq!(found, expected, "{pattern}");
    }
}

/// Where clocks are changed at midnight, by half an hour or by two hours.
#[test]
fn no_change_of_any_clock_stops_a_rhythm_or_costs_a_day() {
    let zones = [
        "America/Havana",
        "America/Sao_Paulo",
        "America/St_Johns",
        "Africa/Casablanca",
        "Antarctica/Troll",
        "Asia/Beirut",
        "Asia/Tehran",
        "Australia/Lord_Howe",
        "Europe/London",
    ];
    let day_and_a_half = SignedDuration::from_hours(36);
    for name in zones {
        let zone = TimeZone::get(name).unwrap();
        let changes = zone.following(at("2014-01-01T00:00:00Z"));
        let changes = changes.take_while(|c| c.timestamp() < at("2020-01-01T00:00:00Z"));
        for change in changes {
            let (begin, end) = (
                change.timestamp() - day_and_a_half,
                change.timestamp() + day_and_a_half,
            );
            let rhythm = cron("*/30 * * * *", name);
            let mut wall = begin;
            while wall < end {
                let next = rhythm.after_wall(wall);
                let next = next.unwrap_or_else(|| panic!("{name}: it stops at {wall}"));
                let step = next.duration_since(wall);
                assert!(
                    step <= SignedDuration::from_mins(30),
                    "{name}: {wall}, {next}"
                );
                wall = next;
            }
            for fixed in ["0 0 * * *", "30 0 * * *", "30 2 * * *"] {
                let times =
                    std::iter::successors(Some(begin), |wall| cron(fixed, name).after_wall(*wall));
                let days: Vec<_> = times
                    .skip(1)
                    .take_while(|wall| *wall < end)
                    .map(|wall| wall.to_zoned(zone.clone()).date())
                    .collect();
                let mut distinct = days.clone();
                distinct.dedup();
                assert_eq!(days, distinct, "{name} {fixed}: twice a day");
                assert!(days.len() >= 2, "{name} {fixed}: {days:?}");
            }
        }
    }
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
