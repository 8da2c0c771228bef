//! One rule, one test: a book, what happens to it, and what it does.

use hatchery_protocol::schedule::{Cause, Command, HISTORY, Outcome};

use super::desk::{Desk, S, noon, wall};
use crate::schedule::{Missed, Overlap, Schedule};

#[test]
fn an_interval_runs_at_a_fixed_rate() {
    let mut desk = Desk::open(vec![Schedule::every("a", 10 * S)]);
    desk.pass(9 * S);
    assert_eq!(desk.begun(), []);
    desk.pass(S);
    assert_eq!(desk.begun(), [(1, Cause::Due)]);
    // The run takes three seconds; the rate does not change.
    desk.pass(3 * S);
    desk.end(1, Outcome::Succeeded);
    desk.pass(7 * S);
    assert_eq!(desk.begun(), [(2, Cause::Due)]);
    let run = desk.status().history.remove(0);
    assert_eq!((run.number, run.duration_ms), (1, 3000));
}

#[test]
fn immediate_is_once_in_the_life_of_a_cluster() {
    let schedule = || Schedule::every("a", 10 * S).immediate();
    let mut desk = Desk::open(vec![schedule()]);
    assert_eq!(desk.begun(), [(1, Cause::Start)]);
    desk.end(1, Outcome::Succeeded);
    let mut next = desk.next_agent(S, schedule());
    assert_eq!(next.begun(), []);
    next.pass(9 * S);
    assert_eq!(next.begun(), [(2, Cause::Due)]);
    let mut only = Desk::open(vec![Schedule::at_start("a")]);
    assert_eq!(only.begun(), [(1, Cause::Start)]);
    assert_eq!(only.book.rest(only.now), None);
    assert_eq!(only.next_agent(S, Schedule::at_start("a")).begun(), []);
}

#[test]
fn overlap_is_what_the_author_wants() {
    let cases = [
        // (policy, begun at 10 s, 20 s and 30 s, skipped, begun when the first ends)
        (Overlap::Skip, vec![1], 2, vec![]),
        (Overlap::Queue, vec![1], 1, vec![2]),
        (Overlap::Allow, vec![1, 2, 3], 0, vec![]),
    ];
    for (overlap, at_times, skipped, at_end) in cases {
        let mut desk = Desk::open(vec![Schedule::every("a", 10 * S).overlap(overlap)]);
        desk.pass(35 * S);
        let numbers = |begun: Vec<(u64, Cause)>| begun.iter().map(|b| b.0).collect::<Vec<_>>();
        assert_eq!(numbers(desk.begun()), at_times, "{overlap:?}");
        assert_eq!(desk.status().skipped, skipped, "{overlap:?}");
        desk.end(1, Outcome::Succeeded);
        assert_eq!(numbers(desk.begun()), at_end, "{overlap:?}");
    }
}

#[test]
fn missed_times_are_made_up_for_once_or_counted() {
    let cases = [
        // (policy, slept, begun, missed)
        (Missed::Once, 35, vec![(1, Cause::Missed)], 2),
        (Missed::Skip, 35, vec![], 3),
        // The last one is on time.
        (Missed::Once, 30, vec![(1, Cause::Due)], 2),
        (Missed::Skip, 31, vec![(1, Cause::Due)], 2),
    ];
    for (missed, slept, begun, count) in cases {
        let mut desk = Desk::open(vec![Schedule::every("a", 10 * S).missed(missed)]);
        desk.sleep(slept * S);
        assert_eq!(desk.begun(), begun, "{missed:?} {slept}");
        assert_eq!(desk.status().missed, count, "{missed:?} {slept}");
        // The rate is the old one.
        desk.end(1, Outcome::Succeeded);
        desk.pass((40 - slept) * S);
        assert_eq!(desk.begun().len(), 1, "{missed:?} {slept}");
    }
}

#[test]
fn a_clock_set_forward_is_missed_time_and_a_correction_is_not() {
    let hourly = || Schedule::cron("a", "0 * * * *");
    let mut desk = Desk::open(vec![hourly()]);
    desk.step(2 * 3_600_000 + 60_000);
    assert_eq!(desk.begun(), [(1, Cause::Missed)]);
    assert_eq!(desk.status().missed, 1);
    desk.end(1, Outcome::Succeeded);
    // From 14:01 on by years: nothing was missed, the next full hour is next.
    desk.step(5 * 365 * 86_400_000);
    assert_eq!(desk.begun(), []);
    desk.pass(59 * 60 * S);
    assert_eq!(desk.begun(), [(2, Cause::Due)]);
}

#[test]
fn a_clock_set_back_repeats_nothing_and_a_correction_starts_afresh() {
    let mut desk = Desk::open(vec![Schedule::cron("a", "*/30 * * * *")]);
    desk.pass(1800 * S);
    assert_eq!(desk.begun(), [(1, Cause::Due)]);
    desk.end(1, Outcome::Succeeded);
    // 12:30 for the second time.
    desk.step(-3_600_000);
    desk.pass(5399 * S);
    assert_eq!(desk.begun(), []);
    desk.pass(S);
    assert_eq!(desk.begun(), [(2, Cause::Due)]);
    desk.end(2, Outcome::Succeeded);
    desk.step(-10 * 365 * 86_400_000);
    desk.pass(1800 * S);
    assert_eq!(desk.begun(), [(3, Cause::Due)]);
}

#[test]
fn an_interval_does_not_mind_the_wall_clock() {
    for step in [-40 * 365 * 86_400_000, -5000, 5000, 40 * 365 * 86_400_000] {
        let mut desk = Desk::open(vec![Schedule::every("a", 10 * S)]);
        desk.pass(5 * S);
        desk.step(step);
        desk.pass(4 * S);
        assert_eq!(desk.begun(), [], "{step}");
        desk.pass(S);
        assert_eq!(desk.begun(), [(1, Cause::Due)], "{step}");
    }
}

/// What happens when Berlin puts its clocks forward and back, from the side of runs.
#[test]
fn daylight_saving_runs_a_fixed_time_once_a_day() {
    for (before, days) in [("2026-03-28T12:00:00Z", 3), ("2026-10-24T12:00:00Z", 3)] {
        let nightly = Schedule::cron("a", "30 2 * * *").zone("Europe/Berlin");
        let mut desk = Desk::open_at(wall(before), vec![nightly], &[]);
        for day in 1..=days {
            desk.pass(86_400 * S);
            assert_eq!(desk.begun(), [(day, Cause::Due)], "{before}");
            desk.end(day, Outcome::Succeeded);
        }
        assert_eq!(desk.status().missed, 0);
    }
}

#[test]
fn an_operator_decides_and_the_next_agent_knows() {
    let every = || Schedule::every("a", 10 * S);
    let mut desk = Desk::open(vec![every()]);
    desk.ask(Command::Disable, 1);
    desk.pass(100 * S);
    assert_eq!(desk.answers(), [(1, Ok(()))]);
    assert_eq!(desk.begun(), []);
    assert_eq!(desk.status().missed, 0);
    let mut next = desk.next_agent(S, every());
    next.pass(100 * S);
    assert_eq!(next.begun(), []);
    next.ask(Command::Enable, 2);
    next.ask(Command::Enable, 3);
    next.pass(10 * S);
    assert_eq!(next.answers(), [(2, Ok(())), (3, Ok(()))]);
    assert_eq!(next.begun(), [(1, Cause::Due)]);
    // What no operator has touched is the author's.
    let mut author = Desk::open(vec![every()]).next_agent(S, every().disabled());
    author.pass(100 * S);
    assert_eq!(author.begun(), []);
}

#[test]
fn a_run_by_command_is_answered_at_its_end() {
    let mut desk = Desk::open(vec![Schedule::every("a", 10 * S).disabled()]);
    desk.ask(Command::Run, 1);
    desk.ask(Command::Run, 2);
    assert_eq!(
        desk.answers(),
        [(2, Err("a run of `a` goes on already".into()))]
    );
    assert_eq!(desk.begun(), [(1, Cause::Asked)]);
    desk.end(1, Outcome::failed("no disk"));
    // Told twice.
    desk.end(1, Outcome::Succeeded);
    let failed = Err("run 1 of `a` failed: no disk".to_owned());
    assert_eq!(desk.answers(), [(1, failed)]);
    desk.ask(Command::Run, 3);
    desk.close();
    let goes_on = Err("the agent is about to be replaced; the run goes on".to_owned());
    assert_eq!(desk.answers().pop(), Some((3, goes_on)));
    desk.ask(Command::Run, 4);
    let later = Err("the agent is about to be replaced: try again".to_owned());
    assert_eq!(desk.answers().pop(), Some((4, later)));
}

#[test]
fn an_unknown_schedule_is_named() {
    let mut desk = Desk::open(vec![Schedule::every("b", S)]);
    desk.ask(Command::Run, 1);
    let unknown = Err("there is no schedule `a`: see `schedule list`".to_owned());
    assert_eq!(desk.answers(), [(1, unknown)]);
}

#[test]
fn jitter_delays_each_run_by_its_own_time_and_shifts_none_of_the_others() {
    let mut desk = Desk::open(vec![Schedule::every("a", 10 * S).jitter(5 * S)]);
    let mut delays = std::collections::BTreeSet::new();
    for number in 1..=50 {
        let planned = noon().boot + u32::try_from(number).unwrap() * 10 * S;
        let rest = desk.book.rest(desk.now).unwrap();
        desk.pass(rest);
        assert_eq!(desk.begun(), [(number, Cause::Due)]);
        delays.insert(desk.now.boot.saturating_sub(planned));
        desk.end(number, Outcome::Succeeded);
    }
    assert!(delays.len() > 40, "{delays:?}");
    assert!(delays.iter().all(|delay| *delay <= 5 * S));
    assert_eq!(desk.status().missed, 0);
}

#[test]
fn history_is_bounded_and_newest_first() {
    let mut desk = Desk::open(vec![Schedule::every("a", S)]);
    for number in 1..=100 {
        desk.pass(S);
        desk.end(number, Outcome::TimedOut);
    }
    let history = desk.status().history;
    assert_eq!(history.len(), HISTORY);
    assert_eq!(history.first().unwrap().number, 100);
}
